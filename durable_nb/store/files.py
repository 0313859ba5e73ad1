"""The files of an SQLite database: where they may lie, and whether they are still those that were opened."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

from durable_nb.errors import StoreUnavailable
from durable_nb.store.networks import network_of, refuse_unless_lockable
from durable_nb.store.troubles import ELSEWHERE


class Files:
    """``durable.db``, and beside it ``-wal`` and ``-shm`` while it is open.

    Attributes
    ----------
    journal : str
        "WAL" or "DELETE".
    """

    def __init__(self, path: str, *, busy_s: float, journal: str | None) -> None:
        self.path, self.journal = path, journal or ""
        self._busy_s = busy_s
        self._opened: tuple[int, int] | None = None
        self._companions: tuple[object, object] | None = None

    def prepare(self) -> None:
        """Make the file and its folder if they are missing.

        Raises
        ------
        StoreUnavailable
        """
        path, network = Path(self.path), network_of(self.path)
        if network:
            refuse_unless_lockable(self.path, network)
        try:
            if not path.parent.exists():
                path.parent.mkdir(parents=True, mode=0o700)  # the last one; those above it as usual
                if path.parent.name == ".durable_nb":
                    (path.parent / ".gitignore").write_text("*\n", encoding="utf-8")
            if path.is_dir():
                raise StoreUnavailable(self.path, "is a folder, not a database.", "Name a file in it.")
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # -wal and -shm inherit the mode
        except OSError as problem:
            reason = (problem.strerror or str(problem)).lower()
            raise StoreUnavailable(self.path, f"cannot be created or written ({reason}).", ELSEWHERE) from problem
        self.journal = self.journal or ("DELETE" if network else self._remembered_journal())

    def find(self) -> None:
        """The same for a database that must be there."""
        network = network_of(self.path)
        if network:
            refuse_unless_lockable(self.path, network)
        if not os.path.isfile(self.path):
            raise StoreUnavailable(self.path, "is not there.", "Run a durable cell: it makes the database.")
        self.journal = "DELETE" if network else self._remembered_journal()

    def note(self) -> None:
        """The database is opened, perhaps again: these are its files. The one that was opened first stays the one."""
        self._opened, self._companions = self._opened or _identity(self.path), None

    @property
    def is_gone(self) -> bool:
        """Whether the file at this path is not the one that was opened."""
        return _identity(self.path) != self._opened

    @property
    def is_cut_off(self) -> bool:
        """Whether somebody removed ``-wal`` or ``-shm``: commits go to a file that nobody else can open. Ask after one."""
        if self.journal != "WAL":
            return False
        found = (_identity(f"{self.path}-wal"), _identity(f"{self.path}-shm"))
        if self._companions is None:
            self._companions = found
        return None in found or found != self._companions

    def _remembered_journal(self) -> str:
        """DELETE for a file that was made on a network file system, also when seen from the host that owns the disk."""
        raw = sqlite3.connect(f"file:{quote(os.fsencode(self.path))}?mode=ro", uri=True, timeout=self._busy_s)
        try:
            # Not of a view that somebody put in its place: it might never end.
            is_table = raw.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta' AND type = 'table'").fetchone()
            found = is_table and raw.execute("SELECT value FROM meta WHERE key = 'journal'").fetchone()
        except sqlite3.Error:  # new, or not ours: the check of the schema will say so
            found = None
        finally:
            raw.close()
        return "DELETE" if found == ("DELETE",) else "WAL"


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
