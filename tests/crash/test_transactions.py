"""Exactly-once writes: processes killed at random, and between the user's write and the commit; what is in both tables."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from durable_nb.store import Store
from tests.crash.test_poison import script
from tests.kernels import Kernel, lines, wait_until
from tests.matrix import usual

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DOCUMENTS, KILLS = 150, 4
PUT = """
import random, sqlalchemy as sa
chance = random.Random(int(os.environ.get("TRIAL", "0")) or None)

@step(transaction=True)
def put(n, *, connection):
    note(n)
    time.sleep(0.002)
    connection.execute(sa.text("INSERT INTO sink VALUES (:n)"), {"n": n})
    if os.environ.get("BETWEEN") and chance.random() < 0.04:
        os.kill(os.getpid(), signal.SIGKILL)
    return n * n

"""
WAYS = {
    "threads": "put.map(range(DOCS), workers=4)",
    "inline": "put.map(range(DOCS), workers=1)",
    "a loop": "with run('put'):\n    for n in range(DOCS): put(n)",
}


class Both:
    """The table of the user and the checkpoints, of one database."""

    def __init__(self, address: str) -> None:
        self._engine = sa.create_engine(address, poolclass=sa.pool.NullPool)
        self._checkpoints = "durable_nb.checkpoints" if address.startswith("postgres") else "checkpoints"
        with self._engine.begin() as conn:
            if conn.dialect.name == "postgresql":
                conn.execute(sa.text("DROP SCHEMA IF EXISTS durable_nb CASCADE"))
            conn.execute(sa.text("DROP TABLE IF EXISTS sink"))
        Store.open(address).close()  # first: a file with tables of others only is another program's
        with self._engine.begin() as conn:
            conn.execute(sa.text("CREATE TABLE sink (n INTEGER)"))

    def rows(self) -> tuple[list[str], list[str]]:
        """Documents written, and documents done; read in one transaction."""
        with self._engine.begin() as conn:
            written = conn.scalars(sa.text("SELECT n FROM sink ORDER BY n")).all()
            query = f"SELECT label FROM {self._checkpoints} WHERE state = 'done'"  # noqa: S608
            return list(map(str, written)), sorted(conn.scalars(sa.text(query)), key=int)


@pytest.fixture
def both(address: str, tmp_path: Path) -> Both:
    """Of an empty database."""
    return Both(address)


@pytest.mark.parametrize("way", usual(WAYS, "a loop"))
def test_kills_at_random_leave_both_or_neither(both: Both, address: str, tmp_path: Path, way: str) -> None:
    """After each SIGKILL the rows written are those of the documents done, and in the end each is there once."""
    chance, log = random.Random(way), tmp_path / "executed.log"
    source = PUT + WAYS[way].replace("DOCS", str(DOCUMENTS))
    for _ in range(KILLS):
        child = script(tmp_path, source, address)
        goal = len(lines(log)) + chance.randint(1, DOCUMENTS // (KILLS + 1))
        wait_until(lambda goal=goal: len(lines(log)) >= goal, describing=f"{goal} executions")
        child.kill()
        child.communicate(timeout=60)
        written, done = both.rows()

        assert done == written
        seen = len(done)
    assert seen > 0
    child = script(tmp_path, source, address)

    assert 0 == child.wait(timeout=120), child.communicate()
    everything = list(map(str, range(DOCUMENTS)))
    assert (everything, everything) == both.rows()


def test_kills_between_the_write_and_the_commit(both: Both, address: str, tmp_path: Path, monkeypatch) -> None:
    """A process that dies after the user's statement and before the commit has written nothing."""
    monkeypatch.setenv("BETWEEN", "1")
    source, kills = PUT + WAYS["threads"].replace("DOCS", str(DOCUMENTS)), 0
    for trial in range(1, 60):
        monkeypatch.setenv("TRIAL", str(trial))
        child = script(tmp_path, source, address)
        out = child.communicate(timeout=120)
        written, done = both.rows()

        assert done == written
        if child.returncode == 0:
            break
        assert child.returncode < 0, out
        kills += 1
    everything = list(map(str, range(DOCUMENTS)))

    assert kills >= 3
    assert (everything, everything) == both.rows()


def test_in_a_durable_cell(kernel: Callable[..., Kernel], tmp_path: Path) -> None:
    """A kernel killed in an ordinary loop; the cell, run again, writes what is missing, once."""
    address = f"sqlite:///{tmp_path / 'durable.db'}"
    both, log = Both(address), tmp_path / "executed.log"
    prepare = (
        "%load_ext durable_nb\nimport sqlalchemy as sa\nfrom durable_nb import step\n"
        "@step(transaction=True)\n"
        "def put(n, *, connection):\n"
        "    open('executed.log', 'a').write(f'{n}\\n')\n"
        "    connection.execute(sa.text('INSERT INTO sink VALUES (:n)'), {'n': n})\n"
        "    return n * n"
    )
    cell = "%%durable put\nsquares = []\nfor n in range(400):\n    squares.append(put(n))"
    one = kernel(DURABLE_NB_URL=address)
    one.ok(prepare)
    one.start(cell)
    wait_until(lambda: len(lines(log)) >= 60, describing="60 executions")
    one.kill()
    written, done = both.rows()

    assert done == written

    last = kernel(DURABLE_NB_URL=address)
    last.ok(prepare)
    last.ok(cell)
    everything = list(map(str, range(400)))

    assert (everything, everything) == both.rows()
    assert "True" == last.ok("squares == [n * n for n in range(400)]").result
    assert len(lines(log)) <= 401
