"""Connections to a PostgreSQL server: patient sockets, and what each session is told first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakSet

import sqlalchemy as sa
from sqlalchemy import event

from durable_nb import clock
from durable_nb.errors import ConfigError
from durable_nb.store import migrations

# Without them a server that vanishes without a word (a cable, a firewall) is waited for until the kernel's own two hours.
_PATIENT_SOCKET = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}

TEXTS = {"client_encoding": "utf8"}
"""Where the server takes any bytes for text, its encoding SQL_ASCII, it would give bytes."""


_STANDS_BACK_S = 10.0  # twice the longest pause of who tries again


class Shortage:
    """Of connections: what a server with few of them has goes to the writer and to who reads before users' transactions.

    Attributes
    ----------
    relieve : callable
        Closes connections of ours that nobody uses.
    """

    def __init__(self) -> None:
        self.relieve: Callable[[], object] = bool
        self._until = 0.0
        self._engine: sa.Engine | None = None
        self._refusals = WeakSet[BaseException]()

    @property
    def is_felt(self) -> bool:
        """Whether one was refused lately, and none taken since."""
        return clock.monotonic() < self._until

    def is_why(self, problem: BaseException) -> bool:
        """Whether this came from the attempt to connect: it says nothing of the connections that there are."""
        return getattr(problem, "orig", None) in self._refusals

    def watch(self, engine: sa.Engine) -> None:
        """Feel it wherever this engine needs a connection."""
        self._engine = engine

        @event.listens_for(engine, "do_connect")
        def _connect(dialect: Any, _record: object, args: Any, options: Any) -> Any:
            try:
                return dialect.connect(*args, **options)
            except dialect.dbapi.Error as refusal:
                self._refusals.add(refusal)
                self._until = clock.monotonic() + _STANDS_BACK_S
                self.relieve()
                raise

        @event.listens_for(engine, "checkout")
        def _taken(*_: object) -> None:
            self._until = 0.0

    def make_room(self) -> bool:
        """For a transaction, where none has a connection: close those of the engine that nobody uses; if there were any."""
        idle = 0 if self._engine is None else self._engine.pool.checkedin()  # type: ignore[attr-defined]
        if self._engine is not None:
            close_unused(self._engine)
        return bool(idle)


def close_unused(engine: sa.Engine) -> None:
    """Close the connections in its pool. ``dispose`` would leave those in use to a pool that nobody closes."""
    engine.pool.dispose()


def without_limit(raw: Any, name: str) -> tuple[str, ...]:
    """The limits to lift: this one, and from PostgreSQL 17 on that of whole transactions."""
    return (name, "transaction_timeout") if raw.info.server_version >= 170000 else (name,)


def limits_at_the_end(busy_s: float) -> str:
    """What is set when a user's transaction has only a checkpoint to write and to be committed: the limits of ours."""
    return f"SET LOCAL statement_timeout TO 0; SET LOCAL idle_in_transaction_session_timeout TO {_idle_ms(busy_s)}"


def _idle_ms(busy_s: float) -> int:
    """From a process frozen in a transaction the server takes the locks before who waits for them gives up."""
    return int(busy_s * 500)


def engines(address: sa.URL, *, durability: str, busy_s: float, shortage: Shortage) -> tuple[sa.Engine, sa.Engine]:
    """One that opens a transaction, and one over the same connections that opens none.

    Raises
    ------
    ConfigError
        There is no driver.
    """
    query = dict(address.query) | TEXTS
    for name, value in _PATIENT_SOCKET.items():
        query.setdefault(name, value)
    try:
        engine = sa.create_engine(
            address.set(query=query),
            paramstyle="format",  # as in SQLite: a Checkpoint goes to the driver as it is
            pool_pre_ping=True,
            isolation_level="READ COMMITTED",  # whatever the server's: who waited for a lock sees what was committed meanwhile
        )
    except (ImportError, sa.exc.NoSuchModuleError) as problem:
        raise ConfigError("PostgreSQL needs a driver.", "Run: pip install 'durable-nb[postgres]'") from problem
    settings = {
        "search_path": migrations.PG_SCHEMA,
        # Never "off": a server that is killed (out of memory, `kill -9`) would lose up to 0.6 s of commits it acknowledged.
        "synchronous_commit": "on" if durability == "full" else "local",
        "lock_timeout": int(busy_s * 1000),
        "idle_in_transaction_session_timeout": _idle_ms(busy_s),
        # Where it is off psycopg doubles the backslashes of bytes, for a literal, also of those that it sends in an array.
        "standard_conforming_strings": "on",
        "extra_float_digits": 3,  # below 0 a heartbeat is read to the nearest day
    }

    @event.listens_for(engine, "connect")
    def _settings(raw: Any, _record: object) -> None:
        raw.autocommit = True  # a SET inside a transaction would be rolled back with it
        # A server's limit is for what people ask by hand: a large result that takes longer would never be saved.
        ours = settings | dict.fromkeys(without_limit(raw, "statement_timeout"), 0)
        raw.execute("; ".join(f"SET {name} TO {value}" for name, value in ours.items()))
        raw.autocommit = False

    shortage.watch(engine)
    return engine, engine.execution_options(isolation_level="AUTOCOMMIT")
