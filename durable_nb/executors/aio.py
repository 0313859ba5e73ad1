"""Coroutines on the loop that is already running, as a notebook kernel has one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from durable_nb.records import Call


async def run(
    work: Callable[[Call], Awaitable[None]],
    chunks: Iterable[Sequence[Call]],
    *,
    workers: int,
    halted: Callable[[], bool],
) -> None:
    """Work through ``chunks``, at most ``workers`` calls at a time; cancelling it cancels them.

    What ``work`` raises is raised from here, not wrapped in a group: the caller asked for one map.
    """
    todo = (call for chunk in chunks for call in chunk)

    async def drain() -> None:
        for call in todo:
            if halted():
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
