"""Bring a database to the layout of this version: ordered functions, a transaction each, never backwards.

A kernel that is killed in between leaves a version that the next one goes on from; of two that meet, one waits for the
other before each step, and looks again.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

import sqlalchemy as sa

from durable_nb import clock
from durable_nb.errors import StoreTooNew, StoreUnavailable
from durable_nb.store import dialects, tables
from durable_nb.store.planted import refuse_planted
from durable_nb.store.troubles import WITHOUT_RIGHTS

PG_SCHEMA = "durable_nb"
_FOR_EVERY_TEXT = (None, "UTF8", "SQL_ASCII")  # of SQLite; the last one takes any bytes
_PG_LOCK = 0x646E6201  # two kernels that meet an empty server create the tables one after the other


def _second(conn: sa.Connection) -> None:
    """Live figures, controls, mosaics, documents by their position, and the tallies of worker processes."""
    lite = conn.dialect.name == "sqlite"
    key = "INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT" if lite else "BIGSERIAL PRIMARY KEY"
    whole, real, blob = ("INTEGER", "DOUBLE", "BLOB") if lite else ("BIGINT", "DOUBLE PRECISION", "BYTEA")
    for statement in (
        "ALTER TABLE runs ADD COLUMN figures TEXT DEFAULT '' NOT NULL",
        "ALTER TABLE runs ADD COLUMN cell TEXT DEFAULT '' NOT NULL",
        f"ALTER TABLE runs ADD COLUMN began {real} DEFAULT '0' NOT NULL",
        "CREATE INDEX checkpoints_position ON checkpoints (run_id, position) WHERE state = 'done' AND codec != 'link'",
        "CREATE INDEX checkpoints_gave_up ON checkpoints (run_id, position) WHERE state = 'failed'",
        (
            f"CREATE TABLE controls (id {key}, run_id {whole} NOT NULL, at {real} DEFAULT '0' NOT NULL, "
            "action TEXT DEFAULT '' NOT NULL, value TEXT DEFAULT '' NOT NULL)"
        ),
        "CREATE INDEX ix_controls_run_id ON controls (run_id)",
        f"CREATE TABLE mosaics (run_id {whole} NOT NULL PRIMARY KEY, version {whole} DEFAULT '0' NOT NULL, states {blob} NOT NULL)",
        (
            f"CREATE TABLE tallies (run_id {whole} NOT NULL, step_id {whole} NOT NULL, digest {blob} NOT NULL, "
            f"made {whole} DEFAULT '0' NOT NULL, given_back TEXT DEFAULT '' NOT NULL, PRIMARY KEY (run_id, step_id, digest))"
        ),
    ):
        conn.exec_driver_sql(statement)


def _third(conn: sa.Connection) -> None:
    """Calls that were running when kernels died."""
    whole, blob = ("INTEGER", "BLOB") if conn.dialect.name == "sqlite" else ("BIGINT", "BYTEA")
    conn.exec_driver_sql(
        f"CREATE TABLE suspects (run_id {whole} NOT NULL, step_id {whole} NOT NULL, key {blob} NOT NULL, "
        f"deaths {whole} DEFAULT '0' NOT NULL, PRIMARY KEY (run_id, step_id, key))"
    )


def _fourth(conn: sa.Connection) -> None:
    """What results cost; kernels that share a run, and the calls they claimed."""
    lite = conn.dialect.name == "sqlite"
    whole, real, blob = ("INTEGER", "DOUBLE", "BLOB") if lite else ("BIGINT", "DOUBLE PRECISION", "BYTEA")
    conn.exec_driver_sql(
        f"CREATE TABLE costs (run_id {whole} NOT NULL, step_id {whole} NOT NULL, key {blob} NOT NULL, "
        f"cost {real} NOT NULL, PRIMARY KEY (run_id, step_id, key))"
    )
    texts = {
        name: f"{name} TEXT DEFAULT '' NOT NULL" for name in ("host", "machine", "born", "kernel", "token", "state")
    }
    conn.exec_driver_sql(
        f"CREATE TABLE members (run_id {whole} NOT NULL, token TEXT NOT NULL, {texts['host']}, {texts['machine']}, "
        f"pid {whole} DEFAULT '0' NOT NULL, {texts['born']}, {texts['kernel']}, heartbeat {real} DEFAULT '0' NOT NULL, "
        "PRIMARY KEY (run_id, token))"
    )
    conn.exec_driver_sql(
        f"CREATE TABLE claims (run_id {whole} NOT NULL, step_id {whole} NOT NULL, key {blob} NOT NULL, {texts['token']}, "
        f"{texts['state']}, PRIMARY KEY (run_id, step_id, key))"
    )


def _fifth(conn: sa.Connection) -> None:
    """Calls that wait for their next attempt; runs that were forked from others; what calls printed; capsules."""
    lite = conn.dialect.name == "sqlite"
    whole, real, blob = ("INTEGER", "DOUBLE", "BLOB") if lite else ("BIGINT", "DOUBLE PRECISION", "BYTEA")
    key = f"run_id {whole} NOT NULL, step_id {whole} NOT NULL, key {blob} NOT NULL"
    for statement in (
        (
            f"CREATE TABLE backoffs ({key}, attempts {whole} DEFAULT '0' NOT NULL, since {real} DEFAULT '0' NOT NULL, "
            f"delay_s {real} DEFAULT '0' NOT NULL, PRIMARY KEY (run_id, step_id, key))"
        ),
        f"CREATE TABLE forks (run_id {whole} NOT NULL PRIMARY KEY, origin_id {whole} NOT NULL)",
        "CREATE INDEX ix_forks_origin_id ON forks (origin_id)",
        (
            f"CREATE TABLE capsules (run_id {whole} NOT NULL, at {real} DEFAULT '0' NOT NULL, signatures TEXT DEFAULT '' NOT NULL, "
            f"manifest TEXT DEFAULT '' NOT NULL, payload {blob} NOT NULL, PRIMARY KEY (run_id))"
        ),
        (
            f"CREATE TABLE outputs ({key}, lines {whole} DEFAULT '0' NOT NULL, shown {whole} DEFAULT '0' NOT NULL, "
            f"logged {whole} DEFAULT '0' NOT NULL, signature TEXT DEFAULT '' NOT NULL, said TEXT DEFAULT '' NOT NULL, "
            "PRIMARY KEY (run_id, step_id, key))"
        ),
    ):
        conn.exec_driver_sql(statement)


STEPS: dict[int, Callable[[sa.Connection], None]] = {1: _second, 2: _third, 3: _fourth, 4: _fifth}
"""``STEPS[n]`` brings version n to n + 1; a published one is never edited. A new database is made as it is today."""


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


def refuse_unless_current(conn: sa.Connection, where: str) -> None:
    """Raise StoreTooNew or StoreUnavailable for a database that may only be looked at and has another layout."""
    version = _version(conn, where)
    if version == 0:
        raise StoreUnavailable(where, "is empty.", "Run a durable cell: it makes the tables.")
    if version < tables.SCHEMA:
        raise StoreUnavailable(
            where,
            f"was written by an older durable_nb (schema {version}; this one reads {tables.SCHEMA}).",
            "Run one of its durable cells: the kernel brings it up to date, and nothing is lost.",
        )


def advance(conn: sa.Connection, where: str, *, journal: str) -> int:
    """Create the tables, or bring them one version further; the version it found, 0 if there were none."""
    if conn.dialect.name == "postgresql":
        conn.execute(sa.select(sa.func.pg_advisory_xact_lock(_PG_LOCK)))
        if not sa.inspect(conn).has_schema(PG_SCHEMA):  # IF NOT EXISTS would need the right to create even when it does
            conn.execute(sa.schema.CreateSchema(PG_SCHEMA))
    version = _version(conn, where)
    if version == 0:
        _refuse_encoding(conn, where)
        dialects.create(conn)
        facts = {
            "schema": str(tables.SCHEMA),
            "trust": secrets.token_hex(16),
            "created": repr(clock.now()),
            "journal": journal,
        }
        conn.execute(sa.insert(tables.meta), [{"key": key, "value": value} for key, value in facts.items()])
    elif version < tables.SCHEMA:
        STEPS[version](conn)
        conn.execute(sa.update(tables.meta).where(tables.meta.c.key == "schema").values(value=str(version + 1)))
    return version


def _refuse_encoding(conn: sa.Connection, where: str) -> None:
    """Of a new database: who has results in one goes on as long as its texts fit."""
    encoding = conn.scalar(sa.text("SHOW server_encoding")) if conn.dialect.name == "postgresql" else None
    if encoding not in _FOR_EVERY_TEXT:
        problem = f"cannot hold every text: its encoding is {encoding}."
        raise StoreUnavailable(where, problem, "Create the database with ENCODING 'UTF8'.")


def _refuse_without_rights(conn: sa.Connection, where: str) -> None:
    """A schema that somebody may not use is on nobody's search path: the tables in it are not seen, and look missing."""
    query = "SELECT NOT has_schema_privilege(oid, 'USAGE') FROM pg_namespace WHERE nspname = %s"
    if conn.dialect.name == "postgresql" and conn.exec_driver_sql(query, (PG_SCHEMA,)).scalar():
        raise StoreUnavailable(where, *WITHOUT_RIGHTS)


def fact(conn: sa.Connection, key: str) -> str | None:
    """One value of ``meta``."""
    return conn.scalar(sa.select(tables.meta.c.value).where(tables.meta.c.key == key))


def _version(conn: sa.Connection, where: str) -> int:
    refuse_planted(conn, where)
    names = sa.inspect(conn).get_table_names()
    if not names:
        _refuse_without_rights(conn, where)
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
