"""All rows of a run; of a fork also those that it takes from the runs that it was forked from, each call once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from durable_nb.records import Checkpoint
from durable_nb.store import keyed
from durable_nb.store.misfits import fitting
from durable_nb.store.tables import BLOB_PREFIX, checkpoints
from durable_nb.store.trust import plain_codec

_c = checkpoints.c
_ROWS = 500  # of checkpoints, read at once


def rows(conn: sa.Connection, columns: tuple[str, ...], table: sa.Table, where: sa.ColumnElement[bool]) -> list[Any]:
    """Some columns of a table, as tuples."""
    return [tuple(row) for row in conn.execute(sa.select(*(table.c[name] for name in columns)).where(where))]


def merged(conn: sa.Connection, columns: tuple[str, ...], table: sa.Table, lineage: tuple[int, ...]) -> list[Any]:
    """The same of a run and those behind it; of rows whose first two columns are equal, which name them, the nearest."""
    found: dict[Any, Any] = {}
    for run_id in reversed(lineage):
        found.update((row[:2], row) for row in rows(conn, columns, table, table.c.run_id == run_id))
    return list(found.values())


def results(conn: sa.Connection, lineage: tuple[int, ...]) -> Iterator[Checkpoint]:
    """Checkpoints, with their payloads as they were saved and without signatures; those from farthest away first."""
    for place in reversed(range(len(lineage))):
        other = checkpoints.alias()
        nearer, farther = lineage[:place], lineage[place + 1 :]
        is_done, same = other.c.state == "done", sa.and_(other.c.step_id == _c.step_id, other.c.key == _c.key)
        # A result hides what is farther away, a failure what has failed there, and gives way to a result.
        hidden = sa.or_(
            sa.and_(other.c.run_id.in_(nearer), sa.or_(is_done, _c.state != "done")),
            sa.and_(other.c.run_id.in_(farther), is_done, _c.state != "done"),
        )
        wanted = sa.select(_c.id).where(_c.run_id == lineage[place])
        if len(lineage) > 1:
            wanted = wanted.where(~sa.exists().where(same, hidden))
        yield from _paged(conn, wanted)


def _paged(conn: sa.Connection, wanted: sa.Select[Any]) -> Iterator[Checkpoint]:
    after = 0
    columns = [_c[name] for name in Checkpoint._fields]
    query = wanted.add_columns(*columns).order_by(_c.id).limit(_ROWS)
    while page := conn.execute(query.where(_c.id > after)).all():
        for row in page:
            checkpoint = fitting(Checkpoint(*row[1:]))
            if checkpoint.codec.startswith(BLOB_PREFIX):
                content = keyed.blob(conn, checkpoint.payload or b"")
                if content is None:
                    continue  # gone: as if it had never been saved
                checkpoint = checkpoint._replace(payload=content)
            yield checkpoint._replace(codec=plain_codec(checkpoint.codec))
        after = page[-1].id
