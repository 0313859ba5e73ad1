"""What becomes of a call that raised: made again, given up, or set aside because kernels died during it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from durable_nb import clock
from durable_nb.engine import labels
from durable_nb.engine.context import give_back
from durable_nb.engine.outputs import saver_of
from durable_nb.engine.waits import Waits
from durable_nb.errors import StepFailed
from durable_nb.records import DEATHS, Backoff, Call, Checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from durable_nb.engine.steps import Step
    from durable_nb.engine.versions import StepInRun


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

    def _is_no_failure(self, call: Call, error: Exception) -> bool:
        """Whether the call is made again without using up an attempt; what was made inside of it is found in any case."""
        give_back(self.live.store.flush)
        return (self._flow is not None and self._flow.refused(error)) or self._is_excused(call, error)

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
