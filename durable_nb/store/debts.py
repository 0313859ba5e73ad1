"""Runs that are over here and still held, because the database was away at that moment: this process lets go of them later.

Nobody else can. Who looks sees a process that lives, and one that is merely slow or asleep is never robbed of its run.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

from durable_nb.errors import LeaseLost, StoreUnavailable
from durable_nb.locks import lock_of
from durable_nb.records import Owner, State
from durable_nb.store import leases
from durable_nb.store.sharing import SharedWatch

_logger = logging.getLogger("durable_nb")

if TYPE_CHECKING:
    from collections.abc import Callable

    import sqlalchemy as sa

    from durable_nb.store.connect import Database
    from durable_nb.store.ledgers import Watch


class Debt(NamedTuple):
    """An end that is still to be written."""

    owner: Owner
    state: State
    message: str
    run_id: int
    watch: Watch


class Debts:
    """Of one database, by the token of the claim."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.clear()

    def clear(self) -> None:
        """In a forked child they are the parent's."""
        self._owed: dict[str, Debt] = {}
        self._lock = lock_of(self)

    def __len__(self) -> int:
        return len(self._owed)

    def owe_end(self, watch: Watch, run_id: int, state: State, message: str) -> None:
        """The run is over; what of it is not saved yet is saved first, as long as it is ours."""
        self._owed[watch.owner.token] = Debt(watch.owner, state, message, run_id, watch)

    def watches(self) -> dict[int, Watch]:
        """By run, what keeps it ours until the end is written."""
        return {debt.run_id: debt.watch for debt in list(self._owed.values())}

    def pay(self) -> None:
        """Let go of them all.

        Raises
        ------
        StoreUnavailable
            It is still away; the next call tries again.
        """
        if not self._owed:
            return
        with self._lock:
            for token, debt in list(self._owed.items()):
                is_over = True
                try:
                    with self._database.writing() as conn:
                        self._settle(conn, debt)
                except LeaseLost:
                    pass  # somebody else has it by now
                except (StoreUnavailable, KeyboardInterrupt):
                    is_over = False
                    raise
                finally:
                    if is_over:
                        self._owed.pop(token, None)

    def try_to_pay(self) -> None:
        """The same, of the writing thread: nobody waits for it, and its next heartbeat tries again."""
        try:
            self.pay()
        except Exception as problem:
            _logger.warning("a run could not be let go of: %s: %s", type(problem).__name__, problem)

    def _settle(self, conn: sa.Connection, debt: Debt) -> None:
        words: dict[str, Any] = {"owner": debt.owner, "state": debt.state, "message": debt.message}
        ending(debt.run_id, debt.watch, tried=True, **words)(conn)


def ending(
    run_id: int, watch: Watch | None, *, owner: Owner, state: State, message: str, tried: bool = False
) -> Callable[[sa.Connection], None]:
    """What writes the rest of a run, its last counts and its end, and lets go of it; each time the same. See `leases.release`.

    ``tried``: that was attempted before, and may have been committed.
    """
    last = {} if watch is None else watch.last(message=message)

    def let_go(conn: sa.Connection) -> None:
        nonlocal tried
        again, tried = tried, True
        if watch is not None:
            watch.write_rest(conn, run_id)
        if isinstance(watch, SharedWatch):
            watch.share.leave(conn, state=state, message=message, last=last, again=again)
        else:
            leases.release(conn, run_id, owner=owner, state=state, message=message, last=last, again=again)

    return let_go
