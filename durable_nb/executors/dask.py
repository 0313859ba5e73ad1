"""A ``distributed.Client``: Dask's own scheduler, workers and retries after deaths."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from durable_nb.errors import ConfigError
from durable_nb.executors.engines import Abandoned, WorkerLost
from durable_nb.executors.futures import Waiting
from durable_nb.executors.worker import run_batch

if TYPE_CHECKING:
    from durable_nb.executors.engines import Outcome, Task


class Dask(Waiting):
    """Tasks of a client. Dask replaces a worker that died, and gives its tasks to another one meanwhile."""

    name = "the Dask client"

    def __init__(self, client: Any) -> None:
        super().__init__()
        if getattr(client, "asynchronous", False):
            raise ConfigError("this Dask client is asynchronous.", "Give one that is not: Client(…).")
        self._client, self._running, self._lock = client, 0, threading.Lock()

    def call(self, task: Task) -> list[Outcome]:
        """See `Engine`. A worker may hold several tasks: who killed it is certain of one that was alone."""
        self._check()
        with self._lock:
            self._running += 1
            alone = self._running == 1
        try:
            return self._computed(task, alone=alone)
        finally:
            with self._lock:
                self._running -= 1

    def _computed(self, task: Task, *, alone: bool) -> list[Outcome]:
        from distributed import KilledWorker

        future = None
        try:
            future = self._client.submit(
                run_batch, task.function, task.items, timeout_s=task.timeout_s, is_group=task.is_group, pure=False
            )
            done: Future[None] = Future()
            future.add_done_callback(lambda _: done.set_result(None))
            self._wait(done)
            outcomes: list[Outcome] = future.result()
        except KilledWorker as error:
            # Dask has tried again by itself, as `distributed.scheduler.allowed-failures` says.
            raise WorkerLost(error.allowed_failures + 1, is_certain=alone) from error
        except BaseException as error:
            if future is not None:
                future.cancel()
            if isinstance(error, Abandoned) or not isinstance(error, Exception):
                raise
            raise self._unusable(error) from error  # closed, or its scheduler is gone
        return outcomes
