"""Transactions of the user's own, in which a step writes beside its checkpoint: both are committed, or neither is.

Each has a connection of its own, because it lasts as long as the user's function. SQLite has one writer at a time: the turn
of this process is taken by the first statement, not before, and held until the end.
"""

from __future__ import annotations

import sqlite3
import threading
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import sqlalchemy as sa
from sqlalchemy import event

from durable_nb import clock
from durable_nb.errors import ConfigError, StoreUnavailable, Unsaveable
from durable_nb.store.dialects import plain, roll_back
from durable_nb.store.migrations import PG_SCHEMA
from durable_nb.store.postgres import TEXTS, close_unused, limits_at_the_end, without_limit
from durable_nb.store.rows import TooLarge, settle
from durable_nb.store.troubles import AGAIN, NONE_TO_SPARE, may_pass

if TYPE_CHECKING:
    from collections.abc import Iterator

    from durable_nb.records import Checkpoint
    from durable_nb.store.connect import Database
    from durable_nb.store.trust import Seal

_CLOSES_S = 0.05  # until a server that was told has one connection more


class Transaction:
    """One of them.

    Attributes
    ----------
    connection : sqlalchemy.Connection
        For the user's statements; it begins with the first one, and only ``settle`` lets it be committed.
    checkpoint : Checkpoint, the one that was to be settled
    is_settled : bool
        The checkpoint is written, and what was written beside it is committed at the end.
    """

    def __init__(self, connection: sa.Connection, seal: Seal, limits: str) -> None:
        self.connection, self.is_settled, self._seal, self._limits = connection, False, seal, limits
        self.checkpoint: Checkpoint

    def settle(self, checkpoint: Checkpoint) -> None:
        """Write the checkpoint, unless this call has a result: then what was written here is rolled back.

        Raises
        ------
        Unsaveable
            The database does not take that much.
        """
        self.checkpoint = checkpoint
        if self.connection.dialect.name == "postgresql":
            # The connection has the user's search path, not ours. The limits of statements that follow are ours again.
            self.connection.execution_options(schema_translate_map={None: PG_SCHEMA})
            self.connection.exec_driver_sql(self._limits)
        try:
            self.is_settled = settle(self.connection, checkpoint._replace(label=plain(checkpoint.label)), self._seal)
        except TooLarge as problem:
            raise Unsaveable("result", str(problem)) from problem


class Transactions:
    """Opens them for one database; safe from any thread.

    Attributes
    ----------
    keep : callable
        See `Patience`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._engine: sa.Engine | None = None
        self._lock = threading.Lock()
        self._inherited: list[sa.Engine | None] = []
        self._troubles = WeakSet[BaseException]()  # errors of our connections, not of others that a function has
        self._turns: set[_Turn] = set()  # those that have a connection
        self.keep = database.patience.keep
        database.shortage.relieve = self.spare

    @contextmanager
    def open(self) -> Iterator[Transaction]:
        """A transaction, committed at the end if it was settled, rolled back otherwise and by an exception.

        Raises
        ------
        StoreUnavailable
            The server is away, or another session was in the way. What was settled may have been committed all the same.
        """
        turn, conn = _Turn(self._database), self._connected()
        try:
            self._turns.add(turn)
            conn.info["turn"] = turn
            transaction = Transaction(conn, self._database.seal, limits_at_the_end(self._database._busy_s))
            yield transaction
            if turn.refusal is not None:  # the function caught it, and would be kept without what it had written
                raise turn.refusal
            if transaction.is_settled:
                turn.may_commit = True
                with self._database._plain_errors():
                    conn.commit()
        except sa.exc.DBAPIError as problem:
            if problem not in self._troubles or not may_pass(problem):
                raise  # of what the function asked for, or of another database
            conn.invalidate()
            close_unused(conn.engine)  # as the database itself does
            raise self._database.explain(problem) from problem
        finally:
            try:
                conn.close()  # rolls back what is not committed
            finally:  # also if ■ comes meanwhile
                self._turns.discard(turn)
                turn.end()

    def spare(self) -> None:
        """Close the connections to a server that nobody uses: it may have few, and the writer needs one."""
        engine = self._engine
        if engine is not None and not self._database.is_sqlite:
            close_unused(engine)

    def dispose(self) -> None:
        """Close the connections that are not in use; they must be closed before the writer's is."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.dispose()

    def abandon(self) -> None:
        """After a fork they are the parent's."""
        self._inherited.append(self._engine)
        self._engine, self._lock, self._turns = None, threading.Lock(), set()

    def _connected(self) -> sa.Connection:
        database = self._database
        if database.shortage.is_felt:  # they would take the next one, one after the other, and the lease would end
            raise StoreUnavailable(database.where, NONE_TO_SPARE, AGAIN, may_pass=True)
        try:
            with database.doors.passing():
                return self._opened().connect()
        except sa.exc.DBAPIError as problem:
            if not self._turns and database.shortage.make_room():
                clock.sleep(_CLOSES_S)
                return self._connected()  # at once: after the pause of who waits, the writer has it again
            plain = database.explain(problem)
            if plain is problem:
                raise
            raise plain from problem

    def _opened(self) -> sa.Engine:
        with self._lock:
            if self._engine is None:
                self._engine = _sqlite(self._database) if self._database.is_sqlite else _postgres(self._database)
                event.listen(self._engine, "begin", _begin)
                event.listen(self._engine, "commit", _refuse_to_commit)
                event.listen(self._engine, "handle_error", self._note)
            return self._engine

    def _note(self, context: sa.ExceptionContext) -> None:
        if context.sqlalchemy_exception is not None:
            self._troubles.add(context.sqlalchemy_exception)


class _Turn:
    """To write, of one transaction."""

    def __init__(self, database: Database) -> None:
        self._database, self._thread = database, threading.get_ident()
        self._is_taken = self.may_commit = False
        self._inside = ExitStack()
        self.refusal: ConfigError | None = None

    def take(self, conn: sa.Connection) -> None:
        if threading.get_ident() != self._thread:
            raise ConfigError("the connection of a step is used in another thread.", "Use it where the step runs.")
        if self._database.is_sqlite:
            if not self._is_taken:  # it is after a rollback of the user's
                self._is_taken = True  # first: ■ may come as soon as it is ours
                while not self._database._lock.acquire(timeout=clock.HEAR_S):
                    pass
                self._inside.enter_context(self._database.doors.passing())
            conn.exec_driver_sql("BEGIN IMMEDIATE")

    def end(self) -> None:
        if self._is_taken:
            self._is_taken = False
            self._inside.close()
            with suppress(RuntimeError):  # ■ came before it was ours
                self._database._lock.release()


def _begin(conn: sa.Connection) -> None:
    conn.info["turn"].take(conn)


def _refuse_to_commit(conn: sa.Connection) -> None:
    turn = conn.info["turn"]
    if turn.may_commit:
        return
    raw = conn.connection.driver_connection
    assert raw is not None
    raw.rollback()  # SQLAlchemy takes a commit that raises for one that is over
    turn.refusal = ConfigError(
        "a step with transaction=True does not commit: what it writes is committed with its result.",
        "Leave out commit(); begin_nested() gives a part that can be rolled back.",
    )
    raise turn.refusal


def _sqlite(database: Database) -> sa.Engine:
    def connect() -> sqlite3.Connection:
        raw = database.connect(database.where, timeout=database._busy_s)
        raw.execute(f"PRAGMA synchronous={'FULL' if database._durability == 'full' else 'NORMAL'}")
        # Only the writer's connection copies the log into the file: before 3.51.3 two that do can corrupt it.
        raw.execute("PRAGMA wal_autocheckpoint=0")
        return raw

    # As many as there are calls at a time: a pool with an end would be one more thing to wait for.
    engine = sa.create_engine("sqlite://", creator=connect, poolclass=sa.pool.QueuePool, max_overflow=-1)
    event.listen(engine, "invalidate", roll_back)
    return engine


def _postgres(database: Database) -> sa.Engine:
    address = database.address.set(query=TEXTS | dict(database.address.query))
    engine = sa.create_engine(address, pool_pre_ping=True, max_overflow=-1)
    commit = "on" if database._durability == "full" else "local"  # never "off", as in `postgres`

    @event.listens_for(engine, "connect")
    def _settings(raw: Any, _record: object) -> None:
        raw.autocommit = True
        # Not standard_conforming_strings: how the user's literals are meant stays as it is, and `settle` sends no arrays.
        raw.execute(f"SET synchronous_commit TO {commit}")
        raw.execute(f"SET lock_timeout TO {int(database._busy_s * 1000)}")
        # A function may compute for long between two statements: ended by the server, it would be called again, for ever.
        for name in without_limit(raw, "idle_in_transaction_session_timeout"):
            raw.execute(f"SET {name} TO 0")
        raw.autocommit = False

    return engine
