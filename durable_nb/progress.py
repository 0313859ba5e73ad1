"""Counts, rate and time left of one run: a fold over committed batches, with no view and no thread in it."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from typing import TYPE_CHECKING

from durable_nb import clock
from durable_nb.records import LINK, Failure, Snapshot, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durable_nb.records import Checkpoint

_WINDOW_S = 30.0
_SHOWN_FAILURES = 50


class Progress:
    """What one attempt of a run has done so far; results still on their way to the database are not counted."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.state = State.RUNNING
        self.message = ""
        self.workers = 1
        self.total: int | None = None
        self._guessed = 0
        self.restored = 0
        self.computed = 0
        self.saved_s = 0.0
        self._failures: dict[tuple[int, bytes], Failure] = {}
        self._started = clock.monotonic()
        self._ended: float | None = None
        self._last_commit: float | None = None
        self._samples: deque[tuple[float, int]] = deque([(self._started, 0)])
        self._lock = threading.Lock()

    @property
    def failed(self) -> int:
        """Documents that gave up in this attempt and have not succeeded since."""
        return len(self._failures)

    def expect(self, more: int) -> None:
        """``more`` documents are wanted, on top of those already known of."""
        with self._lock:
            self.total = (self.total or 0) + more

    def guess(self, more: int) -> None:
        """Probably ``more`` documents are wanted; once the run is done, what was seen is what there was."""
        with self._lock:
            self._guessed += more

    def forget_guess(self) -> None:
        """The run is about to end as done."""
        self._guessed = 0

    def restore(self, documents: int, seconds: float) -> None:
        """``documents`` were found in the store; computing them had taken ``seconds``."""
        with self._lock:
            self.restored += documents
            self.saved_s += seconds

    def found_elsewhere(self, computed: int, restored: int) -> None:
        """Other processes computed and committed, and restored, so many documents."""
        with self._lock:
            self.computed += max(0, computed)
            self.restored += max(0, restored)

    def counts_after(self, batch: Sequence[Checkpoint]) -> tuple[int | None, int, int, int]:
        """(total, done, restored, failed) once ``batch`` is committed; written in the same transaction."""
        done, failed = self._fold(batch, dict(self._failures) if self._failures else {})
        computed = self.computed + done
        return self._known_total(computed, failed), self.restored + computed, self.restored, failed

    def committed(self, batch: Sequence[Checkpoint]) -> None:
        """``batch`` is in the database."""
        now = clock.monotonic()
        with self._lock:
            done, _ = self._fold(batch, self._failures)
            self.computed += done
            self._last_commit = now
            self._samples.append((now, self.computed))
            while len(self._samples) > 2 and now - self._samples[0][0] > _WINDOW_S:
                self._samples.popleft()

    def end(self, state: State, message: str = "") -> None:
        """Nothing more will come."""
        self.state, self.message, self._ended = state, message, clock.monotonic()

    def snapshot(self) -> Snapshot:
        """Everything a view needs, at this moment."""
        with self._lock:
            now = clock.monotonic() if self._ended is None else self._ended
            total = self._known_total(self.computed, self.failed)
            left = None if total is None else max(0, total - self.restored - self.computed - self.failed)
            rate = self._rate(now)
            running = self.state is State.RUNNING
            return Snapshot(
                name=self.name,
                state=self.state,
                total=total,
                restored=self.restored,
                computed=self.computed,
                failed=self.failed,
                running=min(self.workers, 1 if left is None else left) if running else 0,
                rate=rate,
                eta_s=left / rate if running and left is not None and rate > 0 else None,
                elapsed_s=now - self._started,
                saved_s=self.saved_s,
                commit_age_s=None if self._last_commit is None else now - self._last_commit,
                failures=tuple(itertools.islice(self._failures.values(), _SHOWN_FAILURES)),
                message=self.message,
            )

    def _known_total(self, computed: int, failed: int) -> int | None:
        # Plain calls announce nothing beforehand: once the run has ended, what was seen is what there is.
        seen = self.restored + computed + failed
        if self.total is None:
            if self._guessed:
                return max(self._guessed, seen)
            return None if self.state is State.RUNNING else seen
        return max(self.total, seen)

    def _rate(self, now: float) -> float:
        """Documents per second over the window; over the whole run once it ended."""
        since, before = (self._started, 0) if self._ended is not None else self._samples[0]
        return (self.computed - before) / (now - since) if now > since else 0.0

    def _fold(self, batch: Sequence[Checkpoint], failures: dict[tuple[int, bytes], Failure]) -> tuple[int, int]:
        done = 0
        for checkpoint in batch:
            if checkpoint.state == State.DONE:
                done += checkpoint.codec != LINK
                if failures:
                    failures.pop((checkpoint.step_id, checkpoint.key), None)
            else:
                failures[checkpoint.step_id, checkpoint.key] = failure_of(checkpoint)
        return done, len(failures)


def failure_of(checkpoint: Checkpoint) -> Failure:
    """The failure that a failed checkpoint records; its error text is one line, then the traceback."""
    error, _, traceback = (checkpoint.error or "").partition("\n")
    return Failure(checkpoint.position, checkpoint.label, error, checkpoint.attempts, traceback)
