"""Calls that were running when kernels died: how many deaths count for each."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from durable_nb.records import DEATHS
from durable_nb.store.dialects import insert
from durable_nb.store.tables import checkpoints, suspects

_NAMES = Collection[tuple[int, bytes]]


def note_death(conn: sa.Connection, run_id: int, guilty: _NAMES, beside: _NAMES) -> None:
    """A death counts for the ``guilty``; the last one, for which a call is set aside, only if it is one alone."""
    known = {(row.step_id, row.key): row.deaths for row in conn.execute(_of(run_id))}
    most = DEATHS if len(guilty) == 1 else DEATHS - 1
    counts = {name: max(known.get(name, 0), min(known.get(name, 0) + 1, most)) for name in guilty}
    _write(conn, run_id, {name: known.get(name, 0) for name in beside} | counts)


def spare(conn: sa.Connection, run_id: int, names: _NAMES | None = None) -> int:
    """What was set aside, of these ``names`` or at all, may run once more; how many those are."""
    aside = {(row.step_id, row.key) for row in conn.execute(_of(run_id).where(suspects.c.deaths >= DEATHS))}
    spared = aside if names is None else aside.intersection(names)
    _write(conn, run_id, dict.fromkeys(spared, DEATHS - 1))
    return len(spared)


def of_run(conn: sa.Connection, run_id: int) -> dict[tuple[int, bytes], int]:
    """Deaths by step id and key, of the calls without a result."""
    done = sa.select(checkpoints.c.id).where(
        checkpoints.c.run_id == suspects.c.run_id,
        checkpoints.c.step_id == suspects.c.step_id,
        checkpoints.c.key == suspects.c.key,
        checkpoints.c.state == sa.literal_column("'done'"),
    )
    return {(row.step_id, row.key): row.deaths for row in conn.execute(_of(run_id).where(~done.exists()))}


def _of(run_id: int) -> sa.Select[tuple[int, bytes, int]]:
    found = sa.select(suspects.c.step_id, suspects.c.key, suspects.c.deaths)
    return found.where(suspects.c.run_id == run_id)


def _write(conn: sa.Connection, run_id: int, deaths: dict[tuple[int, bytes], int]) -> None:
    rows = [
        {"run_id": run_id, "step_id": step_id, "key": key, "deaths": count} for (step_id, key), count in deaths.items()
    ]
    if rows:
        statement = insert(conn.dialect, suspects)
        update = {"deaths": statement.excluded.deaths}
        conn.execute(statement.on_conflict_do_update(index_elements=["run_id", "step_id", "key"], set_=update), rows)
