"""Calls that failed and will be made again: which attempt follows, and when.

Rows are there for as long as the attempt of a run lasts. One that ends by itself takes them along (`leases.release`); what
a kernel leaves that died is where the next one goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from durable_nb.records import Backoff
from durable_nb.store.dialects import insert
from durable_nb.store.misfits import fitting
from durable_nb.store.tables import backoffs

_OF_CALLS = """
SELECT key, attempts, since, delay_s FROM backoffs WHERE run_id = %s AND step_id = %s AND key = ANY(%s::bytea[])"""

Name = tuple[int, bytes]
"""Step id and key of a call."""


def of_run(conn: sa.Connection, run_id: int) -> dict[Name, Backoff]:
    """All that wait in a run."""
    found = sa.select(backoffs.c.step_id, backoffs.c.key, *_FIELDS).where(backoffs.c.run_id == run_id)
    return {(row[0], row[1]): fitting(Backoff(*row[2:])) for row in conn.execute(found)}


def of_calls(conn: sa.Connection, run_id: int, step_id: int, keys: Sequence[bytes]) -> dict[bytes, Backoff]:
    """Those of some calls of one step, on PostgreSQL; as text, because who shares a run asks at each claim."""
    found = conn.exec_driver_sql(_OF_CALLS, (run_id, step_id, list(keys)))
    return {bytes(row[0]): fitting(Backoff(*row[1:])) for row in found}


def write(conn: sa.Connection, run_id: int, noted: Mapping[Name, Backoff | None]) -> None:
    """Write those that wait, and drop those (None) that wait no more."""
    places = {name: {"run_id": run_id, "step_id": name[0], "key": name[1]} for name in noted}
    rows = [places[name] | backoff._asdict() for name, backoff in noted.items() if backoff is not None]
    if rows:
        statement = insert(conn.dialect, backoffs)
        changes = {field: statement.excluded[field] for field in Backoff._fields}
        conn.execute(statement.on_conflict_do_update(index_elements=["run_id", "step_id", "key"], set_=changes), rows)
    for name, backoff in noted.items():
        if backoff is None:
            conn.execute(sa.delete(backoffs).where(*(backoffs.c[field] == at for field, at in places[name].items())))


def drop(conn: sa.Connection, run_id: int) -> None:
    """Nobody waits in a run any more: its calls begin with their first attempt."""
    conn.execute(sa.delete(backoffs).where(backoffs.c.run_id == run_id))


_FIELDS = [backoffs.c[field] for field in Backoff._fields]
