"""Group commit: one writer, a deadline from the oldest unsaved result, then tell who asked.

A save is an append to a list. The writing thread is woken by the first one after a pause, lingers, and commits whatever
has come in; a steady stream wakes nobody. What could not be committed stays here and goes with the next attempt.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from durable_nb import clock
from durable_nb.errors import StoreUnavailable
from durable_nb.records import Checkpoint
from durable_nb.store.ledgers import Watch
from durable_nb.store.refusals import Suspicion, salvage
from durable_nb.store.rows import by_run, upsert
from durable_nb.store.turns import GIVE_WAY_S, Turns, prompt_turns

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable_nb.store.connect import Database
    from durable_nb.store.debts import Debts

HEARTBEAT_S = 5.0
IDLE_S = 1.0
CROWD_BYTES = 64 << 20
"""A caller that saves this much while one commit is under way waits for it, so that memory stays bounded."""

PILE_S = 0.25
"""So does a caller once that commit has taken so long (a lock, a server that is away): a kill would cost what piles up."""


class Writer:
    """The single writer of a store.

    Parameters
    ----------
    database : Database
        Gives write transactions, turns a driver's error into one of ours, and waits while it is away.
    debts : Debts
        Paid after a commit; until then their runs are kept as those that are watched.
    """

    def __init__(self, database: Database, debts: Debts, *, linger_s: float, heartbeat_s: float = HEARTBEAT_S) -> None:
        self._writing, self._explain, self._where = database.writing, database.explain, database.where
        self._patience, self._seal, self._debts = database.patience, database.seal, debts
        self._linger_s, self._heartbeat_s, self._at_once = linger_s, heartbeat_s, False
        self._inbox: list[Checkpoint] = []  # never replaced: appending, slicing and deleting are atomic, no lock needed
        self.lost: set[int] = set()  # nor is this; runs of which a commit found that somebody else holds them
        self.forget_all()

    def begin_in_child(self) -> None:
        """Start from nothing after a fork: everything here is the parent's, the locks included.

        A child ends by ``os._exit``, which waits for no thread: what is saved in one is committed before ``save`` returns.
        """
        self._at_once = True
        self.forget_all()

    def forget_all(self) -> None:
        """Start from nothing."""
        self._inbox.clear()
        self.lost.clear()
        self._held: list[Checkpoint] = []
        self._suspicion = Suspicion()
        self._watched: dict[int, Watch] = {}
        self._lock = threading.Lock()
        self._turns, self._idle, self._due = Turns(), True, 0.0
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._promise: Future[None] | None = None
        self._error: BaseException | None = None
        self._committing = self._closed = False
        self._attention = True  # a save must look: nobody is awake, a commit is under way, or something went wrong
        self._crowd, self._oldest, self._beaten = 0, 0.0, 0.0

    def save(self, checkpoint: Checkpoint) -> None:
        """Take it for the next group commit; raises what went wrong with an earlier one (and takes it all the same)."""
        self._inbox.append(checkpoint)
        if self._attention or clock.monotonic() >= self._due:
            self._attend([checkpoint])

    def save_all(self, checkpoints: list[Checkpoint]) -> None:
        """As `save`, of several."""
        self._inbox.extend(checkpoints)
        if checkpoints and (self._attention or clock.monotonic() >= self._due):
            self._attend(checkpoints)

    def save_now(self, checkpoint: Checkpoint) -> Future[None]:
        """Take it and commit at once; whoever arrives before that commit starts shares it and its future."""
        self._inbox.append(checkpoint)
        return self.next_commit()

    def flush(self) -> None:
        """Return when everything taken so far is committed; raises what went wrong, and keeps it for the next try."""
        # In this order: the thread raises _committing before it empties the inbox.
        if self._inbox or self._held or self._committing:
            try:
                clock.result(self.next_commit())
            except BaseException as problem:
                if problem is self._error and not self._held:
                    self._error = None  # told
                raise
        self._raise_untold()

    def watch(self, run_id: int, watch: Watch) -> None:
        """Keep the lease of a run until ``unwatch``; its counts are written with every commit."""
        with self._lock:
            self._refuse_if_closed()
            self.lost.discard(run_id)
            self._watched[run_id] = watch
            self._beaten = clock.monotonic()
            self._start()
        self._wake.set()

    def unwatch(self, run_id: int) -> Watch | None:
        """Stop keeping the lease; what was kept, or None."""
        with self._lock:
            return self._watched.pop(run_id, None)

    def note(self, noting: Callable[..., None], run_id: int, *details: Any) -> None:
        """Have the watch of a run note something; that and its figures are committed at once, which is not waited for."""
        watch = self._watched.get(run_id)
        if watch is not None:
            noting(watch, *details)
            self.next_commit()

    def close(self) -> None:
        """Flush and end the thread, also when the flush fails."""
        try:
            if not self._closed:
                self.flush()
        finally:
            with self._lock:
                self._closed = self._attention = True
                thread = self._thread
            self._wake.set()
            if thread is not None:
                clock.join(thread)

    def _attend(self, checkpoints: list[Checkpoint]) -> None:
        self._refuse_if_closed()
        self._raise_untold()
        now = clock.monotonic()
        if self._idle:
            with self._lock:
                if self._idle:
                    self._linger(now)
                self._start()
            self._wake.set()
            if self._at_once:
                self.flush()
            return
        # Until the commit that is under way is over, else the one that is due.
        since = self._oldest if self._committing else self._due
        self._turns.give_way(since + GIVE_WAY_S - now)
        if self._committing:
            self._crowd += sum(len(checkpoint.payload or b"") + 300 for checkpoint in checkpoints)
            if self._crowd > CROWD_BYTES or now - self._oldest > PILE_S:
                self.flush()

    def _linger(self, oldest: float) -> None:
        """Wait for company from now on. Whoever ends the idleness sets the deadline: the writing thread may be starved."""
        self._idle, self._oldest, self._due = False, oldest, oldest + self._linger_s
        self._attention = self._at_once or self._error is not None

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise StoreUnavailable(self._where, "was closed.", "Open it again with configure(url=…).")

    def _raise_untold(self) -> None:
        error = self._error
        if error is not None:
            if not self._held:
                self._error = None
            raise error.with_traceback(None)

    def next_commit(self) -> Future[None]:
        """Commit at once; the future of that, shared by all who ask before it starts."""
        with self._lock:
            self._refuse_if_closed()
            future = self._promise
            if future is None:
                future = self._promise = Future()
                future.set_running_or_notify_cancel()  # shared: one impatient caller must not cancel it for the others
            self._start()
        self._wake.set()
        return future

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="durable-writer", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        try:
            while self._await_work():
                self._commit()
        except BaseException as problem:  # out of memory: whoever waits must hear of it, and a later save starts anew
            with self._lock:
                self._thread, self._error, promise, self._promise = None, problem, self._promise, None
                self._committing, self._idle, self._attention = False, True, True
            if promise is not None:
                promise.set_exception(problem)
            raise

    def _await_work(self) -> bool:
        """True when a commit is due, False when the thread may end."""
        idle_until = clock.monotonic() + IDLE_S
        while True:
            self._attention = True  # before the look: a save after it will wake us
            if self._promise is not None:
                return True
            with self._lock:
                self._idle = not self._inbox or bool(self._held)
                if not self._idle:
                    self._linger(self._oldest)
                    break
            now, busy = clock.monotonic(), bool(self._watched or self._held or self._debts)
            due = self._beaten + self._heartbeat_s if busy else idle_until
            if now >= due or self._closed:
                with self._lock:
                    if self._closed or not (busy or self._inbox or self._watched or self._promise):
                        self._thread = None
                        return False
                return True
            clock.wait(self._wake, due - now)
            self._wake.clear()
        # From the oldest result: a steady stream has no gaps to wait for.
        while self._promise is None and not self._closed and (left := self._due - clock.monotonic()) > 0:
            clock.wait(self._wake, left)
            self._wake.clear()
        return True

    def _commit(self) -> None:
        with self._lock:
            promise, self._promise = self._promise, None
        self._committing, self._attention, self._idle = True, True, False
        self._crowd, self._oldest, self._beaten = 0, clock.monotonic(), clock.monotonic()
        count, again, batch = len(self._inbox), bool(self._held), self._held
        error: BaseException | None = None
        try:
            self._held = batch = self._held + self._inbox[:count]
            del self._inbox[:count]
            error = self._patience.keep(self._write, "save")
            self._held = []
        except Exception as problem:
            error = self._explain(problem)
        except BaseException as problem:
            if promise is not None:
                promise.set_exception(problem)
            raise
        if error is None and again:
            self._error = None
        elif error is not None and batch:
            self._error = error
        self._committing = False
        self._turns.passed()
        if promise is not None:
            promise.set_exception(error) if error is not None else promise.set_result(None)
        if error is None:
            self._debts.try_to_pay()

    def _write(self) -> BaseException | None:
        """Commit what is held; what to report although everything that can be saved is, or None."""
        try:
            report = self._write_all(self._held)
        except Exception as problem:
            if not self._held or not self._suspicion.falls_on_rows(self._explain(problem)):
                raise
            return salvage(self._held, self._write_all, self._where, problem)
        self._suspicion.clear()
        return report

    def _write_all(self, rows: list[Checkpoint]) -> BaseException | None:
        """In one commit; then tell the ledgers."""
        report: BaseException | None = None
        shares = by_run(rows)
        with prompt_turns:
            watched = self._transact(rows, shares)
        for run_id, watch in watched.items():
            try:
                watch.committed(shares.get(run_id, []))
            except Exception as problem:  # the rows are safe: report it, do not write them again
                report = report or problem
        return report

    def _transact(self, rows: list[Checkpoint], shares: dict[int, list[Checkpoint]]) -> dict[int, Watch]:
        with self._lock:
            watched = self._debts.watches() | self._watched
        watched = dict(sorted(watched.items()))  # kernels that share several runs lock them in one order
        lost, held = [], set[int]()
        with self._writing() as conn:
            for run_id, watch in watched.items():
                if not watch.lost and watch.write(conn, run_id, shares.get(run_id, [])):
                    rows = watch.admitted(run_id, rows, held)
                elif not watch.lost:
                    lost.append(run_id)
                    watch.tell_loss(conn, run_id)
            upsert(conn, rows, held, self._seal)
        for run_id in lost:  # only now: a rolled back transaction has found out nothing
            watched[run_id].lost = True
            self.lost.add(run_id)
        return watched
