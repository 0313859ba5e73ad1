"""What holds calls back: pauses, calls at a time, calls a minute."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from durable_nb import clock
from durable_nb.errors import ConfigError
from durable_nb.limits import Gate, parsed
from durable_nb.testing import frozen_clock
from tests.kernels import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable


def never() -> bool:
    return False


class Callers:
    """Threads that each ask the gate once, and end their call when told."""

    def __init__(self, gate: Gate, count: int, halted: Callable[[], bool] = never) -> None:
        self.gate, self.admitted, self.refused = gate, [], []
        self._halted, self._ends = halted, [threading.Event() for _ in range(count)]
        self._threads = [threading.Thread(target=self._call, args=(n,), daemon=True) for n in range(count)]
        for n, thread in enumerate(self._threads):
            thread.start()
            wait_until(lambda n=n: self._has_arrived(n), describing="the caller has asked")

    def _has_arrived(self, n: int) -> bool:
        return n in self.admitted or n in self.refused or len(self.gate._queue) == n + 1 - len(self.admitted)

    def _call(self, n: int) -> None:
        if not self.gate.admit(n, self._halted):
            self.refused.append(n)
            return
        self.admitted.append(n)
        self._ends[n].wait(30)
        self.gate.running.discard(n)
        if self.gate.limited:
            self.gate.left()

    def end(self, *numbers: int) -> None:
        for n in numbers:
            self._ends[n].set()

    def join(self) -> None:
        for n, thread in enumerate(self._threads):
            self.end(n)
            thread.join(30)
            assert not thread.is_alive()


def test_a_gate_is_open_at_first() -> None:
    """Nobody is held back, and whoever passes needs to ask for one attribute only."""
    gate = Gate()

    assert (False, False, "", set()) == (gate.limited, gate.paused, gate.waiting_for, gate.running)


def test_a_pause_holds_all_until_it_is_taken_back() -> None:
    """Calls wait while the gate is paused, and pass in the order they came."""
    gate = Gate()
    gate.pause()
    callers = Callers(gate, 3)

    assert ([], "somebody to press Resume") == (callers.admitted, gate.waiting_for)

    gate.resume()
    wait_until(lambda: len(callers.admitted) == 3, describing="all have passed")
    assert ({0, 1, 2}, False) == (gate.running, gate.limited)
    callers.join()


def test_so_many_calls_at_a_time() -> None:
    """With a limit of two a third call starts when one has ended, calls that ran before the limit counted too."""
    gate = Gate()
    gate.running.add(99)
    gate.limit(workers=2)
    callers = Callers(gate, 3)

    assert [0] == callers.admitted
    assert "one of 2 calls at a time to end" == gate.waiting_for

    gate.running.discard(99)
    gate.left()
    wait_until(lambda: callers.admitted == [0, 1], describing="the next has passed")
    callers.end(1)
    wait_until(lambda: callers.admitted == [0, 1, 2], describing="the last has passed")
    assert {0, 2} == gate.running
    callers.join()
    assert set() == gate.running


def test_a_limit_that_is_raised_lets_more_in_at_once() -> None:
    """Who waits need not wait for a call to end when the limit is lifted."""
    gate = Gate()
    gate.limit(workers=1)
    callers = Callers(gate, 4)
    gate.limit(workers=3)
    wait_until(lambda: callers.admitted == [0, 1, 2], describing="two more have passed")
    gate.limit(workers=None)
    wait_until(lambda: callers.admitted == [0, 1, 2, 3], describing="all have passed")
    callers.join()


def test_calls_a_minute_are_evenly_spaced() -> None:
    """At 120 calls a minute one starts every half second, however late the thread that asks is; no burst makes up for it."""
    gate, starts = Gate(), []
    with frozen_clock() as frozen:
        gate.limit(per_minute=120)
        for late in (0, 0, 0.1, 0, 5, 0, 0):
            frozen.move(late)
            gate.admit(0, never)
            starts.append(round(clock.monotonic() - 1_000_000, 3))

    assert [0, 0.5, 1, 1.5, 6.5, 7, 7.5] == starts


def test_the_other_limit_stays() -> None:
    """Changing one limit, and pausing, leaves the other as it is."""
    gate = Gate()
    gate.limit(workers=3)
    gate.limit(per_minute=60)
    gate.pause()
    gate.resume()
    gate.limit(workers=None)

    assert (None, 60, True) == (gate.workers, gate.per_minute, gate.limited)

    gate.limit(per_minute=None)
    assert not gate.limited


@pytest.mark.parametrize("how", ["halt", "end"])
def test_who_waits_is_told_that_it_is_over(how: str) -> None:
    """A halted run, or one that has ended, lets nobody wait: the answer is no."""
    gate, halted = Gate(), threading.Event()
    gate.pause()
    callers = Callers(gate, 3, halted.is_set)
    if how == "halt":
        halted.set()
        gate.wake()
    else:
        gate.end()
    wait_until(lambda: len(callers.refused) == 3, describing="all are told")

    assert ([], set(), 0) == (callers.admitted, gate.running, len(gate._queue))
    callers.join()


def test_coroutines_wait_without_blocking_their_loop() -> None:
    """Tasks wait as threads do, in one line with them, while other tasks of the loop go on."""
    gate = Gate()

    async def work() -> list[int]:
        gate.limit(workers=1)
        passed: list[int] = []

        async def call(n: int) -> None:
            assert await gate.admit_async(n, never)
            passed.append(n)
            await asyncio.sleep(0)
            gate.running.discard(n)
            gate.left()

        gate.pause()
        tasks = [asyncio.ensure_future(call(n)) for n in range(5)]
        for _ in range(10):
            await asyncio.sleep(0)
        assert [] == passed
        threading.Thread(target=gate.resume).start()
        await asyncio.gather(*tasks)
        return passed

    assert [0, 1, 2, 3, 4] == asyncio.run(work())


def test_a_cancelled_coroutine_holds_up_nobody() -> None:
    """A task that is cancelled while it waits leaves the line."""
    gate = Gate()

    async def work() -> bool:
        gate.pause()
        first = asyncio.ensure_future(gate.admit_async(1, never))
        second = asyncio.ensure_future(gate.admit_async(2, never))
        await asyncio.sleep(0)
        first.cancel()
        gate.resume()
        return await second

    assert asyncio.run(work())
    assert ({2}, 0) == (gate.running, len(gate._queue))


@pytest.mark.parametrize(
    ("action", "value", "expected"),
    [
        ("pause", "", None),
        ("resume", "", None),
        ("stop", "", None),
        ("workers", "", None),
        ("workers", "4", 4),
        ("rate", "", None),
        ("rate", "0.5", 0.5),
    ],
)
def test_what_can_be_asked(action: str, value: str, expected: float | None) -> None:
    """Five actions, two of them with a number, which may be left out for no limit."""
    assert expected == parsed(action, value)


@pytest.mark.parametrize(
    ("action", "value"),
    [
        ("explode", ""),
        ("pause", "1"),
        ("workers", "0"),
        ("workers", "2.5"),
        ("workers", "many"),
        ("workers", "9999999"),
        ("rate", "0"),
        ("rate", "-1"),
        ("rate", "nan"),
        ("rate", "inf"),
    ],
)
def test_what_cannot_be_asked(action: str, value: str) -> None:
    """An action or number that makes no sense is refused, before anything happens."""
    with pytest.raises(ConfigError):
        parsed(action, value)
