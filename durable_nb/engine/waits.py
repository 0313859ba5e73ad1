"""What a call of a step waits for before it is made: the time of its next attempt, the pace of a service, leave to start."""

from __future__ import annotations

import math
import random
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from durable_nb import clock, retry
from durable_nb.errors import ConfigError
from durable_nb.records import Call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from durable_nb.engine.steps import Step
    from durable_nb.engine.versions import StepInRun
    from durable_nb.rates import Flow
    from durable_nb.records import Backoff
    from durable_nb.signals import Latch

PATIENCE_S = 2.0
"""A plain call waits so long for one that shall run alone, or to run alone itself; the one may be waiting for the other."""


_LOOK_S = 0.1
"""Who waits looks this often whether it is still wanted."""


class Halting:
    """Set when the run is stopped, or the map that a call belongs to is not wanted any more; see `clock.wait`."""

    def __init__(self, stopping: Latch, halted: Callable[[], bool]) -> None:
        self._stopping, self._halted = stopping, halted

    def is_set(self) -> bool:
        """Whether nobody needs to wait."""
        return self._stopping.is_set() or self._halted()

    def wait(self, timeout: float | None = None) -> bool:
        """Block until it is set or the time is over; whether it is set."""
        left = float("inf") if timeout is None else timeout
        while not self.is_set() and left > 0:
            self._stopping.wait(min(left, _LOOK_S))
            left -= _LOOK_S
        return self.is_set()


class Waits:
    """The part of a computation that holds calls back."""

    def __init__(self, step: Step[..., Any], entered: StepInRun) -> None:
        self.step, self.entered, self.live = step, entered, entered.live
        self._step_id, self._gate, self._flow = entered.step_id, self.live.gate, step.flow
        self.left_over = self.live.backoffs
        """Of all steps; mostly empty, and then nothing is asked of it for each call."""
        self._began: dict[bytes, float] = {}  # by key, the first attempt of those that failed

    def has_waited(self, call: Call) -> bool:
        """Whether the kernel before this one died while the call waited for its next attempt."""
        return (self._step_id, call.key) in self.left_over

    def wait_left(self, call: Call) -> float:
        """Seconds until that attempt may be made."""
        return self._left_of(self.left_over.get((self._step_id, call.key)))

    def _left_of(self, backoff: Backoff | None) -> float:
        return 0.0 if backoff is None else retry.left(backoff, clock.now(), self.step.retry.longest_s)

    def _delay(self, call: Call, error: Exception, attempt: int, seconds: float) -> float | None:
        """Seconds until the next attempt after one that took ``seconds``; None if it was the last."""
        now = clock.monotonic()
        if attempt == 1:
            self._began[call.key] = now - seconds
        began = self._began.setdefault(call.key, now - seconds)  # what a dead kernel had waited is not known
        delay = self.step.retry.delay(attempt, error, random.random(), now - began)  # noqa: S311 - jitter, not a secret
        if delay is None:
            self._began.pop(call.key, None)  # another thread may have made the same call
        return delay

    def _go_on(self, call: Call, halted: Callable[[], bool], attempt: int) -> int:
        """The attempt that follows, when its time has come: ``attempt`` of a call that no dead kernel has made before."""
        __tracebackhide__ = True
        backoff = self.left_over.pop((self._step_id, call.key), None)
        self._wait(self._left_of(backoff), halted)
        return attempt if backoff is None else backoff.attempts + 1

    def _wait(self, seconds: float, halted: Callable[[], bool]) -> None:
        """So long, if the call is still wanted then."""
        __tracebackhide__ = True
        clock.wait(Halting(self.live.stopping, halted), seconds)
        self._refuse_unless(not halted())

    async def _go_on_async(self, call: Call, halted: Callable[[], bool]) -> int:
        __tracebackhide__ = True
        backoff = self.left_over.pop((self._step_id, call.key), None)
        await self._sleep(self._left_of(backoff), halted)
        return 1 if backoff is None else backoff.attempts + 1

    def crowd(self) -> None:
        """One call was tried out alone, and now come many."""
        if self._flow is not None:
            self._flow.crowd()

    def _enter(self, call: Call, halted: Callable[[], bool] | None, *, is_inner: bool) -> None:
        """Note a call as running once nothing holds it back; ``is_inner`` if it is made inside of another one.

        First the place, then the time: who had to wait for a place could not use the time that it was given before.
        """
        __tracebackhide__ = True
        while True:
            if needs_place := self._gate.limited and not is_inner:
                self._await_admission(call, halted)
            with self._leaving(call):
                self._pace(call, halted or self._is_halted)
            if self._is_in(call, needs_place, is_inner):
                return

    async def _enter_async(self, call: Call, halted: Callable[[], bool], *, is_inner: bool) -> None:
        __tracebackhide__ = True
        while True:
            if needs_place := self._gate.limited and not is_inner:
                name = (self._step_id, call.key)
                self._refuse_unless(await self._gate.admit_async(call.document, halted, name))
            with self._leaving(call):
                await self._pace_async(call, halted)
            if self._is_in(call, needs_place, is_inner):
                return

    def _is_in(self, call: Call, has_place: bool, is_inner: bool) -> bool:
        """Whether a call may start, and is noted then: it may have been paused while it waited for its time."""
        gate = self._gate
        if has_place and gate.paused:
            self._leave(call)
            return False
        if not has_place and gate.limited and not is_inner:
            return False
        gate.running.add(call.document)
        return True

    @contextmanager
    def _leaving(self, call: Call) -> Iterator[None]:
        """A block in which a call has a place; what is raised there gives the place up."""
        try:
            yield
        except BaseException:
            self._leave(call)
            raise

    def _leave(self, call: Call) -> None:
        self._gate.running.discard(call.document)
        self._gate.left((self._step_id, call.key), is_saved=False)

    def _pace(self, call: Call, halted: Callable[[], bool]) -> None:
        """Wait for the pace of the service, if it has one."""
        __tracebackhide__ = True
        flow = self._flow
        if flow is None or not flow.holds:
            return
        with closing(flow.waits(self._tokens(flow, call))) as waits:
            for seconds in waits:
                self._refuse_unless(not halted())
                clock.wait(self.live.stopping, seconds)
        self._refuse_unless(not halted())
        flow.acquire()

    async def _pace_async(self, call: Call, halted: Callable[[], bool]) -> None:
        __tracebackhide__ = True
        flow = self._flow
        if flow is None or not flow.holds:
            return
        with closing(flow.waits(self._tokens(flow, call))) as waits:
            for seconds in waits:
                await self._sleep(seconds, halted)
        self._refuse_unless(not halted())
        await flow.acquire_async()

    def _documents(self, call: Call) -> Iterable[Call]:
        """What is counted one by one in a call."""
        return (call,)

    def _tokens(self, flow: Flow, call: Call) -> float:
        """How many a call uses; ConfigError for what the function that counts them raises: no document is to blame."""
        __tracebackhide__ = True
        if flow.tokens is None:
            return 0.0
        total = 0.0
        for one in self._documents(call):
            try:
                amount = flow.tokens(*one.args, **one.kwargs)
                if isinstance(amount, bool | str) or not 0 <= float(amount) < math.inf:
                    raise ValueError(f"it returned {amount!r:.80}")
            except Exception as error:
                said = repr(error)
                if self.step.ignored is not None:
                    said = self.step.ignored.taken_out(said, one.args, one.kwargs)
                raise ConfigError(
                    f"{self.step.name}: the function given as tokens= failed on {one.label}: {said:.200}.",
                    "It takes the arguments of a call, with batch= those of one document, and returns a number from 0.",
                ) from error
            total += float(amount)
        return total

    async def _sleep(self, seconds: float, halted: Callable[[], bool]) -> None:
        """As `_wait`."""
        __tracebackhide__ = True
        import asyncio

        while not halted() and seconds > 0:
            await asyncio.sleep(min(seconds, _LOOK_S))
            seconds -= _LOOK_S
        self._refuse_unless(not halted())

    def _is_halted(self) -> bool:
        return self.live.halted

    def _await_admission(self, call: Call, halted: Callable[[], bool] | None) -> None:
        __tracebackhide__ = True
        # A plain call may be waited for by one that runs: it is not held back for ever.
        patience_s = PATIENCE_S if halted is None else None
        name = (self._step_id, call.key)
        is_admitted = self._gate.admit(call.document, halted or self._is_halted, name, patience_s=patience_s)
        self._refuse_unless(is_admitted)

    def _refuse_unless(self, admitted: bool) -> None:
        __tracebackhide__ = True
        if not admitted:
            self.live.check()
            raise self.live.refusal()  # the map it belongs to was abandoned, or the run is over


class Later:
    """Calls of a map that have waited before: each follows by itself when its time has come, and holds up no other one."""

    def __init__(self, waits: Waits) -> None:
        self._waits, self._held = waits, list[Call]()

    def feed(self, chunk: Sequence[Call]) -> Iterator[Sequence[Call]]:
        """The calls of ``chunk`` that can be made at once, and those held before whose time has come."""
        waits = self._waits
        if waits.left_over:
            self._held += [call for call in chunk if waits.has_waited(call)]
            chunk = [call for call in chunk if not waits.has_waited(call)]
        yield chunk
        waiting, self._held = self._held, []
        for call in waiting:
            if waits.wait_left(call) > 0:
                self._held.append(call)
            else:
                yield [call]

    def rest(self) -> Iterator[Sequence[Call]]:
        """What is left when no chunk follows, the one that is due first first."""
        yield from ([call] for call in sorted(self._held, key=self._waits.wait_left))
