"""Starts that are evenly spaced, and the pace that a service turns out to bear."""

from __future__ import annotations

from bisect import insort
from typing import NamedTuple

_NOTHING_S = 1e-9
"""Less is what rounding leaves."""
_SLOWEST_PER_S = 0.2
_GUESS_PER_S = 1.0
"""Of a service that has answered nobody."""
_FEW = 5
"""Fewer answers between two refusals tell no pace."""
_BACK = 0.95
"""What was refused is not asked for again: of two clients, or of a clock that runs apart, the sum has to fit."""
_NEAR, _FAR = 0.8, 0.5
"""No further back at once, after some answers and after few: the wait is a cost already, and may be longer than it need be."""
_WINDOW_S = 1.0
"""No service counts in a shorter time: a burst that was answered in less says how much it takes in that."""
_GROW_S = 1.0
_SLOW, _FAST, _FASTEST = 0.01, 0.25, 1.0
"""By which share the pace grows after a second, twice as much after the next, up to the last: from what was measured, and from
what was not."""


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


class Learning:
    """At which pace a service answers, as its refusals tell.

    One cycle is the time from the first call, or from the end of a wait, to the end of the next wait: as many a second as it
    answered in it, it may be asked for. From there the pace grows, slowly at first, as in "CUBIC: A New TCP-Friendly
    High-Speed TCP Variant", 2008: near what was refused it stays long, and what was measured wrong does not. Not locked.
    """

    def __init__(self) -> None:
        self.pace: Pace | None = None
        """None until the service has refused a call."""
        self._answered = 0
        self._from = self._waited = self._grown = 0.0
        self._share = _SLOW

    def begin(self, now: float) -> None:
        """The first call after a time in which none was made: that time says nothing about the service."""
        self._answered, self._from, self._waited = 0, now, now

    def refused(self, answered: int, now: float, wait: float) -> None:
        """It refused a volley of calls after so many answers, and is left alone for ``wait`` seconds."""
        until = now + wait
        if answered < _FEW:  # a wait that was too short, or still the same limit: the cycle goes on
            self._answered += answered
        else:
            self._answered, self._from = answered, self._waited
        self._share = _SLOW if answered >= _FEW else _FAST
        borne, was = self._answered / max(until - self._from, _WINDOW_S), self.pace
        if was is not None:  # a single cycle may be misleading
            borne = max((_FAR if answered < _FEW else _NEAR) * was.per_s, min(borne, _BACK * was.per_s))
        elif self._answered < _FEW:
            borne, self._share = max(borne, _GUESS_PER_S), _FASTEST
        self.pace = Pace(max(_SLOWEST_PER_S, borne))
        self._waited = self._grown = until

    def grow(self, now: float) -> None:
        """It has answered: if calls are held back, by and by some more are made in a second."""
        pace = self.pace
        if pace is not None and now - self._grown >= _GROW_S and pace.free > now:
            pace.per_s *= 1 + self._share
            self._share, self._grown = min(_FASTEST, 2 * self._share), now
