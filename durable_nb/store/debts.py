"""Runs that are over here and still held, because the database was away at that moment: this process lets go of them later.

Nobody else can. Who looks sees a process that lives, and one that is merely slow or asleep is never robbed of its run.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from durable_nb import clock
from durable_nb.errors import ConfigError, LeaseLost, RunBusy, StoreUnavailable
from durable_nb.locks import lock_of
from durable_nb.records import Owner, State
from durable_nb.store import leases
from durable_nb.store.sharing import Share, SharedWatch
from durable_nb.store.tables import members, run_of, runs

_logger = logging.getLogger("durable_nb")

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from durable_nb.store.connect import Database
    from durable_nb.store.ledgers import Watch


class Debt(NamedTuple):
    """An end that is still to be written."""

    owner: Owner
    state: State
    message: str
    run_id: int | None = None
    """None of a claim of which nobody knows whether it was made."""
    watch: Watch | None = None
    until: float = 0.0
    """How long a claim that is not there may still appear: its commit was sent, and the connection cut."""


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

    @contextmanager
    def claiming(self, wake: Callable[[], object], owner: Owner) -> Iterator[None]:
        """As that of `leases`, and what was claimed in spite of the exception is let go of; ``wake``: the writing thread."""
        try:
            with leases.claiming(owner):
                yield
        except (RunBusy, ConfigError):
            raise  # refused
        except BaseException:
            self._owe_claim(owner)
            with suppress(StoreUnavailable):  # it was closed
                wake()
            raise

    def _owe_claim(self, owner: Owner) -> None:
        until = 0.0 if self._database.is_sqlite else clock.monotonic() + leases.LEASE_S
        message = "could not be begun; run the cell again"
        self._owed[owner.token] = Debt(owner, State.INTERRUPTED, message, until=until)

    def watches(self) -> dict[int, Watch]:
        """By run, what keeps it ours until the end is written."""
        owed = list(self._owed.values())
        return {debt.run_id: debt.watch for debt in owed if debt.run_id is not None and debt.watch is not None}

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
                        is_over = self._settle(conn, debt)
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

    def _settle(self, conn: sa.Connection, debt: Debt) -> bool:
        if debt.run_id is None:
            return self._settle_claim(conn, debt) or clock.monotonic() >= debt.until
        words: dict[str, Any] = {"owner": debt.owner, "state": debt.state, "message": debt.message}
        ending(debt.run_id, debt.watch, tried=True, **words)(conn)
        return True

    def _settle_claim(self, conn: sa.Connection, debt: Debt) -> bool:
        """Let go of a run by its token alone; whether there is one."""
        words: dict[str, Any] = {"state": debt.state, "message": debt.message}
        token = debt.owner.token
        alone = conn.execute(sa.select(runs).where(runs.c.owner_token == token)).one_or_none()
        if alone is not None:
            leases.release(conn, alone.id, owner=debt.owner, last={}, **words)
            return True
        joined = sa.select(members.c.run_id).where(members.c.token == token)
        shared = conn.execute(sa.select(runs).where(runs.c.id.in_(joined))).one_or_none()
        if shared is None:
            return False
        last = {name: shared._mapping[name] for name in ("total", "done", "restored", "failed")}
        Share(self._database, run_of(shared), debt.owner, []).leave(conn, last=last, again=True, **words)
        return True


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
