"""The only module that reads the time or sleeps; ``durable_nb.testing`` freezes it by replacing these names."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from concurrent.futures import Future
    from threading import Thread

HEAR_S = 0.1
"""Nothing without an end is waited for at one go for longer: where a handler of SIGINT has system calls restarted (that of
polars does, from its import on), a signal ends no such wait for a lock, and ■ is not heard before it is over."""


class Waitable(Protocol):
    """What can be waited for: a ``threading.Event``, or what looks like one."""

    def wait(self, timeout: float | None = None) -> bool:
        """Block until it is set or the time is over; whether it is set."""

    def is_set(self) -> bool:
        """Whether nobody needs to wait."""


now = time.time
"""Seconds since the epoch (wall clock), for what is shown and compared between machines."""

monotonic = time.monotonic
"""Seconds from an arbitrary start that never jump, for deadlines."""

stopwatch = time.perf_counter
"""Seconds at the highest resolution, for how long a call took."""

sleep = time.sleep
"""Block for so many seconds."""


def wait(event: Waitable, seconds: float) -> bool:
    """True as soon as ``event`` is set, False after ``seconds``."""
    return event.wait(max(0.0, seconds))


def join(thread: Thread) -> None:
    """Return when the thread has ended."""
    while thread.is_alive():
        thread.join(HEAR_S)


def result(future: Future[Any]) -> Any:
    """What the future brings."""
    while True:
        try:
            return future.result(HEAR_S)
        except TimeoutError:
            if future.done():  # just now; or it is its own
                return future.result()
