"""Real engines for tests: what a script does to have one, and clusters that outlive the script."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from unittest import mock

import pytest

from tests.kernels import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

_POOL = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
executor = ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("{}"))
"""
ENGINES = {
    "processes": 'executor = "processes"',
    "fork": _POOL.format("fork"),
    "spawn": _POOL.format("spawn"),
    "forkserver": _POOL.format("forkserver"),
    "loky": "import loky\nexecutor = loky.get_reusable_executor(2)",
    "dask": "from distributed import Client\nexecutor = Client(os.environ['AT'])",
    "ray": "import ray\nray.init(address=os.environ['AT'], log_to_driver=False)\nexecutor = ray",
    "ipyparallel": (
        "import ipyparallel\nexecutor = ipyparallel.Cluster.from_file(os.environ['AT']).connect_client_sync()\n"
        "executor.wait_for_engines(2)"
    ),
}
"""How a script comes to an `executor`; to clusters by the address in AT."""

_MODULES = {"dask": "distributed", "ray": "ray", "ipyparallel": "ipyparallel", "loky": "loky"}


def need(engine: str) -> None:
    """Skip the test, saying why, where the engine is not installed."""
    module = _MODULES.get(engine)
    if module is not None and importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")


def on(*names: str) -> pytest.MarkDecorator:
    """Run a test on these engines, each started once."""
    return pytest.mark.parametrize("engine", names, indirect=True, scope="session")


class Engine(NamedTuple):
    """One engine, running if it has to."""

    name: str
    prelude: str
    at: str


def script(folder: Path, source: str, engine: Engine) -> subprocess.Popen[str]:
    """A process whose ``__main__`` defines everything, in a group of its own, with its store in the folder."""
    path = folder / "script.py"
    path.write_text(source.replace("ENGINE", engine.prelude.replace("\n", "\n    ")))
    env = os.environ | {
        "PYTHONPATH": str(ROOT),
        "DURABLE_NB_URL": f"sqlite:///{folder / 'durable.db'}",
        "AT": engine.at,
    }
    return subprocess.Popen(
        [sys.executable, str(path)], cwd=folder, env=env, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Several processes that test do not start their clusters at once: Ray gives up on a machine that is so busy."""
    with open(os.path.join(tempfile.gettempdir(), f"durable-nb-tests-{os.getuid()}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _without_a_grammar() -> Iterator[None]:
    """jsonschema makes a parser of addresses for 3 s, where it finds the package for that, in each of Ray's four processes.

    These have 15 s to start, which is not enough on a busy machine.
    """
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "rfc3987_syntax.py").write_text("raise ImportError")
        paths = os.pathsep.join(filter(None, (folder, os.environ.get("PYTHONPATH"))))
        with mock.patch.dict(os.environ, PYTHONPATH=paths):
            yield


@contextlib.contextmanager
def cluster(engine: str) -> Iterator[str]:
    """Where a script finds the cluster; '' for engines that need none."""
    if engine == "dask":
        import dask
        from distributed import LocalCluster

        # Otherwise Dask itself makes such a task four times, and its nannies may give up on a worker that dies so often.
        options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
        with (
            dask.config.set({"distributed.scheduler.allowed-failures": 0}),
            LocalCluster(silence_logs=50, **options) as local,
        ):
            yield local.scheduler_address
    elif engine == "ray":
        import ray

        with _without_a_grammar():
            with _one_at_a_time():
                ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
            try:
                yield ray.get_runtime_context().gcs_address
            finally:
                ray.shutdown()
    elif engine == "ipyparallel":
        import ipyparallel

        started = ipyparallel.Cluster(n=4, log_level=40)  # a document that kills costs two
        with _one_at_a_time():
            started.start_cluster_sync()
        try:
            yield started.cluster_file
        finally:
            started.stop_cluster_sync()
    else:
        yield ""
