"""Values that are costly to read, read so seldom that it does not matter."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, TypeVar

from durable_nb import clock

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Sparing(Generic[T]):
    """Calling it gives the value; it is read again only when reading would take at most a share of the time.

    Parameters
    ----------
    read : callable
        Gives the value now. What it raises is raised, and nothing is kept.
    share : float
        0.01: a value that takes 0.1 s to read is at most 10 s old.
    """

    def __init__(self, read: Callable[[], T], *, share: float) -> None:
        self._read, self._share = read, share
        self._value: list[T] = []
        self._due = 0.0
        self._lock = threading.Lock()

    def __call__(self) -> T:
        """The value, perhaps a while old."""
        with self._lock:
            began = clock.monotonic()
            if not self._value or began >= self._due:
                self._value = [self._read()]
                now = clock.monotonic()
                self._due = now + (now - began) / self._share
            return self._value[0]
