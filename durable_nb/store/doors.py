"""Nobody is inside of SQLite while this process is forked: the child would find him there for ever.

A forked child gets SQLite as it was in its parent at that moment, and the threads that were inside do not exist there. A write
transaction that was under way locks the child out of the database; a lock that SQLite believes the process to have, because
the parent has it, is not asked of the system, so that others write where the child reads ("is damaged"). So a fork waits
until all threads are out, and the child closes what it has inherited before it opens its own.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from durable_nb import clock

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE_S = 2.0
"""A commit takes milliseconds. Who takes longer is left inside, and a child can do without the database more easily than its
parent without a fork."""

_LOOK_S = 0.0005
_all: weakref.WeakSet[Doors] = weakref.WeakSet()


class Connection(sqlite3.Connection):
    """One that can be referred to weakly, which those of the standard library cannot."""


class Doors:
    """Of one database: its connections, who uses one, and how to keep others out for the moment of a fork.

    Parameters
    ----------
    is_sqlite : bool
        A server knows of no fork, and none waits for it.
    """

    def __init__(self, is_sqlite: bool) -> None:
        self._entry = threading.RLock()  # an object that is collected there may read as well
        self._inside: list[int] = []  # idents of threads, as often as they are
        self._connections: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._are_shut = False
        if is_sqlite:
            _all.add(self)

    def connect(self, path: str, *, timeout: float, **options: Any) -> Connection:
        """A new connection, for any thread, whose transactions are begun in words; ``timeout``: seconds that it waits for a lock."""
        made = sqlite3.connect(
            path, timeout=timeout, isolation_level=None, check_same_thread=False, factory=Connection, **options
        )
        self._connections.add(made)
        return made

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Whoever uses a connection does it here, and nothing that takes long: who forks waits."""
        me = threading.get_ident()
        try:
            with self._entry:
                self._inside.append(me)
            yield
        finally:
            with suppress(ValueError):  # ■ came before
                self._inside.remove(me)

    def shut(self, until: float) -> None:
        """Keep others out, and wait until nobody is inside, or it is ``until`` (monotonic seconds)."""
        me = threading.get_ident()
        if not self._entry.acquire(timeout=max(0.0, until - clock.monotonic())):
            return
        while any(one != me for one in self._inside[:]) and clock.monotonic() < until:
            clock.sleep(_LOOK_S)
        self._are_shut = not self._inside

    def reopen(self) -> None:
        """The fork is over; nothing where they were not shut by this thread."""
        with suppress(RuntimeError):
            self._entry.release()
            self._are_shut = False

    def begin_in_child(self) -> None:
        """Close what is the parent's, or SQLite takes its locks for ours; not beside what was under way."""
        if self._are_shut:
            for connection in list(self._connections):
                connection.close()


def _before_fork() -> None:
    until = clock.monotonic() + PATIENCE_S
    for one in list(_all):
        one.shut(until)


def _after_fork_in_parent() -> None:
    for one in list(_all):
        one.reopen()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent)
