"""The only module that reads the time or sleeps; ``durable_nb.testing`` freezes it by replacing these names."""

from __future__ import annotations

import time
from typing import Protocol


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
