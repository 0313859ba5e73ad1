"""Coroutines on the loop that is already running, as a notebook kernel has one."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, TypeVar

from durable_nb.executors import starts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

    from durable_nb.records import Call

T = TypeVar("T")

_WAKE_S = 0.2


@contextlib.contextmanager
def awake() -> Iterator[None]:
    """Let the running loop look a few times a second: ipykernel 7 cancels an interrupted cell by a callback that wakes no loop."""
    loop, timers = asyncio.get_running_loop(), deque[asyncio.TimerHandle](maxlen=1)

    def tick() -> None:
        timers.append(loop.call_later(_WAKE_S, tick))

    tick()
    try:
        yield
    finally:
        timers[0].cancel()


async def beside(work: Callable[[], T]) -> T:
    """What ``work`` returns or raises, on a thread of its own: those that a loop shares may all be waiting for this loop."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def tell(say: Callable[[Any], None], what: Any) -> None:
        if not done.done():  # cancelled
            say(what)

    def make() -> None:
        try:
            told: tuple[Any, Any] = done.set_result, work()
        except BaseException as error:  # carried to who awaits it
            told = done.set_exception, error
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(tell, *told)

    threading.Thread(target=copy_context().run, args=(make,), name="durable-beside", daemon=True).start()
    return await done


async def run(
    work: Callable[[Call], Awaitable[None]],
    chunks: AsyncIterator[Sequence[Call]],
    *,
    workers: int,
    halted: Callable[[], bool],
) -> None:
    """Work through ``chunks``, at most ``workers`` calls at a time; cancelling it cancels them.

    What ``work`` raises is raised from here, not wrapped in a group: the caller asked for one map.
    """
    todo, lock, over = _calls_of(chunks), asyncio.Lock(), asyncio.Event()

    async def drain() -> None:
        try:
            while True:
                # An iterator is advanced by one at a time, and the next call may have to be waited for.
                async with lock:
                    call = await anext(todo, None)
                if call is None or halted():
                    return
                await work(call)
        finally:
            over.set()

    tasks = [asyncio.ensure_future(drain())]
    try:
        # One task first: if everything was restored, `todo` ends without a call and no second one is needed.
        await asyncio.sleep(0)
        for number in range(1, workers):
            if number >= starts.AT_ONCE:
                await asyncio.sleep(starts.apart_s(workers))
            if over.is_set():
                break
            tasks.append(asyncio.ensure_future(drain()))
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _calls_of(chunks: AsyncIterator[Sequence[Call]]) -> AsyncIterator[Call]:
    async for chunk in chunks:
        for call in chunk:
            yield call
