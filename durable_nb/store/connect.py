"""Open a database: address, pragmas, transactions, file-system check, and errors in plain words."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.pool import QueuePool

from durable_nb import clock
from durable_nb.errors import ConfigError, StoreUnavailable
from durable_nb.store import migrations, postgres
from durable_nb.store.addresses import address_of
from durable_nb.store.dialects import roll_back
from durable_nb.store.doors import Doors
from durable_nb.store.files import Files
from durable_nb.store.misfits import Misfit
from durable_nb.store.patience import Patience
from durable_nb.store.troubles import explain
from durable_nb.store.trust import Seal

P = ParamSpec("P")
T = TypeVar("T")

_write_locks: dict[str, threading.RLock] = {}
_inherited: list[object] = []
_SLICE_S = 1.0


class Database:
    """Connections to one database: a single writing one behind a lock, and read-only ones.

    Attributes
    ----------
    where : str
        Path, or URL without password, for messages.
    created : bool
        True when this object made the database.
    patience : Patience
        How long runs wait for it.
    seal : Seal, of nobody until whoever opened it says whose
    openings : int
        Grows when whoever holds a connection for long has to take a new one.
    doors : Doors, through which all go who use a connection
    shortage : Shortage of connections, of a server
    """

    def __init__(
        self, url: str, *, durability: str, busy_s: float, journal: str | None = None, existing: bool = False
    ) -> None:
        if durability not in ("normal", "full"):
            raise ConfigError(
                f"durability={durability!r} is not known.", 'It is "normal" or "full" (survives power loss).'
            )
        self.address = address_of(url)
        self.is_sqlite = self.address.drivername == "sqlite"
        self._durability, self._busy_s = durability, busy_s
        self._files = Files(str(self.address.database), busy_s=busy_s, journal=journal) if self.is_sqlite else None
        self.where = (
            self._files.path if self._files else self.address.set(query={}).render_as_string(hide_password=True)
        )
        self.patience, self.seal, self.openings, self.doors = Patience(), Seal.of_nobody(), 0, Doors(self.is_sqlite)
        self.shortage, self._lock = postgres.Shortage(), _write_locks.setdefault(self.where, threading.RLock())
        self._engines: tuple[sa.Engine, sa.Engine] | None = None
        if self._files is not None:
            self._files.find() if existing else self._files.prepare()
        self.created = False
        try:
            self._refuse_unless_current() if existing else self._bring_up()
        except BaseException:
            self.dispose()
            raise

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A write transaction: committed at the end, rolled back by an exception; one at a time in this process."""
        with self._lock, self.doors.passing(), self._plain_errors():
            with self._open()[0].begin() as conn:
                yield conn
            if self._files is not None:
                self._keep_to_the_files(self._files)

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A read-only connection outside any transaction, so that it holds up no writer."""
        with self.doors.passing(), self._plain_errors(), self._open()[1].connect() as conn:
            yield conn

    @contextmanager
    def holding(self) -> Iterator[sa.Connection]:
        """The same for long: whoever uses it passes the doors each time."""
        with self._plain_errors():
            with self.doors.passing():
                conn = self._open()[1].connect()
            try:
                yield conn
            finally:
                with self.doors.passing():
                    conn.close()

    def ask(self, question: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **options: P.kwargs) -> T:
        """What ``question`` answers on a reading connection; asked again while the database is away and a run waits."""

        def attempt() -> T:
            with self.reading() as conn:
                return question(conn, *args, **options)

        return self.patience.keep(attempt, "read")

    def change(self, change: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **options: P.kwargs) -> T:
        """The same in a write transaction. A cut connection may hide that it was committed: ``change`` must bear that."""

        def attempt() -> T:
            with self.writing() as conn:
                return change(conn, *args, **options)

        return self.patience.keep(attempt, "change")

    def vacuum(self) -> None:
        """Give the space of what was dropped back to the disk; needs as much again while it works."""
        if not self.is_sqlite:
            return  # PostgreSQL does so by itself
        with self._lock, self.doors.passing(), self._plain_errors(), self._open()[0].connect() as conn:
            raw: Any = conn.connection.driver_connection
            raw.execute("VACUUM")  # beside SQLAlchemy: not inside a transaction
            raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # until then all of it lies in the WAL

    def dispose(self) -> None:
        """Close all connections; using the object again opens new ones."""
        engines, self._engines = self._engines, None
        for engine in reversed(engines or ()):
            engine.dispose()  # the writing one last: SQLite empties its WAL then, and a read-only connection cannot

    def abandon(self) -> None:
        """After a fork the connections are the parent's."""
        self.doors.begin_in_child()
        _inherited.append(self._engines)  # collecting them would end what the parent has under way
        self._engines, self.doors = None, Doors(self.is_sqlite)
        self._lock = _write_locks[self.where] = threading.RLock()
        self.patience.start_anew()

    @property
    def is_gone(self) -> bool:
        """Whether the file at this path is not the one that was opened."""
        return self._files is not None and self._files.is_gone

    def connect(self, path: str, **options: Any) -> sqlite3.Connection:
        """A new connection to the file that was opened first; StoreUnavailable if another one lies at its path by now."""
        raw = self.doors.connect(path, **options)
        try:
            self._refuse_if_gone()
        except StoreUnavailable:
            raw.close()
            raise
        return raw

    def explain(self, problem: BaseException) -> BaseException:
        """The same problem as one of our errors where it is the database's, else itself."""
        return explain(problem, self.where, self._busy_s, self.address.password)

    @contextmanager
    def _plain_errors(self) -> Iterator[None]:
        try:
            yield
        except (Misfit, sa.exc.DatabaseError, sa.exc.InterfaceError, sa.exc.TimeoutError) as problem:
            plain = self.explain(problem)
            if plain is problem:
                raise
            if not self.is_sqlite and self._engines is not None and not self.shortage.is_why(problem):
                # After a failover the address leads elsewhere, and old sessions to a standby.
                postgres.close_unused(self._engines[0])
            raise plain from problem

    def _open(self) -> tuple[sa.Engine, sa.Engine]:
        if self._engines is None:
            with self._lock:
                if self._engines is None:
                    self._engines = self._sqlite(self._files) if self._files else self._postgres()
        return self._engines

    def _refuse_if_gone(self) -> None:
        if self.is_gone:
            raise StoreUnavailable(
                self.where,
                "was deleted or replaced while it was open; what is not saved yet is kept in memory.",
                "Put the file back, or run the cell again: it makes a new one.",
            )

    def _keep_to_the_files(self, files: Files) -> None:
        """After a commit: it counts only if the file that others open has it."""
        self._refuse_if_gone()
        if files.is_cut_off and self._engines is not None:
            # We still hold the removed log: what is in it goes into the file, then all of us open new ones. Every
            # connection has to, since those of one process share the removed -shm, and with it the locks.
            writer, reader = self._engines
            with writer.connect() as conn:
                assert conn.connection.driver_connection is not None
                conn.connection.driver_connection.execute("PRAGMA wal_checkpoint(FULL)")
            self.openings += 1
            due = clock.monotonic() + 1.0
            while reader.pool.checkedout() and clock.monotonic() < due:  # type: ignore[attr-defined]
                clock.sleep(0.005)
            self.dispose()

    def _bring_up(self) -> None:
        """Check or create the tables; waits out the moment in which another kernel is doing the same."""
        with self.doors.passing(), self._plain_errors(), self._open()[0].connect() as conn:
            current = migrations.is_current(conn, self.where)
        journal = self._files.journal if self._files else ""
        while not current:
            with self.writing() as conn:
                found = migrations.advance(conn, self.where, journal=journal)
                current = migrations.is_current(conn, self.where)
            self.created = found == 0

    def _refuse_unless_current(self) -> None:
        with self.reading() as conn:
            migrations.refuse_unless_current(conn, self.where)

    def _sqlite(self, files: Files) -> tuple[sa.Engine, sa.Engine]:
        def write() -> sqlite3.Connection:
            # Own BEGIN (isolation_level=None): the driver's is deferred, and a deferred transaction that reads first
            # cannot wait for the lock. One statement of up to 500 rows is large, so few are cached.
            wait_s = min(self._busy_s, _SLICE_S) if files.journal == "WAL" else self._busy_s
            raw = self.connect(files.path, timeout=wait_s, cached_statements=32)
            try:
                self._set_pragmas(raw, files)
            except BaseException:
                raw.close()
                raise
            return raw

        def read() -> sqlite3.Connection:
            path = f"file:{quote(os.fsencode(files.path))}?mode=ro"
            raw = self.connect(path, uri=True, timeout=self._busy_s)
            raw.execute("PRAGMA query_only=ON")
            raw.execute("PRAGMA trusted_schema=OFF")  # whoever wrote the file may have put functions into it
            # Before 3.51.3 two checkpointing connections can corrupt the WAL.
            raw.execute("PRAGMA wal_autocheckpoint=0")
            raw.execute("PRAGMA cache_size=-16384")
            return raw

        files.note()
        # One at a time by the lock, not by the pool: ■ in the pool's own code loses a connection, and it would wait for that.
        writer = sa.create_engine("sqlite://", creator=write, poolclass=QueuePool, pool_size=1, max_overflow=-1)
        event.listen(writer, "begin", self._begin)
        event.listen(writer, "invalidate", roll_back)
        reader = sa.create_engine("sqlite://", creator=read, poolclass=QueuePool)
        return writer, reader

    def _begin(self, conn: sa.Connection) -> None:
        """BEGIN IMMEDIATE, waiting a second at a time for another process: SQLite's own wait can be seen and ended by nobody."""
        raw: Any = conn.connection.driver_connection
        try:
            for _ in range(int(self._busy_s / _SLICE_S)):
                if self.patience.is_hurried:
                    break
                try:
                    raw.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError as problem:
                    if "locked" not in str(problem):
                        break
                    self.patience.hold_up("another process has it locked")
                else:
                    return
            conn.exec_driver_sql("BEGIN IMMEDIATE")
        finally:
            self.patience.go_on()

    def _set_pragmas(self, raw: sqlite3.Connection, files: Files) -> None:
        raw.execute("PRAGMA trusted_schema=OFF")
        raw.execute("PRAGMA page_size=8192")  # before the first table; without effect afterwards
        due = clock.monotonic() + self._busy_s
        while True:
            try:
                mode = raw.execute(f"PRAGMA journal_mode={files.journal}").fetchone()[0]
                break
            except sqlite3.OperationalError as problem:
                # Switching the mode does not honour the busy timeout when two kernels open a new file at once.
                if "locked" not in str(problem) or clock.monotonic() > due:
                    raise
                clock.sleep(0.01)
        if mode == "delete" and files.journal == "WAL":
            files.journal = "DELETE"  # SQLite itself found shared memory impossible here
        raw.execute(f"PRAGMA synchronous={'FULL' if self._durability == 'full' else 'NORMAL'}")
        raw.execute(f"PRAGMA journal_size_limit={64 << 20}")
        raw.execute("PRAGMA cache_size=-65536")
        # 32 MB instead of 8: a checkpoint copies each page once, however often commits wrote it, and waits for the disk.
        raw.execute("PRAGMA wal_autocheckpoint=4000")

    def _postgres(self) -> tuple[sa.Engine, sa.Engine]:
        return postgres.engines(self.address, durability=self._durability, busy_s=self._busy_s, shortage=self.shortage)
