"""What becomes of a call that raised: made again, given up, or set aside because kernels died during it."""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from durable_nb import clock, keys
from durable_nb.engine import labels
from durable_nb.engine.context import give_back
from durable_nb.engine.outputs import saver_of
from durable_nb.engine.waits import Waits
from durable_nb.errors import StepFailed, Unkeyable
from durable_nb.records import DEATHS, Backoff, Call, Checkpoint
from durable_nb.reductions import unread
from durable_nb.syntax import attributes_set, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from durable_nb.engine.steps import Step
    from durable_nb.engine.versions import StepInRun

_CHANGED = "its document was changed in place, so it is not called with it again"
_REMEDY = (
    "let the step work on a copy, and return what it makes of it; if the document only keeps something in itself, "
    "name the documents yourself with .map(…, key=…)"
)


class Refilled(Exception):
    """Something else was put into a document during its call, which the step itself does not do."""


class Failures(Waits):
    """The part of a computation that deals with errors."""

    dies = "kernel"
    """What a document that kills takes along."""
    ships = False
    """Whether calls are computed by code as it was sent away."""

    def __init__(self, step: Step[..., Any], entered: StepInRun) -> None:
        super().__init__(step, entered)
        self.attempts: dict[bytes, int] = {}
        """By key, of the calls that gave up."""
        self.watched: set[bytes] = set()
        """Keys of calls whose document may be given another content while they run."""
        self._run_id = self.live.record.id
        saver = saver_of(self.live)
        self._save: Callable[[Checkpoint], Any] = saver.save
        self._save_all, self._save_now = saver.save_all, saver.save_now

    def set_aside(self, call: Call) -> StepFailed | None:
        """The failure, noted, of a call that is not made because kernels died during it; None for one that may be made."""
        if not self.live.suspects.is_aside((self._step_id, call.key)):
            return None
        said = f"the {self.dies} died each time it was computed"
        error = StepFailed(self.step.name, call.label, DEATHS, said, aside=True)
        text = f"{self.dies.title().replace(' ', '')}Died: {said}{labels.ASIDE}"
        self._save(self._failure(call, text, DEATHS, clock.now(), 0.0))
        self.live.store.tell(self._run_id, "set aside", f"{self.step.name} on {call.label}")
        return error

    def spare(self, calls: Iterable[Call]) -> None:
        """Somebody asked for these calls: those that were set aside are made once more, alone."""
        keys = [call.key for call in calls]
        for key in keys:  # with all their attempts
            self.left_over.pop((self._step_id, key), None)
        self._gate.keep_apart(self.live.suspects.spare(self._step_id, keys))

    def changed(self, call: Call, error: BaseException, attempt: int = 1) -> StepFailed | None:
        """The failure, noted, of a call that cannot be made again: its document was changed in place. Else None."""
        if self.ships or not is_changed(self.step, call):
            return None
        if self.step.ignored is not None:
            self.step.ignored.hide(error, call.args, call.kwargs)
        said = f"{_CHANGED} ({labels.of_error(error)}); {_REMEDY}"
        self._save(self._failure(call, f"{said}\n{labels.traceback_of(error)}", attempt, clock.now(), 0.0))
        self._began.pop(call.key, None)
        if attempt > 1:
            self._note(call, None)
        failed = StepFailed(self.step.name, call.label, attempt, said)
        failed.__cause__ = error
        return failed

    def refuse_refilled(self, call: Call) -> None:
        """Raise Refilled for a value that may be of another content than the call is named by."""
        documents = tuple(self._documents(call))
        is_refilled = any(one.key in self.watched and is_changed(self.step, one) for one in documents)
        self.watched.difference_update(one.key for one in documents)
        if is_refilled:
            raise Refilled

    def _is_no_failure(self, call: Call, error: Exception, attempt: int) -> bool:
        """Whether the call is made again without using up an attempt; what was made inside of it is found in any case."""
        give_back(self.live.store.flush)
        if self._flow is None or not self._flow.refused(error):
            return self._is_excused(call, error)
        documents = tuple(self._documents(call))
        if len(documents) == 1:
            self._refuse_changed(documents[0], error, attempt)
            return True
        return self.ships or not any(is_changed(self.step, one) for one in documents)  # else it is taken apart

    def _refuse_changed(self, call: Call, error: Exception, attempt: int) -> None:
        __tracebackhide__ = True
        failed = self.changed(call, error, attempt)
        if failed is not None:
            raise failed

    def _is_excused(self, call: Call, error: Exception) -> bool:  # noqa: ARG002 - for those that send calls away
        """Whether the call is made again without using up an attempt."""
        return False

    def _failed(self, call: Call, error: Exception, attempt: int, started: float, seconds: float) -> float | None:
        """Seconds until the next attempt, which is noted; None after the last, which is recorded."""
        delay = self._delay(call, error, attempt, seconds)
        if delay is None:
            self._give_up(error, call, attempt, started, seconds)
            self.attempts[call.key] = attempt
            if attempt > 1:
                with suppress(Exception):  # a frozen one
                    error.add_note(f"durable_nb: {self.step.name} gave up after {attempt} attempts")
        else:
            self._refuse_changed(call, error, attempt)
            self._note(call, Backoff(attempt, clock.now(), delay))
        return delay

    def _give_up(self, error: BaseException, call: Call, attempt: int, started: float, seconds: float) -> None:
        if self.step.ignored is not None:
            self.step.ignored.hide(error, call.args, call.kwargs)
        self._save(self._failure(call, labels.text_of(error), attempt, started, seconds))
        if attempt > 1:
            self._note(call, None)

    def _note(self, call: Call, backoff: Backoff | None) -> None:
        self.live.store.back_off(self._run_id, (self._step_id, call.key), backoff)

    def _failure(self, call: Call, error: str, attempt: int, started: float, seconds: float) -> Checkpoint:
        return Checkpoint(
            self._run_id, self._step_id, call.key, "failed", call.document, call.label, attempt,
            error, started, seconds, "", None,
        )  # fmt: skip


def own_digest(step: Step[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    """See `Call.digest`. Without the receiver: a method may well keep something in it, a client for example."""
    start, ignored = len(step.bound), step.ignored
    args, kwargs = (args[start:], kwargs) if ignored is None else ignored.without(args, kwargs, start=start)
    return keys.call_digest(args, kwargs)


def is_changed(step: Step[..., Any], call: Call) -> bool:
    """Whether the arguments of a call are not what they were when it was named; False where nobody can tell."""
    if call.digest is None:
        return False
    with suppress(Unkeyable):  # it had a name before
        if own_digest(step, call.args, call.kwargs) == call.digest:
            return False
    # What a cached property has kept since is no change, unless the code sets it itself.
    with unread(_attributes_set_in(step.fingerprint(fresh=False).source)), suppress(Unkeyable):
        return own_digest(step, call.args, call.kwargs) != call.digest
    return True


@lru_cache(maxsize=64)
def _attributes_set_in(source: str) -> frozenset[str]:
    tree = parse(source)
    return frozenset(name for _, name in attributes_set(tree)) if tree is not None else frozenset()
