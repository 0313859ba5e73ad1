"""What somebody may have planted in the schema of a database: code that SQLite would run for them."""

from __future__ import annotations

import sqlalchemy as sa

from durable_nb.errors import StoreUnavailable
from durable_nb.store import tables


def refuse_planted(conn: sa.Connection, where: str) -> None:
    """Raise StoreUnavailable for triggers on our tables, and for views and virtual tables in their place.

    Other tables and views are the business of whoever made them.
    """
    if conn.dialect.name != "sqlite":  # what a server runs, it runs there
        return
    ours = set(tables.metadata.tables)
    planted = conn.exec_driver_sql("SELECT type, name, tbl_name, sql FROM sqlite_master WHERE type != 'index'").all()
    for kind, name, table, sql in planted:
        if str(table).lower() not in ours:
            continue
        if kind != "table" or not str(sql).upper().startswith("CREATE TABLE"):
            what = kind if kind != "table" else "virtual table"
            raise StoreUnavailable(
                where,
                f"holds a {what} that durable_nb did not make ({name!r:.60}) and that would run with what it does.",
                "Nothing was read. Drop it with a tool of your own if you know what it is.",
            )
