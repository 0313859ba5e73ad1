"""A ``distributed.Client``: Dask's own scheduler, workers and retries after deaths."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from durable_nb import clock
from durable_nb.errors import ConfigError
from durable_nb.executors.engines import Abandoned, WorkerLost
from durable_nb.executors.futures import Waiting
from durable_nb.executors.worker import run_batch

if TYPE_CHECKING:
    from durable_nb.executors.engines import Outcome, Task

GONE_S = 30.0
"""So long a cluster may be without any worker, starting some."""


class Dask(Waiting):
    """Tasks of a client. Dask replaces a worker that died, and gives its tasks to another one meanwhile."""

    name = "the Dask client"

    def __init__(self, client: Any, **options: Any) -> None:
        super().__init__()
        if getattr(client, "asynchronous", False):
            raise ConfigError("this Dask client is asynchronous.", "Give one that is not: Client(…).")
        self._client, self._running, self._lock = client, 0, threading.Lock()
        self._options = options
        self._given_up_at: float | None = None

    @classmethod
    def behind(cls, executor: Any) -> Dask:
        """Of what ``client.get_executor()`` made: the same client, with what was said there of ``workers`` and the like."""
        if executor._shutdown:  # noqa: SLF001 - there is no other way to ask
            raise ConfigError("this executor of a Dask client was shut down.", "Give the client, or a new one.")
        return cls(executor._client, **executor._kwargs)  # noqa: SLF001

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

    def _look(self) -> None:
        """A cluster of Dask's own drops a worker that was away for 15 s and starts no other; without any, nobody would end this.

        One that adapts itself will start some, and so may whoever has started those of a cluster that is only connected to.
        """
        cluster: Any = self._client.cluster
        spec, adaptive = getattr(cluster, "worker_spec", None), getattr(cluster, "_adaptive", None)
        if not spec or cluster.workers or adaptive is not None:
            self._given_up_at = None
        elif self._given_up_at is None:
            self._given_up_at = clock.monotonic()
        elif clock.monotonic() - self._given_up_at > GONE_S:
            raise ConfigError(
                "the Dask cluster has given up all of its workers: they died, and were away for too long.",
                f"What is finished is saved: `client.cluster.scale({len(spec)})` starts new ones; run the cell again. "
                "With `distributed.scheduler.allowed-failures: 0` a document that kills does so three times, not eight.",
            )

    async def _fetched(self, future: Any) -> Any:
        return await self._client.gather(future, asynchronous=True)

    def _computed(self, task: Task, *, alone: bool) -> list[Outcome]:
        import asyncio

        from distributed import KilledWorker

        future = None
        try:
            options = self._options | {"timeout_s": task.timeout_s, "is_group": task.is_group, "pure": False}
            future = self._client.submit(run_batch, task.function, task.items, **options)
            # Fetching is waited for as computing is: it begins anew if the worker dies that holds the result.
            fetched = asyncio.run_coroutine_threadsafe(self._fetched(future), self._client.loop.asyncio_loop)
            outcomes: list[Outcome] = self._wait(fetched)
        except KilledWorker as error:
            # Dask has tried again by itself, as `distributed.scheduler.allowed-failures` says.
            raise WorkerLost(error.allowed_failures + 1, is_certain=alone) from error
        except BaseException as error:
            if future is not None:
                future.cancel()
            if isinstance(error, (Abandoned, ConfigError)) or not isinstance(error, Exception):
                raise
            raise self._unusable(error) from error  # closed, or its scheduler is gone
        return outcomes
