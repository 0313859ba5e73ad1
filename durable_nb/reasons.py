"""Why documents gave up, and how many did for each reason."""

from __future__ import annotations

import heapq
from collections import Counter

from durable_nb.records import Group

_SHOWN = 20
_FEW = 100


class Reasons:
    """Counts of errors, the most frequent first; a million different ones are not sorted at every commit."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._top: tuple[Group, ...] = ()
        self._is_sorted, self._due = True, 0.0

    def add(self, error: str, documents: int = 1) -> None:
        """So many documents gave up for it, or (negative) have succeeded since."""
        self._counts[error] += documents
        self._is_sorted = False

    def sort_next(self) -> None:
        """The next ones that are asked for are the last."""
        self._due = 0.0

    def top(self, now: float, *, is_last: bool) -> tuple[Group, ...]:
        """At most 20, ``now`` by a monotonic clock; those of a moment ago if there are many, unless they are the last."""
        if self._is_sorted or (len(self._counts) > _FEW and now < self._due and not is_last):
            return self._top
        found = ((error, count) for error, count in self._counts.items() if count)
        shown = heapq.nsmallest(_SHOWN, found, key=lambda pair: (-pair[1], pair[0]))
        self._top, self._is_sorted = tuple(Group(*pair) for pair in shown), True
        self._due = now + 1.0 + len(self._counts) / 10_000
        return self._top
