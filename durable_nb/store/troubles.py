"""What a driver says about its database, in plain words: what happened, what to do, and whether waiting helps."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

import sqlalchemy as sa

from durable_nb.errors import StoreError, StoreUnavailable
from durable_nb.store.misfits import Misfit

ELSEWHERE = "Choose another place with configure(url=…) or DURABLE_NB_URL."
AGAIN = "Run the cell again: it goes on from what is saved."
NONE_TO_SPARE = "the server has no connection to spare."
_SPACE = "Free some space and run the cell again."


class _Trouble(NamedTuple):
    says: str
    """In the driver's message."""
    problem: str
    remedy: str
    may_pass: bool = False


_SQLITE = (
    _Trouble("disk is full", "the disk is full; what is not saved yet is kept in memory.", _SPACE),
    _Trouble(
        "disk I/O error", "the disk refused to write (full, over quota?); what is not saved yet is kept in memory.", _SPACE
    ),
    _Trouble(
        "is locked", "another process kept it locked for longer than {busy_s:g} s.",
        "Close what has it open (a database viewer?) and run the cell again.", may_pass=True,
    ),
    _Trouble("not a database", "is not an SQLite database.", ELSEWHERE),
    _Trouble("malformed", "is damaged.", "Run `durable-nb check`, or restore a copy."),
    _Trouble("readonly", "may not be written by you.", ELSEWHERE),
    _Trouble("unable to open", "cannot be opened, or no file may be made in its folder.", ELSEWHERE),
)  # fmt: skip

# Classes and codes of SQLSTATE, from PostgreSQL's appendix A; the longest that fits counts.
_AWAY = {
    "08": "the connection was cut.",
    "25P03": "the server ended a transaction in which nothing was asked for long.",
    "25006": "is read-only for now (a standby, or a server that is failing over).",
    "40": "another session was in the way.",
    "53": "the server is short of memory or connections.",
    "53100": "the disk of the server is full.",
    "53300": NONE_TO_SPARE,
    "55P03": "another session kept it locked for longer than {busy_s:g} s.",
    "57P": "the server is shutting down or starting.",
    "58": "the server cannot read or write its files.",
}
WITHOUT_RIGHTS = ("may not be used by you.", "Ask for the right to write in the schema durable_nb.")
_REFUSED = {
    "42501": WITHOUT_RIGHTS,
    "57014": ("ended a statement that took too long for it.", "Ask whoever runs the server, then run the cell again."),
    "42P01": ("has lost its tables.", "Restore a copy, or run the cell again in a new kernel: it makes new ones."),
}
_OF_THE_ROW = "54"
"""More than the server takes of one value, row or index."""

_NO_USE_TO_WAIT = (
    "authentication failed",
    "does not exist",
    "pg_hba.conf",
    "no password supplied",
    "could not translate",
)


def explain(problem: BaseException, where: str, busy_s: float, password: object = None) -> BaseException:
    """A StoreError that says what to do, for what is the matter with the database itself; else ``problem``."""
    if isinstance(problem, Misfit):
        return StoreError(where, f"holds what durable_nb never writes ({problem}).")
    if isinstance(problem, StoreError) or not isinstance(problem, (sa.exc.DBAPIError, sa.exc.TimeoutError)):
        return problem
    original = getattr(problem, "orig", None) or problem
    reason = str(original).strip()
    state = sqlstate(original)
    if state.startswith(_OF_THE_ROW):
        return problem
    found = _known(original, reason)
    if found is not None:
        return StoreUnavailable(where, found.problem.format(busy_s=busy_s), found.remedy, found.may_pass)
    invalid = isinstance(problem, sa.exc.DBAPIError) and problem.connection_invalidated
    if not invalid and not isinstance(problem, (sa.exc.OperationalError, sa.exc.TimeoutError)):
        return problem
    line = " ".join(reason.split())
    if password:
        line = line.replace(str(password), "***")
    # What the server says in a code that we do not know, on a connection that goes on, it would say again.
    is_said = isinstance(original, sqlite3.Error) or (state != "" and not invalid)
    may_pass = not is_said and not any(words in line for words in _NO_USE_TO_WAIT)
    return StoreUnavailable(
        where, f"cannot be reached or written ({line}).", "Check that it is running, then run the cell again.", may_pass
    )


def may_pass(problem: sa.exc.DBAPIError) -> bool:
    """Whether an error of a connection on which a function asks what it likes comes from the server, and waiting helps.

    A lock that it did not want to wait for, a statement that took too long, or a limit to its silence may be what it asked for.
    """
    if sqlstate(problem.orig) in ("25P03", "25P04"):
        return False
    if problem.connection_invalidated or isinstance(problem.orig, sqlite3.OperationalError):
        return problem.connection_invalidated or "is locked" in str(problem.orig)
    return sqlstate(problem.orig).startswith(("08", "25006", "40", "53300", "57P"))


def sqlstate(original: BaseException | None) -> str:
    """The code of a driver's error; '' where the server has said none, as to who cannot connect."""
    return str(getattr(original, "sqlstate", None) or "")


def _known(original: BaseException, reason: str) -> _Trouble | None:
    if isinstance(original, sqlite3.Error):
        return next((trouble for trouble in _SQLITE if trouble.says in reason), None)
    state = sqlstate(original)
    for length in range(len(state), 1, -1):
        code = state[:length]
        if code in _REFUSED:
            return _Trouble(code, *_REFUSED[code])
        if code in _AWAY:
            return _Trouble(code, _AWAY[code], AGAIN, may_pass=True)
    return None
