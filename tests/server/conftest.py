"""One server and one project for the tests of this folder, and real runs in it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.kernels import Kernel
from tests.postgres import NoPostgres, throwaway_postgres
from tests.server.servers import Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOSTILE = "<img src=x onerror=alert(1)>\x1b[31m\u202e 'quoted' \"\U0001f4a5"
LOAD = f"%load_ext durable_nb\nimport os, time\nfrom durable_nb import step\nHOSTILE = {HOSTILE!r}"
STEPS = """
@step
def embed(doc):
    if "bad" in doc:
        raise ValueError(HOSTILE)
    return float("nan")

@step
def slow(doc):
    time.sleep(0.05)
    return doc
"""


@pytest.fixture
def postgres() -> Iterator[str]:
    """Address of an empty PostgreSQL server; skipped without one, except in CI."""
    try:
        with throwaway_postgres() as url:
            yield url
    except NoPostgres as problem:
        if os.environ.get("CI") == "true":
            pytest.fail(str(problem))
        pytest.skip(str(problem))


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the server shows."""
    return tmp_path_factory.mktemp("served") / "root"


@pytest.fixture(scope="session")
def state(root: Path) -> str:
    """Where kernels and server of these tests note what belongs to the user."""
    return str(root.parent / "state")


@pytest.fixture(scope="session")
def server(root: Path, state: str) -> Iterator[Server]:
    """A server without any setting of ours."""
    root.mkdir(exist_ok=True)
    one = Server(root, XDG_STATE_HOME=state)
    yield one
    one.close()


@pytest.fixture(scope="session")
def project(root: Path, state: str) -> Iterator[Kernel]:
    """A kernel in a folder below the root, with a finished run ``done`` and one with failures, ``hostile``."""
    folder = root / "project"
    folder.mkdir(parents=True)
    (folder / "a.ipynb").touch()
    with Kernel(folder, XDG_STATE_HOME=state, JPY_SESSION_NAME=str(folder / "a.ipynb")) as one:
        one.ok(LOAD)
        one.ok(STEPS)
        one.ok("%%durable done\nresults = embed.map([f'page {n}' for n in range(50)])")
        one.ok(
            "%%durable hostile\nresults = embed.map([f'{HOSTILE} {n} bad' for n in range(70)] + ['good'], on_error='collect')"
        )
        yield one
