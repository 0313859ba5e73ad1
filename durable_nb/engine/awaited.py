"""``async for`` over a stream: its reader on the running loop, where the calls of an async step are made, too."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any

from durable_nb.engine.arrivals import LOOK_S
from durable_nb.errors import ConfigError, RunStopped

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from durable_nb.engine.arrivals import Arrivals
    from durable_nb.engine.maps import Mapping
    from durable_nb.engine.streams import OnThread

_LEFT_S = 1.0
"""How long calls on a loop that nobody waits for have to end."""
_computing: set[asyncio.Task[None]] = set()
"""A loop does not hold its tasks."""


class OnLoop:
    """Reads what arrives on the running loop, from a thread or, if the step is async, from a task of the same loop."""

    def __init__(self, arrivals: Arrivals, asked: Mapping, thread: OnThread) -> None:
        self._arrivals, self._asked, self._thread = arrivals, asked, thread
        self._loop, self._thread_id = asyncio.get_running_loop(), threading.get_ident()
        self._came, self._taken = asyncio.Event(), asyncio.Event()
        self._waiting = 0
        self._task: asyncio.Task[None] | None = None
        self._is_left = False
        self.computes = asked.step.is_async
        """Whether the map runs on this loop: nothing may block it, so it awaits room (`as_there_is_room`)."""

    async def take(self) -> tuple[Any, Any]:
        """The next document and its result; StopAsyncIteration, or what the map raised, after the last."""
        __tracebackhide__ = True
        if not self._arrivals.is_begun:
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

        After ■ those of an async step are cancelled at once, as those of ``amap`` are.
        """
        is_cancelled = isinstance(error, asyncio.CancelledError)
        self._arrivals.hurry_after(error)
        if not self._arrivals.is_begun:
            self._thread.close()
            return
        self._arrivals.leave()
        if self._is_elsewhere:
            return
        if is_cancelled and self._task is not None:
            self._task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._arrivals.grace_s):
                await self._until(lambda: self._arrivals.is_over)
        self._arrivals.give_back()
        if is_cancelled and (unsaved := self._arrivals.unsaved()) is not None:
            raise unsaved

    @property
    def _is_elsewhere(self) -> bool:
        return asyncio.get_running_loop() is not self._loop

    @property
    def is_done_here(self) -> bool:
        """Whether the running loop is another one, which may read on.

        Raises
        ------
        ConfigError
            It may not: this one reads still, or computes.
        """
        is_read = self.computes or (self._waiting > 0 and not self._loop.is_closed())
        if self._is_elsewhere and is_read:
            raise ConfigError(
                f"the stream of {self._arrivals.name} was begun on another loop.",
                "Begin it anew on this one: what is saved is restored.",
            )
        return self._is_elsewhere

    def leave(self) -> None:
        """Nobody reads on; from any thread. Calls on the loop, which can be cancelled, have a second to end."""
        loop, task = self._loop, self._task
        if task is not None and not self._is_left:
            self._is_left = True
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(lambda: loop.call_later(_LEFT_S, task.cancel))

    def tell(self) -> None:
        """Something has arrived, or it is over; from any thread."""
        if self._waiting and threading.get_ident() == self._thread_id:  # costs no system call
            self._came.set()
        elif self._waiting:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._came.set)

    async def as_there_is_room(self, chunks: AsyncIterator[Sequence[Any]]) -> AsyncIterator[Sequence[Any]]:
        """``chunks``, one call at a time, while not too many results wait for their reader."""
        async for chunk in chunks:
            for place in range(max(1, len(chunk))):  # of an empty one all was restored: that waits, too
                await self._room()
                yield chunk[place : place + 1]

    def _begin(self) -> None:
        if not self.computes:
            self._asked.read_from(self._loop)
            self._thread.begin()
        elif not self._arrivals.is_over:
            self._arrivals.is_begun = True
            self._task = self._loop.create_task(_fill(self._arrivals, self._asked))
            _computing.add(self._task)
            self._task.add_done_callback(_computing.discard)

    async def _arrived(self) -> None:
        __tracebackhide__ = True
        await self._until(lambda: self._arrivals.is_ready)
        self._taken.set()

    async def _until(self, condition: Callable[[], bool]) -> None:
        __tracebackhide__ = True
        self._waiting += 1  # before it looks: what comes after that wakes
        try:
            while not condition():
                self._came.clear()
                if not condition():
                    await self._came.wait()
        finally:
            self._waiting -= 1

    async def _room(self) -> None:
        while self._arrivals.is_full:
            self._taken.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._taken.wait()


async def _fill(arrivals: Arrivals, asked: Mapping) -> None:
    with arrivals.filled():
        try:
            await asked.run_async(arrivals)
        except asyncio.CancelledError:
            if not arrivals.is_left:
                raise
            raise RunStopped(arrivals.name) from None  # who reads on is not cancelled
