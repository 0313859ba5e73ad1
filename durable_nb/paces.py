"""Starts that are evenly spaced, and the pace that a service turns out to bear."""

from __future__ import annotations

from bisect import insort
from typing import NamedTuple

_NOTHING_S = 1e-9
"""Less is what rounding leaves."""
_SLOWEST_PER_S = 0.2
_GUESS_PER_S = 1.0
"""Of a service that has taken no call yet."""
FEW = 5
"""Fewer calls between two refusals tell no pace."""
_BACK = 0.95
"""What was refused is not asked for again: of two clients, or of a clock that runs apart, the sum has to fit."""
_NEAR, _FAR = 0.8, 0.5
"""No further back at once, after some calls and after few: the wait is a cost already, and may be longer than it need be."""
_WINDOW_S = 1.0
"""No service counts in a shorter time: a burst that was taken in less says how much it takes in that."""
_GROW_S = 1.0
_USED = 0.8
"""Of the starts that a pace allows, where it is what holds calls back."""
_SLOW, _FASTEST = 0.005, 1.0
"""By which share the pace grows after a second, twice as much after the next once it is above what was refused, up to the last."""


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


class _Cycle(NamedTuple):
    begun: int
    """Calls that were begun, and not refused."""
    since: float

    def per_s(self, until: float) -> float:
        """Of them in a second."""
        return self.begun / max(until - self.since, _WINDOW_S)


class _Volley(NamedTuple):
    """What was known when a service refused the first of several calls that were on their way."""

    at: float
    was: float | None
    """The pace before."""
    before: _Cycle
    waited: float
    """When the wait before it was over."""


class Learning:
    """At which pace a service answers, as its refusals tell.

    As many a second as were begun and not refused, from the end of one wait until it refuses again, it may be asked for. Those
    that it has not answered yet are among them, or a service that takes its time would seem to bear nothing; mostly it says
    before the wait is over that it refuses them, too. From there the pace grows while it is what holds calls back, as in
    "CUBIC: A New TCP-Friendly High-Speed TCP Variant", 2008: slowly up to what was refused, then faster and faster. Not locked.
    """

    def __init__(self) -> None:
        self.pace: Pace | None = None
        """None until the service has refused a call."""
        self._cycle, self._until, self._latest = _Cycle(0, 0.0), 0.0, 0
        self._volley = _Volley(0.0, None, self._cycle, 0.0)
        self._grown, self._begun, self._share, self._too_much = 0.0, 0, _SLOW, 0.0

    def begin(self, now: float) -> None:
        """The first call after a time in which none was made: that time says nothing about the service."""
        self._cycle, self._until = _Cycle(0, now), now

    def refused(self, begun: int, now: float, wait: float) -> None:
        """It refused the first of a volley of calls, after so many others were begun, and is left alone for ``wait`` seconds."""
        self._volley = _Volley(now, None if self.pace is None else self.pace.per_s, self._cycle, self._until)
        self.pace, self._latest = Pace(_GUESS_PER_S), begun
        self._settle(now + wait)

    def also_refused(self, until: float) -> None:
        """And another one of the same volley."""
        self._latest -= 1
        self._settle(until)

    def grow(self, begun: int, now: float) -> None:
        """It has answered: if its pace held calls back, by how many were begun, by and by some more are made in a second."""
        pace, seconds = self.pace, now - self._grown
        if pace is None or seconds < _GROW_S:
            return
        if begun - self._begun >= _USED * pace.per_s * seconds:
            pace.per_s *= 1 + self._share
            if _BACK * pace.per_s > self._too_much:
                self._share = min(_FASTEST, 2 * self._share)
        self._grown, self._begun = now, begun

    def _settle(self, until: float) -> None:
        """The pace after a volley, as far as it is known."""
        assert self.pace is not None
        at, was, before, waited = self._volley
        latest, is_few = self._latest, self._latest < FEW
        if is_few:  # a wait that was too short, or still the same limit: the cycle goes on
            self._cycle = _Cycle(before.begun + latest, before.since)
        else:
            self._cycle = _Cycle(latest, waited)
        borne, is_known = self._cycle.per_s(at), self._cycle.begun >= FEW
        if was is None:
            was = borne = borne if is_known else max(borne, _GUESS_PER_S)
        else:  # a single cycle may be misleading
            borne = max((_FAR if is_few else _NEAR) * was, min(borne, _BACK * was))
        self.pace.per_s = max(_SLOWEST_PER_S, borne)
        self._share, self._too_much = (_SLOW, was) if is_known else (_FASTEST, 0.0)
        self._until, self._grown, self._begun = until, until, 0
