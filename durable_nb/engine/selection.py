"""How items are taken: which of them, in which order, how many at a time."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import AsyncIterable
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

from durable_nb import clock
from durable_nb.errors import DurableError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence

    from durable_nb.records import Call

_CHUNK = 500
_PATIENCE_S = 0.05  # items that are here wait so long for others to be looked up with


def chosen(items: Any, limit: int | None, priority: Callable[[Any], Any] | None) -> Any:
    """The first ``limit`` items, of those with the highest ``priority``; in their own order."""
    if limit is None:
        return items
    if isinstance(items, AsyncIterable):
        return _first_of(items, limit)
    if priority is None:
        first: list[Any] = []
        try:
            first.extend(itertools.islice(items, limit))
        except Exception as error:  # raised again when these have been taken
            return _broken_off(first, error)
        return first
    items = list(items)
    best = heapq.nlargest(limit, range(len(items)), key=lambda at: priority(items[at]))
    return [items[at] for at in sorted(best)]


def by_priority(chunks: Iterable[Sequence[Call]], priority: Callable[[Any], Any]) -> Iterator[Sequence[Call]]:
    """Calls of a higher priority first; all of them are looked up before the first is made."""
    calls = [call for chunk in chunks for call in chunk]
    calls.sort(key=lambda call: priority(call.args[-1]), reverse=True)
    return (calls[start : start + _CHUNK] for start in range(0, len(calls), _CHUNK))


def from_loop(items: AsyncIterable[Any], loop: asyncio.AbstractEventLoop) -> Iterator[Any]:
    """The items of an async iterator of ``loop``, for a thread beside it."""
    import asyncio

    iterator = aiter(items)

    async def following() -> Any:
        return await anext(iterator)

    while True:
        try:
            yield asyncio.run_coroutine_threadsafe(following(), loop).result()
        except StopAsyncIteration:
            return


class Source:
    """Items, or an async iterator of items, as far as they come.

    An error of theirs ends them, for the time being: so what they have given before is computed and saved like any other
    items, whatever waits between here and there. Then `raise_again`.
    """

    def __init__(self, items: Any) -> None:
        self._items = items
        self._error: Exception | None = None

    def __iter__(self) -> Iterator[Any]:
        try:
            for item in self._items:  # noqa: UP028 - `yield from` would close the user's generator
                yield item
        except (DurableError, CancelledError):
            raise
        except Exception as error:
            self._error = error

    async def __aiter__(self) -> AsyncIterator[Any]:
        try:
            async for item in self._items:
                yield item
        except DurableError:
            raise
        except Exception as error:
            self._error = error

    def raise_again(self) -> None:
        """Raise what the items raised, if they did."""
        error, self._error = self._error, None
        if error is not None:
            raise error


def gathered(items: Iterable[Any], *, most: int) -> Iterator[list[Any]]:
    """Some items at a time: one, two, four, never more than ``most``; fewer if they come slowly."""
    gathering = _Gathering(most)
    for item in items:
        if gathering.is_full_with(item):
            yield gathering.take()
    if gathering.waiting:
        yield gathering.take()


async def gathered_async(items: AsyncIterable[Any], *, most: int) -> AsyncIterator[list[Any]]:
    """The same of an async iterator."""
    gathering = _Gathering(most)
    async for item in items:
        if gathering.is_full_with(item):
            yield gathering.take()
    if gathering.waiting:
        yield gathering.take()


class _Gathering:
    def __init__(self, most: int) -> None:
        self.waiting: list[Any] = []
        self._most, self._enough, self._due = most, 1, 0.0

    def is_full_with(self, item: Any) -> bool:
        self.waiting.append(item)
        if len(self.waiting) == 1:
            self._due = clock.monotonic() + _PATIENCE_S
        return len(self.waiting) >= self._enough or clock.monotonic() > self._due

    def take(self) -> list[Any]:
        taken, self.waiting = self.waiting, []
        self._enough = min(2 * len(taken), self._most)
        return taken


def _broken_off(items: list[Any], error: Exception) -> Iterator[Any]:
    yield from items
    raise error


async def _first_of(items: AsyncIterable[Any], limit: int) -> AsyncIterator[Any]:
    left = limit
    async for item in items:
        yield item
        left -= 1
        if not left:
            return
