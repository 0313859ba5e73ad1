"""SIGINT: what may be done while it is handled, and when it is not heard for a moment."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING, Any

from durable_nb import clock

if TYPE_CHECKING:
    from collections.abc import Iterator


class Latch:
    """Set once and for all, also by a signal handler or a garbage collection, and waited for by any number of threads.

    Not a ``threading.Event``: set by a handler while the main thread enters or leaves `Event.wait`, it waits for the lock that
    this very thread holds, for ever.
    """

    def __init__(self) -> None:
        self._is_set, self._free = False, threading.Lock()
        self._free.acquire()  # until it is set; who gets it hands it on

    def set(self) -> None:
        """Wake all who wait; again does nothing."""
        self._is_set = True
        self._hand_on()

    def is_set(self) -> bool:
        """Whether it was set."""
        return self._is_set

    def wait(self, timeout: float | None = None) -> bool:
        """Block until it is set or ``timeout`` seconds are over; whether it is set."""
        left = float("inf") if timeout is None else timeout
        while not self._is_set and left > 0:
            if self._free.acquire(timeout=min(left, clock.HEAR_S)):
                self._hand_on()
            left -= clock.HEAR_S
        return self._is_set

    def _hand_on(self) -> None:
        with contextlib.suppress(RuntimeError):  # nobody has it
            self._free.release()


@contextlib.contextmanager
def put_off() -> Iterator[None]:
    """■ is heard when the block has ended; here nothing waits for long.

    For what must not be left half done: an import, or a message, which may end the kernel if it is interrupted while it is
    packed (orjson 3.13 asks a time zone for its offset, and dies of the exception).
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    heard: list[tuple[int, Any]] = []
    signal.signal(signal.SIGINT, lambda *told: heard.append(told))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if heard:
            handler(*heard[0])
