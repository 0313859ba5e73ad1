"""A run around steps: ``run("name")`` as a block, ``@workflow`` as a function."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from durable_nb import config
from durable_nb.engine import arguments, readings, runs

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from durable_nb.engine.runs import LiveRun
    from durable_nb.results import Results

P = ParamSpec("P")
R = TypeVar("R")


class Block:
    """The run of one name: a ``with`` block that computes it, and what is saved of it."""

    def __init__(self, name: str, url: str | None, **options: Any) -> None:
        self._name, self._url, self._options = name, url, options
        self._opened: AbstractContextManager[LiveRun] | None = None

    def __enter__(self) -> LiveRun:
        opened = runs.opened(self._name, url=self._url, **self._options)
        live = opened.__enter__()  # RunBusy while this block is open already: that one goes on
        self._opened = opened
        return live

    def __exit__(self, *raised: Any) -> bool | None:
        assert self._opened is not None
        return self._opened.__exit__(*raised)

    def results(self, step: str | None = None, *, version: int | None = None) -> Results:
        """Saved results of a step, read without running anything; also those of code that was edited since.

        Parameters
        ----------
        step : str, optional
            Its name; needed where the run has several.
        version : int, optional
            As ``%durable history NAME`` numbers them, from 1. Default: the results that the run has now, of its last code
            and of what was kept.

        Returns
        -------
        Results
            In the order of the documents; ``zip(found.labels, found)`` names them. A value is read when it is asked for.

        Raises
        ------
        ConfigError
            There is no such run, step or version; the text says which there are.
        UntrustedStore
            When a value is asked for that could run code, and somebody else saved it.
        """
        return readings.results(self._name, step, version=version, url=self._url)

    def __repr__(self) -> str:
        return f"run({self._name!r})"


def run(name: str, *, on_change: str | None = None, url: str | None = None, fork: str = "") -> Block:
    """A block whose step calls are kept under ``name``::

        with run("embed-filings"):
            vectors = [embed(clean(doc)) for doc in docs]

    ``run("embed-filings").results(version=1)`` reads what is saved, without running anything.

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
    return Block(name, url, on_change=on_change, fork=fork)


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
    arguments.check_function(function, "workflow")
    named = arguments.name_of(function) if name is None else config.run_name(name)

    @functools.wraps(function)
    def around(*args: Any, **kwargs: Any) -> Any:
        with runs.joined(named, on_change=on_change, implicit=False):
            return function(*args, **kwargs)

    @functools.wraps(function)
    async def around_async(*args: Any, **kwargs: Any) -> Any:
        with runs.joined(named, on_change=on_change, implicit=False):
            return await function(*args, **kwargs)

    return around_async if arguments.is_coroutine_function(function) else around
