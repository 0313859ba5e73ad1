"""Which runs go when space or age is limited: the ones nobody has used for longest, and never what a live run needs."""

from __future__ import annotations

import os
from typing import Any

import sqlalchemy as sa

from durable_nb import clock
from durable_nb.records import Run
from durable_nb.store import leases, lineages
from durable_nb.store.tables import BLOB_PREFIX, blobs, checkpoints, metadata, run_of, runs

_ROW_BYTES = 120  # what a checkpoint takes beside its payload, label and error, with its share of the indexes
_c = checkpoints.c


def plan(conn: sa.Connection, *, older_s: float | None, max_bytes: int | None) -> list[tuple[str, int]]:
    """Name and size of the runs to drop, the one used last longest ago first."""
    found = [run_of(row) for row in conn.execute(sa.select(runs))]
    parents = {row.id: row.parent for row in conn.execute(sa.select(runs.c.id, runs.c.parent))}
    needed = {run.id for run in found if run.owner and leases.is_alive(run.owner, run.heartbeat)}
    while inner := {run for run, parent in parents.items() if parent in needed} - needed:  # begun inside of a live one
        needed |= inner
    for needs in tuple(needed):
        needed |= set(lineages.lineage_of(conn, needs))
    free = _in_order(conn, [run for run in found if run.id not in needed])
    share = _shares(conn)
    over = 0 if max_bytes is None else used_bytes(conn) - max_bytes
    now, doomed = clock.now(), []
    for run, used in free:
        is_old = older_s is not None and now - used > older_s
        if is_old or (max_bytes is not None and over > 0):
            doomed.append((run.name, share.get(run.id, 0)))
            over -= share.get(run.id, 0)
    return doomed


def used_bytes(conn: sa.Connection) -> int:
    """What the tables take, without the pages of a file that are free already."""
    if conn.dialect.name == "sqlite":
        pages, free, size = (
            int(conn.exec_driver_sql(f"PRAGMA {name}").scalar() or 0)
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size
    sizes = [sa.func.pg_total_relation_size(name) for name in metadata.tables]
    return sum(int(size) for size in conn.execute(sa.select(*sizes)).one())


def bytes_on_disk(conn: sa.Connection, path: str) -> int:
    """The SQLite file at ``path`` with its log, or what a server says that the tables take."""
    if conn.dialect.name != "sqlite":
        return used_bytes(conn)
    files = (f"{path}{end}" for end in ("", "-wal"))
    return sum(os.path.getsize(file) for file in files if os.path.exists(file))


def _in_order(conn: sa.Connection, free: list[Run]) -> list[tuple[Run, float]]:
    """The runs with when they were used last, the longest ago first; who uses a fork uses what it was forked from."""
    used = {run.id: max(run.updated, run.heartbeat) for run in free}
    depth = dict.fromkeys(used, 0)
    for run in free:
        lineage = lineages.lineage_of(conn, run.id)
        depth[run.id] = len(lineage)
        for origin in lineage[1:]:
            used[origin] = max(used.get(origin, 0.0), used[run.id])
    return [(run, used[run.id]) for run in sorted(free, key=lambda run: (used[run.id], -depth[run.id]))]


def _shares(conn: sa.Connection) -> dict[int, int]:
    """How many bytes of the database are a run's, by its id."""
    apart = sa.and_(_c.codec.startswith(BLOB_PREFIX, autoescape=True), blobs.c.digest == _c.payload)
    size: sa.ColumnElement[Any] = sa.func.coalesce(sa.func.length(blobs.c.payload), sa.func.length(_c.payload), 0)
    size = size + sa.func.length(_c.label) + sa.func.coalesce(sa.func.length(_c.error), 0) + _ROW_BYTES
    query = sa.select(_c.run_id, sa.func.sum(size)).select_from(checkpoints.outerjoin(blobs, apart)).group_by(_c.run_id)
    weights = {row[0]: int(row[1]) for row in conn.execute(query)}
    scale = used_bytes(conn) / max(1, sum(weights.values()))
    return {run: int(weight * scale) for run, weight in weights.items()}
