"""Which numbers among the equal calls of a run were used up: kept small, and given back by who turns out not to need them."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durable_nb.engine.versions import StepInRun

_WIDTH = 16  # of a digest


class Numbers:
    """The numbers that calls of one step were given: 16 bytes for the first of equal calls, as most are."""

    def __init__(self, entered: StepInRun) -> None:
        self._entered = entered
        self._first, self._later = bytearray(), list[tuple[bytes, int]]()
        self._under_way: list[Numbers] = []

    def add(self, digests: Sequence[bytes], occurrences: Sequence[int]) -> None:
        """These calls have these numbers; safe from any thread."""
        if any(occurrences):
            pairs = list(zip(digests, occurrences, strict=True))
            self._later.extend(pair for pair in pairs if pair[1])
            digests = [digest for digest, occurrence in pairs if not occurrence]
        self._first.extend(b"".join(digests))

    def enclose(self, other: Numbers) -> None:
        """Those of a map that is under way are to be given back with these."""
        self._under_way.append(other)

    def take_over(self, other: Numbers) -> None:
        """The same, once and for all: the map has ended well."""
        with suppress(ValueError):
            self._under_way.remove(other)
        self._first += other._first
        self._later += other._later
        other._first, other._later = bytearray(), []

    def give_back(self) -> None:
        """See ``StepInRun.give_back``; what was saved under them is found when the calls are made again."""
        under_way, self._under_way = self._under_way, []
        for other in under_way:
            other.give_back()
        first, later, give_back = self._first, self._later, self._entered.give_back
        self._first, self._later = bytearray(), []
        for digest, occurrence in reversed(later):
            give_back(digest, occurrence)
        for at in range(0, len(first), _WIDTH):
            give_back(bytes(first[at : at + _WIDTH]), 0)
        if first or later:
            self._entered.refresh()
