"""Network file systems. None can be mounted here, so the disk of the test is declared to be one; the locks are real."""

from __future__ import annotations

import fcntl
import logging
import os
import time
from typing import TYPE_CHECKING

import pytest

from durable_nb.errors import StoreUnavailable
from durable_nb.store import Store, addresses, networks
from durable_nb.store.networks import network_of
from tests.store.examples import Counts, begin, key, result

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The type of the disk of this test, from now on one of the network's."""
    with open("/proc/mounts") as file:
        kind = addresses.file_system_of(str(tmp_path), file.read())
    monkeypatch.setattr(addresses, "_NETWORK", addresses._NETWORK | {kind})
    monkeypatch.setattr(networks, "_probed", set())
    return kind


def test_the_log_is_avoided_and_the_user_told_once(
    tmp_path: Path, network: str, caplog: pytest.LogCaptureFixture
) -> None:
    """No -wal and no -shm; one line says that it is slower and what to do instead; results are kept as anywhere."""
    url = f"sqlite:///{tmp_path}/durable.db"
    with caplog.at_level(logging.WARNING, "durable_nb"):
        for _ in range(2):
            store = Store.open(url)
            run, owner, step = begin(store)
            store.watch(run.id, owner=owner, ledger=Counts())
            store.save_now(result(run.id, step, 1)).result()
            beside = sorted(file.name for file in tmp_path.iterdir())
            store.finish(run.id, owner=owner, state="done")
            store.close()

    assert network == network_of(str(tmp_path / "durable.db"))
    assert ["durable.db"] == beside
    assert 1 == len(caplog.messages)
    assert "network file system" in caplog.messages[0]
    assert "postgresql+psycopg://" in caplog.messages[0]
    again = Store.open(url)
    assert [key(1)] == list(again.known(run.id, [step]))
    again.close()


@pytest.mark.usefixtures("network")
def test_a_mount_that_never_gives_a_lock_is_refused(tmp_path: Path) -> None:
    """Who asks for a lock there waits for ever; the cell is told within five seconds, and what to do."""
    probe = os.open(tmp_path / ".durable_nb-lock-probe", os.O_CREAT | os.O_RDWR)
    fcntl.lockf(probe, fcntl.LOCK_EX)
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match=r"gives no lock within 4 s.*local disk.*PostgreSQL"):
        Store.open(f"sqlite:///{tmp_path}/new/durable.db")
    took = time.monotonic() - began
    os.close(probe)

    assert took < 5
    assert not (tmp_path / "new").exists()


@pytest.mark.usefixtures("network")
def test_a_mount_that_cannot_lock_is_refused(tmp_path: Path) -> None:
    """A file system that refuses (here: what should be locked is no file) is named, with its reason."""
    (tmp_path / ".durable_nb-lock-probe").mkdir()
    with pytest.raises(StoreUnavailable, match="cannot lock files.*IsADirectoryError"):
        Store.open(f"sqlite:///{tmp_path}/durable.db")
