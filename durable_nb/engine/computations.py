"""How one call of a step is computed: attempts, timeout, the checkpoint of its result or of its failure."""

from __future__ import annotations

import random
import threading
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any

from durable_nb import clock, codecs, keys
from durable_nb.engine import labels
from durable_nb.errors import StepTimeout, Unsaveable
from durable_nb.records import Call, Checkpoint, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from durable_nb.engine.steps import Step
    from durable_nb.engine.versions import StepInRun
    from durable_nb.rates import Flow

# A call that took this long is committed before it returns: the commit (0.1 to 0.3 ms) is a few per cent of it. Faster
# ones are committed in groups, and SIGKILL can cost at most what was finished within one group's 50 ms.
_COMMIT_AT_ONCE_S = 0.005
# Key of the step call that is being computed in this context: calls of steps inside of it are numbered within it, so that
# a restored outer call takes no number away from the inner calls of another one.
_inside: ContextVar[bytes] = ContextVar("durable_nb_inside", default=b"")


class Computation:
    """How the calls of one step are computed and saved in one run."""

    def __init__(self, step: Step[..., Any], entered: StepInRun, function: Callable[..., Any] | None = None) -> None:
        self.step, self.entered, self.live = step, entered, entered.live
        self._function, self._has_deadline = function or step.function, step.timeout_s is not None
        # Before the document stand the receiver of a method, or for a call of a cell the function itself.
        self.unlabelled = len(step.bound) if function is None else 1
        self._verified: set[type] = set()
        self.attempts: dict[bytes, int] = {}
        """By key, of the calls that gave up."""
        self._run_id, self._step_id = self.live.record.id, entered.step_id
        self._save, self._save_now = self.live.store.save, self.live.store.save_now
        self._gate, self._flow = self.live.gate, step.flow
        if step.flow is not None:
            self._gate.flows.add(step.flow)

    def compute(self, call: Call, halted: Callable[[], bool] | None = None) -> Any:
        """The value of a call, saved; the exception of its last attempt is raised as it is.

        While it waits before the gate, ``halted`` says whether it may still be wanted; by default that is up to the run.
        """
        __tracebackhide__ = True  # the line of the notebook and the user's function are what counts
        gate, flow, attempt = self._gate, self._flow, 1
        while True:
            if flow is not None and flow.holds:
                self._pace(flow, call, halted or self._is_halted)
            if gate.limited and not is_inside():
                self._refuse_unless(gate.admit(call.document, halted or self._is_halted))
            else:
                gate.running.add(call.document)
            started, before = clock.now(), clock.stopwatch()
            outer = _inside.set(call.key)
            try:
                value = self._limited(call) if self._has_deadline else self._function(*call.args, **call.kwargs)
            except Exception as error:
                if flow is not None and flow.refused(error):
                    continue  # nobody's failure: it uses up no attempt
                delay = self._failed(call, error, attempt, started, clock.stopwatch() - before)
                if delay is None:
                    raise
            else:
                break
            finally:
                _inside.reset(outer)
                gate.running.discard(call.document)
                if gate.limited:
                    gate.left()
            clock.wait(self.live.stopping, delay)
            self.live.check()
            attempt += 1
        saving, thread = self.live.saving, threading.get_ident()
        saving.add(thread)  # ■ waits so long: what has been computed is not lost
        try:
            commit = self._succeeded(call, value, attempt, started, clock.stopwatch() - before)
            if commit is not None:
                commit.result()
        finally:
            saving.discard(thread)
            if saving.withheld:
                saving.give_way()
        return value

    async def compute_async(self, call: Call) -> Any:
        """As ``compute``, for a step that is a coroutine function."""
        __tracebackhide__ = True
        import asyncio

        gate, flow, attempt = self._gate, self._flow, 1
        while True:
            if flow is not None and flow.holds:
                await self._pace_async(flow, call)
            if gate.limited and not is_inside():
                self._refuse_unless(await gate.admit_async(call.document, self._is_halted))
            else:
                gate.running.add(call.document)
            started, before = clock.now(), clock.stopwatch()
            outer = _inside.set(call.key)
            try:
                value = await self._awaited(call)
            except Exception as error:
                if flow is not None and flow.refused(error):
                    continue
                delay = self._failed(call, error, attempt, started, clock.stopwatch() - before)
                if delay is None:
                    raise
            else:
                break
            finally:
                _inside.reset(outer)
                gate.running.discard(call.document)
                if gate.limited:
                    gate.left()
            await asyncio.sleep(delay)
            self.live.check()
            attempt += 1
        commit = self._succeeded(call, value, attempt, started, clock.stopwatch() - before)
        if commit is not None:
            await asyncio.wrap_future(commit)
        return value

    def _pace(self, flow: Flow, call: Call, halted: Callable[[], bool]) -> None:
        __tracebackhide__ = True
        for seconds in flow.waits(call.args, call.kwargs):
            self._refuse_unless(not halted())
            clock.wait(self.live.stopping, seconds)
        self._refuse_unless(not halted())
        flow.acquire()

    async def _pace_async(self, flow: Flow, call: Call) -> None:
        __tracebackhide__ = True
        import asyncio

        for seconds in flow.waits(call.args, call.kwargs):
            self._refuse_unless(not self.live.halted)
            await asyncio.sleep(seconds)
        await flow.acquire_async()

    def _is_halted(self) -> bool:
        return self.live.halted

    def _refuse_unless(self, admitted: bool) -> None:
        __tracebackhide__ = True
        if not admitted:
            self.live.check()
            raise self.live.refusal()  # the map it belongs to was abandoned, or the run is over

    def _limited(self, call: Call) -> Any:
        """The function's value, given up after the timeout.

        Python cannot stop a thread: the call goes on in one of its own, and its late result is dropped.
        """
        from concurrent.futures import Future

        outcome: Future[Any] = Future()

        def invoke() -> None:
            try:
                outcome.set_result(self._function(*call.args, **call.kwargs))
            except BaseException as error:  # carried to the caller
                outcome.set_exception(error)

        threading.Thread(target=copy_context().run, args=(invoke,), name="durable-deadline", daemon=True).start()
        try:
            return outcome.result(self.step.timeout_s)
        except TimeoutError as error:
            if outcome.done():
                raise  # the user's own
            assert self.step.timeout_s is not None
            raise StepTimeout(self.step.name, call.label, self.step.timeout_s) from error

    async def _awaited(self, call: Call) -> Any:
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

    def _succeeded(self, call: Call, value: Any, attempt: int, started: float, seconds: float) -> Future[None] | None:
        """Save ``value``; the commit to wait for, if the call was slow enough to be worth it."""
        try:
            codec, payload = codecs.encode(value)
            if codecs.needs_pickle(codec) and type(value) not in self._verified:
                # The classic trap pickles and cannot be unpickled: found at its first result, not after the restart.
                codecs.verify(codec, payload)
                self._verified.add(type(value))
            self.entered.proven = True
            if self._flow is not None:
                self._flow.succeeded()
        except Unsaveable as error:
            located = Unsaveable(error.type_name, error.reason, self.step.name, call.label)
            self._save(self._failure(call, located, attempt, started, seconds))
            raise located from error
        checkpoint = Checkpoint(
            self._run_id, self._step_id, call.key, "done", call.document, call.label, attempt, None,
            started, seconds, codec, payload,
        )  # fmt: skip
        if seconds < _COMMIT_AT_ONCE_S:
            self._save(checkpoint)
            return None
        return self._save_now(checkpoint)

    def _failed(self, call: Call, error: Exception, attempt: int, started: float, seconds: float) -> float | None:
        """Seconds until the next attempt; None after the last, which is recorded."""
        delay = self.step.retry.delay(attempt, error, random.random())  # noqa: S311 - jitter, not a secret
        if delay is None:
            self._save(self._failure(call, error, attempt, started, seconds))
            self.attempts[call.key] = attempt
            if attempt > 1:
                error.add_note(f"durable_nb: {self.step.name} gave up after {attempt} attempts")
        return delay

    def _failure(self, call: Call, error: Exception, attempt: int, started: float, seconds: float) -> Checkpoint:
        return Checkpoint(
            self._run_id, self._step_id, call.key, "failed", call.document, call.label, attempt,
            f"{labels.of_error(error)}\n{labels.traceback_of(error)}", started, seconds, "", None,
        )  # fmt: skip


class PlainCall:
    """One call written as ``embed(doc)``: found, or computed under its number among the equal calls of the run."""

    def __init__(
        self,
        computation: Computation,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        digest: bytes | None = None,
        occurrence: int | None = None,
    ) -> None:
        self.computation, self.entered = computation, computation.entered
        self.args, self.kwargs = args, kwargs
        self.digest = within(keys.call_digest(args, kwargs)) if digest is None else digest
        self.occurrence = self.entered.numbers((self.digest,))[0] if occurrence is None else occurrence
        self.key = keys.numbered(self.digest, self.occurrence)
        self.saved = self.entered.find(self.key)

    def restored(self) -> Any:
        """The saved value, decoded."""
        return self.outcome().value

    def outcome(self) -> Outcome:
        """The saved value, decoded, and what else the call did."""
        assert self.saved is not None
        live = self.entered.live
        found = codecs.outcome(self.saved.codec, self.saved.payload, trusted=live.store.trusted, where=live.store.where)
        number = live.progress.number()
        live.progress.restore((number,), self.saved.seconds, renumbered=self.saved.position != number)
        return found

    def __enter__(self) -> Call:
        self.entered.live.check()
        entered = self.entered
        before = entered.documents.pop(self.key, None) if entered.documents else None
        number = self._document = entered.live.progress.number() if before is None else before
        label = labels.of_arguments(self.args[self.computation.unlabelled :], self.kwargs, number)
        return Call(number, self.key, label, self.args, self.kwargs, number)

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if kind is not None:
            self.entered.give_back(self.digest, self.occurrence)
            self.entered.documents[self.key] = self._document


def within(digest: bytes) -> bytes:
    """The digest of a call, as one made inside of the step call that is being computed, if there is one."""
    outer = _inside.get()
    return keys.digest((outer, digest)) if outer else digest


def is_inside() -> bool:
    """Whether a step call is being computed in this context."""
    return bool(_inside.get())
