"""Items → calls that are not known yet: looked up many at a time, restored results put in place on the way."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, Any

from durable_nb import keys
from durable_nb.engine import labels
from durable_nb.engine.ahead import Ahead
from durable_nb.engine.context import is_inside, made_here, within
from durable_nb.engine.groups import GroupComputation, Grouping
from durable_nb.engine.numbers import Numbers
from durable_nb.engine.priorities import by_priority
from durable_nb.engine.remote import RemoteComputation
from durable_nb.engine.selection import Source, gathered, gathered_async
from durable_nb.engine.waits import Later
from durable_nb.origins import length_of
from durable_nb.records import Call, made
from durable_nb.slots import paused_gc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence

    from durable_nb.engine.arrivals import Arrivals
    from durable_nb.engine.computations import Computation
    from durable_nb.records import Saved
    from durable_nb.results import Results

# Items looked up with one SELECT. An iterator is read less far ahead: its items may be large, and exist only for us.
_CHUNK, _CHUNK_OF_ITERATOR = 500, 64
_NO_NAMES: dict[str, Any] = {}  # of all calls of maps; nobody writes into it


class Intake:
    """The items of one ``map``.

    Parameters
    ----------
    arrived : Results or Arrivals
        Where restored results go.
    is_aside : callable
        Whether a call is not to be made because kernels died during it; its failure is put in place then.
    key, priority : callable, optional
        See ``Step.map``.
    """

    def __init__(
        self,
        computation: Computation,
        arrived: Results | Arrivals,
        is_aside: Callable[[Call], bool],
        *,
        key: Callable[[Any], Any] | None,
        priority: Callable[[Any], Any] | None,
        is_alone: bool = False,
    ) -> None:
        self.computation, self.step = computation, computation.step
        self.entered, self.live = computation.entered, computation.live
        self._arrived, self._is_aside, self._key, self._priority = arrived, is_aside, key, priority
        self._ahead = Ahead(self.entered)
        # Alone: the run ends with this map, and nobody asks for them again.
        self.numbers = None if is_alone else Numbers(self.entered)
        around = made_here(self.entered)
        if around is not None and self.numbers is not None:
            around.enclose(self.numbers)
        self.counted: Callable[[dict[bytes, Saved]], dict[bytes, Saved]] | None = None
        """Which of the saved results count as restored; all of them if nobody says."""
        self.source = Source(())
        self._head, self._documents, self._is_again = b"", range(0), False

    def give_back(self) -> None:
        """The map has failed: its calls do not use up their numbers, and its documents are the same when it is tried again."""
        if self.numbers is not None:
            if self._documents:
                self.entered.tried[self._head] = self._documents
            self.numbers.give_back()

    def units(self, items: Iterable[Any]) -> Iterator[Sequence[Call]]:
        """What is to be computed: calls that are not known, or groups of them."""
        return self.grouped(self.as_due(self.chunks(items)))

    def chunks(self, items: Iterable[Any]) -> Iterator[Sequence[Call]]:
        """Calls that are not known."""
        chunks: Iterator[Sequence[Call]] = self._chunks(items)
        return chunks if self._priority is None else by_priority(chunks, self._priority)

    async def units_async(self, items: Iterable[Any] | AsyncIterable[Any]) -> AsyncIterator[Sequence[Call]]:
        """The same of items that may have to be awaited."""
        if not isinstance(items, AsyncIterable):
            for unit in self.units(items):
                yield unit
            return
        grouping = self._grouping()
        async for chunk in self._chunks_async(items):
            for unit in (chunk,) if grouping is None else grouping.feed(chunk):
                yield unit
        for unit in () if grouping is None else grouping.rest():
            yield unit

    def grouped(self, chunks: Iterable[Sequence[Call]]) -> Iterator[Sequence[Any]]:
        """What is computed at once: a call, a group of them, or several that are sent together."""
        grouping = self._grouping()
        if grouping is None:
            yield from (
                self.computation.packing.packed(chunks) if isinstance(self.computation, RemoteComputation) else chunks
            )
            return
        for chunk in chunks:
            yield from grouping.feed(chunk)
        yield from grouping.rest()

    def look_up(self, keys: Sequence[bytes]) -> dict[bytes, Saved]:
        """What is saved of these calls; without the payloads once there is no room for them."""
        ask = self.live.store.look_up if self._arrived.has_room else self.live.store.found
        return ask(self.live.record.id, self.entered.accepted, keys)

    def as_due(self, chunks: Iterable[Sequence[Call]]) -> Iterator[Sequence[Call]]:
        """Calls that a dead kernel would have made again come when their time has, the others as they are."""
        later = Later(self.computation)
        for chunk in chunks:
            yield from later.feed(chunk)
        yield from later.rest()

    def _chunks(self, items: Iterable[Any]) -> Iterator[list[Call]]:
        """Calls that are not known, a look-up at a time; restored results are put in place on the way."""
        length = length_of(items)
        self.source = Source(items)
        if length is None:
            first = 0
            for some in gathered(self.source, most=_CHUNK_OF_ITERATOR):
                yield self._looked_up(some, first)
                if self.source.is_broken:
                    return
                first += len(some)
            return
        items = items[:] if isinstance(items, list) else items  # as it is now: the step may append to it
        # Cheap to walk twice: so an item that cannot be keyed is found before anything runs.
        digests = iter(self._digests_of(items)) if isinstance(items, list | tuple) else None
        iterator, first, start = iter(self.source if digests is None else items), 0, self.live.progress.expect(0)
        while some := list(itertools.islice(iterator, _CHUNK)):
            some, found = self._named(some) if digests is None else (some, list(itertools.islice(digests, len(some))))
            start = start if first else self._expect(found, length)
            with paused_gc():
                missing = self._missing(some, found, first, start)
            yield missing
            if self.source.is_broken:
                return
            first += len(some)
        if 0 < first < length and self.live.progress.total is not None:  # a bar may have been told another number
            self.live.progress.total -= length - first

    async def _chunks_async(self, items: AsyncIterable[Any]) -> AsyncIterator[Sequence[Call]]:
        later, first = Later(self.computation), 0
        self.source = Source(items)
        async for some in gathered_async(self.source, most=_CHUNK_OF_ITERATOR):
            for chunk in later.feed(self._looked_up(some, first)):
                yield chunk
            if self.source.is_broken:
                break
            first += len(some)
        for chunk in later.rest():
            yield chunk

    def _looked_up(self, some: list[Any], first: int) -> list[Call]:
        """Of items that nobody had counted before."""
        some, digests = self._named(some)
        return self._missing(some, digests, first, self._expect(digests, len(some), first) - first)

    def _expect(self, digests: list[bytes], count: int, first: int = 0) -> int:
        """The number of the first of ``count`` more documents. A map that failed is known by how it begins: when it is tried
        again, its documents have the numbers that they had.
        """
        progress = self.live.progress
        if not first:
            self._head = hashlib.blake2b(b"".join(digests), digest_size=16).digest()
            before = self.entered.tried.pop(self._head, range(0))
            self._is_again = bool(before) and (len(before) == count or before.stop == progress.numbered)
            self._documents = range(before.start, before.start) if self._is_again else range(0)
        start = progress.expect(count, at=self._documents.stop if self._is_again else None)
        self._documents = range(self._documents.start if first else start, start + count)
        return start

    def _named(self, some: list[Any]) -> tuple[list[Any], list[bytes]]:
        """Items that are what they were when they came, and the digests of their calls."""
        digests = self._digests_of(some)
        some = self.source.as_they_came(some)
        return some, digests[: len(some)]

    def _grouping(self) -> Grouping | None:
        if not isinstance(self.computation, GroupComputation):
            return None
        apart = self.live.suspects.alone() | self.live.backoffs.keys()
        alone = {key for step_id, key in apart if step_id == self.entered.step_id}
        return Grouping(self.computation.sizes, alone)

    def _missing(self, items: list[Any], digests: list[bytes], first: int, start: int) -> list[Call]:
        """The calls of one chunk that are not known; a record is made for these only. ``start``: number of item 0."""
        entered, live, arrived = self.entered, self.live, self._arrived
        label = labels.of_item if live.settings.labels else labels.numbered
        names, call_keys = list(map(label, items, itertools.count(first))), self._keys(digests)
        arrived.expect(first, items, names)
        known = self._known(call_keys)
        missing = []
        if len(known) < len(items):
            bound = self.step.bound
            args = [(*bound, item) for item in items] if bound else zip(items, strict=True)
            numbers, documents = itertools.count(first), itertools.count(start + first)
            own = self._compared(items, digests)
            columns = zip(numbers, call_keys, names, args, itertools.repeat(_NO_NAMES), documents, own, strict=False)
            calls = map(made, itertools.repeat(Call), columns)
            missing = [call for call in calls if call.key not in known] if known else list(calls)
        if live.suspects.deaths:
            missing = [call for call in missing if not self._is_aside(call)]
        entered.ask_about(call.key for call in missing)
        if len(known) == len(items) > 0:  # as mostly
            self._restore(range(first, first + len(items)), call_keys, known, start)
        elif known:
            positions = [position for position, key in enumerate(call_keys, first) if key in known]
            self._restore(positions, [key for key in call_keys if key in known], known, start)
        return missing

    def _restore(self, positions: Sequence[int], keys: list[bytes], known: dict[bytes, Saved], start: int) -> None:
        """Put results in place, count them, and show again what their calls showed. ``start``: number of item 0."""
        live, saved = self.live, [known[key] for key in keys]
        self._arrived.put_restored(positions, saved)
        documents = [start + position for position in positions]
        if self._is_again:  # some were counted when the map was made before
            new = [place for place, document in enumerate(documents) if not live.progress.is_counted(document)]
            documents, keys, saved = [documents[n] for n in new], [keys[n] for n in new], [saved[n] for n in new]
        if not saved:
            return
        _, _, seconds, step_ids, numbers = zip(*saved, strict=True)
        calls = list(zip(step_ids, keys, strict=True))
        cost = 0.0 if self.step.cost is None else live.store.cost_of(live.record.id, calls)
        live.progress.restore(documents, sum(seconds), renumbered=documents != list(numbers), cost=cost)
        if live.outputs is not None:
            live.outputs.restored(calls)

    def _known(self, keys: Sequence[bytes]) -> dict[bytes, Saved]:
        """What counts as restored of these calls."""
        if not self.entered.saved:
            return {}
        alone = self.counted is None
        known = self._ahead.look_up(keys, payloads=self._arrived.has_room, alone=alone)
        return known if self.counted is None else self.counted(known)

    def _digests_of(self, items: Iterable[Any]) -> list[bytes]:
        call_digest, key, bound, ignored = keys.call_digest, self._key, self.step.bound, self.step.ignored
        if ignored is not None:  # an argument of the step itself: its receiver
            bound = ignored.without(bound, {})[0]
        if key is not None:  # as a keyword no argument can have: a document *named* x is not the argument x
            return [call_digest(bound, {"key=": key(item)}) for item in items]
        return [call_digest((*bound, item), {}) for item in items] if bound else keys.digests(items)

    def _compared(self, items: list[Any], digests: list[bytes]) -> Iterable[bytes | None]:
        """See `Call.digest`."""
        if self._key is not None:
            return itertools.repeat(None)
        return keys.digests(items) if self.step.bound else digests

    def _keys(self, digests: list[bytes]) -> list[bytes]:
        digests = list(map(within, digests)) if is_inside() else digests
        occurrences = self.entered.numbers(digests)
        if self.numbers is not None:
            self.numbers.add(digests, occurrences)
        if not any(occurrences):
            return digests
        return [keys.numbered(digest, n) for digest, n in zip(digests, occurrences, strict=True)]
