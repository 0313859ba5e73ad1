"""``@step``: call, map, amap, options."""

from __future__ import annotations

import functools
import types
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from durable_nb import keys, sources
from durable_nb.engine import runs
from durable_nb.engine.batch import Batch, Computation, PlainCall
from durable_nb.errors import CodeChanged, ConfigError
from durable_nb.retry import Retry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from durable_nb.engine.runs import StepInRun
    from durable_nb.records import Call, StepVersion
    from durable_nb.results import Results
    from durable_nb.sources import Fingerprint

P = ParamSpec("P")
R = TypeVar("R")

_CO_COROUTINE, _CO_GENERATOR, _CO_ASYNC_GENERATOR = 0x80, 0x20, 0x200  # inspect.CO_*, without importing inspect


class Step(Generic[P, R]):
    """A function whose results are kept. Made by ``@step``; called like the function it wraps.

    Inside a run (``%%durable``, ``run``, ``@workflow``) a call returns its saved value, or computes and saves it. Outside
    of one it is the plain function. ``map`` and ``amap`` open a run named after the step when there is none.
    """

    def __init__(
        self, function: Callable[P, R], *, name: str, retry: Retry, timeout_s: float | None, version: str | None
    ) -> None:
        functools.update_wrapper(self, function)
        self.function, self.name, self.retry, self.timeout_s, self.version = function, name, retry, timeout_s, version
        self.is_async = bool(_code_flags(function) & _CO_COROUTINE)
        self.__durable_step__ = function
        self._fingerprint: Fingerprint | None = None
        self._computation: Computation | None = None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The saved value of this call in the current run, else the function's, saved. Its exceptions pass as they are."""
        live = runs.current()
        if live is None:
            return self.function(*args, **kwargs)
        plain = PlainCall(self._computed_in(live.enter(self, fresh=False)), args, kwargs)
        if self.is_async:
            return self._awaited(plain)  # type: ignore[return-value]
        if plain.saved is not None:
            return plain.restored()  # type: ignore[no-any-return]
        with plain as call:
            return plain.computation.compute(call)  # type: ignore[no-any-return]

    async def _awaited(self, plain: PlainCall) -> Any:
        if plain.saved is not None:
            return plain.restored()
        with plain as call:
            return await plain.computation.compute_async(call)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def __repr__(self) -> str:
        return f"<step {self.name}>"

    def map(
        self,
        items: Iterable[Any],
        *,
        key: Callable[[Any], Any] | None = None,
        workers: int = 8,
        on_error: str = "raise",
        on_change: str | None = None,
    ) -> Results:
        """Results of the step for every item, in order; known ones are not computed again.

        Returns when all results are committed. Interrupting keeps what is finished. The very first missing call goes
        alone, so that a result which cannot be saved costs one call and not ``workers``.

        Parameters
        ----------
        items : iterable
            One positional argument each. An iterator is consumed on this thread, a little ahead of the workers.
        key : callable, optional
            ``key(item)`` names the document instead of its value: for items that cannot be keyed, or when a changed
            item shall keep its result. You answer for its being unique to what matters.
        workers : int
            Calls at a time, on threads; 1 runs them in this thread.
        on_error : {'raise', 'collect'}
            ``raise``: finish everything else first, then StepFailed for the first that failed. ``collect``: the slot of a
            failed item holds its StepFailed, and ``.failed`` lists them.
        on_change : {'ask', 'keep', 'recompute'}, optional
            What to do if this step was edited since results were saved; see ``configure``.

        Returns
        -------
        Results
            A sequence; for an embedding step ``.to_numpy()`` has shape (n, dim) and the dtype of the vectors.

        Raises
        ------
        StepFailed
            After the last attempt of any item; the others are finished and saved first.
        CodeChanged, RunBusy, Unkeyable
            Before anything ran.
        Unsaveable
            A result cannot be saved; no further call was started.
        """
        _check_map(self, items, workers, on_error)
        if self.is_async:
            raise ConfigError(f"{self.name} is async.", f"Write: await {self.name}.amap(…)")
        return self._map(items, [], key=key, workers=workers, on_error=on_error, on_change=on_change)

    async def amap(
        self,
        items: Iterable[Any],
        *,
        key: Callable[[Any], Any] | None = None,
        workers: int = 32,
        on_error: str = "raise",
        on_change: str | None = None,
    ) -> Results:
        """As ``map``, awaited: an async step runs on the running loop, at most ``workers`` calls at a time.

        A step that is not async runs on threads meanwhile; its items are then consumed on another thread.
        """
        import asyncio  # 20 ms that whoever has no loop does not pay

        _check_map(self, items, workers, on_error)
        if not self.is_async:
            started: list[Batch] = []
            try:
                return await asyncio.to_thread(
                    self._map, items, started, key=key, workers=workers, on_error=on_error, on_change=on_change
                )
            except asyncio.CancelledError:
                for batch in started:
                    batch.cancel()
                raise
        with runs.joined(self.name, on_change=on_change) as live:
            batch = Batch(self._computed_in(live.enter(self, on_change=on_change)), workers=workers, key=key)
            await batch.run_async(items)
            return self._finished(batch, on_error)

    def options(self, **changes: Any) -> Step[P, R]:
        """The same step with other options, as ``step`` takes them: ``embed.options(timeout=5).map(docs)``."""
        now = {
            "name": self.name,
            "retries": self.retry.retries,
            "retry_on": self.retry.on,
            "timeout": self.timeout_s,
            "version": self.version,
        }
        return step(self.function, **now | changes)

    def fingerprint(self, *, fresh: bool = True) -> Fingerprint:
        """What identifies the code: the function, and everything of the notebook it uses.

        Not ``fresh`` returns the last one as long as the globals it read are still the same objects: 0.5 µs instead of
        about a millisecond, for plain calls in a loop.
        """
        last = self._fingerprint
        if last is None or fresh or not last.is_current():
            last = sources.fingerprint(self.__durable_step__)
            if self.version is not None:
                parts = {"version": self.version}
                last = last._replace(digest=keys.digest(parts).hex(), parts=parts)
            self._fingerprint = last
        return last

    def changed(self, run: str, old: StepVersion, new: Fingerprint, saved: int) -> CodeChanged:
        """The error that names what changed in this step."""
        parts = sources.changed(old.parts, new.parts)
        return CodeChanged(run, self.name, saved, parts, sources.diff(old.source, new.source))

    def _map(
        self,
        items: Iterable[Any],
        started: list[Batch],
        *,
        key: Callable[[Any], Any] | None,
        workers: int,
        on_error: str,
        on_change: str | None,
    ) -> Results:
        with runs.joined(self.name, on_change=on_change) as live:
            batch = Batch(self._computed_in(live.enter(self, on_change=on_change)), workers=workers, key=key)
            started.append(batch)
            batch.run(items)
            return self._finished(batch, on_error)

    def _finished(self, batch: Batch, on_error: str) -> Results:
        if batch.failed:
            batch.live.retries.append(batch.results.retry)
        if on_error == "raise" and batch.failed:
            batch.give_back()
            batch.raise_failures()
        return batch.results

    def try_again(self, run: str, results: Results, failed: dict[int, Call], *, workers: int) -> None:
        """Compute the ``failed`` calls of an earlier map again, into its ``results``; for ``Results.retry``."""
        if self.is_async:
            raise ConfigError(f"{self.name} is async.", f"Run the cell with await {self.name}.amap(…) again.")
        with runs.joined(run) as live:
            batch = Batch(self._computed_in(live.enter(self)), workers=workers)
            batch.run_again(results, failed)
            failed.clear()
            failed.update(batch.failed)

    def _computed_in(self, entered: StepInRun) -> Computation:
        computation = self._computation
        if computation is None or computation.entered is not entered:
            computation = self._computation = Computation(self, entered)
        return computation


@overload
def step(function: Callable[P, R], /) -> Step[P, R]: ...
@overload
def step(
    function: None = None,
    /,
    *,
    name: str | None = None,
    retries: int = 0,
    retry_on: type[BaseException] | tuple[type[BaseException], ...] = Exception,
    timeout: float | timedelta | None = None,
    version: str | None = None,
) -> Callable[[Callable[P, R]], Step[P, R]]: ...
def step(
    function: Any = None,
    /,
    *,
    name: str | None = None,
    retries: int = 0,
    retry_on: type[BaseException] | tuple[type[BaseException], ...] = Exception,
    timeout: float | timedelta | None = None,
    version: str | None = None,
) -> Any:
    """Keep the results of a function: ``@step`` or ``@step(retries=3, timeout=60)``.

    Parameters
    ----------
    function : callable
        A function or coroutine function; given by the ``@``.
    name : str, optional
        What the step is called in messages and in the database. Default: the function's name.
    retries : int
        Attempts after the first, with exponential back-off (0.5 s, 1 s, 2 s … 60 s) and full jitter.
    retry_on : exception type or tuple of them
        Errors worth another attempt.
    timeout : float (seconds) or timedelta, optional
        For one attempt; StepTimeout after it. An async step is cancelled. Python cannot stop a thread, so a step that is
        not async goes on in the background and its late result is dropped.
    version : str, optional
        Stands for the code instead of its fingerprint: results are kept until you change it.

    Raises
    ------
    ConfigError
        For a function that cannot be a step (a generator, a class) or an option that is not possible.
    """
    if function is None:
        return functools.partial(step, name=name, retries=retries, retry_on=retry_on, timeout=timeout, version=version)
    if isinstance(function, Step):
        function = function.function
    timeout_s = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
    on = retry_on if isinstance(retry_on, tuple) else (retry_on,)
    named = name or _name_of(function)
    _check_step(function, named, retries, on, timeout_s)
    return Step(function, name=named, retry=Retry(retries=retries, on=on), timeout_s=timeout_s, version=version)


def _name_of(function: Any) -> str:
    return str(getattr(function, "__qualname__", "")).rpartition("<locals>.")[2]


def _code_flags(function: Any) -> int:
    while isinstance(function, functools.partial):
        function = function.func
    code = getattr(function, "__code__", None)
    return code.co_flags if code is not None else 0


def _check_step(function: Any, name: str, retries: int, on: tuple[Any, ...], timeout_s: float | None) -> None:
    if not callable(function) or isinstance(function, type):
        raise ConfigError(f"@step wraps functions, not {function!r:.80}.", "Put it above a `def`.")
    if _code_flags(function) & (_CO_GENERATOR | _CO_ASYNC_GENERATOR):
        raise ConfigError(f"{name} is a generator, whose results cannot be kept.", "Return a list instead of yielding.")
    if not name or "<" in name:
        raise ConfigError(
            "a lambda has no name to find its results by.", 'Give it one: step(name="shorten")(lambda …).'
        )
    if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
        raise ConfigError(f"retries={retries!r} is not possible.", "Give a number of extra attempts: 0, 1, 2 …")
    if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in on):
        raise ConfigError(f"retry_on={on!r} is not possible.", "Give an exception type or a tuple of them.")
    if timeout_s is not None and not timeout_s > 0:
        raise ConfigError(f"timeout={timeout_s!r} is not possible.", "Give seconds above 0, or None for no limit.")


def _check_map(of: Step[..., Any], items: Any, workers: Any, on_error: Any) -> None:
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise ConfigError(f"workers={workers!r} is not possible.", "Give a whole number from 1: calls at a time.")
    if on_error not in ("raise", "collect"):
        raise ConfigError(f"on_error={on_error!r} is not possible.", 'Use "raise" or "collect".')
    wrong = f"{of.name}.map takes documents one by one, and items is "
    if isinstance(items, str | bytes):
        raise ConfigError(f"{wrong}a single text.", f"Call {of.name}(…), or pass a list: [text].")
    if isinstance(items, dict):
        raise ConfigError(f"{wrong}a dict.", "Pass .values(), .items() or list(…) of what is one document.")
    if hasattr(items, "iterrows") or hasattr(items, "iter_rows"):
        raise ConfigError(f"{wrong}a DataFrame.", 'Pass a column (df["text"]) or df.to_dict("records").')
    if not hasattr(items, "__iter__") and not hasattr(items, "__getitem__"):
        raise ConfigError(f"{wrong}a {type(items).__name__}, which cannot be looped over.", "Pass a list of documents.")
