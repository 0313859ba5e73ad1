"""The heart: look up which calls are known, compute the missing ones, checkpoint each, put the results in order."""

from __future__ import annotations

import contextlib
import itertools
import threading
from typing import TYPE_CHECKING, Any

from durable_nb import keys
from durable_nb.engine import labels
from durable_nb.engine.context import is_inside, within
from durable_nb.engine.groups import Group, GroupComputation, grouped
from durable_nb.errors import DurableError, RunStopped, StepFailed, StepTimeout
from durable_nb.executors import inline, threads
from durable_nb.records import GAVE_UP, WAITING, Call, Failure
from durable_nb.results import Results

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from durable_nb.engine.computations import Computation
    from durable_nb.engine.runs import LiveRun

# Items looked up with one SELECT. An iterator is read less far ahead: its items may be large, and exist only for us.
_CHUNK, _CHUNK_OF_ITERATOR = 500, 64


class Batch:
    """One ``map``: items in, results in the same order out."""

    def __init__(self, computation: Computation, *, workers: int, key: Callable[[Any], Any] | None = None) -> None:
        self.computation, self.step, self.workers = computation, computation.step, workers
        self.entered, self.live = computation.entered, computation.live
        store = self.live.store
        self.results = Results(self.step.name, where=store.where, retry=self._retry)
        self.failed: dict[int, Call] = {}
        self._key = key
        # Two lists rather than one of pairs: the garbage collector need not visit bytes and small integers.
        self._digests: list[bytes] = []
        self._occurrences: list[int] = []
        self._errors: dict[int, StepFailed] = {}
        self._cancelled = threading.Event()
        self.live.progress.workers = workers

    def run(self, items: Iterable[Any]) -> None:
        """Compute what is missing, on threads, or inline with one worker."""
        executor = inline if self.workers == 1 else threads
        with self._giving_back():
            try:
                chunks = self._units(self._chunks(items))
                if not self.entered.proven:
                    chunks = self._after_pilot(chunks)
                executor.run(self._one, chunks, workers=self.workers, halted=self._halted, abandon=self.cancel)
            finally:
                self.live.store.flush()
            self.live.check()

    async def run_async(self, items: Iterable[Any]) -> None:
        """Compute what is missing on the running loop."""
        import asyncio

        from durable_nb.executors import aio

        with self._giving_back():
            try:
                chunks = self._units(self._chunks(items))
                if not self.entered.proven:
                    chunks = await self._after_pilot_async(chunks)
                await aio.run(self._one_async, chunks, workers=self.workers, halted=self._halted)
            finally:
                await asyncio.to_thread(self.live.store.flush)
            self.live.check()

    def run_again(self, results: Results, failed: dict[int, Call], *, of: LiveRun) -> None:
        """Compute the calls that failed before in ``of``, into the results they are missing from."""
        self.results = results
        calls = list(failed.values()) if self.live is of else self._as_numbered_before(results, failed)
        executor = inline if self.workers == 1 else threads
        self.computation.spare(calls)
        try:
            executor.run(
                self._one, self._units(iter([calls])), workers=self.workers, halted=self._halted, abandon=self.cancel
            )
        finally:
            self.live.store.flush()
        self.live.check()

    def _as_numbered_before(self, results: Results, failed: dict[int, Call]) -> list[Call]:
        """The failed calls, in an attempt that goes on where the one before it ended."""
        progress, calls = self.live.progress, list(failed.values())
        before = self.live.store.mosaic(self.live.record.id)
        states = b"" if before is None else before.states
        if all(call.document < len(states) and states[call.document] in (WAITING, GAVE_UP) for call in calls):
            progress.go_on_from(states)
            return calls
        first = progress.expect(len(results))  # the cell has been run since, with other documents perhaps
        progress.restore([first + position for position in range(len(results)) if position not in failed], 0.0)
        return [call._replace(document=first + call.position) for call in calls]

    def cancel(self) -> None:
        """Start no further call; safe from any thread."""
        self._cancelled.set()
        self.live.gate.wake()

    def raise_failures(self) -> None:
        """Raise for the first item that failed, telling how many more did."""
        for position in sorted(self._errors):
            error = self._errors[position]
            more = len(self._errors) - 1
            counted = StepFailed(error.step, error.label, error.attempts, error.error, more, error.aside)
            raise counted from error.__cause__

    def _chunks(self, items: Iterable[Any]) -> Iterator[list[Call]]:
        """Calls that are not known, a look-up at a time; restored results are put in place on the way."""
        progress, sized = self.live.progress, hasattr(items, "__len__")
        start = progress.expect(len(items)) if sized else 0  # type: ignore[arg-type]
        # Cheap to walk twice: so an item that cannot be keyed is found before anything runs.
        digests = iter(self._digests_of(items)) if isinstance(items, list | tuple) else None
        iterator, first, chunk = iter(items), 0, _CHUNK if sized else 1
        while batch := list(itertools.islice(iterator, chunk)):
            if not sized:
                start = progress.expect(len(batch)) - first
                chunk = min(2 * chunk, _CHUNK_OF_ITERATOR)  # the first item of a slow iterator is not kept waiting
            found = self._digests_of(batch) if digests is None else list(itertools.islice(digests, len(batch)))
            yield self._missing(batch, found, first, start)
            first += len(batch)

    def _units(self, chunks: Iterator[list[Call]]) -> Iterator[Sequence[Call]]:
        """What is computed at once: a call, or a group of them."""
        if not isinstance(self.computation, GroupComputation):
            return chunks
        alone = {key for step_id, key in self.live.suspects.alone() if step_id == self.entered.step_id}
        return grouped(chunks, self.computation.sizes, alone)

    def _missing(self, items: list[Any], digests: list[bytes], first: int, start: int) -> list[Call]:
        """The calls of one chunk that are not known; a record is made for these only. ``start``: number of item 0."""
        entered, live, results = self.entered, self.live, self.results
        names, call_keys = list(map(labels.of_item, items, itertools.count(first))), self._keys(digests)
        results.grow(first + len(items))
        results.labels[first:] = names
        known = live.store.look_up(live.record.id, entered.accepted, call_keys) if entered.saved else {}
        missing, restored, seconds, renumbered, bound = [], [], 0.0, False, self.step.bound
        for position, (item, key, name) in enumerate(zip(items, call_keys, names, strict=True), first):
            saved = known.get(key)
            if saved is None:
                missing.append(Call(position, key, name, (*bound, item) if bound else (item,), {}, start + position))
            else:
                restored.append((position, saved))
                seconds += saved.seconds
                renumbered = renumbered or saved.position != start + position
        if live.suspects.deaths:
            missing = [call for call in missing if not self._is_aside(call)]
        entered.ask_about([call.key for call in missing])
        if restored:
            results.put_restored(restored)
            documents = [start + position for position, _ in restored]
            live.progress.restore(documents, seconds, renumbered=renumbered)
        return missing

    def _is_aside(self, call: Call) -> bool:
        """Whether kernels died during a call; its failure is put in place then."""
        failed = self.computation.set_aside(call)
        if failed is None:
            return False
        self._put_failed(call, failed)
        return True

    def _digests_of(self, items: Iterable[Any]) -> list[bytes]:
        call_digest, key, bound = keys.call_digest, self._key, self.step.bound
        if key is not None:  # as a keyword no argument can have: a document *named* x is not the argument x
            digests = [call_digest(bound, {"key=": key(item)}) for item in items]
        elif bound:
            digests = [call_digest((*bound, item), {}) for item in items]
        else:
            digests = [call_digest((item,), {}) for item in items]
        return list(map(within, digests)) if is_inside() else digests

    def _keys(self, digests: list[bytes]) -> list[bytes]:
        numbered = keys.numbered
        occurrences = self.entered.numbers(digests)
        self._digests += digests
        self._occurrences += occurrences
        return [numbered(digest, n) if n else digest for digest, n in zip(digests, occurrences, strict=True)]

    def _after_pilot(self, chunks: Iterator[Sequence[Call]]) -> Iterator[Sequence[Call]]:
        """The first missing call goes alone: if its result cannot be saved, no second one is wasted (promise H)."""
        for chunk in chunks:
            if chunk:
                self._one(chunk[0])
                return itertools.chain([chunk[1:]], chunks)
        return iter(())

    async def _after_pilot_async(self, chunks: Iterator[Sequence[Call]]) -> Iterator[Sequence[Call]]:
        for chunk in chunks:
            if chunk:
                await self._one_async(chunk[0])
                return itertools.chain([chunk[1:]], chunks)
        return iter(())

    def _one(self, call: Call) -> None:
        try:
            value = self.computation.compute(call, self._halted)
        except Exception as error:  # recorded for this document, raised after the others are finished
            # Ours say that nothing can be saved, or that the run is over; only these are about this one document.
            if isinstance(error, DurableError) and not isinstance(error, (StepTimeout, StepFailed)):
                raise
            for half in self._halves_of(call, error):
                self._one(half)
        else:
            self._put_value(call, value)

    async def _one_async(self, call: Call) -> None:
        from asyncio import CancelledError

        try:
            value = await self.computation.compute_async(call)
        except (RunStopped, CancelledError):
            if not self._halted():
                raise
            # Whoever awaits the map raises what is to be raised: not a task of many.
        except Exception as error:
            if isinstance(error, DurableError) and not isinstance(error, (StepTimeout, StepFailed)):
                raise
            for half in self._halves_of(call, error):
                await self._one_async(half)
        else:
            self._put_value(call, value)

    def _halves_of(self, call: Call, error: Exception) -> list[Group]:
        """What to try of a group that failed; of a single document the failure is put in place."""
        if not isinstance(call, Group):
            self._put_failure(call, error)
        elif len(call.parts) == 1:
            self._put_failure(call.parts[0], error)
        else:
            return call.halves()
        return []

    def _put_value(self, call: Call, value: Any) -> None:
        if isinstance(call, Group):
            for part, one in zip(call.parts, value, strict=True):
                self.results.put_value(part.position, one)
        else:
            self.results.put_value(call.position, value)

    def _put_failure(self, call: Call, error: Exception) -> None:
        attempts, text = self.computation.attempts.pop(call.key, 1), labels.of_error(error)
        failed = StepFailed(self.step.name, call.label, attempts, text)
        failed.__cause__ = error
        self._put_failed(call, failed, labels.traceback_of(error))

    def _put_failed(self, call: Call, failed: StepFailed, traceback: str = "") -> None:
        self.failed[call.position] = call
        self._errors[call.position] = failed
        failure = Failure(call.position, call.label, failed.error, failed.attempts, traceback)
        self.results.put_failure(failure, failed)

    def _retry(self, results: Results) -> None:
        self.step.try_again(self.live, results, self.failed, workers=self.workers)

    def _halted(self) -> bool:
        return self._cancelled.is_set() or self.live.halted

    @contextlib.contextmanager
    def _giving_back(self) -> Iterator[None]:
        """A map that raised does not use up the numbers of its calls: the same map, tried again, finds its results."""
        try:
            yield
        except BaseException:
            self.give_back()
            raise

    def give_back(self) -> None:
        """See ``StepInRun.give_back``, for every call of this batch."""
        for digest, occurrence in zip(self._digests, self._occurrences, strict=True):
            self.entered.give_back(digest, occurrence)
        self._digests.clear()
        self._occurrences.clear()
        self.entered.refresh()
