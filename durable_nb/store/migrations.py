"""Bring a database to the layout of this version: ordered functions, one transaction, never backwards."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import sqlalchemy as sa

from durable_nb import clock
from durable_nb.errors import StoreTooNew, StoreUnavailable
from durable_nb.store import tables

PG_SCHEMA = "durable_nb"
_PG_LOCK = 0x646E6201  # two kernels that meet an empty server create the tables one after the other


def _first(conn: sa.Connection) -> None:
    tables.metadata.create_all(conn, checkfirst=False)


STEPS: tuple[Callable[[sa.Connection], None], ...] = (_first,)
"""``STEPS[n]`` brings version n to n + 1; a published one is never edited."""


def is_current(conn: sa.Connection, where: str) -> bool:
    """True when there is nothing to do; asked without a write lock, so that opening never waits for a busy writer.

    Raises
    ------
    StoreTooNew
        A newer durable_nb wrote the database.
    StoreUnavailable
        The database belongs to another program.
    """
    return _version(conn, where) == tables.SCHEMA


def bring_up(conn: sa.Connection, where: str, *, journal: str) -> bool:
    """Create or upgrade the tables; True when this call created the database."""
    if conn.dialect.name == "postgresql":
        conn.execute(sa.select(sa.func.pg_advisory_xact_lock(_PG_LOCK)))
        if not sa.inspect(conn).has_schema(PG_SCHEMA):  # IF NOT EXISTS would need the right to create even when it does
            conn.execute(sa.schema.CreateSchema(PG_SCHEMA))
    version = _version(conn, where)
    for step in STEPS[version:]:
        step(conn)
    if version == tables.SCHEMA:
        return False
    if version:
        conn.execute(sa.update(tables.meta).where(tables.meta.c.key == "schema").values(value=str(tables.SCHEMA)))
        return False
    facts = {
        "schema": str(tables.SCHEMA),
        "trust": secrets.token_hex(16),
        "created": repr(clock.now()),
        "journal": journal,
    }
    conn.execute(sa.insert(tables.meta), [{"key": key, "value": value} for key, value in facts.items()])
    return True


def fact(conn: sa.Connection, key: str) -> str | None:
    """One value of ``meta``."""
    return conn.scalar(sa.select(tables.meta.c.value).where(tables.meta.c.key == key))


def _version(conn: sa.Connection, where: str) -> int:
    names = sa.inspect(conn).get_table_names()
    if not names:
        return 0
    columns = {column["name"] for column in sa.inspect(conn).get_columns("meta")} if "meta" in names else set()
    found = fact(conn, "schema") if columns == {"key", "value"} else None
    if found is None or not found.isdigit():
        raise StoreUnavailable(
            where,
            "is the database of another program; nothing was changed in it.",
            "Choose another file with configure(url=…) or DURABLE_NB_URL.",
        )
    if int(found) > tables.SCHEMA:
        raise StoreTooNew(where, int(found), tables.SCHEMA)
    return int(found)
