"""When a call may start, and what becomes of a start that nobody used."""

from __future__ import annotations

import itertools
import math
import random
from collections import deque
from heapq import heappop, heappush
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies

from durable_nb import clock
from durable_nb.paces import Learning, Pace, Slot
from durable_nb.rates import Flow
from durable_nb.testing import frozen_clock

if TYPE_CHECKING:
    from collections.abc import Generator

    from durable_nb.testing import FrozenClock


def taken(pace: Pace, amount: float, at: float) -> Slot:
    """The next slot from ``at`` on."""
    return pace.take(amount, pace.first(amount, at))


def test_starts_are_evenly_spaced() -> None:
    """Ten at once of twenty a second go a twentieth of a second apart; what was left unused is gone."""
    pace = Pace(20.0)
    begins = [taken(pace, 1, 100.0).begin for _ in range(10)]

    assert [pytest.approx(100 + i / 20) for i in range(10)] == begins
    assert taken(pace, 1, 200.0).begin == 200.0
    assert taken(pace, 1, 200.0).begin == pytest.approx(200.05)


def test_a_large_document_takes_its_share() -> None:
    """After 500 of 1,000 tokens a second the next one waits half a second, however few it needs."""
    pace = Pace(1000.0)

    assert [taken(pace, amount, 0.0).begin for amount in (500, 1, 1)] == pytest.approx([0.0, 0.5, 0.501])


@pytest.mark.parametrize("order", ["first", "last", "any"])
def test_what_is_given_back_is_there_again(order: str) -> None:
    """In whatever order: after all of 32 were given back, the next one starts when the first of them would have."""
    pace = Pace(1.0)
    slots = [taken(pace, 1, 0.0) for _ in range(33)][1:]
    if order != "first":
        slots.reverse()
    if order == "any":
        random.Random(1).shuffle(slots)
    for slot in slots:
        pace.give_back(slot, 0.5)

    assert taken(pace, 1, 0.5).begin == pytest.approx(1.0)


@given(strategies.lists(strategies.tuples(strategies.booleans(), strategies.floats(0.1, 3), strategies.floats(0, 0.5))))
def test_slots_never_overlap(actions: list[tuple[bool, float, float]]) -> None:
    """Whatever is taken and given back: within any time no more starts than the limit allows, and one."""
    pace, held, now = Pace(2.0), list[Slot](), 0.0
    for is_taken, amount, later in actions:
        now += later
        if is_taken or not held:
            held.append(taken(pace, amount, now))
        elif (slot := held.pop(len(held) // 2)).begin > now:
            pace.give_back(slot, now)
        else:
            held.append(slot)  # it has started
    held.sort()

    assert all(one.end <= next_one.begin + 1e-6 for one, next_one in zip(held, held[1:], strict=False))


def waiting(flow: Flow, calls: int) -> list[Generator[float]]:
    """So many calls that wait for their turn."""
    waits = [flow.waits() for _ in range(calls)]
    for one in waits:
        next(one, None)
    return waits


def test_calls_that_are_dropped_hold_up_nobody() -> None:
    """After a map that was stopped with 31 calls in line, the next call waits for one that has started, not for those."""
    with frozen_clock() as frozen:
        flow = Flow("60/min")
        for one in waiting(flow, 32):
            one.close()
        begun = frozen.at
        for seconds in flow.waits():
            frozen.move(seconds)

        assert frozen.at - begun == pytest.approx(1.0)
        assert flow.waiting_for == ""


def test_who_still_waits_moves_up() -> None:
    """A map of another run gets the turns of one that was stopped; the limit is kept."""
    with frozen_clock() as frozen:
        flow, begun, starts = Flow("60/min"), frozen.at, list[float]()
        stopped, others = waiting(flow, 10), waiting(flow, 3)
        for one in stopped:
            one.close()
        while others:
            frozen.move(0.5)
            for one in list(others):
                if next(one, None) is None:
                    others.remove(one)
                    starts.append(frozen.at - begun)

        assert starts == [1.0, 2.0, 3.0]


class LaterError(Exception):
    """The service asks to wait."""

    status_code = 429

    def __init__(self, after_s: float | None) -> None:
        super().__init__("429")
        self.headers = {} if after_s is None else {"Retry-After": str(after_s)}


class Service:
    """Answers 20 calls in any second; the others are told to come ``after_s``, or when there is room."""

    def __init__(self, time: FrozenClock, after_s: float | str | None) -> None:
        self.clock, self.after_s, self.answered, self.refused = time, after_s, deque[float](), 0

    def ask(self) -> None:
        """One call."""
        while self.answered and self.answered[0] <= self.clock.at - 1:
            self.answered.popleft()
        if len(self.answered) == 20:
            self.refused += 1
            room = self.answered[0] + 1 - self.clock.at
            raise LaterError(room if isinstance(self.after_s, str) else self.after_s)
        self.answered.append(self.clock.at)

    def serve(self, flow: Flow, documents: int) -> float:
        """Seconds until all are answered, asked one after the other."""
        begun = self.clock.at
        while documents:
            for seconds in flow.waits():
                self.clock.move(seconds)
            flow.begun += 1
            flow.begins(clock.stopwatch())
            try:
                self.ask()
            except LaterError as error:
                assert flow.refused(error)
            else:
                flow.succeeded(clock.stopwatch())
                documents -= 1
            self.clock.move(0.001)
        return self.clock.at - begun


@pytest.mark.parametrize("idle_s", [0, 600])
@pytest.mark.parametrize("after_s", ["exact", 1.0, 0.5, 0.1, None])
def test_the_pace_stays_near_what_the_service_bears(after_s: float | str | None, idle_s: float) -> None:
    """However long it asks to wait, and whatever time the user thought before: 400 documents, 19 s at best; few are refused."""
    with frozen_clock() as frozen:
        flow, service = Flow(), Service(frozen, after_s)
        service.serve(flow, 3)
        frozen.move(idle_s)

        assert service.serve(flow, 60) < 10
        frozen.move(idle_s)
        assert service.serve(flow, 400) < 19 * 1.6
        assert service.refused < 0.05 * 463


def test_a_pace_that_was_measured_wrong_is_left_soon() -> None:
    """After a wait of a minute for a service that takes 20 a second: 400 documents in another minute."""
    with frozen_clock() as frozen:
        flow, service = Flow(), Service(frozen, 60.0)
        service.serve(flow, 21)
        service.after_s = "exact"

        assert service.serve(flow, 400) < 60


def test_refusals_in_a_row_halve_the_pace_at_most() -> None:
    """Nothing is answered for a moment: that says little about the pace, and the waits grow all the same."""
    learning = Learning()
    learning.begin(0.0)
    learning.refused(20, 0.0, 1.0)
    assert learning.pace is not None
    assert learning.pace.per_s == 20.0
    for at in (1.0, 1.1):
        was = learning.pace.per_s
        learning.refused(0, at, 0.1)

        assert was / 2 <= learning.pace.per_s < was


def test_a_wait_that_is_too_short_again_and_again_is_lengthened() -> None:
    """A service that says "at once" and refuses is not asked all the time: 20 times in a minute and a half."""
    with frozen_clock() as frozen:
        flow, begun, asked = Flow(), frozen.at, 0
        while frozen.at < begun + 90:
            for seconds in flow.waits():
                frozen.move(seconds)
            asked += 1
            assert flow.refused(LaterError(0.1))

        assert asked < 20


class Bucket:
    """A service that takes 20 calls a second, from a bucket of as many, or of ``burst``, and takes its time to answer.

    It asks to wait for ``after_s``; or, if that is a word, until there is room, exactly or in whole seconds.
    """

    def __init__(
        self,
        time: FrozenClock,
        latency_s: float,
        burst: int = 20,
        after_s: float | str | None = 0.5,
        per_s: float = 20.0,
    ) -> None:
        self.time, self.latency_s, self.burst, self.after_s, self.refused = time, latency_s, burst, after_s, 0
        self._per_s, self._left, self._at = per_s, float(burst), time.at

    def answers(self) -> bool:
        """Whether one more call is taken now; that it is not, it says at once."""
        self._left = min(self.burst, self._left + self._per_s * (self.time.at - self._at))
        self._at = self.time.at
        is_taken = self._left >= 1
        self._left -= is_taken
        self.refused += not is_taken
        return is_taken

    def wait_s(self) -> float | None:
        """How long it asks to wait."""
        if not isinstance(self.after_s, str):
            return self.after_s
        room_s = (1 - self._left) / self._per_s + 0.001
        return room_s if self.after_s == "exact" else math.ceil(room_s)

    def serve(self, flow: Flow, documents: int, workers: int) -> float:
        """Seconds until all are answered, the first alone, as a map asks."""
        begun, order = self.time.at, itertools.count()
        events: list[tuple[float, int, Generator[float]]] = []

        def worker(crowd: int) -> Generator[float]:
            nonlocal documents
            while documents:
                documents -= 1
                while not (yield from self._asked(flow)):
                    pass
                if crowd:
                    flow.crowd()
                    for _ in range(crowd):
                        heappush(events, (self.time.at, next(order), worker(0)))
                    return

        heappush(events, (begun, next(order), worker(workers)))
        while events:
            at, _, one = heappop(events)
            self.time.move(max(0.0, at - self.time.at))
            seconds = next(one, None)
            if seconds is not None:
                heappush(events, (self.time.at + float(seconds), next(order), one))
        return self.time.at - begun

    def _asked(self, flow: Flow) -> Generator[float, None, bool]:
        """One attempt; what it yields is slept."""
        if flow.holds:
            yield from flow.waits()
        flow.begun += 1
        flow.begins(clock.stopwatch())
        yield 0.002
        if self.answers():
            yield self.latency_s
            flow.succeeded(clock.stopwatch())
            return True
        wait_s = self.wait_s()
        yield 0.002
        assert flow.refused(LaterError(wait_s))
        return False


@pytest.mark.parametrize("workers", [32, 64])
@pytest.mark.parametrize("latency_s", [0.0, 0.5, 1.0, 3.0])
def test_a_service_that_takes_its_time_is_asked_as_often_as_it_bears(latency_s: float, workers: int) -> None:
    """Answers that are on their way count as answers: 400 documents, and hardly one is refused after the first volley."""
    with frozen_clock() as frozen:
        service = Bucket(frozen, latency_s)
        ideal = max(379 / 20, 399 * latency_s / workers) + 2 * latency_s

        took = service.serve(Flow(), 400, workers)
        assert took < 1.15 * ideal
        volley = (
            workers - 20 if latency_s else workers - 1
        )  # who is answered at once asks again before the first is refused
        assert service.refused <= volley + 3


@pytest.mark.parametrize("after_s", ["exact", "whole", None])
@pytest.mark.parametrize(("burst", "most"), [(1, 1.6), (2, 1.4), (5, 1.25), (10, 1.25), (20, 1.15), (40, 1.15)])
@pytest.mark.parametrize("latency_s", [0.005, 0.05])
def test_a_burst_is_not_taken_for_the_pace(burst: int, most: float, after_s: str | None, latency_s: float) -> None:
    """Whatever a service that takes 20 a second takes at once: 200 documents soon, and hardly one is refused.

    If it asks to wait for a whole second, and has room for one or two after it, two such waits are a fifth of the time.
    """
    random.seed(1)
    with frozen_clock() as frozen:
        service = Bucket(frozen, latency_s, burst, after_s)

        assert service.serve(Flow(), 200, 8) < most * (200 - burst) / 20
        assert service.refused <= 0.05 * (200 + service.refused)


@pytest.mark.parametrize("per_s", [5.0, 100.0])
@pytest.mark.parametrize("burst", [5, 20])
def test_the_pace_is_found_from_any_burst(per_s: float, burst: int) -> None:
    """Of a service that takes far fewer or far more a second than at once."""
    with frozen_clock() as frozen:
        service, documents = Bucket(frozen, 0.005, burst, "exact", per_s), int(40 * per_s)

        assert service.serve(Flow(), documents, 8) < 1.2 * (documents - burst) / per_s
        assert service.refused <= 0.07 * documents
