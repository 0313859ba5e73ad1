"""Pure retry arithmetic: attempt in, seconds or None out; it neither sleeps nor reads a clock."""

from __future__ import annotations

from typing import NamedTuple


class Retry(NamedTuple):
    """When a failed attempt is tried again.

    Exponential back-off with full jitter, after "Exponential Backoff And Jitter", AWS Architecture Blog, 2015: of the
    variants compared there it needs the fewest calls when many clients fail together.
    """

    retries: int = 0
    """Attempts after the first."""
    first_s: float = 0.5
    """Upper end of the first delay, in seconds."""
    longest_s: float = 60.0
    """No delay is longer."""
    on: tuple[type[BaseException], ...] = (Exception,)
    """Errors worth another attempt."""

    def delay(self, attempt: int, error: BaseException, jitter: float) -> float | None:
        """Seconds to wait after failed attempt number ``attempt`` (from 1), or None to give up.

        Parameters
        ----------
        attempt : int
            The one that failed.
        error : exception
            What it raised.
        jitter : float
            Uniform in [0, 1); an argument so that the arithmetic stays pure.
        """
        if attempt > self.retries or not isinstance(error, self.on):
            return None
        # 2**60 half-seconds is beyond any cap; the min keeps the float from overflowing at absurd attempt numbers.
        return jitter * min(self.longest_s, self.first_s * 2.0 ** min(attempt - 1, 60))
