"""``@step``: a function → a step."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, Unpack, overload

from durable_nb import config
from durable_nb.engine import arguments
from durable_nb.engine.options import Options, StepOptions
from durable_nb.engine.steps import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from datetime import timedelta

P = ParamSpec("P")
R = TypeVar("R")


@overload
def step(function: Callable[P, R], /, **options: Unpack[StepOptions]) -> Step[P, R]: ...
@overload
def step(function: None = None, /, **options: Unpack[StepOptions]) -> Callable[[Callable[P, R]], Step[P, R]]: ...
def step(
    function: Any = None,
    /,
    *,
    name: str | None = None,
    retries: Any = 0,
    retry_on: type[BaseException] | tuple[type[BaseException], ...] = Exception,
    timeout: float | timedelta | None = None,
    version: str | float | None = None,
    rate_limit: Any = None,
    token_limit: str | None = None,
    tokens: Callable[..., float] | None = None,
    batch: int | str | None = None,
    transaction: bool = False,
    cost: Callable[[Any], float] | None = None,
    ignore: str | Collection[str] = (),
    executor: Any = None,
) -> Any:
    """Keep the results of a function: ``@step`` or ``@step(retries=3, timeout=60, rate_limit="3000/min")``.

    An error by which a service says "later" (429, ``Retry-After``) is no failure: it uses up no attempt, and all calls of
    the step wait for as long as the service asks, whatever the options.

    Parameters
    ----------
    function : callable
        A function or coroutine function; given by the ``@``.
    name : str, optional
        What the step is called in messages and in the database, in 1,000 bytes at most. Default: the function's name.
    retries : int, or tenacity.Retrying
        Attempts after the first, with exponential back-off (0.5 s, 1 s, 2 s … 60 s) and full jitter; or the ``retry``,
        ``stop`` and ``wait`` of an object of tenacity; rules about results are refused. A kernel that dies in between takes
        neither count nor time along, but ``stop_after_delay`` counts from the first attempt in the kernel that runs. A
        document that the function has changed in place is not tried again, unless ``key=`` names it.
    retry_on : exception type or tuple of them
        Errors worth another attempt.
    timeout : float (seconds) or timedelta, optional
        For one attempt; StepTimeout after it. An async step is cancelled. Python cannot stop a thread, so a step that is
        not async goes on in the background and its late result is dropped.
    version : str or number, optional
        Stands for the code instead of its fingerprint: results are kept until you change it.
    rate_limit : str or limiter, optional
        Calls that start in a time, evenly spaced, over all threads and coroutines: ``"3000/min"``, ``"20/s"``. Or an object
        with ``acquire`` (and ``aacquire``), such as a limiter of LangChain, LlamaIndex or aiolimiter. One that can only be awaited
        (aiolimiter) limits no step that is not async, and is refused there.
    token_limit : str, optional
        As ``rate_limit``, of what ``tokens`` counts: ``"1M/min"``.
    tokens : callable, optional
        The arguments of a call → how many tokens it will use. With ``batch`` it gets each document by itself.
    batch : int or "auto", optional
        The function takes a list of so many documents and returns as many results. Each document is saved by itself; a
        batch that fails is halved until the document to blame stands alone. ``auto``: as many as take 50 to 500 ms.
    transaction : bool
        The function is handed a ``sqlalchemy.Connection`` as ``connection=``, to the database that results are kept in.
        What it writes there is committed with its result, or not at all: exactly once. It does not commit itself. Compute
        first and use the connection last: from its first statement on, SQLite lets nobody else write.
    cost : callable, optional
        A result → what it cost, from 0, in one unit for the whole run (money, tokens). The run sums up what it spends and
        what restoring saves, in the panel and in ``%durable show``.
    ignore : str or collection of str
        Parameters that do not count: ``ignore=("api_key",)``. With another value of one a call is the same and its result is
        restored, and no label has it. Texts among the values are taken out of what is stored about an error. Adding or
        removing one gives calls other names: what was saved before stays, and is not found.
    executor : optional
        Where ``map`` makes the calls, unless it is told otherwise: see `Step.map`.

    Raises
    ------
    ConfigError
        For a function that cannot be a step (a generator, a class) or an option that is not possible; for
        ``ignore``, the text lists the parameters.
    """
    options: StepOptions = {
        "name": name, "retries": retries, "retry_on": retry_on, "timeout": timeout, "version": version,
        "rate_limit": rate_limit, "token_limit": token_limit, "tokens": tokens, "batch": batch,
        "transaction": transaction, "cost": cost, "ignore": ignore, "executor": executor,
    }  # fmt: skip
    if function is None:
        return functools.partial(step, **options)
    if isinstance(function, Step):
        function = function.function
    parsed = Options.of(options)
    named = config.step_name(name or arguments.name_of(function))
    arguments.check_step(function, named)
    return Step(function, name=named, options=parsed)
