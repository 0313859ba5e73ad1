"""Results of a map as they arrive: values and failures in their slots, and what is to be tried of a group that failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable_nb.engine import labels
from durable_nb.engine.groups import Group
from durable_nb.engine.remote import Sent
from durable_nb.errors import StepFailed
from durable_nb.executors.engines import WorkerLost
from durable_nb.records import Call, Failure

if TYPE_CHECKING:
    from durable_nb.engine.arrivals import Arrivals
    from durable_nb.engine.computations import Computation
    from durable_nb.results import Results


class Filling:
    """The results of one map, being filled."""

    def __init__(self, computation: Computation, results: Results, stream: Arrivals | None) -> None:
        self.computation, self.results = computation, results
        self._stream = stream
        self._arrived: Results | Arrivals = results if stream is None else stream
        self.failed: dict[int, Call] = {}
        self._errors: dict[int, StepFailed] = {}

    @property
    def is_kept(self) -> bool:
        """Whether the results stay here, where failed ones can be tried again."""
        return self._arrived is self.results

    def raise_failures(self) -> None:
        """Raise for the first item that failed, telling how many more did."""
        for position in sorted(self._errors):
            error = self._errors[position]
            more = len(self._errors) - 1
            counted = StepFailed(error.step, error.label, error.attempts, error.error, more, error.aside)
            raise counted from error.__cause__

    def _halves_of(self, call: Call, error: Exception) -> list[Group]:
        """What to try of a group that failed, each by itself if it killed; of a document the failure is put in place."""
        if not isinstance(call, Group):
            self._put_failure(call, error)
        elif len(call.parts) == 1:
            self._put_failure(call.parts[0], error)
        else:
            parts = [part for part in call.parts if not self._is_changed(part, error)]
            return Group.singles(parts) if isinstance(error, WorkerLost) else Group.halves(parts)
        return []

    def _put_value(self, call: Call, value: Any) -> None:
        if isinstance(call, Group):
            if isinstance(value[0], Sent):
                for part, one in zip(call.parts, value, strict=True):
                    self._put_value(part, one)
            else:
                self._arrived.put_values(call.parts, value)
        elif isinstance(value, Sent):
            self._arrived.put_encoded(call.position, value.codec, value.payload, call.key)
        else:
            self._arrived.put_value(call.position, value, call.key)

    def _put_failure(self, call: Call, error: Exception) -> None:
        here = (self.computation.step.name, call.label)
        if isinstance(error, StepFailed) and (error.aside or (error.step, error.label) == here):  # it has been noted
            cause = error.__cause__
            self._put_failed(call, error, "" if cause is None else labels.traceback_of(cause))
            return
        attempts, text = self.computation.attempts.pop(call.key, 1), labels.of_error(error)
        failed = StepFailed(self.computation.step.name, call.label, attempts, text)
        failed.__cause__ = error
        self._put_failed(call, failed, labels.traceback_of(error))

    def _is_aside(self, call: Call) -> bool:
        """Whether kernels died during a call; its failure is put in place then."""
        failed = self.computation.set_aside(call)
        if failed is None:
            return False
        self._put_failed(call, failed)
        return True

    def _is_changed(self, call: Call, error: BaseException) -> bool:
        """Whether a call cannot be made again, since its document is another one by now; its failure is put in place then."""
        failed = self.computation.changed(call, error)
        if failed is None:
            return False
        self._put_failed(call, failed, labels.traceback_of(error))
        return True

    def _put_failed(self, call: Call, failed: StepFailed, traceback: str = "") -> None:
        self.failed[call.position] = call
        self._errors[call.position] = failed
        failure = Failure(call.position, call.label, failed.error, failed.attempts, traceback)
        self._arrived.put_failure(failure, failed)
