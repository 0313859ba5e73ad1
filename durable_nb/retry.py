"""Pure retry arithmetic: attempt in, seconds or None out; it neither sleeps nor reads a clock."""

from __future__ import annotations

from typing import Any, NamedTuple


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


class TenacityRetry(NamedTuple):
    """The rules of a ``tenacity.Retrying`` or ``AsyncRetrying``: its ``retry``, ``stop`` and ``wait``; it does not sleep here."""

    rules: Any

    @property
    def retries(self) -> Any:
        """What was given."""
        return self.rules

    def delay(self, attempt: int, error: BaseException, jitter: float) -> float | None:  # noqa: ARG002 - wait has its own
        """As `Retry.delay`."""
        from tenacity import RetryCallState

        state = RetryCallState(self.rules, None, (), {})
        state.attempt_number = attempt
        state.set_exception((type(error), error, error.__traceback__))
        if not self.rules.retry(state) or self.rules.stop(state):
            return None
        return float(self.rules.wait(state))


def is_tenacity(thing: object) -> bool:
    """Whether retries are given as an object of tenacity."""
    return type(thing).__module__.partition(".")[0] == "tenacity" and hasattr(thing, "stop")
