"""When a call may start, and what becomes of a start that nobody used."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies

from durable_nb.paces import Pace, Slot
from durable_nb.rates import Flow
from durable_nb.testing import frozen_clock

if TYPE_CHECKING:
    from collections.abc import Generator


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
    waits = [flow.waits((), {}) for _ in range(calls)]
    for one in waits:
        next(one, None)
    return waits


def test_calls_that_are_dropped_hold_up_nobody() -> None:
    """After a map that was stopped with 31 calls in line, the next call waits for one that has started, not for those."""
    with frozen_clock() as clock:
        flow = Flow("60/min")
        for one in waiting(flow, 32):
            one.close()
        begun = clock.at
        for seconds in flow.waits((), {}):
            clock.move(seconds)

        assert clock.at - begun == pytest.approx(1.0)
        assert flow.waiting_for == ""


def test_who_still_waits_moves_up() -> None:
    """A map of another run gets the turns of one that was stopped; the limit is kept."""
    with frozen_clock() as clock:
        flow, begun, starts = Flow("60/min"), clock.at, list[float]()
        stopped, others = waiting(flow, 10), waiting(flow, 3)
        for one in stopped:
            one.close()
        while others:
            clock.move(0.5)
            for one in list(others):
                if next(one, None) is None:
                    others.remove(one)
                    starts.append(clock.at - begun)

        assert starts == [1.0, 2.0, 3.0]
