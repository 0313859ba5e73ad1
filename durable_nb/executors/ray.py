"""The module ``ray``, initialised: Ray's own scheduler and workers, one CPU a task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable_nb.errors import ConfigError
from durable_nb.executors.engines import Abandoned, WorkerLost
from durable_nb.executors.futures import Waiting
from durable_nb.executors.worker import run_batch

if TYPE_CHECKING:
    from durable_nb.executors.engines import Outcome, Task


class Ray(Waiting):
    """Tasks of a Ray cluster. A process of Ray has one at a time, so a death is certain; they are counted here."""

    name = "Ray"

    def __init__(self, ray: Any) -> None:
        super().__init__()
        if not ray.is_initialized():
            raise ConfigError(
                "Ray has not been started.", "Call ray.init() before, with the address of a cluster or without."
            )
        self._ray = ray
        self._remote = ray.remote(max_retries=0)(run_batch)
        self._functions: dict[bytes, Any] = {}

    def call(self, task: Task) -> list[Outcome]:
        """See `Engine`."""
        self._check()
        ray, reference = self._ray, None
        try:
            function = self._functions.get(task.function)
            if function is None:  # once into the object store of each machine, however large it is
                function = self._functions[task.function] = ray.put(task.function)
            reference = self._remote.remote(function, task.items, timeout_s=task.timeout_s, is_group=task.is_group)
            outcomes: list[Outcome] = self._wait(reference.future())
        except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError) as error:
            raise WorkerLost(is_certain=True) from error
        except BaseException as error:
            if reference is not None:
                ray.cancel(reference, force=True)
            if isinstance(error, Abandoned) or not isinstance(error, Exception):
                raise
            raise self._unusable(error) from error
        return outcomes
