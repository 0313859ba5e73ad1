"""How one call of a step is computed: attempts, timeout, the checkpoint of its result."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from durable_nb import clock, codecs
from durable_nb.engine.context import inside, refuse_inside
from durable_nb.engine.costs import costed
from durable_nb.engine.failures import Failures
from durable_nb.engine.recorder import FREE, NOBODY, UNREAD, mark_of
from durable_nb.errors import StepTimeout, Unsaveable
from durable_nb.executors.deadlines import within
from durable_nb.executors.engines import TimeIsUp
from durable_nb.records import Call, Checkpoint, made

if TYPE_CHECKING:
    from concurrent.futures import Future

    from durable_nb.engine.recorder import Recorder, Unrecorded
    from durable_nb.engine.steps import Step
    from durable_nb.engine.versions import StepInRun

Save = Callable[[Checkpoint], Any]
"""How a checkpoint is saved."""

# A call that took this long is committed before it returns: the commit (0.1 to 0.3 ms) is a few per cent of it. Faster
# ones are committed in groups, and SIGKILL can cost at most what was finished within one group's 50 ms.
COMMIT_AT_ONCE_S = 0.005


class Computation(Failures):
    """How the calls of one step are computed and saved in one run."""

    def __init__(
        self,
        step: Step[..., Any],
        entered: StepInRun,
        function: Callable[..., Any] | None = None,
    ) -> None:
        super().__init__(step, entered)
        self._function, self._has_deadline = function or self._callee(), step.timeout_s is not None
        # Before the document stand the receiver of a method, or for a call of a cell the function itself.
        self.unlabelled = len(step.bound) if function is None else 1
        # The classic trap pickles and cannot be unpickled: found at its first result, not after the restart.
        self._encode: Callable[[Any], tuple[str, bytes]] = partial(codecs.encode, check=codecs.prove)
        self._recorder: Recorder | Unrecorded = self.live.recorder
        self._mark = mark_of(self._step_id)
        if step.flow is not None:
            self._gate.flows.add(step.flow)

    def compute(self, call: Call, halted: Callable[[], bool] | None = None, attempt: int = 1) -> Any:
        """The value of a call, saved; the exception of its last attempt is raised as it is.

        While it waits before the gate, ``halted`` says whether it may still be wanted; by default that is up to the run.
        """
        __tracebackhide__ = True  # the line of the notebook and the user's function are what counts
        gate, flow, recorder, outer = self._gate, self._flow, self._recorder, inside.get()
        saving, thread, places = self.live.saving, threading.get_ident(), recorder.places
        mark = self._mark + call.key + (outer[1].key if outer else NOBODY)
        if outer:
            refuse_inside(outer)
        attempt = self._go_on(call, halted or self._is_halted, attempt) if self.left_over else attempt
        while True:
            if (flow is not None and flow.holds) or (gate.limited and not outer):
                self._enter(call, halted, is_inner=bool(outer))
            else:
                gate.running.add(call.document)
            place, is_saved = places.pop() if places else UNREAD, False
            recorder.memory[place] = mark
            started, before, before_me = clock.now(), clock.stopwatch(), inside.set((self, call, attempt, outer, {}))
            if flow is not None:
                flow.begun += 1
                if before > flow.told_from:
                    flow.begins(before)
            try:
                value = self._limited(call) if self._has_deadline else self._function(*call.args, **call.kwargs)
            except Exception as error:
                if self._is_no_failure(call, error, attempt):
                    continue
                if (delay := self._failed(call, error, attempt, started, clock.stopwatch() - before)) is None:
                    raise
            else:  # still noted: what it returned may be too large to be turned into bytes
                if flow is not None and (after := clock.stopwatch()) > flow.told_from:
                    flow.succeeded(after)
                if self.watched:
                    self.refuse_refilled(call)
                saving.add(thread)  # ■ waits so long: what has been computed is not lost
                commit = self._succeeded(call, value, attempt, started, clock.stopwatch() - before)
                if commit is not None:
                    self._rest(call, place)
                    clock.result(commit)
                is_saved = True
                return value
            finally:
                inside.reset(before_me)
                recorder.memory[place] = FREE
                places.append(place)
                gate.running.discard(call.document)
                if gate.limited:
                    gate.left((self._step_id, call.key), is_saved=is_saved)
                saving.discard(thread)
                if saving.withheld:
                    saving.give_way()
            self._wait(delay, halted or self._is_halted)
            attempt += 1

    async def compute_async(self, call: Call, halted: Callable[[], bool] | None = None) -> Any:
        """As ``compute``, for a step that is a coroutine function."""
        __tracebackhide__ = True
        import asyncio

        gate, flow, recorder, outer, attempt = self._gate, self._flow, self._recorder, inside.get(), 1
        places = recorder.places
        mark = self._mark + call.key + (outer[1].key if outer else NOBODY)
        refuse_inside(outer)
        if self.left_over:
            attempt = await self._go_on_async(call, halted or self._is_halted)
        while True:
            if (flow is not None and flow.holds) or (gate.limited and not outer):
                await self._enter_async(call, halted or self._is_halted, is_inner=bool(outer))
            else:
                gate.running.add(call.document)
            place, is_saved = places.pop() if places else UNREAD, False
            recorder.memory[place] = mark
            started, before = clock.now(), clock.stopwatch()
            before_me = inside.set((self, call, attempt, outer, {}))
            if flow is not None:
                flow.begun += 1
                flow.begins(before)
            try:
                value = await self._awaited(call, halted)
            except Exception as error:
                if self._is_no_failure(call, error, attempt):
                    continue
                if (delay := self._failed(call, error, attempt, started, clock.stopwatch() - before)) is None:
                    raise
            else:
                if flow is not None:
                    flow.succeeded(clock.stopwatch())
                if self.watched:
                    self.refuse_refilled(call)
                commit = self._succeeded(call, value, attempt, started, clock.stopwatch() - before)
                if commit is not None:
                    self._rest(call, place)
                    await asyncio.wrap_future(commit)
                is_saved = True
                return value
            finally:
                inside.reset(before_me)
                recorder.memory[place] = FREE
                places.append(place)
                gate.running.discard(call.document)
                if gate.limited:
                    gate.left((self._step_id, call.key), is_saved=is_saved)
            await self._sleep(delay, halted or self._is_halted)
            attempt += 1

    def _rest(self, call: Call, place: slice) -> None:
        """All that is left of a call is its commit: a paused run is seen to rest with that, and not after it."""
        self._recorder.memory[place] = FREE  # first: one that runs alone may start now, and kill
        self._gate.running.discard(call.document)

    def _callee(self) -> Callable[..., Any]:
        """What is called with the arguments of a call."""
        return self.step.function

    def cancel(self) -> None:
        """Nobody waits for the calls of this map any more; of use to those that have them made elsewhere."""

    def _limited(self, call: Call) -> Any:
        """The function's value, given up after the timeout."""
        assert self.step.timeout_s is not None
        try:
            return within(partial(self._function, *call.args, **call.kwargs), self.step.timeout_s)
        except TimeIsUp as error:
            raise StepTimeout(self.step.name, call.label, self.step.timeout_s) from error

    async def _awaited(self, call: Call, halted: Callable[[], bool] | None) -> Any:
        """The function's value; of a map, which says when it is ``halted``, a cancellation that is not its own is a failure."""
        __tracebackhide__ = True
        import asyncio

        try:
            return await self._in_time(call)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if halted is None or halted() or (task is not None and task.cancelling()):
                raise
            raise RuntimeError("what it awaited was cancelled, and it was not itself") from error

    async def _in_time(self, call: Call) -> Any:
        __tracebackhide__ = True
        if self.step.timeout_s is None:
            return await self._function(*call.args, **call.kwargs)
        import asyncio

        limit = asyncio.timeout(self.step.timeout_s)
        try:
            async with limit:
                return await self._function(*call.args, **call.kwargs)
        except TimeoutError as error:
            if not limit.expired():
                raise  # the user's own
            raise StepTimeout(self.step.name, call.label, self.step.timeout_s) from error

    def _succeeded(
        self, call: Call, value: Any, attempt: int, started: float, seconds: float, *, save: Save | None = None
    ) -> Future[None] | None:
        """Save ``value``; the commit to wait for, if the call was slow enough to be worth it and nobody says how to ``save``."""
        if self.live.apart and not self.ships:  # while the user goes on editing
            self.entered.refuse_edited(self.step)
        if attempt > 1:
            self._began.pop(call.key, None)
        try:
            codec, payload = self._encode(value)
            self.entered.proven = True
        except Unsaveable as error:
            located = Unsaveable(error.type_name, error.reason, self.step.name, call.label)
            self._give_up(located, call, attempt, started, seconds)
            raise located from error
        checkpoint = self._checkpoint(call, codec, payload, attempt, started, seconds)
        if self.step.cost is not None:
            checkpoint = costed(checkpoint, partial(self._decoded, value), self.step, save=self._save)
        if seconds >= COMMIT_AT_ONCE_S and save is None:
            return self._save_now(checkpoint)
        (save or self._save)(checkpoint)
        return None

    def _checkpoint(
        self, call: Call, codec: str, payload: bytes, attempt: int, started: float, seconds: float
    ) -> Checkpoint:
        return made(Checkpoint, (
            self._run_id, self._step_id, call.key, "done", call.document, call.label, attempt, None,
            started, seconds, codec, payload,
        ))  # fmt: skip

    def _decoded(self, value: Any) -> Any:
        return value
