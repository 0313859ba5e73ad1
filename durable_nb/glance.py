"""Which runs of a database nobody has finished: one look at an SQLite file, without SQLAlchemy.

``%load_ext`` asks, and loading what the store needs would cost it more than all else that it does. The file is opened for
reading only; whatever is wrong with it is for the store to say, once somebody uses it.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from typing import Any, NamedTuple
from urllib.parse import quote

from durable_nb import clock
from durable_nb.machines import LEASE_S, goes_on

_BUSY_S = 0.2
_MOST = 50
_RUNS = """
    SELECT name, state, notebook, total, done, failed, heartbeat, updated, owner_token, owner_machine, owner_pid, owner_born,
           {capsule} FROM runs WHERE state IN ('running', 'interrupted', 'failed') ORDER BY updated DESC LIMIT ?
"""


class Unfinished(NamedTuple):
    """A run that is not done, and that nobody computes."""

    name: str
    total: int | None
    done: int
    failed: int
    is_dead: bool
    """Its process ended without a word."""
    age_s: float
    """How long ago it was heard of last."""
    has_capsule: bool
    """Whether what its cell needs was saved."""


def unfinished(path: str, notebook: str) -> list[Unfinished]:
    """Those of a notebook, the last one first; of all of the database where nobody says which notebook this is.

    A run counts as this notebook's also if its own notebook is gone, as after a rename.
    """
    if not os.path.isfile(path):
        return []
    found = []
    with contextlib.suppress(sqlite3.Error, OSError, TypeError, ValueError):
        for row in _rows(path):
            name, state, home, total, done, failed, heartbeat, updated, token, where, pid, start, has_capsule = row
            is_here = not notebook or home in ("", notebook) or not os.path.exists(home)
            if is_here and not (state == "running" and token and _is_alive(where, pid, start, heartbeat)):
                is_dead = state == "running"
                age = max(0.0, clock.now() - (heartbeat if is_dead else updated))
                found.append(Unfinished(str(name), total, int(done), int(failed), is_dead, age, bool(has_capsule)))
    return found


def _rows(path: str) -> list[Any]:
    with contextlib.closing(
        sqlite3.connect(f"file:{quote(os.fsencode(path))}?mode=ro", uri=True, timeout=_BUSY_S)
    ) as connection:
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "runs" not in tables:
            return []
        capsule = "EXISTS (SELECT 1 FROM capsules WHERE run_id = runs.id)" if "capsules" in tables else "0"
        return connection.execute(_RUNS.format(capsule=capsule), (_MOST,)).fetchall()


def _is_alive(where: str, pid: int, start: str, heartbeat: float) -> bool:
    """As `durable_nb.store.is_alive`; a run of this very process is one."""
    return goes_on(where, pid, start, is_leased=clock.now() - heartbeat < LEASE_S)
