"""The heart: look up which calls are known, compute the missing ones, checkpoint each, put the results in order."""

from __future__ import annotations

import contextlib
import functools
import sys
from typing import TYPE_CHECKING, Any

from durable_nb import clock
from durable_nb.engine.context import is_inside, made_here
from durable_nb.engine.ends import hurry_after, hurrying
from durable_nb.engine.failures import Refilled, is_changed
from durable_nb.engine.filling import Filling
from durable_nb.engine.groups import Group, parts_of
from durable_nb.engine.intake import Intake
from durable_nb.engine.remote import Pack, RemoteComputation
from durable_nb.errors import DurableError, RunStopped, StepFailed, StepTimeout
from durable_nb.executors import inline, threads
from durable_nb.records import GAVE_UP, WAITING, Call
from durable_nb.results import Results
from durable_nb.signals import Latch

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence

    from durable_nb.engine.arrivals import Arrivals
    from durable_nb.engine.computations import Computation
    from durable_nb.engine.runs import LiveRun


class Batch(Filling):
    """One ``map``: items in, results in the same order out."""

    def __init__(
        self,
        computation: Computation,
        *,
        workers: int,
        key: Callable[[Any], Any] | None = None,
        priority: Callable[[Any], Any] | None = None,
        stream: Arrivals | None = None,
        executor: Any = "threads",
        is_alone: bool = False,
    ) -> None:
        self.step, self.workers, self._executor = computation.step, workers, executor
        self.entered, self.live = computation.entered, computation.live
        store = self.live.store
        fetch = functools.partial(store.look_up, self.live.record.id, self.entered.accepted)
        super().__init__(
            computation, Results(self.step.name, where=store.where, retry=self._retry, fetch=fetch), stream
        )
        self._intake = Intake(computation, self._arrived, self._is_aside, key=key, priority=priority, is_alone=is_alone)
        self.is_inner = is_inside()
        self._cancelled, self.cancelled_at = Latch(), 0.0
        self.is_on_loop = self._is_inline = self._is_left_alone = False
        """The latter where the step itself does not change its documents, and their iterator goes on while they are computed."""
        self.live.progress.workers = workers

    def run(self, items: Iterable[Any]) -> None:
        """Compute what is missing."""
        self._check()
        with self.live.at_work.on(self), self._giving_back():
            self._work_through(self._units(items))

    def _work_through(self, units: Iterator[Sequence[Any]]) -> None:
        """Compute units on threads, or inline with one worker; for an engine twice as many send, so that none waits.

        Not where calls may start only now and then: one that waits for a worker would use up the time of another one.
        """
        remote = self.computation if isinstance(self.computation, RemoteComputation) else None
        is_paced = self.step.flow is not None and self.step.flow.is_limited
        is_inline = self._is_inline = remote is None and (self.workers == 1 or self._executor == "inline")
        try:
            with hurrying(self.live):
                (inline if is_inline else threads).run(
                    self._several if remote is not None else self._one,
                    self._after_pilot(units),
                    workers=self.workers if remote is None or is_paced else 2 * self.workers,
                    halted=self._halted,
                    abandon=self._give_up,
                )
        finally:
            self._intake.source.close()
            if remote is not None:
                remote.engine.close()
            self.live.store.flush()
        self._check()
        self._intake.source.raise_again()

    async def run_async(self, items: Iterable[Any] | AsyncIterable[Any]) -> None:
        """Compute what is missing on the running loop."""
        from durable_nb.executors import aio

        self.is_on_loop = True
        with self.live.at_work.on(self), self._giving_back():
            try:
                with hurrying(self.live, is_last=self.live.implicit):
                    chunks = self._after_pilot_async(self._intake.units_async(items))
                    if self._stream is not None and self._stream.reader is not None:
                        chunks = self._stream.reader.as_there_is_room(chunks)
                    await aio.run(self._one_async, chunks, workers=self.workers, halted=self._halted)
            finally:
                self._intake.source.close()
                await aio.beside(self.live.store.flush)
            self._check()
            self._intake.source.raise_again()

    def run_again(self, results: Results, failed: dict[int, Call], *, of: LiveRun) -> None:
        """Compute the calls that failed before in ``of``, into the results they are missing from."""
        self.results = self._arrived = results
        calls = list(failed.values()) if self.live is of else self._as_numbered_before(results, failed)
        calls = [call for call in calls if not self._is_changed(call, _raised_by(results.errors[call.position]))]
        self.computation.spare(calls)
        self._work_through(self._intake.grouped([calls]))

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
        if not self._cancelled.is_set():
            self.cancelled_at = clock.monotonic()
        self._cancelled.set()
        self.live.gate.wake()
        self.computation.cancel()
        self._intake.source.close()

    def _give_up(self) -> None:
        hurry_after(self.live, sys.exc_info()[1])  # first: calls that run end sooner if they wait for no database
        self.cancel()

    def _units(self, items: Iterable[Any]) -> Iterator[Sequence[Call]]:
        return self._intake.units(items)

    def _after_pilot(self, chunks: Iterator[Sequence[Any]]) -> Iterator[Sequence[Any]]:
        """The first missing call goes alone: if its result cannot be saved, no second one is wasted (promise H)."""
        for chunk in chunks:
            if chunk and self._needs_pilot():
                self._several(chunk[0])
                self._learn_from(chunk[0])
                self.computation.crowd()
                yield chunk[1:]
            else:
                yield chunk
            if chunk:
                break
        yield from chunks

    async def _after_pilot_async(self, chunks: AsyncIterator[Sequence[Call]]) -> AsyncIterator[Sequence[Call]]:
        async for chunk in chunks:
            if chunk and self._needs_pilot():
                await self._one_async(chunk[0])
                self._learn_from(chunk[0])
                self.computation.crowd()
                yield chunk[1:]
            else:
                yield chunk
            if chunk:
                break
        async for chunk in chunks:
            yield chunk

    def _needs_pilot(self) -> bool:
        """Also where documents are watched: whether the step changes them is seen while their iterator waits."""
        return not self.entered.proven or self._intake.source.is_watched

    def _learn_from(self, pilot: Any) -> None:
        if self._intake.source.is_watched and not (self._is_inline or isinstance(pilot, Pack)):
            self._is_left_alone = not any(is_changed(self.step, part) for part in parts_of(pilot))

    def _several(self, pack: Pack | Call) -> None:
        """Send calls together; each is then saved, failed or tried again by itself, the last first of what is in the way."""
        remote = self.computation
        if not isinstance(pack, Pack) or not isinstance(remote, RemoteComputation):
            self._one(pack)  # type: ignore[arg-type]
            return
        error: DurableError | None = None
        if self._intake.source.is_watched:
            pack = Pack(call for call in pack if self._unchanged(call) is not None)
        for call in remote.send(pack) if pack else ():
            if remote.has_arrived(call) or (error is None and not self._halted()):
                try:
                    self._one(call)
                except DurableError as first:  # the others have been computed: they are saved before it is raised
                    error = first if error is None else error
        if error is not None:
            raise error

    def _one(self, call: Call) -> None:
        if self._intake.source.is_watched:
            if (left := self._unchanged(call)) is None:
                return
            call = left
        try:
            value = self.computation.compute(call, self._halted)
        except Refilled:
            self._refuse(call)
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

        if self._intake.source.is_watched:
            if (left := self._unchanged(call)) is None:
                return
            call = left
        try:
            value = await self.computation.compute_async(call, self._halted)
        except (RunStopped, CancelledError):
            if not self._halted():
                raise
            # Whoever awaits the map raises what is to be raised: not a task of many.
        except Refilled:
            self._refuse(call)
        except Exception as error:
            if isinstance(error, DurableError) and not isinstance(error, (StepTimeout, StepFailed)):
                raise
            for half in self._halves_of(call, error):
                await self._one_async(half)
        else:
            self._put_value(call, value)

    def _unchanged(self, call: Call) -> Call | None:
        """The call, without documents that their iterator has put something else into since it was named; None if all."""
        parts = parts_of(call)
        rest = [part for part in parts if not is_changed(self.step, part)]
        if self._is_left_alone:
            self.computation.watched.update(part.key for part in rest)
        if len(rest) == len(parts):
            return call
        self._refuse(next(part for part in parts if part not in rest))
        return Group.of(rest) if rest else None

    def _refuse(self, call: Call) -> None:
        self._intake.source.refuse(parts_of(call)[0].args[-1])

    def _retry(self, results: Results) -> None:
        self.step.try_again(self.live, results, self.failed, workers=self.workers, executor=self._executor)

    def _check(self) -> None:
        """Raise RunStopped if the run is stopped, or if nobody wants this map any more."""
        self.live.check()
        if self._cancelled.is_set():
            raise RunStopped(self.live.name)

    def _halted(self) -> bool:
        return self._cancelled.is_set() or self.live.halted

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody has said that nobody wants it."""
        return self._cancelled.is_set()

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

    def abandon(self) -> None:
        """As `give_back`, by a garbage collection, which may come while the numbers are counted."""
        if (numbers := self._intake.numbers) is not None:
            self.entered.abandoned.append(numbers)

    def is_made(self) -> None:
        """It has ended well: its numbers are given back only with those of the step call that it was made inside of."""
        around, numbers = made_here(self.entered), self._intake.numbers
        if around is not None and numbers is not None:
            around.take_over(numbers)


def _raised_by(failed: BaseException) -> BaseException:
    """What the function has raised, where that is known."""
    return failed if failed.__cause__ is None else failed.__cause__
