"""Three kills at random moments, then a clean finish: nothing wrong, nothing lost, nothing wasted."""

from __future__ import annotations

import random
import sqlite3
from typing import TYPE_CHECKING

import pytest

from tests.kernels import Kernel, lines, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DOCUMENTS, WORKERS, KILLS, TRIALS = 400, 4, 3, 20
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


@pytest.mark.parametrize("trial", range(TRIALS))
def test_random_kills(kernel: Callable[..., Kernel], tmp_path: Path, trial: int) -> None:
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
