"""Results that the database does not take: saved one by one, so that they do not cost the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from durable_nb.errors import StoreError, StoreUnavailable
from durable_nb.store.dialects import plain
from durable_nb.store.rows import TooLarge
from durable_nb.store.troubles import sqlstate

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable_nb.records import Checkpoint

    Write = Callable[[list[Checkpoint]], BaseException | None]

BREAKS = 3
"""So often a server may break off what it is sent before that is taken for the cause. One that restarts does so once."""

_BREAKING = ("53200", "57014")  # out of memory, and a statement that took too long


class _Broken(Exception):
    """What is sent alone is broken off each time, by a server that is there."""


class Suspicion:
    """Whether it is a row that breaks off the commits, and not the server that comes and goes."""

    def __init__(self) -> None:
        self._breaks = 0

    def clear(self) -> None:
        """A commit was made."""
        self._breaks = 0

    def falls_on_rows(self, problem: BaseException) -> bool:
        """Count one more failure of a commit; whether its rows are better saved one by one."""
        if not isinstance(problem, StoreUnavailable):
            return True
        is_broken = _is_broken_off(problem)
        self._breaks += is_broken
        return is_broken and (self._breaks >= BREAKS or not problem.may_pass)


def salvage(held: list[Checkpoint], write: Write, where: str, cause: BaseException) -> BaseException | None:
    """Save a refused batch row by row, so that one value the database cannot hold does not cost the others; what to report."""
    count = len(held)
    report, cause = save_singly(held, write, cause)
    if not held:
        return report
    write([])  # raises when it is not the rows that are refused: then they stay here
    return refusal([row.label for row in held], count - len(held), where, cause)


def save_singly(
    held: list[Checkpoint], write: Write, cause: BaseException
) -> tuple[BaseException | None, BaseException]:
    """Save rows one by one: what ``write`` had to report, and why the last one was refused.

    Afterwards ``held`` has those that the database refuses; when this raises, because it is away, also what is left to try.
    """
    batch = held[:]
    refused: list[Checkpoint] = []
    report: BaseException | None = None
    for place, original in enumerate(batch):
        row = original._replace(label=plain(original.label), error=original.error and plain(original.error))
        try:
            report = _write_alone(row, write) or report
        except StoreUnavailable:
            held[:] = refused + batch[place:]  # the others are saved and counted
            raise
        except Exception as problem:
            refused.append(row)
            cause = problem
    held[:] = refused
    return report, cause


def refusal(labels: list[str], saved: int, where: str, cause: BaseException) -> StoreError:
    """What the database said to results that it does not take, while ``saved`` others of their commit are there."""
    names = f"{', '.join(labels[:3])}{' …' if len(labels) > 3 else ''}"
    reason = " ".join(str(getattr(cause, "orig", None) or cause).split())
    remedy = "Please report this."
    if isinstance(cause, (TooLarge, _Broken)):
        remedy = "Return less, or write it to a file and return its path."
    error = StoreError(
        where,
        f"refused the result of {names} ({reason}).",
        f"It is not saved; {saved:,} others of the same commit are. {remedy}",
    )
    error.__cause__ = cause
    return error


def _write_alone(row: Checkpoint, write: Write) -> BaseException | None:
    for _ in range(BREAKS):
        try:
            return write([row])
        except StoreUnavailable as problem:
            if not _is_broken_off(problem):
                raise
            reason = problem.problem
            write([])  # raises if it is the server that is away
    raise _Broken(f"sent alone {BREAKS} times: {reason.rstrip('.')}")


def _is_broken_off(problem: StoreUnavailable) -> bool:
    cause = problem.__cause__
    return isinstance(cause, sa.exc.DBAPIError) and (cause.connection_invalidated or sqlstate(cause.orig) in _BREAKING)
