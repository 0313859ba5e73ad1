"""Starts that are evenly spaced, and the pace that a service turns out to bear."""

from __future__ import annotations

import math
from bisect import insort
from collections import deque
from typing import NamedTuple

_NOTHING_S = 1e-9
"""Less is what rounding leaves."""
_SLOWEST_PER_S = 0.2
_GUESS_PER_S = 10.0
"""Of a service that refused when it had taken fewer. Too high costs one more refusal, too low seconds until it is found out."""
FEW = 5
"""Fewer calls between two refusals tell no pace."""
_BACK, _SURE = 0.95, 0.97
"""What was refused is not asked for again, nor quite what was taken: of two clients, or of a clock that runs apart, the sum has to fit."""
_NEAR, _FAR = 0.8, 0.5
"""No further back at once, after some calls and after few: the wait is a cost already, and may be longer than it need be."""
_WINDOW_S = 1.0
"""No service counts in a shorter time: a burst that was taken in less says how much it takes in that."""
_SHORT_S = 0.04
"""In less, that a call was a little late makes too much of a difference."""
_KEPT = 256
"""Starts of which the time is kept."""
_GROW_S = 1.0
_USED = 0.8
"""Of the starts that a pace allows, where it is what holds calls back."""
_SLOW, _SOON, _FASTEST = 0.005, 0.02, 1.0
"""By which share the pace grows after a second, by the second at least while it is a first estimate; twice as much after the next
once it is above what was refused, up to the last."""
_GAP_S = 10.0
"""In so long it grows from what a service has borne to what it may bear at most."""
_BRIEF_S = 0.02


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


class _Burst(NamedTuple):
    """What was taken before the first refusal."""

    calls: int
    seconds: float


class _Cycle(NamedTuple):
    """What was known when a service refused the first of several calls that were on their way."""

    at: float
    was: float | None
    """The pace before."""
    is_start: bool
    """Of a slow start."""
    emptied: float
    """When it had refused before that; -inf if calls were not made all the time since."""
    waited: float
    """When the wait before it was over."""
    begun: int
    times: list[float]
    """When the last of those were begun, and the one that was refused."""
    was_few: bool
    """Whether few were taken before that."""
    growth: tuple[float, float]
    """By which share the pace grew, and from where on faster."""


class Learning:
    """At which pace a service answers, as its refusals tell: slow start, then congestion avoidance, as of TCP.

    It is taken for a token bucket, which holds a burst and is filled at a rate. The calls up to the first refusal tell the
    burst, and little about the rate. So they go on as if the burst were what it bears in a second, or at ten a second if that is
    more, and with each answer a little faster: twice as fast after as many calls as the burst. At the next refusal the rate
    is the least that explains what was taken: in no time more than the burst and what was filled in meanwhile ("arrival
    curve": Cruz, "A Calculus for Network Delay", 1991), and from one refusal to the next, with the bucket empty at both, what
    was filled in. Those that are not answered yet are among them, or a service that takes its time would seem to bear
    nothing. From there the pace grows while it is what holds calls back, as in "CUBIC: A New TCP-Friendly High-Speed TCP
    Variant", 2008: slowly up to what was refused, then faster and faster. Not locked.
    """

    def __init__(self) -> None:
        self.pace: Pace | None = None
        """None until the service has refused a call."""
        self._is_start = False
        self._times, self._emptied, self._until = deque[float](maxlen=_KEPT), -math.inf, 0.0
        self._alone, self._bursts, self._guess = _Burst(0, 0.0), list[_Burst](), 0.0
        self._refused, self._is_few = 0, False
        self._cycle = _Cycle(0.0, None, False, -math.inf, 0.0, 0, [], False, (0.0, 0.0))
        self._grown, self._begun, self._share, self._too_much = 0.0, 0, _SLOW, 0.0

    def begin(self, now: float, alone: int = 0) -> None:
        """The first call after a time in which none was made, or after some ``alone``: that time says nothing about the service."""
        self._alone = _Burst(alone, now - self._until)
        self._times.clear()
        self._emptied, self._until = -math.inf, now

    def begins(self, now: float) -> None:
        """A call is made; without a pace not all of them are told."""
        self._times.append(now)

    def look(self, left: float) -> float:
        """How many of ``left`` seconds a call waits before it looks again: while the pace grows fast, its turn comes sooner."""
        return left / 2 if self._is_start and left > _BRIEF_S else left

    def refused(self, begun: int, now: float, wait: float) -> None:
        """It refused the first of a volley of calls, after so many others were begun, and is left alone for ``wait`` seconds."""
        was, times = None if self.pace is None else self.pace.per_s, list(self._times)
        self._cycle = _Cycle(
            now,
            was,
            self._is_start,
            self._emptied,
            self._until,
            begun,
            times,
            self._is_few,
            (self._share, self._too_much),
        )
        self.pace, self._refused, self._emptied = Pace(_GUESS_PER_S), 1, now
        self._times.clear()
        self._settle(now + wait)

    def also_refused(self, until: float) -> None:
        """And another one of the same volley."""
        self._refused += 1
        self._settle(until)

    def grow(self, begun: int, now: float) -> None:
        """It has answered: if its pace held calls back, some more are made in a second; after the start by how many were begun."""
        pace, seconds = self.pace, now - self._grown
        if pace is None:
            return
        if self._is_start:
            if pace.free > now:
                pace.per_s *= 2 ** (1 / max(FEW, self._bursts[0].calls))
            return
        if seconds < _GROW_S:
            return
        if begun - self._begun >= _USED * pace.per_s * seconds:
            pace.per_s *= 1 + self._share
            if _BACK * pace.per_s > self._too_much:
                self._share = min(_FASTEST, 2 * self._share)
        self._grown, self._begun = now, begun

    def _settle(self, until: float) -> None:
        """The pace after a volley, as far as it is known."""
        assert self.pace is not None
        at, was, *_ = cycle = self._cycle
        taken = max(0, cycle.begun + 1 - self._refused)  # one that was refused may be of the volley before
        if was is None:
            seconds = at - cycle.waited
            self._bursts = [_Burst(taken + self._alone.calls, seconds + self._alone.seconds), _Burst(taken, seconds)]
            self._guess = taken / max(seconds, _WINDOW_S)
            self._is_start, per_s = True, max(_GUESS_PER_S, self._guess)
        else:
            per_s = self._next(was, taken)
        self.pace.per_s = max(_SLOWEST_PER_S, per_s)
        self._until, self._grown, self._begun = until, until, 0

    def _next(self, was: float, taken: int) -> float:
        """The pace after another refusal, when so many calls were taken, and how it grows."""
        cycle, is_few = self._cycle, taken < FEW
        borne = self._borne(was, taken)
        self._is_start, self._is_few = cycle.is_start and is_few and borne < _FAR * was, is_few
        if not taken:  # a wait that was too short
            self._share, self._too_much = cycle.growth
            return _BACK * was
        self._share, self._too_much = _SLOW, was
        if is_few:  # still the same limit, perhaps
            borne = max(borne, (_FAR if cycle.is_start or cycle.was_few else _NEAR) * was)
        elif not cycle.is_start:  # a single cycle may be misleading
            borne = max(borne, _NEAR * was)
        elif self._guess > _GUESS_PER_S and _FAR * self._guess < borne < self._guess:
            return _SURE * self._guess  # counted in windows, perhaps: those that were cut short tell too little
        if cycle.is_start:
            most = was if is_few else min(was, taken / max(cycle.at - cycle.waited, _WINDOW_S))
            self._share, self._too_much = max(_SOON, (most / borne - 1) / _GAP_S), max(most, borne / _BACK)
        return min(_SURE * borne, _BACK * was)

    def _borne(self, was: float, taken: int) -> float:
        """The least rate that explains what was taken since the last refusal."""
        cycle = self._cycle
        if not taken:
            return 0.0
        times = cycle.times[: len(cycle.times) - self._refused]
        spans = [_Burst(taken, cycle.at - cycle.waited)]
        spans += [_Burst(len(times) - i, times[-1] - at) for i, at in enumerate(times)]
        spans = [span for span in spans if span.seconds > _SHORT_S]
        per_s = (taken + 0.5) / max(
            cycle.at - cycle.emptied, _NOTHING_S
        )  # one more would have been refused: between them, then
        for _ in range(3):  # the more at a rate, the fewer at once
            at_once = max(1.0, *(burst.calls - per_s * burst.seconds for burst in self._bursts))
            per_s = min(was, max([per_s, *((span.calls - at_once) / span.seconds for span in spans)]))
        return per_s
