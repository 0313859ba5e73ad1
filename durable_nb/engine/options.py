"""How the calls of a step are made: what ``@step`` takes, checked and put together."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

from durable_nb import executors
from durable_nb.errors import ConfigError
from durable_nb.rates import Flow
from durable_nb.retry import Retry, TenacityRetry, is_tenacity, refuse_unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Collection


class StepOptions(TypedDict, total=False):
    """What ``@step`` and ``Step.options`` take, as it is written; see `step`."""

    name: str | None
    retries: Any
    retry_on: type[BaseException] | tuple[type[BaseException], ...]
    timeout: float | timedelta | None
    version: str | None
    rate_limit: Any
    token_limit: str | None
    tokens: Callable[..., float] | None
    batch: int | str | None
    transaction: bool
    cost: Callable[[Any], float] | None
    ignore: str | Collection[str]
    executor: Any


_EVER_S = 1e9
"""A timeout beyond it (30 years) is none, and more than the platform may be able to wait for."""
_OF_FLOW = frozenset({"rate_limit", "token_limit", "tokens"})


class Options(NamedTuple):
    """The options of one step, parsed."""

    written: StepOptions
    retry: Retry | TenacityRetry
    timeout_s: float | None
    version: str | None
    flow: Flow | None
    """None for calls of a cell, which does with an error what it says."""
    batch: int | str | None
    transaction: bool
    """The function is handed a connection, and what it writes is committed with the checkpoint."""
    cost: Callable[[Any], float] | None
    ignore: str | Collection[str]
    """Parameters that do not name a call."""
    executor: Any
    """Where ``map`` makes the calls, if it is not told otherwise."""

    @classmethod
    def of(cls, written: StepOptions, like: Options | None = None) -> Options:
        """Parsed; what they may ask of the service is shared with the options ``like`` them unless that is another.

        Raises
        ------
        ConfigError
        """
        unknown = written.keys() - StepOptions.__annotations__.keys()
        if unknown:
            known = ", ".join(StepOptions.__annotations__)
            raise ConfigError(f"there is no option {', '.join(sorted(unknown))}.", f"There are: {known}.")
        timeout = written.get("timeout")
        timeout_s = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
        if timeout_s is not None and (isinstance(timeout_s, bool | str) or not timeout_s > 0):
            raise ConfigError(f"timeout={timeout_s!r} is not possible.", "Give seconds above 0, or None for no limit.")
        if timeout_s is not None and timeout_s > _EVER_S:
            timeout_s = None
        shared = like is not None and all(like.written.get(name) == written.get(name) for name in _OF_FLOW)
        return cls(
            written,
            _retry(written.get("retries", 0), written.get("retry_on", Exception)),
            timeout_s,
            written.get("version"),
            like.flow
            if shared and like is not None
            else Flow(written.get("rate_limit"), written.get("token_limit"), written.get("tokens")),
            _batch(written.get("batch")),
            written.get("transaction", False),
            _cost(written.get("cost")),
            written.get("ignore", ()),
            executors.checked(written.get("executor") or "threads"),
        )


def _cost(cost: Any) -> Callable[[Any], float] | None:
    if cost is not None and not callable(cost):
        raise ConfigError(f"cost={cost!r} is not possible.", "Give a function of the result: cost=lambda answer: …")
    return cost  # type: ignore[no-any-return]


def _retry(retries: Any, retry_on: Any) -> Retry | TenacityRetry:
    if is_tenacity(retries):
        if retry_on is not Exception:
            raise ConfigError("retry_on does not go with a tenacity object.", "Give it a retry=… of its own.")
        refuse_unsupported(retries)
        return TenacityRetry(retries)
    if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
        raise ConfigError(
            f"retries={retries!r:.60} is not possible.",
            "Give a number of extra attempts (0, 1, 2 …) or an object of tenacity: Retrying(stop=…, wait=…).",
        )
    on = retry_on if isinstance(retry_on, tuple) else (retry_on,)
    if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in on):
        raise ConfigError(f"retry_on={on!r} is not possible.", "Give an exception type or a tuple of them.")
    return Retry(retries=retries, on=on)


def _batch(batch: Any) -> int | str | None:
    is_number = isinstance(batch, int) and not isinstance(batch, bool) and batch >= 1
    if batch is not None and batch != "auto" and not is_number:
        raise ConfigError(f"batch={batch!r:.60} is not possible.", 'Give how many documents go at once, or "auto".')
    return batch  # type: ignore[no-any-return]
