"""Kills at random moments, then a clean finish: nothing wrong, nothing lost, nothing wasted. `tests/soak.py` does more."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.kernels import ROOT, Kernel, lines, wait_until
from tests.matrix import IS_WHOLE, usual
from tests.postgres import NoPostgres, throwaway_postgres

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DOCUMENTS, WORKERS, KILLS, TRIALS = 400, 4, 3, 4
CELLS = f"""%load_ext durable_nb
import os, time
from durable_nb import step
log = os.open("executed.log", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
docs = list(range({DOCUMENTS}))

@step
def square(number):
    os.write(log, f"{{number}}\\n".encode())
    time.sleep(0.006)  # above the 5 ms from which a call is committed before it returns
    return number * number
"""
CELL = f"%%durable squares\nsquares = square.map(docs, workers={WORKERS})"


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_processes_killed_at_random(kind: str, tmp_path: Path) -> None:
    """20 SIGKILLs over SQLite, 10 over PostgreSQL, thrice and twice that in the matrix, in runs of their own: no fault of any kind, and `check` finds nothing."""
    if kind == "postgres":
        try:
            with throwaway_postgres():
                pass
        except NoPostgres as problem:
            pytest.skip(str(problem))
    wanted = {"sqlite": 60 if IS_WHOLE else 20, "postgres": 20 if IS_WHOLE else 10}
    kills = [text for name in wanted for text in (f"--{name}", str(wanted[name] if name == kind else 0))]
    soak = subprocess.run(
        [sys.executable, "-m", "tests.soak", "--minutes", "3", *kills],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    counts = json.loads(soak.stdout.splitlines()[-1])[{"sqlite": "SQLite", "postgres": "PostgreSQL"}[kind]]

    assert wanted[kind] == counts["kills"], soak.stderr
    assert 0 == soak.returncode, soak.stdout + soak.stderr


@pytest.mark.parametrize("trial", usual(range(TRIALS), 0, 1))
def test_kernels_killed_at_random(kernel: Callable[..., Kernel], tmp_path: Path, trial: int) -> None:
    """After three SIGKILLs at random progress, every document has its own result, and executions are at most the
    documents plus what was in flight at each kill."""
    chance, log, database = random.Random(trial), tmp_path / "executed.log", tmp_path / ".durable_nb" / "durable.db"
    for _ in range(KILLS):
        one = kernel()
        one.ok(CELLS)
        goal = len(lines(log)) + chance.randint(1, DOCUMENTS // (KILLS + 1))
        one.start(CELL)
        wait_until(lambda goal=goal: len(lines(log)) >= goal, describing=f"{goal} executions")
        one.kill()
    last = kernel()
    last.ok(CELLS)
    last.ok(CELL)

    assert last.ok("list(squares) == [number * number for number in docs]").result == "True"
    assert set(map(str, range(DOCUMENTS))) == set(lines(log))
    assert len(lines(log)) <= DOCUMENTS + KILLS * WORKERS
    with sqlite3.connect(database) as connection:
        assert [("ok",)] == connection.execute("PRAGMA integrity_check").fetchall()
        assert (DOCUMENTS,) == connection.execute("SELECT count(*) FROM checkpoints WHERE state = 'done'").fetchone()
