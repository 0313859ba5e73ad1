"""The store: everything the engine may ask of the database, and the only package that knows SQL.

::

    debts                                     runs that are over here and still held
    sharing                                   several kernels at one run
    keeping                                   what an owner asks now and then: is it whole, whose is it
    views                                     runs as the panel, the lab and the server see them
    transactions                              writes of the user's beside a checkpoint
    lookups                                   results by key
    connect │ upkeep │ signing │ transfer     open a database; check it, drop a run; vouch for it; a run as a file (wholes)
    migrations │ reader │ keyed               the layout; listings; results by key
    writer │ leases                           group commit; who owns a run
    refusals                                  results that the database does not take, found one by one
    patience │ troubles                       waiting for a database that is away; what is wrong with it, in words
    ledgers │ rows │ tallies │ lineages       counts, mosaics, checkpoints, equal calls and forks, into statements
    histories │ overlaps                      versions and what is saved of each; what a fork has twice
    backoffs │ trust                          calls to be made again; signatures of rows that could run code
    tables │ doors                            the schema; nobody is inside of SQLite while the process is forked
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import Unpack

from durable_nb.errors import ConfigError, StoreUnavailable
from durable_nb.records import Backoff, Checkpoint, Event, Owner, Run, State
from durable_nb.store import leases, migrations, signing, transactions
from durable_nb.store.addresses import address_of, identity_of, url_of
from durable_nb.store.connect import Database
from durable_nb.store.debts import Debts, ending
from durable_nb.store.keeping import Keeping
from durable_nb.store.leases import Claim, is_alive, owner_of_this_process
from durable_nb.store.ledgers import Ledger, Watch
from durable_nb.store.sharing import Share, SharedWatch, join
from durable_nb.store.tallies import Tallies
from durable_nb.store.trust import Seal, user_key
from durable_nb.store.writer import HEARTBEAT_S, Writer

__all__ = ["Event", "Ledger", "Share", "Store", "is_alive", "owner_of_this_process"]

_open_stores: weakref.WeakSet[Store] = weakref.WeakSet()


class Store(Keeping):
    """One database of runs and checkpoints; safe to use from any thread.

    Attributes
    ----------
    url : str
        Address with an absolute path, password included: not for messages.
    where : str
        Path, or address without password, for messages.
    save : callable
        Take a `Checkpoint` for the next group commit, at most about 50 ms after the oldest. Blocks only while a slow
        commit has 64 MiB waiting behind it. Raises what went wrong with an earlier commit; nothing is dropped.
    lost : callable
        Whether a commit or heartbeat found that another process took the run of this id over.
    save_all : callable
        The same of a list of them.
    save_now : callable
        The same, committed at once; gives a ``concurrent.futures.Future`` shared by all callers of that commit.
    tell : callable
        Add a line (kind, detail) to the history of a watched run, and show how it is now. Does not wait for the commit.
    back_off : callable
        Note by (step id, key) how a call of a watched run is made again, or None: it is not. Does not wait for the commit.
    hurry : callable
        The run of this id is to end: it waits for an absent database no longer. Safe in a signal handler.
    claiming : callable
        A block in which an owner begins a run and watches it; after an exception nobody holds it.
    tallies, transactions : Tallies of equal calls in worker processes, Transactions for writes beside a checkpoint
    """

    url: str
    where: str
    save: Callable[[Checkpoint], None]
    save_all: Callable[[list[Checkpoint]], None]
    save_now: Callable[[Checkpoint], Future[None]]
    lost: Callable[[int], bool]
    tell: Callable[[int, str, str], None]
    back_off: Callable[[int, tuple[int, bytes], Backoff | None], None]
    hurry: Callable[[int], None]
    claiming: Callable[[Owner], AbstractContextManager[None]]

    def __init__(self, database: Database, *, linger_s: float = 0.025, heartbeat_s: float = HEARTBEAT_S) -> None:
        debts = self._debts = Debts(database)
        writer = Writer(database, debts, linger_s=linger_s, heartbeat_s=heartbeat_s)
        self.url = url_of(database.address)
        self.id, self.where = identity_of(database.address), database.where
        self._database, self._writer, self._closed, self._lineages = database, writer, False, {}
        self.save, self.save_all, self.save_now = writer.save, writer.save_all, writer.save_now
        self.lost = writer.lost.__contains__
        self.tell, self.back_off = partial(writer.note, Watch.tell), partial(writer.note, Watch.back_off)
        self.tallies, self.transactions = Tallies(database.change), transactions.Transactions(database)
        self.hurry, self.claiming = database.patience.hurry, partial(debts.claiming, writer.next_commit)
        _open_stores.add(self)

    @classmethod
    def open(
        cls,
        url: str,
        *,
        durability: str = "normal",
        linger_s: float = 0.025,
        trust: bool = False,
        busy_s: float = 30.0,
        heartbeat_s: float = HEARTBEAT_S,
        journal: str | None = None,
        patient: bool = False,
    ) -> Store:
        """The store at a database URL, created when missing.

        Parameters
        ----------
        url : str
            ``sqlite:///path`` or ``postgresql+psycopg://user@host/database``.
        durability : str
            "normal": a commit survives the kernel; "full": also power loss.
        linger_s : float
            How long the oldest result waits for company.
        trust : bool
            Unpickle what anybody saved, also later. `trust` vouches for what is there now.
        busy_s : float
            How long to wait for another process's lock.
        heartbeat_s : float
            How often the leases of watched runs are renewed.
        journal : str, optional
            SQLite's journal mode, "WAL" or "DELETE"; chosen by the file system.
        patient : bool
            Once open, wait for a database that is away also without a run that is watched here: in a worker process.

        Raises
        ------
        ConfigError
            The URL cannot be one of ours, or its driver is missing.
        StoreUnavailable, StoreTooNew
        """
        if not linger_s > 0:
            raise ConfigError(f"linger_s={linger_s!r} must be a positive number of seconds.", "The default is 0.025.")
        database = Database(url, durability=durability, busy_s=busy_s, journal=journal)
        database.patience.always = patient
        with database.reading() as conn:
            seal = database.seal = Seal(user_key(), migrations.fact(conn, "trust") or "", trusts_all=trust)
            seal.is_home = trust or migrations.fact(conn, seal.home) is not None
        if database.created:
            with database.writing() as conn:
                signing.make_home(conn, seal)
        return cls(database, linger_s=linger_s, heartbeat_s=heartbeat_s)

    @classmethod
    def read_only(cls, url: str, *, busy_s: float = 5.0) -> Store:
        """The store at a database URL for who shows runs: nothing is created or upgraded, no thread is started.

        `control`, `choose` and `forget` work all the same, each in a short transaction of its own.

        Raises
        ------
        ConfigError, StoreTooNew
        StoreUnavailable
            Also when there is no database yet, or an older durable_nb wrote it and no kernel has brought it up to date.
        """
        return cls(Database(url, durability="normal", busy_s=busy_s, existing=True))

    @staticmethod
    def identity(url: str) -> str:
        """The ``id`` of the store at a database URL, without opening it."""
        return identity_of(address_of(url))

    def __repr__(self) -> str:
        return f"Store({self.where!r})"

    @staticmethod
    def exists(url: str) -> bool:
        """False for a SQLite file that is not there; whether a server has the tables is known only by opening it."""
        return (address := address_of(url)).drivername != "sqlite" or os.path.exists(str(address.database))

    @property
    def is_gone(self) -> bool:
        """True when the file was deleted or replaced: what would be saved now could never be found again."""
        return self._database.is_gone

    def begin(self, name: str, **claim: Unpack[Claim]) -> Run:
        """Create or re-open a run and hold it: state running, one more attempt, counts at zero.

        Raises
        ------
        ConfigError
            There is no run to ``fork`` from, or this one is there already and is no fork of it.
        RunBusy
            A live process holds it; nothing was changed.
        StoreUnavailable
            Also when results of an earlier run still cannot be saved.
        """
        self._settle()
        with self._database.writing() as conn:
            return leases.claim(conn, name, **claim)

    def join(self, name: str, **claim: Unpack[Claim]) -> Share:
        """The same of a run that several kernels compute: begin it, or join those who are at it.

        Raises
        ------
        ConfigError
            The database is SQLite's.
        RunBusy, StoreUnavailable
            As for `begin`; busy is what one kernel computes alone.
        """
        self._settle()
        return join(self._database, name, **claim)

    def finish(self, run_id: int, *, owner: Owner, state: State, message: str = "") -> None:
        """Commit everything, write the last counts, end the run and let go of it.

        Raises
        ------
        LeaseLost
            Somebody else holds it by now; the results are saved all the same.
        StoreUnavailable
            Not everything could be saved: the run is still held, and finishing it again tries again.
        """
        self.flush()
        watch = self._writer.unwatch(run_id)
        try:
            self._database.change(ending(run_id, watch, owner=owner, state=state, message=message))
        except BaseException:  # also if ■ comes once more
            if watch is not None:
                self._writer.watch(run_id, watch)
            raise
        self._database.patience.unwatch(run_id)
        self.transactions.spare()
        self._let_go(watch)

    def flush(self) -> None:
        """Return when everything saved so far is committed; raises what went wrong, the next call tries again."""
        self._writer.flush()

    def watch(self, run_id: int, *, owner: Owner, ledger: Ledger, share: Share | None = None) -> None:
        """Keep the lease of a run this process began or joined, and its counts, until it is finished or unwatched."""
        leases.watched.add(owner.token)
        self._database.patience.watch(run_id, ledger)
        self._writer.watch(run_id, Watch(owner, ledger) if share is None else SharedWatch(ledger, share))

    def unwatch(self, run_id: int) -> None:
        """Stop keeping the lease."""
        self._database.patience.unwatch(run_id)
        self._let_go(self._writer.unwatch(run_id))

    def owe_end(self, run_id: int, *, state: State, message: str) -> None:
        """Stop keeping the lease of a run that is over. If `finish` could not end it, that is done once the database is there."""
        with suppress(StoreUnavailable):  # it was closed
            self._writer.note(self._debts.owe_end, run_id, run_id, state, message)
        self.unwatch(run_id)

    def close(self) -> None:
        """Flush, end the writing thread, close the connections; again does nothing. Raises what could not be saved."""
        if self._closed:
            return
        self._closed = True
        try:
            self._writer.close()
            self._debts.try_to_pay()
        finally:
            self.transactions.dispose()
            self._database.dispose()

    def _settle(self) -> None:
        self.flush()
        self._debts.pay()

    def _let_go(self, watch: Watch | None) -> None:
        if watch is not None:
            leases.watched.discard(watch.owner.token)

    def _begin_in_child(self) -> None:
        self._database.abandon()
        self.transactions.abandon()
        self._debts.clear()
        self._writer.begin_in_child()


def _after_fork() -> None:
    # Connections, locks, unsaved results and leases are the parent's; the child opens its own when it needs them.
    for store in list(_open_stores):
        store._begin_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
