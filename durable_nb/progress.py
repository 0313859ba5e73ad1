"""Counts, rate, time left and the mosaic of one run: a fold over committed batches, with no view and no thread in it."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

from durable_nb import clock
from durable_nb.limits import Gate
from durable_nb.locks import lock_of
from durable_nb.reasons import Reasons
from durable_nb.records import (
    COMPUTED,
    GAVE_UP,
    LINK,
    RESTORED,
    WAITING,
    Checkpoint,
    Costed,
    Failure,
    Mosaic,
    Snapshot,
    State,
)
from durable_nb.windows import Window

if TYPE_CHECKING:
    from collections.abc import Sequence

_DONE = State.DONE.value  # a plain text compares five times as fast
_SHOWN_FAILURES = 50
_BLANK = Snapshot("", State.RUNNING, None, 0, 0, 0, 0, 0.0, None, 0.0, 0.0, None)
_AFTER_RESTART = bytes.maketrans(bytes((COMPUTED, GAVE_UP)), bytes((RESTORED, WAITING)))
# A killed attempt may have shown this many versions of its mosaic more than it wrote.
_GAP = 1_000
# Documents that are only announced, not yet looked at, are drawn up to this number: `map(range(10**9))` needs no gigabyte.
_DRAWN = 1_000_000


class Progress:
    """What one attempt of a run has done so far; results still on their way to the database are not counted.

    Parameters
    ----------
    about : Snapshot
        What the store says of the run as it begins: its name, ids and texts, and the version of its last mosaic.
    gate : Gate
        What holds its calls back.
    """

    def __init__(self, about: Snapshot = _BLANK, gate: Gate | None = None) -> None:
        self.state, self.message = State.RUNNING, ""
        self.workers = 1
        self.total: int | None = None
        self.restored = self.computed = 0
        self.saved_s = self.spent = self.saved_cost = 0.0
        self._about, self._gate, self._held_up = about, gate or Gate(), ""
        self._guessed = self.numbered = 0  # the latter: how many documents have a number
        self._renumbered = False
        self._states = bytearray()
        self._version, self._changed = about.mosaic_version + _GAP, False
        self._failures: dict[tuple[int, bytes], Failure] = {}
        self._reasons = Reasons()
        self._started = clock.monotonic()
        self._ended: float | None = None
        self._last_commit: float | None = None
        self._last_beat: float | None = None
        self._window = Window(self._started)
        self._lock = lock_of(self)

    @property
    def failed(self) -> int:
        """Documents that gave up in this attempt and have not succeeded since."""
        return len(self._failures)

    def expect(self, more: int, *, at: int | None = None) -> int:
        """``more`` documents are wanted, on top of those already known of; the number of the first of them.

        ``at`` is that number if they, or the first of them, were wanted before.
        """
        with self._lock:
            first = self.numbered if at is None else at
            new = max(0, first + more - self.numbered)
            self.total = (self.total or 0) + new
            self._number(new)
            return first

    def is_counted(self, document: int) -> bool:
        """Whether it was restored or computed in this attempt."""
        return document < len(self._states) and self._states[document] in (RESTORED, COMPUTED)

    def number(self) -> int:
        """The number of one more document that nobody announced."""
        with self._lock:
            number = self.numbered
            self.numbered = number + 1
            return number

    def guess(self, more: int) -> None:
        """Probably ``more`` documents are wanted."""
        with self._lock:
            self._guessed += more
            self._changed = True

    def about_to_end(self, *, is_complete: bool) -> None:
        """The next figures are the last; of a complete run, what was seen is what there was."""
        self._reasons.sort_next()
        if is_complete and self._guessed:
            self._guessed, self._changed = 0, True

    def restore(self, documents: Sequence[int], seconds: float, *, renumbered: bool = False, cost: float = 0.0) -> None:
        """Documents of these numbers were found in the store; computing them had taken ``seconds``, and cost ``cost``.

        ``renumbered`` when some of them had other numbers then.
        """
        with self._lock:
            self._renumbered = self._renumbered or renumbered
            self._paint(documents, RESTORED)
            self.restored += len(documents)
            self.saved_s += seconds
            self.saved_cost += cost

    def go_on_from(self, states: bytes) -> None:
        """An attempt before this one ended with these ``states``, and only of what failed in it something is tried again."""
        with self._lock:
            self._states = bytearray(states.translate(_AFTER_RESTART))
            self.total = self.numbered = len(states)
            self.restored = self._states.count(RESTORED)
            self._changed = True

    def found_elsewhere(self, computed: int, restored: int) -> None:
        """Other processes computed and committed, and restored, so many documents; nobody knows which."""
        with self._lock:
            for state, count in ((COMPUTED, computed), (RESTORED, restored)):
                self._grow_to(self.numbered - 1)
                self._states += bytes((state,)) * count  # of a negative count there are none
                self.numbered += max(0, count)
            self.computed += max(0, computed)
            self.restored += max(0, restored)

    def counts_after(self, batch: Sequence[Checkpoint]) -> tuple[int | None, int, int, int]:
        """(total, done, restored, failed) once ``batch`` is committed; written in the same transaction."""
        ended, codecs = [checkpoint.state for checkpoint in batch], [checkpoint.codec for checkpoint in batch]
        done, failed = ended.count(_DONE) - codecs.count(LINK), self.failed
        if failed or ended.count(_DONE) < len(ended):
            ends = {(checkpoint.step_id, checkpoint.key): checkpoint.state != _DONE for checkpoint in batch}
            failed += sum(gave_up - (call in self._failures) for call, gave_up in ends.items())
        computed = self.computed + done
        return self._known_total(computed, failed), self.restored + computed, self.restored, failed

    def committed(self, batch: Sequence[Checkpoint]) -> None:
        """``batch`` is in the database; an empty one says that the lease is renewed."""
        now = clock.monotonic()
        with self._lock:
            self._last_beat = now
            if not batch:
                return
            self._fold(batch)
            self._last_commit = now
            self._window.add(now, self.computed)

    def held_up(self, by: str) -> None:
        """The run waits for ``by``; '' once it goes on."""
        self._held_up = by

    def end(self, state: State, message: str = "") -> None:
        """Nothing more will come."""
        self.state, self.message, self._ended = state, message, clock.monotonic()

    def snapshot(self) -> Snapshot:
        """Everything a view needs, at this moment."""
        with self._lock:
            now = clock.monotonic() if self._ended is None else self._ended
            total = self._known_total(self.computed, self.failed)
            left = None if total is None else max(0, total - self.restored - self.computed - self.failed)
            rate, gate = self._window.rate(now, self.computed, is_over=self._ended is not None), self._gate
            running = self.state is State.RUNNING
            paused, at_a_time = running and gate.paused, max(self.workers, len(gate.running))
            return self._about._replace(
                state=self.state,
                total=total,
                restored=self.restored,
                computed=self.computed,
                failed=self.failed,
                running=len(gate.running) if running else 0,
                rate=rate,
                eta_s=left / rate if running and not paused and left is not None and rate > 0 else None,
                elapsed_s=now - self._started,
                saved_s=self.saved_s,
                commit_age_s=None if self._last_commit is None else max(0.0, now - self._last_commit),
                failures=tuple(itertools.islice(self._failures.values(), _SHOWN_FAILURES)),
                message=self.message,
                paused=paused,
                workers=min(at_a_time, gate.workers or at_a_time),
                limit_workers=gate.workers if running else None,
                per_minute=gate.per_minute if running else None,
                heartbeat_age_s=max(0.0, now - self._last_beat) if running and self._last_beat is not None else None,
                waiting_for=(self._held_up or gate.waiting_for) if running else "",
                groups=self._reasons.top(now, is_last=self._ended is not None),
                mosaic_version=self._current_version(),
                spent=self.spent,
                saved_cost=self.saved_cost,
            )

    def figures(self) -> dict[str, Any]:
        """What of the snapshot is true for a moment only: a view of the rows needs it beside the counts."""
        now = self.snapshot()
        committed = None if now.commit_age_s is None else clock.now() - now.commit_age_s
        found = {name: getattr(now, name) for name in _FIGURES}
        found |= {"committed": committed, "renumbered": self._renumbered}
        return {name: value for name, value in found.items() if not isinstance(value, float) or math.isfinite(value)}

    def mosaic(self) -> Mosaic | None:
        """The state of every document, those announced but not looked at included; None while there is none."""
        with self._lock:
            known = max(self.numbered, self._known_total(self.computed, self.failed) or 0)
            states = bytes(self._states).ljust(min(known, _DRAWN), bytes((WAITING,)))
            return Mosaic(self._current_version(), states) if states else None

    def _number(self, more: int) -> int:
        first, self.numbered, self._changed = self.numbered, self.numbered + more, True
        return first

    def _grow_to(self, document: int) -> None:
        missing = document + 1 - len(self._states)
        if missing > 0:
            self._states.extend(bytes(missing))
        self._changed = True

    def _current_version(self) -> int:
        # Counted when somebody looks, not at every change: so a successor can be sure to be above what was shown.
        if self._changed:
            self._version, self._changed = self._version + 1, False
        return self._version

    def _known_total(self, computed: int, failed: int) -> int | None:
        # Plain calls announce nothing beforehand: once the run is done, what was seen is what there is.
        seen = self.restored + computed + failed
        if self.total is None:
            if self._guessed:
                return max(self._guessed, seen)
            return seen if self.state is State.DONE else None
        return max(self.total, seen)

    def _paint(self, documents: Sequence[int], state: int) -> None:
        self._grow_to(max(documents, default=-1))
        states, first = self._states, documents[0] if documents else 0
        end = first + len(documents)
        if len(documents) > 1 and documents == list(range(first, end)):  # as mostly in a list
            states[first:end] = bytes((state,)) * len(documents)
        else:
            for document in documents:
                states[document] = state

    def _fold(self, batch: Sequence[Checkpoint]) -> None:
        if not self._failures and _are_results(batch):  # as mostly: they are not looked at one by one
            self._paint([checkpoint.position for checkpoint in batch], COMPUTED)
            self.computed += len(batch)
            return
        states, failures, done = self._states, self._failures, 0
        self._grow_to(max([checkpoint.position for checkpoint in batch]))
        for checkpoint in batch:
            if checkpoint.codec == LINK:
                continue
            if checkpoint.state != _DONE:
                self._forget_failure(checkpoint, GAVE_UP)
                error, _, traceback = (checkpoint.error or "").partition("\n")
                failure = Failure(checkpoint.position, checkpoint.label, error, checkpoint.attempts, traceback)
                failures[checkpoint.step_id, checkpoint.key] = failure
                self._reasons.add(failure.error)
                states[checkpoint.position] = GAVE_UP
                continue
            if failures:
                self._forget_failure(checkpoint, COMPUTED)
            states[checkpoint.position] = COMPUTED
            done += 1
            if checkpoint.__class__ is Costed:
                self.spent += checkpoint.cost
        self.computed += done

    def _forget_failure(self, checkpoint: Checkpoint, state: int) -> None:
        """The call has ended once more; it may have had another number when it gave up."""
        before = self._failures.pop((checkpoint.step_id, checkpoint.key), None)
        if before is not None:
            self._reasons.add(before.error, -1)
            self._states[before.position] = state


_FIGURES = (
    "running rate eta_s saved_s paused workers limit_workers per_minute waiting_for groups spent saved_cost".split()  # noqa: SIM905 - one a line would fill a screen
)


def _are_results(batch: Sequence[Checkpoint]) -> bool:
    """Of documents, with nothing beside them."""
    states, codecs = {checkpoint.state for checkpoint in batch}, {checkpoint.codec for checkpoint in batch}
    return states == {_DONE} and LINK not in codecs and {Checkpoint}.issuperset(map(type, batch))
