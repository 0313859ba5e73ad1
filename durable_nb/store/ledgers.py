"""What the writer keeps of each run beside its results: the lease, counts, figures, mosaic and history."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from typing import Any, Protocol

import sqlalchemy as sa

from durable_nb import clock
from durable_nb.records import Backoff, Checkpoint, Mosaic, Owner
from durable_nb.store import backoffs
from durable_nb.store.dialects import insert, plain
from durable_nb.store.tables import events, mosaics, runs

_MOSAIC_SHARE, _SOONEST_S, _LATEST_S = 0.01, 0.1, 2.0
"""A mosaic is written as often as takes this share of the time, within these bounds: one of ten thousand documents takes
0.1 ms, one of a million about 10.
"""

_BATCH = Sequence[Checkpoint]


class Ledger(Protocol):
    """The counts of a run, kept by whoever computes it."""

    def counts_after(self, batch: _BATCH) -> tuple[int | None, int, int, int]:
        """Documents wanted, done, restored and failed once ``batch`` is committed; written in its transaction."""

    def committed(self, batch: _BATCH) -> None:
        """``batch`` is in the database, and the lease is renewed (for which alone it may be empty); called from the
        writing thread.
        """

    def figures(self) -> dict[str, Any]:
        """What else a view of the live run shows, JSON-ready."""

    def mosaic(self) -> Mosaic | None:
        """The state of every document; None while nothing is known."""

    def held_up(self, by: str) -> None:
        """The run waits for ``by``, the database; '' once it goes on. Called from any thread."""


class Watch:
    """A run whose lease this process keeps."""

    def __init__(self, owner: Owner, ledger: Ledger) -> None:
        self.owner, self.ledger, self.lost = owner, ledger, False
        self._news: list[tuple[float, str, str]] = []
        self._told = 0
        self._waiting: dict[backoffs.Name, Backoff | None] = {}
        self._written: dict[backoffs.Name, Backoff | None] = {}
        self._mosaic_due = 0.0
        self._mosaic = self._mosaic_written = -1  # versions

    def tell(self, kind: str, detail: str) -> None:
        """A line for the history, written with the next commit."""
        self._news.append((clock.now(), kind, plain(detail)))

    def back_off(self, name: backoffs.Name, backoff: Backoff | None) -> None:
        """A call that is to be made again, or (None) that is not any more."""
        self._waiting[name] = backoff

    def write(self, conn: sa.Connection, run_id: int, batch: _BATCH) -> bool:
        """Renew the lease and write all of it, as it is once ``batch`` is committed; False when it is another's."""
        values = self.last(batch) | {"heartbeat": clock.now()}
        mine = sa.update(runs).where(runs.c.id == run_id, runs.c.owner_token == self.owner.token)
        if conn.execute(mine.values(values)).rowcount == 0:
            return False
        self._write_more(conn, run_id)
        return True

    def admitted(self, run_id: int, rows: list[Checkpoint], held: set[int]) -> list[Checkpoint]:
        """Which of ``rows``, those of other runs too, are to be written after a ``write`` of this run."""
        held.add(run_id)
        return rows

    def _write_more(self, conn: sa.Connection, run_id: int) -> None:
        self._write_news(conn, run_id)
        self._write_backoffs(conn, run_id)
        began = clock.monotonic()
        if began >= self._mosaic_due:
            self._write_mosaic(conn, run_id)
            now = clock.monotonic()
            self._mosaic_due = now + min(max((now - began) / _MOSAIC_SHARE, _SOONEST_S), _LATEST_S)

    def write_rest(self, conn: sa.Connection, run_id: int) -> None:
        """What has not been written when the run ends."""
        self._write_news(conn, run_id)
        self._write_backoffs(conn, run_id)
        self._write_mosaic(conn, run_id)

    def committed(self, batch: _BATCH) -> None:
        """The transaction of the last ``write`` is over."""
        del self._news[: self._told]
        self._told, self._mosaic_written = 0, self._mosaic
        for name, backoff in self._written.items():
            if self._waiting[name] is backoff:  # not yet the next one
                del self._waiting[name]
        self._written = {}
        if batch or not self.lost:
            self.ledger.committed(batch)

    def tell_loss(self, conn: sa.Connection, run_id: int) -> None:
        """A line of the history, in the transaction that found out that the lease is another's."""
        conn.execute(sa.insert(events).values(run_id=run_id, at=clock.now(), kind="lease lost"))

    def last(self, batch: _BATCH = (), **more: Any) -> dict[str, Any]:
        """Counts and figures as columns of the run."""
        counts = dict(zip(("total", "done", "restored", "failed"), self.ledger.counts_after(batch), strict=True))
        return counts | {"figures": json.dumps(self.ledger.figures() | more, separators=(",", ":"))}

    def _write_news(self, conn: sa.Connection, run_id: int) -> None:
        news = self._news[:]
        self._told = len(news)
        if news:
            lines = [{"run_id": run_id, "at": at, "kind": kind, "detail": detail} for at, kind, detail in news]
            conn.execute(sa.insert(events), lines)

    def _write_backoffs(self, conn: sa.Connection, run_id: int) -> None:
        if self._waiting:
            self._written = dict(self._waiting)
            backoffs.write(conn, run_id, self._written)

    def _write_mosaic(self, conn: sa.Connection, run_id: int) -> None:
        mosaic = self.ledger.mosaic()
        if mosaic is None or mosaic.version == self._mosaic_written:
            return
        self._mosaic = mosaic.version
        values = {"version": mosaic.version, "states": zlib.compress(mosaic.states, 1)}
        statement = insert(conn.dialect, mosaics).values(run_id=run_id, **values)
        conn.execute(statement.on_conflict_do_update(index_elements=["run_id"], set_=self._replacing(values)))

    def _replacing(self, mosaic: dict[str, Any]) -> dict[str, Any]:
        """How the columns of a mosaic follow those that are there."""
        return mosaic
