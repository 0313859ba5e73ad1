"""Fixtures for every test, and the leak check after each."""

from __future__ import annotations

import compileall
import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import durable_nb
from durable_nb.engine.session import current as session
from durable_nb.testing import temporary_store
from tests.kernels import Kernel, wait_until
from tests.matrix import IS_WHOLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from durable_nb.store import Store


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell starts what is put into the background so
    signal.signal(signal.SIGINT, signal.default_int_handler)
_OF_THE_TESTS = {"DURABLE_NB_TEST_PG", "DURABLE_NB_SHOTS"}


def pytest_configure(config: pytest.Config) -> None:
    """Compile the library once: where no bytecode is written (PYTHONDONTWRITEBYTECODE), every kernel would do it by itself."""
    if not hasattr(config, "workerinput"):
        compileall.compile_dir(str(Path(durable_nb.__file__).parent), quiet=2)


@pytest.hookimpl(trylast=True)  # after -m
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the matrix where it is not wanted; DURABLE_NB_PART=1/3 leaves every third test, from the second one."""
    kept = [item for item in items if IS_WHOLE or item.get_closest_marker("matrix") is None]
    if "DURABLE_NB_PART" in os.environ:
        part, parts = map(int, os.environ["DURABLE_NB_PART"].split("/"))
        kept = kept[part::parts]
    config.hook.pytest_deselected(items=list(set(items) - set(kept)))
    items[:] = kept


@pytest.fixture(autouse=True)
def own_state_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests neither read nor write what the user of this machine trusts or has configured."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / "state"))
    for name in {name for name in os.environ if name.startswith("DURABLE_NB_")} - _OF_THE_TESTS:
        monkeypatch.delenv(name)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """The store of the session, thrown away afterwards, and clean then."""
    with temporary_store(tmp_path) as opened:
        yield opened

        assert opened.is_gone or opened.check() == []


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Callable[..., Kernel]]:
    """Starts real kernels in the test's folder; whatever still lives is shut down afterwards."""
    started: list[Kernel] = []

    def start(**environment: str) -> Kernel:
        started.append(Kernel(tmp_path, **environment))
        return started[-1]

    yield start
    for one in started:
        if one.alive:
            one.close()


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """No run is live, no thread of ours is alive, and ■ does what it did before."""
    interrupted = signal.getsignal(signal.SIGINT)
    yield
    session.close()

    assert session.live == []
    assert signal.getsignal(signal.SIGINT) is interrupted
    wait_until(
        lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("durable-")],
        describing="no durable-* thread is alive",
        timeout=10,
    )
