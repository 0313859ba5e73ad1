"""Starts that are evenly spaced, and the pace that a service turns out to bear."""

from __future__ import annotations

from bisect import insort
from typing import NamedTuple

_NOTHING_S = 1e-9
"""Less is what rounding leaves."""


class Slot(NamedTuple):
    """When a call may start, and when the next one may, in seconds of the clock."""

    begin: float
    end: float


class Pace:
    """Starts that are evenly spaced. Without bursts: a service that counts in windows of its own is not surprised.

    No two slots overlap, whatever is given back: in any time start at most as many as it allows, and one. Not locked.
    """

    def __init__(self, per_s: float) -> None:
        self.per_s = per_s
        self.free = 0.0
        """From here on nothing is taken."""
        self._holes: list[Slot] = []  # given back before it, in order, no two of them adjacent

    def first(self, amount: float, at: float) -> float:
        """The earliest start of ``amount`` from ``at`` on."""
        length = amount / self.per_s
        fitting = (max(at, hole.begin) for hole in self._holes if max(at, hole.begin) + length <= hole.end + _NOTHING_S)
        return next(fitting, max(at, self.free))

    def take(self, amount: float, at: float) -> Slot:
        """The slot of ``amount`` that begins ``at`` a time which is ``first``."""
        taken = Slot(at, at + amount / self.per_s)
        if at >= self.free - _NOTHING_S:
            self.free = taken.end
            return taken
        holes, self._holes = self._holes, []
        for hole in holes:
            if hole.end <= taken.begin or taken.end <= hole.begin:
                self._holes.append(hole)
            else:
                rest = (Slot(hole.begin, taken.begin), Slot(taken.end, hole.end))
                self._holes += [one for one in rest if one.end - one.begin > _NOTHING_S]
        return taken

    def give_back(self, slot: Slot, now: float) -> None:
        """Nobody started in ``slot``: it is there for others, and what is past by ``now`` is forgotten."""
        insort(self._holes, slot)
        holes: list[Slot] = []
        for hole in self._holes:
            if holes and hole.begin - holes[-1].end <= _NOTHING_S:
                holes[-1] = Slot(holes[-1].begin, max(holes[-1].end, hole.end))
            else:
                holes.append(hole)
        if holes[-1].end >= self.free - _NOTHING_S:
            self.free = holes.pop().begin
        self._holes = [hole for hole in holes if hole.end > now]
