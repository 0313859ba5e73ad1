"""``async for`` over a stream: its reader on the running loop, where the calls of an async step are made, too."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from durable_nb.engine.arrivals import LOOK_S
from durable_nb.executors.threads import GRACE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from durable_nb.engine.arrivals import Arrivals
    from durable_nb.engine.maps import Mapping
    from durable_nb.engine.streams import OnThread

_computing: set[asyncio.Task[None]] = set()
"""A loop does not hold its tasks."""


class OnLoop:
    """Reads what arrives on the running loop, from a thread or, if the step is async, from a task of the same loop."""

    def __init__(self, arrivals: Arrivals, asked: Mapping, thread: OnThread) -> None:
        self._arrivals, self._asked, self._thread = arrivals, asked, thread
        self._loop = asyncio.get_running_loop()
        self._came, self._taken = asyncio.Event(), asyncio.Event()
        self._is_waiting = self._is_begun = False
        self._task: asyncio.Task[None] | None = None
        self.computes = asked.step.is_async
        """Whether the map runs on this loop: nothing may block it, so it awaits room (`as_there_is_room`)."""

    async def take(self) -> tuple[Any, Any]:
        """The next document and its result; StopAsyncIteration, or what the map raised, after the last."""
        if not self._is_begun:
            self._begin()
        try:
            await self._arrived()
            return self._arrivals.take(StopAsyncIteration)
        except GeneratorExit:  # the loop is closed: nothing can be awaited
            self._arrivals.leave()
            raise
        except BaseException as error:
            await self.close(error)
            raise

    async def close(self, error: BaseException | None) -> None:
        """Start no further call; returns when running ones have ended and are saved, at most two seconds later.

        After ■ those of an async step are cancelled, as those of ``amap`` are.
        """
        is_cancelled = isinstance(error, asyncio.CancelledError)
        self._arrivals.hurry_after(error)
        if self._task is None:
            await asyncio.to_thread(self._thread.close)
        else:
            self._arrivals.leave()
            if is_cancelled:
                self._task.cancel()
            await asyncio.wait({self._task}, timeout=GRACE_S)
            self._task.cancel()
            self._arrivals.give_back()
        if is_cancelled and (unsaved := self._arrivals.unsaved()) is not None:
            raise unsaved

    def tell(self) -> None:
        """Something has arrived, or it is over; from any thread."""
        if self._is_waiting:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._came.set)

    async def as_there_is_room(self, chunks: AsyncIterator[Sequence[Any]]) -> AsyncIterator[Sequence[Any]]:
        """``chunks``, one call at a time, while not too many results wait for their reader."""
        async for chunk in chunks:
            for place in range(max(1, len(chunk))):  # of an empty one all was restored: that waits, too
                await self._room()
                yield chunk[place : place + 1]

    def _begin(self) -> None:
        self._is_begun = True
        if not self.computes:
            self._asked.read_from(self._loop)
            self._thread.begin()
        elif not self._arrivals.is_over:
            self._task = self._loop.create_task(_fill(self._arrivals, self._asked))
            _computing.add(self._task)
            self._task.add_done_callback(_computing.discard)

    async def _arrived(self) -> None:
        while not self._arrivals.is_ready:
            self._came.clear()
            self._is_waiting = True  # before the second look: what comes after that wakes
            if not self._arrivals.is_ready:
                await self._came.wait()
            self._is_waiting = False
        self._taken.set()

    async def _room(self) -> None:
        while self._arrivals.is_full:
            self._taken.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._taken.wait()


async def _fill(arrivals: Arrivals, asked: Mapping) -> None:
    with arrivals.filled():
        await asked.run_async(arrivals)
