"""The heart: look up which calls are known, compute the missing ones, checkpoint each, put the results in order."""

from __future__ import annotations

import contextlib
import functools
import itertools
import threading
from typing import TYPE_CHECKING, Any

from durable_nb.engine import labels
from durable_nb.engine.groups import Group
from durable_nb.engine.intake import Intake
from durable_nb.errors import DurableError, RunStopped, StepFailed, StepTimeout
from durable_nb.executors import inline, threads
from durable_nb.records import GAVE_UP, WAITING, Call, Failure
from durable_nb.results import Results

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence

    from durable_nb.engine.computations import Computation
    from durable_nb.engine.runs import LiveRun
    from durable_nb.engine.streams import Stream


class Batch:
    """One ``map``: items in, results in the same order out."""

    def __init__(
        self,
        computation: Computation,
        *,
        workers: int,
        key: Callable[[Any], Any] | None = None,
        priority: Callable[[Any], Any] | None = None,
        stream: Stream | None = None,
    ) -> None:
        self.computation, self.step, self.workers = computation, computation.step, workers
        self.entered, self.live = computation.entered, computation.live
        store = self.live.store
        fetch = functools.partial(store.look_up, self.live.record.id, self.entered.accepted)
        self.results = Results(self.step.name, where=store.where, retry=self._retry, fetch=fetch)
        self.failed: dict[int, Call] = {}
        self.is_kept = stream is None
        """Whether the results stay here, where failed ones can be tried again."""
        self._arrived: Results | Stream = self.results if stream is None else stream
        self._intake = Intake(computation, self._arrived, self._is_aside, key=key, priority=priority)
        self._errors: dict[int, StepFailed] = {}
        self._cancelled = threading.Event()
        self.live.progress.workers = workers

    def run(self, items: Iterable[Any]) -> None:
        """Compute what is missing, on threads, or inline with one worker."""
        executor = inline if self.workers == 1 else threads
        with self._giving_back():
            try:
                chunks = self._units(items)
                if not self.entered.proven:
                    chunks = self._after_pilot(chunks)
                executor.run(self._one, chunks, workers=self.workers, halted=self._halted, abandon=self.cancel)
            finally:
                self.live.store.flush()
            self.live.check()

    async def run_async(self, items: Iterable[Any] | AsyncIterable[Any]) -> None:
        """Compute what is missing on the running loop."""
        import asyncio

        from durable_nb.executors import aio

        with self._giving_back():
            try:
                chunks = self._intake.units_async(items)
                if not self.entered.proven:
                    chunks = self._after_pilot_async(chunks)
                await aio.run(self._one_async, chunks, workers=self.workers, halted=self._halted)
            finally:
                await asyncio.to_thread(self.live.store.flush)
            self.live.check()

    def run_again(self, results: Results, failed: dict[int, Call], *, of: LiveRun) -> None:
        """Compute the calls that failed before in ``of``, into the results they are missing from."""
        self.results = self._arrived = results
        calls = list(failed.values()) if self.live is of else self._as_numbered_before(results, failed)
        executor = inline if self.workers == 1 else threads
        self.computation.spare(calls)
        try:
            executor.run(
                self._one, self._intake.grouped([calls]), workers=self.workers, halted=self._halted, abandon=self.cancel
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

    def _units(self, items: Iterable[Any]) -> Iterator[Sequence[Call]]:
        return self._intake.units(items)

    def _after_pilot(self, chunks: Iterator[Sequence[Call]]) -> Iterator[Sequence[Call]]:
        """The first missing call goes alone: if its result cannot be saved, no second one is wasted (promise H)."""
        for chunk in chunks:
            if chunk:
                self._one(chunk[0])
                return itertools.chain([chunk[1:]], chunks)
        return iter(())

    async def _after_pilot_async(self, chunks: AsyncIterator[Sequence[Call]]) -> AsyncIterator[Sequence[Call]]:
        async for chunk in chunks:
            if chunk:
                await self._one_async(chunk[0])
                yield chunk[1:]
                break
        async for chunk in chunks:
            yield chunk

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
                self._arrived.put_value(part.position, one, part.key)
        else:
            self._arrived.put_value(call.position, value, call.key)

    def _put_failure(self, call: Call, error: Exception) -> None:
        attempts, text = self.computation.attempts.pop(call.key, 1), labels.of_error(error)
        failed = StepFailed(self.step.name, call.label, attempts, text)
        failed.__cause__ = error
        self._put_failed(call, failed, labels.traceback_of(error))

    def _is_aside(self, call: Call) -> bool:
        """Whether kernels died during a call; its failure is put in place then."""
        failed = self.computation.set_aside(call)
        if failed is None:
            return False
        self._put_failed(call, failed)
        return True

    def _put_failed(self, call: Call, failed: StepFailed, traceback: str = "") -> None:
        self.failed[call.position] = call
        self._errors[call.position] = failed
        failure = Failure(call.position, call.label, failed.error, failed.attempts, traceback)
        self._arrived.put_failure(failure, failed)

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
        self._intake.give_back()
