"""Calls that somebody's pool of threads makes: in this process, but when and where the pool says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable_nb.engine.computations import Computation
from durable_nb.engine.groups import GroupComputation
from durable_nb.errors import ConfigError, StepTimeout
from durable_nb.executors.engines import TimeIsUp
from durable_nb.executors.futures import OnThreads

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from durable_nb.engine.steps import Step
    from durable_nb.engine.versions import StepInRun
    from durable_nb.records import Call


class PooledComputation(Computation):
    """How calls of one step are made by a pool of threads, and saved in one run."""

    def __init__(self, step: Step[..., Any], entered: StepInRun, pool: Executor) -> None:
        super().__init__(step, entered)
        self._on = self._function = OnThreads(pool, self._function, self.live.refusal, step.timeout_s)

    def cancel(self) -> None:
        """See `Computation.cancel`."""
        self._on.cancel()

    def _is_excused(self, call: Call, error: Exception) -> bool:
        if isinstance(error, ConfigError) and self._on.is_unusable:
            raise error  # nothing that this document is to blame for
        return super()._is_excused(call, error)

    def _limited(self, call: Call) -> Any:
        assert self.step.timeout_s is not None
        try:
            return self._on(*call.args, **call.kwargs)
        except TimeIsUp as error:
            raise StepTimeout(self.step.name, call.label, self.step.timeout_s) from error


class PooledGroups(GroupComputation, PooledComputation):
    """The same for groups of documents, ``@step(batch=64)``."""
