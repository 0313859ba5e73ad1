"""A run around steps: ``run("name")`` as a block, ``@workflow`` as a function."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from durable_nb.engine import arguments, runs
from durable_nb.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from durable_nb.engine.runs import LiveRun

P = ParamSpec("P")
R = TypeVar("R")


def run(
    name: str, *, on_change: str | None = None, url: str | None = None, fork: str = ""
) -> AbstractContextManager[LiveRun]:
    """A block whose step calls are kept under ``name``::

        with run("embed-filings"):
            vectors = [embed(clean(doc)) for doc in docs]

    Parameters
    ----------
    name : str
        Finds the results again after a restart. Letters, digits and ``- _ . / : @ + =``.
    on_change : {'ask', 'keep', 'recompute'}, optional
        What to do if a step was edited since its results were saved; see ``configure``.
    url : str, optional
        Another database than the configured one.
    fork : str, optional
        Another run, whose results this one begins with: calls that it has are restored, and nothing is copied. Say it when
        the run is new; it stays a fork.

    Raises
    ------
    RunBusy
        On entering, when a live kernel computes this run.
    ConfigError, StoreUnavailable, StoreTooNew
        On entering; nothing ran.
    """
    return runs.opened(name, on_change=on_change, url=url, fork=fork)


@overload
def workflow(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def workflow(
    function: None = None, /, *, name: str | None = None, on_change: str | None = None
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def workflow(function: Any = None, /, *, name: str | None = None, on_change: str | None = None) -> Any:
    """A function whose step calls are kept: ``@workflow`` is ``with run(name)`` around each call of it.

    The function itself always runs; its steps return what is saved. Inside another run it joins that one.

    Parameters
    ----------
    function : callable
        A function or coroutine function; given by the ``@``.
    name : str, optional
        Name of the run. Default: the function's name.
    on_change : {'ask', 'keep', 'recompute'}, optional
        As for ``run``.
    """
    if function is None:
        return functools.partial(workflow, name=name, on_change=on_change)
    if not callable(function):
        raise ConfigError(f"@workflow wraps functions, not {function!r:.80}.", "Put it above a `def`.")
    named = name or arguments.name_of(function)

    @functools.wraps(function)
    def around(*args: Any, **kwargs: Any) -> Any:
        with runs.joined(named, on_change=on_change, implicit=False):
            return function(*args, **kwargs)

    @functools.wraps(function)
    async def around_async(*args: Any, **kwargs: Any) -> Any:
        with runs.joined(named, on_change=on_change, implicit=False):
            return await function(*args, **kwargs)

    return around_async if arguments.is_coroutine_function(function) else around
