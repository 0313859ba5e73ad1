"""What SQLAlchemy says differently to SQLite and to PostgreSQL, and what neither of them takes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from durable_nb.store import tables

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql


def create(conn: sa.Connection) -> None:
    """Make all tables, where there are none."""
    for index in tables.checkpoints.indexes if conn.dialect.name == "postgresql" else ():
        if "sqlite_where" in (given := index.dialect_kwargs):  # this name alone would load that dialect
            given["postgresql_where"] = given["sqlite_where"]
    tables.metadata.create_all(conn, checkfirst=False)


def insert(dialect: sa.Dialect, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that may say ON CONFLICT."""
    if dialect.name != "postgresql":
        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql  # a tenth of what opening takes: not for SQLite

    return postgresql.insert(table)


@contextmanager
def at_one_moment(conn: sa.Connection) -> Iterator[None]:
    """A block in which a connection outside of any transaction reads everything as it was when it read first."""
    is_postgres = conn.dialect.name == "postgresql"
    conn.exec_driver_sql("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" if is_postgres else "BEGIN")
    try:
        yield
    finally:
        if not conn.invalidated and (raw := conn.connection.driver_connection) is not None:
            raw.rollback()


def plain(text: str) -> str:
    """Without what databases refuse in a text: lone surrogates (file names) and NUL."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def roll_back(raw: sqlite3.Connection, *_: object) -> None:
    """Before SQLAlchemy drops a connection whose statement ■ has interrupted: SQLite keeps one open, and the database locked, for
    as long as a traceback holds the cursor.
    """
    with suppress(sqlite3.Error):
        raw.rollback()
