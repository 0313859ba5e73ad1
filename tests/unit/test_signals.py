"""What is done while SIGINT is handled, and when it is not heard."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from durable_nb import signals
from durable_nb.engine.ends import tell_all
from durable_nb.signals import Latch, put_off
from tests.kernels import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType


@pytest.fixture
def on_interrupt() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Handle SIGINT by calling something."""
    before = signal.getsignal(signal.SIGINT)
    yield lambda tell: signal.signal(signal.SIGINT, lambda *_: tell())  # type: ignore[misc]
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("is_raising", [False, True])
def test_a_handler_sets_what_the_main_thread_waits_for(
    on_interrupt: Callable[[Callable[[], None]], None], *, is_raising: bool
) -> None:
    """At whichever step of its waiting the signal comes. ``threading.Event`` waits for itself there, for ever."""
    pressed = 0

    def interrupted() -> None:
        latch.set()
        if is_raising:
            raise KeyboardInterrupt

    on_interrupt(interrupted)
    while True:
        latch, steps = Latch(), 0

        def trace(frame: FrameType, _event: str, _arg: Any) -> Any:
            nonlocal steps, pressed
            if frame.f_code.co_filename != signals.__file__:
                return None
            steps += 1
            if steps == pressed + 1:  # one step later than the last time
                pressed += 1
                os.kill(os.getpid(), signal.SIGINT)
            return trace

        before, was = sys.gettrace(), pressed
        sys.settrace(trace)
        try:
            with suppress(KeyboardInterrupt):
                latch.wait(0.25)
        finally:
            sys.settrace(before)
        if pressed == was:
            break
        assert latch.is_set()
        assert latch.wait()
    assert pressed > 5


def test_all_who_wait_are_woken() -> None:
    """Those who come later do not wait, and who waits for so long only is told that it was not set."""
    latch, woken = Latch(), list[bool]()

    assert not latch.wait(0.01)
    threads = [threading.Thread(target=lambda: woken.append(latch.wait())) for _ in range(8)]
    for thread in threads:
        thread.start()
    latch.set()
    latch.set()
    wait_until(lambda: len(woken) == 8, timeout=10, describing="all are awake")

    assert woken == [True] * 8
    assert latch.wait()
    assert latch.wait(0.01)


def press() -> None:
    """■, and time for the handler to run."""
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.01)


def test_an_interrupt_is_put_off_to_the_end_of_a_block() -> None:
    """Once, whatever the block raises, and the handler is what it was."""
    handler, reached = signal.getsignal(signal.SIGINT), list[int]()
    with pytest.raises(KeyboardInterrupt), put_off():
        press()
        reached.append(1)
    with pytest.raises(KeyboardInterrupt), put_off():
        press()
        raise ValueError

    assert [1] == reached
    assert handler is signal.getsignal(signal.SIGINT)


def test_only_the_main_thread_puts_off() -> None:
    """In others no handler can be set, nor does an interrupt come."""
    done = list[bool]()

    def work() -> None:
        with put_off():
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert [True] == done


def test_whoever_wants_to_know_of_an_end_is_told() -> None:
    """An error of a view is noted, ■ during one is raised when the others have been told."""
    told = list[int]()

    def broken() -> None:
        raise ValueError

    def interrupted() -> None:
        raise KeyboardInterrupt

    every = [broken, interrupted, lambda: told.append(1), lambda: told.append(2)]
    with pytest.raises(KeyboardInterrupt):
        tell_all(every)

    assert [1, 2] == told
    assert [] == every
