"""How the calls of a step are made: what ``@step`` takes, checked and put together."""

from __future__ import annotations

import math
import operator
from collections.abc import Collection
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

from durable_nb import executors
from durable_nb.errors import ConfigError
from durable_nb.rates import Flow
from durable_nb.retry import Retry, TenacityRetry, is_tenacity, refuse_unsupported

if TYPE_CHECKING:
    from collections.abc import Callable


class StepOptions(TypedDict, total=False):
    """What ``@step`` and ``Step.options`` take, as it is written; see `step`."""

    name: str | None
    retries: Any
    retry_on: type[BaseException] | tuple[type[BaseException], ...]
    timeout: float | timedelta | None
    version: str | float | None
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
    version: str | float | None
    flow: Flow | None
    """None for calls of a cell, which does with an error what it says."""
    batch: int | str | None
    transaction: bool
    """The function is handed a connection, and what it writes is committed with the checkpoint."""
    cost: Callable[[Any], float] | None
    ignore: tuple[str, ...]
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
        _check_name(written.get("name"))
        flow: Flow | None = Flow(written.get("rate_limit"), written.get("token_limit"), written.get("tokens"))
        if like is not None and all(like.written.get(name) == written.get(name) for name in _OF_FLOW):
            flow = like.flow
        return cls(
            written,
            _retry(whole(written.get("retries", 0)), written.get("retry_on", Exception)),
            _timeout_s(written.get("timeout")),
            _version(written.get("version")),
            flow,
            _batch(whole(written.get("batch"))),
            _transaction(written.get("transaction", False)),
            _cost(written.get("cost")),
            _ignored(written.get("ignore")),
            _executor(written.get("executor")),
        )


def whole(value: Any) -> Any:
    """A whole number of any library as an int; whatever else as it is, to be refused."""
    if not isinstance(value, int):
        with suppress(TypeError):
            return operator.index(value)
    return value


def _check_name(name: Any) -> None:
    if name is not None and not (isinstance(name, str) and name and name.isprintable()):
        raise ConfigError(f"name={name!r:.60} is not possible.", 'Give a text: name="embed", or leave it out.')


def _timeout_s(timeout: Any) -> float | None:
    seconds = math.inf if timeout is None else _seconds(timeout)
    if not seconds > 0:  # nan is not
        raise ConfigError(
            f"timeout={timeout!r:.60} is not possible.", "Give seconds above 0 or a timedelta, or None for no limit."
        )
    return None if seconds > _EVER_S else seconds


def _seconds(timeout: Any) -> float:
    """Of a timedelta or any kind of number; nan of what is neither."""
    if isinstance(timeout, timedelta):
        return timeout.total_seconds()
    if isinstance(timeout, bool | str | bytes | bytearray):  # of some of these float() makes a number
        return math.nan
    try:
        return float(timeout)
    except OverflowError:
        return math.inf if timeout > 0 else -math.inf
    except (TypeError, ValueError):
        return math.nan


def _version(version: Any) -> str | float | None:
    is_whole = isinstance(version, int) and not isinstance(version, bool)
    if (
        version is None
        or isinstance(version, str)
        or is_whole
        or (isinstance(version, float) and math.isfinite(version))
    ):
        return version  # type: ignore[no-any-return]
    raise ConfigError(f"version={version!r:.60} is not possible.", 'Give a text or a number: version="2".')


def _transaction(transaction: Any) -> bool:
    if not isinstance(transaction, bool):
        raise ConfigError(f"transaction={transaction!r:.60} is not possible.", "Give True or False.")
    return transaction


def _ignored(ignore: Any) -> tuple[str, ...]:
    if ignore is None:
        return ()
    names = (ignore,) if isinstance(ignore, str) else None
    if isinstance(ignore, Collection) and names is None:
        with suppress(TypeError):  # an array that is a single number
            names = tuple(ignore)
    if names is None or not all(isinstance(name, str) for name in names):
        raise ConfigError(
            f"ignore={ignore!r:.60} is not possible.", 'Give names of parameters: ignore=("api_key", "region").'
        )
    return names


def _executor(executor: Any) -> Any:
    return "threads" if executor is None else executors.checked(executor)


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
        raise ConfigError(f"retry_on={retry_on!r} is not possible.", "Give an exception type or a tuple of them.")
    return Retry(retries=retries, on=on)


def _batch(batch: Any) -> int | str | None:
    is_number = isinstance(batch, int) and not isinstance(batch, bool) and batch >= 1
    if batch is not None and not (isinstance(batch, str) and batch == "auto") and not is_number:
        raise ConfigError(f"batch={batch!r:.60} is not possible.", 'Give how many documents go at once, or "auto".')
    return batch  # type: ignore[no-any-return]
