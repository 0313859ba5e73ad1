"""Pure retry arithmetic: attempt in, seconds or None out; it neither sleeps nor reads a clock."""

from __future__ import annotations

from contextlib import suppress
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, NamedTuple

from durable_nb.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from durable_nb.records import Backoff

_ON_RESULTS = frozenset(
    {"retry_if_result", "retry_if_not_result", "retry_unless_exception_type", "retry_if_not_exception_message"}
)
"""Of tenacity. The last two try again after any result, until there is an error."""


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

    def delay(self, attempt: int, error: BaseException, jitter: float, elapsed_s: float = 0.0) -> float | None:  # noqa: ARG002 - rules of others count it
        """Seconds to wait after failed attempt number ``attempt`` (from 1), or None to give up.

        Parameters
        ----------
        attempt : int
            The one that failed.
        error : exception
            What it raised.
        jitter : float
            Uniform in [0, 1); an argument so that the arithmetic stays pure.
        elapsed_s : float
            Since the first attempt began, in this process: after a kernel's death it is counted anew.
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

    def delay(self, attempt: int, error: BaseException, jitter: float, elapsed_s: float = 0.0) -> float | None:  # noqa: ARG002 - wait has its own
        """As `Retry.delay`; ``stop_after_delay`` and ``stop_before_delay`` go by ``elapsed_s``.

        Rules that fail themselves, as those made for errors of another kind may, give up: a note at the error says so.
        """
        from tenacity import RetryCallState

        state = RetryCallState(self.rules, None, (), {})
        state.attempt_number = attempt
        state.set_exception((type(error), error, error.__traceback__))
        state.start_time = (state.outcome_timestamp or 0.0) - elapsed_s
        try:
            if not self.rules.retry(state):
                return None
            state.upcoming_sleep = float(self.rules.wait(state))
            return None if self.rules.stop(state) else state.upcoming_sleep
        except Exception as failure:
            with suppress(Exception):  # a frozen one
                error.add_note(f"durable_nb: the rules given as retries= failed on it: {failure!r:.200}")
            return None


def refuse_unsupported(rules: Any) -> None:
    """Raise ConfigError for rules of tenacity about anything but errors: what a call returned is its result here."""
    if rules.retry_error_callback is not None:
        raise ConfigError(
            "retries= has a retry_error_callback, and a call that gave up has no result here.",
            'Leave it out; map(…, on_error="collect") lists what failed.',
        )
    for rule in _leaves(rules.retry):
        name = getattr(rule, "__name__", type(rule).__name__)
        if any(kind.__name__ in _ON_RESULTS for kind in type(rule).__mro__):
            raise ConfigError(
                f"retries= has {name}, which tries again after a result, and a result is kept here.",
                "Raise an error in the function instead, and name it: retry=retry_if_exception_type(NotReady).",
            )
        if iscoroutinefunction(rule) or iscoroutinefunction(getattr(rule, "__call__", None)):  # noqa: B004 - of an object
            raise ConfigError(
                f"retries= has {name} of tenacity.asyncio, which has to be awaited.",
                "Take the rule of that name from tenacity.",
            )


def _leaves(rule: Any) -> Iterator[Any]:
    """The rules that one is put together from, with ``|`` and ``&``."""
    parts = getattr(rule, "retries", None)
    if not isinstance(parts, tuple):
        yield rule
        return
    for part in parts:
        yield from _leaves(part)


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
