"""Coroutines on the loop that is already running, as a notebook kernel has one."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING

from durable_nb.executors import starts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

    from durable_nb.records import Call

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
