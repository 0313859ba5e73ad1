"""A ``Client`` or view of ipyparallel: its own controller and engines, which nobody replaces when they die."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from durable_nb.executors.engines import Abandoned, WorkerLost
from durable_nb.executors.futures import Waiting
from durable_nb.executors.worker import run_batch
from durable_nb.records import DEATHS

if TYPE_CHECKING:
    from durable_nb.executors.engines import Outcome, Task


class IPyParallel(Waiting):
    """Tasks of a load-balanced view; of another view, one of the same engines."""

    name = "ipyparallel"

    def __init__(self, given: Any) -> None:
        super().__init__()
        self._sending = threading.Lock()
        if hasattr(given, "load_balanced_view"):
            self._view = given.load_balanced_view()
        elif type(given).__name__ == "LoadBalancedView":
            self._view = given
        else:
            self._view = given.client.load_balanced_view(given.targets)

    def call(self, task: Task) -> list[Outcome]:
        """See `Engine`. A death counts as all that a document may cause: an engine that is gone does not come back."""
        from ipyparallel.error import EngineError, RemoteError

        self._check()
        result = None
        try:
            with self._sending:  # two threads at once break the table by which it serializes
                result = self._view.apply_async(
                    run_batch, task.function, task.items, timeout_s=task.timeout_s, is_group=task.is_group
                )
            outcomes: list[Outcome] = self._wait(result)
        except Abandoned:
            self._view.abort(result, block=False)
            raise
        except (EngineError, RemoteError) as error:
            if getattr(error, "ename", "EngineError") == "EngineError":
                raise WorkerLost(DEATHS, is_certain=True) from error
            raise self._unusable(error) from error
        except Exception as error:  # no engines are left, or the client is closed
            raise self._unusable(error) from error
        return outcomes
