"""How items are taken: which of them, in which order, how many at a time."""

from __future__ import annotations

import contextlib
import itertools
from collections import deque
from collections.abc import AsyncIterable
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

from durable_nb import clock
from durable_nb.engine.labels import numbered
from durable_nb.engine.priorities import ordered
from durable_nb.engine.refills import CHANGED, apart, is_collection, is_fixed, what_it_is
from durable_nb.errors import ConfigError, LeaseLost, StoreError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable, Iterator

_PATIENCE_S = 0.05  # items that are here wait so long for others to be looked up with
# Nothing can be saved any more, or nobody waits for it; a step that feeds this one may raise any other error of ours.
_AT_ONCE = (LeaseLost, StoreError, CancelledError)
_NOTHING = object()


def chosen(items: Any, limit: int | None, priority: Callable[[Any], Any] | None) -> Any:
    """The first ``limit`` items, of those with the highest ``priority``; in their own order."""
    if limit is None:
        return items
    if isinstance(items, AsyncIterable):
        return _first_of(items, limit)
    if isinstance(items, FromLoop) and priority is None:
        return FromLoop(_first_of(items.awaited, limit), items.loop)
    source = Source(iter(items) if isinstance(items, FromLoop) else items)
    if priority is None:
        first = source.as_they_came(list(itertools.islice(source, limit)))
        return _broken_off(first, source) if source.is_broken else first
    items = source.as_they_came(list(source))
    source.raise_again()
    best = ordered([priority(item) for item in items], lambda at: numbered(items[at], at))[:limit]
    return [items[at] for at in sorted(best)]


class FromLoop:
    """The items of an async iterator of ``loop``, for a thread beside it."""

    def __init__(self, items: AsyncIterable[Any], loop: asyncio.AbstractEventLoop) -> None:
        self.awaited, self.loop = items, loop

    def __iter__(self) -> Iterator[Any]:
        import asyncio

        iterator = aiter(self.awaited)

        async def following() -> tuple[Any, Exception | None]:
            try:
                return await anext(iterator), None
            except Exception as error:  # as a value: a future takes an exception that is false for none
                return None, error

        while True:
            coming = following()
            try:
                future = asyncio.run_coroutine_threadsafe(coming, self.loop)
            except RuntimeError:  # the loop is closed
                coming.close()
                raise
            item, error = future.result()
            if isinstance(error, StopAsyncIteration):
                return
            if error is not None:
                raise error
            yield item


class Source:
    """Items, or an async iterator of items, as far as they come.

    An error of theirs ends them, for the time being: so what they have given before is computed and saved like any other
    items, whatever waits between here and there. Then `raise_again`.
    """

    def __init__(self, items: Any) -> None:
        self.loop = items.loop if isinstance(items, FromLoop) else None
        self._items: Any = items.awaited if isinstance(items, FromLoop) else items
        self._error: Exception | None = None
        self._reader: _Reader | None = None
        self._is_collection, self._last = is_collection(self._items), _NOTHING
        self._watched = deque[tuple[Any, object]]()
        self.is_closed = self.is_watched = False
        """The latter once an item has come that the iterator may put something else into."""

    def __iter__(self) -> Iterator[Any]:
        try:
            for item in self._items:
                yield self._taken(item)
        except _AT_ONCE:
            raise
        except Exception as error:
            if "SQLite objects created in a thread" in str(error):
                error.add_note("These items are read on another thread. Pass list(cursor), or use .map(cursor).")
            self._error = error

    async def __aiter__(self) -> AsyncIterator[Any]:
        try:
            async for item in self._items:
                yield self._taken(item)
        except _AT_ONCE:
            raise
        except Exception as error:
            self._error = error

    def read(self, most: int) -> _Reader:
        """The task that reads an async iterator."""
        self._reader = _Reader(self, most)
        return self._reader

    def close(self) -> None:
        """Read no further; safe from any thread."""
        self.is_closed = True
        if self._reader is not None:
            self._reader.close()

    @property
    def is_broken(self) -> bool:
        """Whether they have raised an error."""
        return self._error is not None

    def raise_again(self) -> None:
        """Raise what the items raised, if they did."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def as_they_came(self, items: list[Any]) -> list[Any]:
        """Those before the first one that is not what it was when it came: that ends them, as an error of theirs does."""
        if not self._watched:
            return items
        for place, item in enumerate(items):
            if self._watched and self._watched[0][0] is item:
                was = self._watched.popleft()[1]
                if was is not CHANGED and what_it_is(item) != was:
                    self.refuse(item)
                    return items[:place]
        return items

    def refuse(self, item: Any) -> None:
        """Something else has been put into an item."""
        if self._error is None:
            self._error = _changed(item)

    def _taken(self, item: Any) -> Any:
        """An item as it is handed on: kept apart from what the iterator does with it, or watched."""
        if self._is_collection or is_fixed(item):
            return item
        own = apart(item)
        if own is not None:
            return own
        was = what_it_is(item)
        if was is CHANGED and item is self._last:
            raise _changed(item)
        self._last, self.is_watched = item, True
        self._watched.append((item, was))
        return item


def gathered(source: Source, *, most: int) -> Iterator[list[Any]]:
    """Some items at a time: one, two, four, never more than ``most``; fewer if they come slowly.

    One that its source was waited for is handed on at once. While the source blocks this thread, those before it wait.
    """
    if source.loop is not None:
        try:
            yield from FromLoop(gathered_async(source, most=most), source.loop)
        except CancelledError:
            if not source.is_closed:
                raise
        return
    gathering = _Gathering(most)
    for item in source:
        if gathering.is_full_with(item):
            yield gathering.take()
            gathering.ask()
    if gathering.waiting:
        yield gathering.take()


async def gathered_async(source: Source, *, most: int) -> AsyncIterator[list[Any]]:
    """The same of an async iterator, where none waits for longer than that."""
    reader = source.read(most)
    try:
        while some := await reader.take():
            yield some
    finally:
        reader.close()


class _Gathering:
    def __init__(self, most: int) -> None:
        self.waiting: list[Any] = []
        self._most, self._enough, self._due = most, 1, 0.0
        self.ask()

    def ask(self) -> None:
        """The source is asked for an item from now on."""
        self._asked = clock.monotonic()

    def is_full_with(self, item: Any) -> bool:
        now = clock.monotonic()
        waited_s, self._asked = now - self._asked, now
        self.waiting.append(item)
        if len(self.waiting) == 1:
            self._due = now + _PATIENCE_S
        return len(self.waiting) >= self._enough or now > self._due or waited_s > _PATIENCE_S

    def left_s(self) -> float:
        """How much longer those that wait may wait."""
        return max(0.0, self._due - clock.monotonic())

    def take(self) -> list[Any]:
        taken, self.waiting = self.waiting, []
        self._enough = min(2 * len(taken), self._most)
        return taken


class _Reader:
    """Reads an async iterator in a task, while items are wanted; a task for each item would cost more than its look-up."""

    def __init__(self, source: Source, most: int) -> None:
        import asyncio

        self._gathering = _Gathering(most)
        self._wanted, self._came, self._full = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._read(source))

    async def take(self) -> list[Any]:
        """What has come when there is enough of it, or the patience of the first is over; [] at the end."""
        import asyncio

        self._gathering.ask()
        self._wanted.set()
        await self._came.wait()
        if not self._full.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._gathering.left_s()):
                    await self._full.wait()
        if not self._gathering.waiting:
            await self._task  # raises what it raised
            return []
        for event in (self._wanted, self._came, self._full):
            event.clear()
        if self._task.done():
            self._end()
        return self._gathering.take()

    def close(self) -> None:
        """Read no further; safe from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._task.cancel)

    async def _read(self, source: Source) -> None:
        try:
            async for item in source:
                if self._gathering.is_full_with(item):
                    self._wanted.clear()
                    self._full.set()
                self._came.set()
                if not self._wanted.is_set():
                    await self._wanted.wait()
        finally:
            self._end()

    def _end(self) -> None:
        self._came.set()
        self._full.set()


def _broken_off(items: list[Any], source: Source) -> Iterator[Any]:
    yield from items
    source.raise_again()


async def _first_of(items: AsyncIterable[Any], limit: int) -> AsyncIterator[Any]:
    left = limit
    async for item in items:
        yield item
        left -= 1
        if not left:
            return


def _changed(item: Any) -> ConfigError:
    problem = f"the iterator has changed a {type(item).__name__} after it had yielded it, or yields it again."
    return ConfigError(problem, "Yield another one each time, or a copy.")
