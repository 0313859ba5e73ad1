"""Coroutines on the loop that is already running, as a notebook kernel has one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from durable_nb.records import Call


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
    todo, lock = _calls_of(chunks), asyncio.Lock()

    async def drain() -> None:
        while True:
            async with lock:  # an iterator is advanced by one at a time, and the next call may have to be waited for
                call = await anext(todo, None)
            if call is None or halted():
                return
            await work(call)

    tasks = [asyncio.ensure_future(drain())]
    try:
        # One task first: if everything was restored, `todo` ends without a call and no second one is needed.
        await asyncio.sleep(0)
        if not tasks[0].done():
            tasks += [asyncio.ensure_future(drain()) for _ in range(workers - 1)]
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _calls_of(chunks: AsyncIterator[Sequence[Call]]) -> AsyncIterator[Call]:
    async for chunk in chunks:
        for call in chunk:
            yield call
