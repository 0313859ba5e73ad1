"""Where calls run.

Threads, the caller's thread and its loop are places to work through calls: ``threads``, ``inline`` and ``aio`` offer
``run(work, chunks, workers=…, halted=…)``; ``inline`` has one worker whatever it is told. ``chunks`` is an iterator over
lists of calls; it is advanced on the caller's thread only, because the user's generator may be tied to it, and never further
ahead than the workers need. ``work`` computes and saves one call; what it raises ends the run and is raised to the caller,
so the failure of a single document must not leave it.

Worker processes, here or on other machines, are *engines*: one of those threads sends some calls and waits for what comes
back. So attempts, limits, failures and the database stay in this process, whatever computes.

=================  =========================================================================================
``processes``      worker processes of our own
``futures``        a pool of somebody else: any ``concurrent.futures.Executor``
``dask``           a ``distributed.Client``
``ray``            the module ``ray``
``ipyparallel``    a ``Client`` or a view
=================  =========================================================================================

Those of others are known by the name of their module; none is imported before somebody hands one over.
"""

from __future__ import annotations

import sys
from concurrent.futures import Executor, ThreadPoolExecutor
from types import ModuleType
from typing import Any

from durable_nb.errors import ConfigError
from durable_nb.executors.engines import Engine

LOCAL = ("threads", "inline")
"""Names of what is no engine."""

ON_THE_LOOP = "asyncio"
"""Where async steps run anyway."""

_ADAPTERS = {
    "distributed": ("dask", "Dask", {"submit"}),
    "ray": ("ray", "Ray", {"is_initialized"}),
    "ipyparallel": ("ipyparallel", "IPyParallel", {"load_balanced_view", "apply_async"}),
}  # by the package that the executor is from: module here, class, and what it has of these, as no cluster or future has


def checked(executor: Any) -> Any:
    """The executor, if it is one.

    Raises
    ------
    ConfigError
    """
    if isinstance(executor, str) and executor == ON_THE_LOOP:
        return ON_THE_LOOP
    is_named = isinstance(executor, str) and executor in (*LOCAL, "processes")
    if is_named or isinstance(executor, Executor) or _is_known(executor):
        return executor
    raise ConfigError(
        f"executor={executor!r:.60} is not possible.",
        'Give "threads", "inline", "processes", "asyncio" (async steps), an executor of concurrent.futures, a distributed.Client, the module ray '
        "after ray.init(), or a Client or view of ipyparallel.",
    )


def leaves_the_process(executor: Any) -> bool:
    """Whether calls are computed elsewhere than in this process."""
    return executor not in LOCAL and not isinstance(executor, ThreadPoolExecutor)


def engine(executor: Any, workers: int) -> Engine:
    """What sends calls to an ``executor`` that leaves the process.

    Raises
    ------
    ConfigError
        It cannot be used as it is: closed, or not yet started.
    """
    from importlib import import_module

    if executor == "processes":
        from durable_nb.executors.processes import Processes

        return Processes(workers)
    if isinstance(executor, Executor) and hasattr(executor, "_client") and _package_of(executor) == "distributed":
        from durable_nb.executors.dask import Dask

        return Dask.behind(executor)
    if isinstance(executor, Executor):
        from durable_nb.executors.futures import Pool

        return Pool(executor)
    module, name, _ = _ADAPTERS[_package_of(executor)]
    made: Engine = getattr(import_module(f"{__name__}.{module}"), name)(executor)
    return made


def _is_known(thing: Any) -> bool:
    package = _package_of(thing)
    return package in _ADAPTERS and any(hasattr(thing, name) for name in _ADAPTERS[package][2])


def _package_of(thing: Any) -> str:
    """The package that an object is from; of a module its own name. Nothing is imported, nothing of the object is run."""
    name = thing.__name__ if isinstance(thing, ModuleType) else str(type(thing).__module__)
    package = name.partition(".")[0]
    return package if package in sys.modules else ""
