"""How fast something goes: a count over the last half minute."""

from __future__ import annotations

from collections import deque

_LENGTH_S = 30.0


class Window:
    """Samples of a count that grows from 0, those of the last 30 seconds.

    Parameters
    ----------
    now : float
        Seconds, of a clock that never goes back.
    """

    def __init__(self, now: float) -> None:
        self._started = now
        self._samples: deque[tuple[float, int]] = deque([(now, 0)])

    def add(self, now: float, count: int) -> None:
        """The count at this moment."""
        self._samples.append((now, count))
        while len(self._samples) > 2 and now - self._samples[0][0] > _LENGTH_S:
            self._samples.popleft()

    def rate(self, now: float, count: int, *, is_over: bool) -> float:
        """A second, over the window; over all the time once nothing more comes."""
        since, before = (self._started, 0) if is_over else self._samples[0]
        return (count - before) / (now - since) if now > since else 0.0
