"""Open a database: address, pragmas, transactions, file-system check, and errors in plain words."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.pool import QueuePool

from durable_nb import clock
from durable_nb.errors import ConfigError, StoreError, StoreUnavailable
from durable_nb.store import migrations
from durable_nb.store.addresses import address_of, file_system_of, is_network

_ELSEWHERE = "Choose another place with configure(url=…) or DURABLE_NB_URL."
_write_locks: dict[str, threading.RLock] = {}
_inherited: list[object] = []


class Database:
    """Connections to one database: a single writing one behind a lock, and read-only ones.

    Attributes
    ----------
    where : str
        Path, or URL without password, for messages.
    created : bool
        True when this object made the database.
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
        self._durability, self._busy_s, self._journal = durability, busy_s, journal
        self.path = str(self.address.database) if self.is_sqlite else ""
        self.where = self.path or self.address.set(query={}).render_as_string(hide_password=True)
        self._lock = _write_locks.setdefault(self.where, threading.RLock())
        self._engines: tuple[sa.Engine, sa.Engine] | None = None
        if self.is_sqlite:
            self._find_file() if existing else self._prepare_file()
        self.created = False
        try:
            self._refuse_unless_current() if existing else self._bring_up()
        except BaseException:
            self.dispose()
            raise

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A write transaction: committed at the end, rolled back by an exception; one at a time in this process."""
        with self._lock, self._plain_errors(), self._open()[0].begin() as conn:
            yield conn

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A read-only connection outside any transaction, so that it holds up no writer."""
        with self._plain_errors(), self._open()[1].connect() as conn:
            yield conn

    def vacuum(self) -> None:
        """Give the space of what was dropped back to the disk; needs as much again while it works."""
        if not self.is_sqlite:
            return  # PostgreSQL does so by itself
        with self._lock, self._plain_errors(), self._open()[0].connect() as conn:
            assert conn.connection.driver_connection is not None
            conn.connection.driver_connection.execute("VACUUM")  # beside SQLAlchemy: not inside a transaction

    def dispose(self) -> None:
        """Close all connections; using the object again opens new ones."""
        engines, self._engines = self._engines, None
        for engine in reversed(engines or ()):
            engine.dispose()  # the writing one last: SQLite empties its WAL then, and a read-only connection cannot

    def abandon(self) -> None:
        """Forget the connections without touching them: after a fork they are the parent's."""
        _inherited.append(self._engines)  # collecting them would close SQLite's files and drop the parent's locks
        self._engines = None
        self._lock = _write_locks[self.where] = threading.RLock()

    @property
    def is_gone(self) -> bool:
        """Whether the file at this path is not the one that was opened."""
        return self.is_sqlite and _identity(self.path) != self._identity

    def explain(self, problem: BaseException) -> BaseException:
        """The same problem as one of our errors where it is the database's, else itself."""
        return explain(problem, self.where, self._busy_s, self.address.password)

    @contextmanager
    def _plain_errors(self) -> Iterator[None]:
        try:
            yield
        except (sa.exc.OperationalError, sa.exc.DatabaseError, sa.exc.InterfaceError, sa.exc.TimeoutError) as problem:
            plain = self.explain(problem)
            if plain is problem:
                raise
            raise plain from problem

    def _open(self) -> tuple[sa.Engine, sa.Engine]:
        if self._engines is None:
            with self._lock:
                if self._engines is None:
                    self._engines = self._sqlite() if self.is_sqlite else self._postgres()
        return self._engines

    def _bring_up(self) -> None:
        """Check or create the tables; waits out the moment in which another kernel is doing the same."""
        with self._plain_errors(), self._open()[0].connect() as conn:
            current = migrations.is_current(conn, self.where)
        if not current:
            with self.writing() as conn:
                self.created = migrations.bring_up(conn, self.where, journal=self._journal or "")
        self._identity = _identity(self.path)

    def _refuse_unless_current(self) -> None:
        with self.reading() as conn:
            migrations.refuse_unless_current(conn, self.where)
        self._identity = _identity(self.path)

    def _sqlite(self) -> tuple[sa.Engine, sa.Engine]:
        def write() -> sqlite3.Connection:
            # Own BEGIN (isolation_level=None): the driver's is deferred, and a deferred transaction that reads first
            # cannot wait for the lock. One statement of up to 500 rows is large, so few are cached.
            raw = sqlite3.connect(
                self.path, timeout=self._busy_s, isolation_level=None, check_same_thread=False, cached_statements=32
            )
            try:
                self._set_pragmas(raw)
            except BaseException:
                raw.close()
                raise
            return raw

        def read() -> sqlite3.Connection:
            raw = sqlite3.connect(
                f"file:{quote(self.path)}?mode=ro",
                uri=True,
                timeout=self._busy_s,
                isolation_level=None,
                check_same_thread=False,
            )
            raw.execute("PRAGMA query_only=ON")
            raw.execute(
                "PRAGMA wal_autocheckpoint=0"
            )  # before 3.51.3 two checkpointing connections can corrupt the WAL
            raw.execute("PRAGMA cache_size=-16384")
            return raw

        writer = sa.create_engine("sqlite://", creator=write, poolclass=QueuePool, pool_size=1, max_overflow=0)
        event.listen(writer, "begin", lambda conn: conn.exec_driver_sql("BEGIN IMMEDIATE"))
        reader = sa.create_engine("sqlite://", creator=read, poolclass=QueuePool)
        return writer, reader

    def _set_pragmas(self, raw: sqlite3.Connection) -> None:
        raw.execute("PRAGMA page_size=8192")  # before the first table; without effect afterwards
        due = clock.monotonic() + self._busy_s
        while True:
            try:
                mode = raw.execute(f"PRAGMA journal_mode={self._journal}").fetchone()[0]
                break
            except sqlite3.OperationalError as problem:
                # Switching the mode does not honour the busy timeout when two kernels open a new file at once.
                if "locked" not in str(problem) or clock.monotonic() > due:
                    raise
                clock.sleep(0.01)
        if mode == "delete" and self._journal == "WAL":
            self._journal = "DELETE"  # SQLite itself found shared memory impossible here
        raw.execute(f"PRAGMA synchronous={'FULL' if self._durability == 'full' else 'NORMAL'}")
        raw.execute(f"PRAGMA journal_size_limit={64 << 20}")
        raw.execute("PRAGMA cache_size=-65536")
        # 32 MB instead of 8: a checkpoint copies each page once, however often commits wrote it, and waits for the disk.
        raw.execute("PRAGMA wal_autocheckpoint=4000")

    def _prepare_file(self) -> None:
        path = Path(self.path)
        try:
            if not path.parent.exists():
                path.parent.mkdir(parents=True)
                if path.parent.name == ".durable_nb":
                    (path.parent / ".gitignore").write_text("*\n", encoding="utf-8")
            if path.is_dir():
                raise StoreUnavailable(self.where, "is a folder, not a database.", "Name a file in it.")
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # -wal and -shm inherit the mode
        except OSError as problem:
            reason = (problem.strerror or str(problem)).lower()
            raise StoreUnavailable(self.where, f"cannot be created or written ({reason}).", _ELSEWHERE) from problem
        if self._journal is None:
            self._journal = self._fitting_journal()

    def _find_file(self) -> None:
        if not os.path.isfile(self.path):
            raise StoreUnavailable(self.where, "is not there.", "Run a durable cell: it makes the database.")
        self._journal = self._fitting_journal()

    def _fitting_journal(self) -> str:
        try:
            mounts = Path("/proc/mounts").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return self._remembered_journal()
        network = is_network(file_system_of(os.path.realpath(self.path), mounts))
        return "DELETE" if network else self._remembered_journal()

    def _remembered_journal(self) -> str:
        """DELETE for a file that was made on a network file system, also when seen from the host that owns the disk."""
        raw = sqlite3.connect(f"file:{quote(self.path)}?mode=ro", uri=True, timeout=self._busy_s)
        try:
            found = raw.execute("SELECT value FROM meta WHERE key = 'journal'").fetchone()
        except sqlite3.Error:  # new, or not ours: the check of the schema will say so
            found = None
        finally:
            raw.close()
        return "DELETE" if found == ("DELETE",) else "WAL"

    def _postgres(self) -> tuple[sa.Engine, sa.Engine]:
        query = dict(self.address.query)
        query.setdefault("connect_timeout", "10")
        try:
            # Positional parameters, as in SQLite: a Checkpoint goes to the driver as it is.
            engine = sa.create_engine(self.address.set(query=query), paramstyle="format", pool_pre_ping=True)
        except (ImportError, sa.exc.NoSuchModuleError) as problem:
            raise ConfigError("PostgreSQL needs a driver.", "Run: pip install 'durable-nb[postgres]'") from problem
        commit = (
            "on" if self._durability == "full" else "off"
        )  # off: an acknowledged commit survives the kernel, not power

        @event.listens_for(engine, "connect")
        def _settings(raw: Any, _record: object) -> None:
            raw.autocommit = True  # a SET inside a transaction would be rolled back with it
            raw.execute(f"SET search_path TO {migrations.PG_SCHEMA}")
            raw.execute(f"SET synchronous_commit TO {commit}")
            raw.execute(f"SET lock_timeout TO {int(self._busy_s * 1000)}")
            raw.autocommit = False

        return engine, engine.execution_options(isolation_level="AUTOCOMMIT")


def explain(problem: BaseException, where: str, busy_s: float, password: object = None) -> BaseException:
    """A StoreUnavailable that says what to do, for what the driver says about the database itself; else ``problem``."""
    if isinstance(problem, StoreError) or not isinstance(problem, (sa.exc.DBAPIError, sa.exc.TimeoutError)):
        return problem
    reason = str(getattr(problem, "orig", None) or problem).strip()
    for words, text, remedy in (
        ("disk is full", "the disk is full; what is not saved yet is kept in memory.",
         "Free some space and run the cell again."),
        ("disk I/O error", "the disk refused to write (full, over quota?); what is not saved yet is kept in memory.",
         "Free some space and run the cell again."),
        ("is locked", f"another process kept it locked for longer than {busy_s:g} s.",
         "Close what has it open (a database viewer?) and run the cell again."),
        ("not a database", "is not an SQLite database.", _ELSEWHERE),
        ("malformed", "is damaged.", "Run `durable-nb check`, or restore a copy."),
        ("readonly", "may not be written by you.", _ELSEWHERE),
        ("unable to open", "cannot be opened.", _ELSEWHERE),
        ("lock timeout", f"another session kept it locked for longer than {busy_s:g} s.", "Run the cell again."),
    ):  # fmt: skip
        if words in reason:
            return StoreUnavailable(where, text, remedy)
    invalid = isinstance(problem, sa.exc.DBAPIError) and problem.connection_invalidated
    if not invalid and not isinstance(problem, (sa.exc.OperationalError, sa.exc.TimeoutError)):
        return problem
    line = " ".join(reason.split())
    if password:
        line = line.replace(str(password), "***")
    return StoreUnavailable(
        where, f"cannot be reached or written ({line}).", "Check that it is running, then run the cell again."
    )


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
