"""Pure retry arithmetic: attempt in, seconds or None out; it neither sleeps nor reads a clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from durable_nb.records import Backoff


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

    longest_s: float = 86_400.0
    """Nobody can ask the rules for it: it bounds only what a database says, which anybody may have written."""

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


def left(backoff: Backoff, now: float, longest_s: float) -> float:
    """Seconds until the attempt that a dead kernel had waited for: never longer than it would have been at the start.

    Parameters
    ----------
    backoff : Backoff
        What that kernel noted; its clock, or this one, may have been set since.
    now : float
        Seconds since the epoch.
    longest_s : float
        No delay of these retries is longer.
    """
    delay_s = min(max(0.0, backoff.delay_s), longest_s)
    return min(max(0.0, backoff.since + delay_s - now), delay_s)


def is_tenacity(thing: object) -> bool:
    """Whether retries are given as an object of tenacity."""
    return type(thing).__module__.partition(".")[0] == "tenacity" and hasattr(thing, "stop")
