"""Calls that an engine computes: sent some at a time, and what comes back is saved, failed or tried again here."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from durable_nb import clock, codecs, throttling
from durable_nb.byvalue import unpickled
from durable_nb.engine import labels
from durable_nb.engine.computations import Computation
from durable_nb.engine.context import inside, name_of
from durable_nb.engine.groups import GroupComputation, wrong_number
from durable_nb.engine.recorder import Unrecorded
from durable_nb.errors import ConfigError, StepTimeout, Unsaveable, fields_of
from durable_nb.executors import shipping
from durable_nb.executors.engines import Abandoned, Engine, Outcome, Task, TimeIsUp, WorkerLost
from durable_nb.executors.initializers import refuse_unseen
from durable_nb.records import DEATHS, Call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from durable_nb.engine.computations import Save

_TASK_S, _LARGEST = 0.05, 256
"""Fast calls are sent together: so long as such a task takes, what an engine needs for each (0.1 to 3 ms) is little of it."""


class Pack(tuple[Call, ...]):
    """Calls that are sent together."""

    __slots__ = ()


class Sent(NamedTuple):
    """A result, encoded in the worker."""

    codec: str
    payload: bytes
    started: float
    seconds: float


class _Unopened(Exception):
    """The arguments of a document, or of one of several, cannot be unpickled where it is to be computed."""


class Packing:
    """How many calls are sent together."""

    def __init__(self, workers: int) -> None:
        self._workers, self._now = workers, 1

    def learn(self, seconds: float) -> None:
        """A call took so long."""
        self._now = max(1, min(2 * self._now, _LARGEST, int(_TASK_S / max(seconds, 1e-6))))

    def packed(self, chunks: Iterable[Sequence[Call]]) -> Iterator[list[Pack]]:
        """The calls, each time as many together as are right by then; the last of a chunk are shared among the workers."""
        for chunk in chunks:
            at = 0
            while at < len(chunk):
                size = min(self._now, -(-(len(chunk) - at) // self._workers))
                yield [Pack(chunk[at : at + size])]
                at += size


class RemoteComputation(Computation):
    """How calls of one step are computed by an engine, and saved in one run."""

    ships = True

    dies = "worker process"

    def __init__(self, *args: Any, engine: Engine, workers: int) -> None:
        super().__init__(*args)
        self._has_deadline = True  # whether it has one or not, its function is not called here
        self._recorder = Unrecorded()
        self.engine, self.packing = engine, Packing(workers)
        self._encode = _as_sent
        fingerprint = self.step.fingerprint(fresh=False)
        refuse_unseen(engine.initializer, self.step.name, fingerprint)
        self._sent_function = shipping.function_bytes(self.step.function, self.step.name, fingerprint)
        self._arrived: dict[bytes, Outcome] = {}
        self._deaths: Counter[bytes] = Counter()  # by key, of those that another call may have caused

    def send(self, pack: Pack) -> list[Call]:
        """Compute the first attempt of several calls; they are returned with those first that have a result.

        Where the gate has them ask one by one, and when their worker is lost, none of them has been made.
        """
        flow, gate = self._flow, self._gate
        if len(pack) == 1 or gate.limited or (flow is not None and flow.holds):
            return list(pack)
        documents = {call.document for call in pack}
        gate.running |= documents
        if flow is not None:
            flow.begun += len(pack)
            flow.begins(clock.stopwatch())
        try:
            outcomes = self._computed(pack, 1)
        except (TimeIsUp, _Unopened):  # each for itself
            return list(pack)
        except WorkerLost as error:
            self._suspect(pack, error)
            return list(pack)
        finally:
            gate.running -= documents
        made = {call.key: outcome for call, outcome in zip(pack, outcomes, strict=True) if outcome[0] != "unmade"}
        self._arrived.update(made)
        return sorted(pack, key=lambda call: made.get(call.key, ("",))[0] != "ok")

    def cancel(self) -> None:
        """See `Computation.cancel`."""
        self.engine.cancel()

    def has_arrived(self, call: Call) -> bool:
        """Whether the first attempt has been made; it is saved then, come what may."""
        return call.key in self._arrived

    def compute(self, call: Call, halted: Callable[[], bool] | None = None, attempt: int = 1) -> Any:
        """See `Computation.compute`; the result, encoded."""
        __tracebackhide__ = True
        outcome = self._arrived.pop(call.key, None)
        if outcome is None:
            return super().compute(call, halted, attempt)
        flow = self._flow
        try:
            sent = self._opened(call, outcome)
        except Exception as error:
            if flow is None or not flow.refused(error):
                delay = self._failed(call, error, attempt, *outcome[-2:])
                if delay is None:
                    raise
                clock.wait(self.live.stopping, delay)
                attempt += 1
            self.live.check()
            return super().compute(call, halted, attempt)
        if flow is not None:
            flow.succeeded(clock.stopwatch())
        commit = self._succeeded(call, sent, attempt, *outcome[-2:])
        if commit is not None:
            clock.result(commit)
        return sent

    def _limited(self, call: Call) -> Any:
        found = inside.get()
        assert found is not None
        try:
            (outcome,) = self._computed([call], found[2])
        except TimeIsUp as error:
            raise self._timeout(call) from error
        except _Unopened as error:
            raise RuntimeError(f"a worker cannot load its arguments: {error}") from None
        return self._opened(call, outcome)

    def _computed(self, calls: Sequence[Call], attempt: int) -> list[Outcome]:
        names = [name_of(self, call) for call in calls]
        items = shipping.items_bytes(calls, names, attempt, self.step.name)
        task = Task(self._sent_function, items, len(calls), self.step.timeout_s, self.step.batch is not None)
        try:
            outcomes = self.engine.call(task)
        except Abandoned as error:
            raise self.live.refusal() from error
        kind, *said = outcomes[0]
        if kind == "unready":
            raise ConfigError(
                f"a worker cannot load {self.step.name}: {said[0]}.",
                "What is imported here has to be installed where the workers run, in the same version.",
            )
        if kind == "unopened":
            raise _Unopened(said[0])
        if kind == "stale":
            raise ConfigError(f"{self.step.name} is not computed: {said[0]}", said[1])
        return outcomes

    def _opened(self, call: Call, outcome: Outcome) -> Any:
        """What a call returned, encoded; what it raised is raised."""
        kind = outcome[0]
        if kind == "ok":
            self.packing.learn(outcome[4])
            return Sent(*outcome[1:])
        if kind in ("unsaveable", "misfit"):
            return outcome  # told when it is to be saved
        if kind == "group":
            return [self._opened(call, one) for one in outcome[1]]
        if kind == "late":
            raise self._timeout(call)
        raise _raised(outcome)

    def _succeeded(
        self, call: Call, value: Any, attempt: int, started: float, seconds: float, *, save: Save | None = None
    ) -> Future[None] | None:
        if isinstance(value, Sent):  # times as they were in the worker, without the way
            started, seconds = value.started, value.seconds
        return super()._succeeded(call, value, attempt, started, seconds, save=save)

    def _decoded(self, value: Any) -> Any:
        return codecs.decode(value.codec, value.payload, where=self.live.store.where)

    def _suspect(self, calls: Sequence[Call], error: WorkerLost) -> None:
        """One of these calls, or of those of another worker, took its worker along."""
        for call in calls:
            self._deaths[call.key] = min(DEATHS - 1, self._deaths[call.key] + error.deaths)
        if not error.is_certain:  # each of them runs alone, so that a further death has one culprit
            self._gate.keep_apart([(self._step_id, call.key) for call in calls])

    def _is_excused(self, call: Call, error: Exception) -> bool:
        """A call whose worker died is made again, alone; after three deaths that nobody else can have caused, no more."""
        if isinstance(error, ConfigError):
            raise error  # about the engine or the arguments: another attempt would end in the same way
        if not isinstance(error, WorkerLost) or len(getattr(call, "parts", ())) > 1:
            return False
        if not error.is_certain:
            self._suspect([call], error)
            return True
        self.live.suspects.died((self._step_id, call.key), min(DEATHS, error.deaths + self._deaths.pop(call.key, 0)))
        aside = self.set_aside(call)
        if aside is not None:
            raise aside from error
        return True

    def _timeout(self, call: Call) -> StepTimeout:
        assert self.step.timeout_s is not None
        return StepTimeout(self.step.name, call.label, self.step.timeout_s)


class RemoteGroups(GroupComputation, RemoteComputation):
    """The same for groups of documents, ``@step(batch=64)``: each result is encoded by itself."""

    def _failed(self, call: Call, error: Exception, attempt: int, started: float, seconds: float) -> float | None:
        if isinstance(error, WorkerLost):  # each of its documents is tried alone
            self._suspect(getattr(call, "parts", ()), error)
        return super()._failed(call, error, attempt, started, seconds)

    def _succeeded(
        self, call: Call, value: Any, attempt: int, started: float, seconds: float, *, save: Save | None = None
    ) -> Future[None] | None:
        if not isinstance(value, list):
            raise wrong_number(self.step.name, call, f"a {value[1]}")
        return super()._succeeded(call, value, attempt, started, seconds, save=save)


def _as_sent(value: Any) -> tuple[str, bytes]:
    """Codec and payload of what came back."""
    if not isinstance(value, Sent):
        raise Unsaveable(value[1], value[2])
    return value.codec, value.payload


def _raised(outcome: Outcome) -> BaseException:
    """The exception as it was raised in the worker; one that no pickle brings back is told in words."""
    _, payload, text, traceback, asked = outcome[:5]
    try:
        error = RuntimeError(text) if payload is None else unpickled(payload)
    except Exception:
        error = RuntimeError(text)
    if not isinstance(error, BaseException):
        error = RuntimeError(text)
    fields_of(error).update({labels.TOLD: traceback, throttling.ASKED: asked})  # not setattr: it may be frozen
    return error
