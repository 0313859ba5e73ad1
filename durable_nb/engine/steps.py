"""``@step``: call, map, amap, options."""

from __future__ import annotations

import copy
import functools
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, Unpack

from durable_nb import executors, keys, sources
from durable_nb.engine import arguments, runs
from durable_nb.engine.batch import Batch
from durable_nb.engine.computations import Computation
from durable_nb.engine.groups import GroupComputation
from durable_nb.engine.ignored import ignoring
from durable_nb.engine.maps import Mapping
from durable_nb.engine.options import Options, StepOptions
from durable_nb.engine.plain import PlainCall
from durable_nb.engine.pooled import PooledComputation, PooledGroups
from durable_nb.engine.remote import RemoteComputation, RemoteGroups
from durable_nb.engine.transactions import TransactionComputation
from durable_nb.errors import CodeChanged, ConfigError

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Iterable

    from durable_nb.engine.runs import LiveRun
    from durable_nb.engine.streams import Stream
    from durable_nb.engine.versions import StepInRun
    from durable_nb.records import Call, StepVersion
    from durable_nb.results import Results
    from durable_nb.sources import Fingerprint

P = ParamSpec("P")
R = TypeVar("R")


class Step(Generic[P, R]):
    """A function whose results are kept. Made by ``@step``; called like the function it wraps.

    Inside a run (``%%durable``, ``run``, ``@workflow``) a call returns its saved value, or computes and saves it. Outside
    of one it is the plain function. ``map`` and ``amap`` open a run named after the step when there is none.
    """

    def __init__(self, function: Callable[P, R], *, name: str, options: Options) -> None:
        arguments.check_options(function, name, options)
        functools.update_wrapper(self, function)
        self.function, self.name = function, name
        self._options = options
        self.retry, self.timeout_s = options.retry, options.timeout_s
        self.version, self.flow = options.version, options.flow
        self.batch, self.transaction, self.cost = options.batch, options.transaction, options.cost
        self.executor, self.ignored = options.executor, ignoring(function, name, options.ignore)
        self.is_async = arguments.is_coroutine_function(function)
        self.bound: tuple[Any, ...] = ()
        """(instance,) of a step that is a method."""
        self.__durable_step__ = function
        self._fingerprint: Fingerprint | None = None
        self._computation: Computation | None = None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The saved value of this call in the current run, else the function's, saved. Its exceptions pass as they are."""
        __tracebackhide__ = True
        live = runs.current()
        if self.bound:
            args = (*self.bound, *args)  # type: ignore[assignment]
        if live is None:
            return self.function(*args, **kwargs)
        if self.batch is not None:
            return self._many(*args[len(self.bound) :], **kwargs)  # type: ignore[no-any-return]
        plain = PlainCall(self.computed_in(live.enter(self, fresh=False)), args, kwargs)
        if self.is_async:
            return self._awaited(plain)  # type: ignore[return-value]
        if plain.saved is not None:
            return plain.restored()  # type: ignore[no-any-return]
        with plain as call:
            return plain.computation.compute(call)  # type: ignore[no-any-return]

    def _many(self, items: Any = None, /, *more: Any, **named: Any) -> Any:
        """A call of a batched step in a run: each document of the list by itself."""
        if more or named or items is None:
            raise ConfigError(f"{self.name} is batched: it takes one list of documents.", f"Write {self.name}(docs).")
        return self._awaited_many(items) if self.is_async else list(self.map(items))

    async def _awaited_many(self, items: Any) -> list[Any]:
        return list(await self.amap(items))

    async def _awaited(self, plain: PlainCall) -> Any:
        if plain.saved is not None:
            return plain.restored()
        with plain as call:
            return await plain.computation.compute_async(call)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        if instance is None:
            return self
        method = copy.copy(self)
        method.bound, method._computation = (instance,), None  # noqa: SLF001 - a copy of this very class
        return method

    def of(self, function: Callable[P, R]) -> Step[P, R]:
        """The same step around another function object."""
        return Step(function, name=self.name, options=self._options)

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
        limit: int | None = None,
        priority: Callable[[Any], Any] | None = None,
        shared: bool = False,
        executor: Any = None,
    ) -> Results:
        """Results of the step for every item, in order; known ones are not computed again.

        Returns when all results are committed. Interrupting keeps what is finished. The very first missing call goes
        alone, so that a result which cannot be saved costs one call and not ``workers``.

        Parameters
        ----------
        items : iterable
            One positional argument each. An iterator is consumed on this thread, a little ahead of the workers; one that
            waits for the result of what it gave may wait for ever (see ``stream``). What it raises is raised when all that
            it gave before is computed and saved.
        key : callable, optional
            ``key(item)`` names the document instead of its value: for items that cannot be keyed, or when a changed
            item shall keep its result. You answer for its being unique to what matters.
        workers : int
            Calls at a time, on threads; 1 runs them in this thread. On an engine of others tasks at a time.
        on_error : {'raise', 'collect'}
            ``raise``: finish everything else first, then StepFailed for the first that failed. ``collect``: the slot of a
            failed item holds its StepFailed, and ``.failed`` lists them.
        on_change : {'ask', 'keep', 'recompute'}, optional
            What to do if this step was edited since results were saved; see ``configure``.
        limit : int, optional
            Only so many items: the first, or those of the highest ``priority``. Without it the others follow, and these
            are restored.
        priority : callable, optional
            Items with a higher ``priority(item)`` are computed first; all are looked up before. The order of the results
            is that of the items.
        shared : bool
            Several kernels compute one run: each that makes this map with ``shared=True`` takes some of the documents, and
            gets all results. Needs PostgreSQL, and no run around the map. A kernel that dies gives back what it had: at once
            on the same machine, after 30 s elsewhere. The documents and the code are taken to be the same everywhere.
        executor : optional
            Where the calls are made: ``"threads"`` (default), ``"inline"``, ``"processes"``, any executor of
            ``concurrent.futures``, a ``distributed.Client``, the module ``ray`` after ``ray.init()``, a Client or view of
            ipyparallel. Except on threads the function, its arguments and results travel as bytes, fast calls some
            together (about 50 ms); attempts, limits and the database stay in this process. A document whose worker died
            three times is set aside, and the others finish. A call beyond its ``timeout`` is ended by ``"processes"``; on
            an engine of others it goes on in the background. Steps that are called by the function are not kept there.

        Returns
        -------
        Results
            A sequence; for an embedding step ``.to_numpy()`` has shape (n, dim) and the dtype of the vectors.

        Raises
        ------
        StepFailed
            After the last attempt of any item; the others are finished and saved first.
        CodeChanged, RunBusy
            Before anything ran; busy is what another kernel computes without ``shared``.
        Unkeyable
            Before anything ran if the items are a list or tuple, else when the item is reached.
        Unsaveable
            A result cannot be saved; no further call was started.
        ConfigError
            The function or an argument cannot be sent to another process, or the executor does not work.
        """
        asked = Mapping(
            self, items, key=key, workers=workers, on_error=on_error, on_change=on_change, limit=limit,
            priority=priority, shared=shared, executor=executor,
        )  # fmt: skip
        return asked.run()

    def stream(
        self,
        items: Iterable[Any] | AsyncIterable[Any],
        *,
        key: Callable[[Any], Any] | None = None,
        workers: int = 8,
        on_error: str = "raise",
        on_change: str | None = None,
        limit: int | None = None,
        priority: Callable[[Any], Any] | None = None,
        executor: Any = None,
    ) -> Stream:
        """An iterator over (document, result), as results arrive: ``for doc, vector in embed.stream(docs)``.

        Takes what ``map`` takes, and with ``async for`` also async iterators; then an async step runs on the running loop.
        Keeps no results: a million documents go through the memory of some hundred. In place of a document comes
        ``key(item)`` if there is a ``key``. The items are consumed on another thread, a little ahead of the loop; who reads
        slowly is waited for. Some wait to be looked up together: an iterator that waits for the result of what it gave may
        wait for ever. Make plain calls in a run then, or ``amap`` an async iterator. A loop that is left early ends the run
        as interrupted; so does, outside of a run, another ``map`` or ``stream`` of this step while one is not read to its end.

        Raises
        ------
        StepFailed
            At the end, after all others; with ``on_error="collect"`` it stands in place of the result instead.
        """
        asked = Mapping(
            self, items, key=key, workers=workers, on_error=on_error, on_change=on_change, limit=limit,
            priority=priority, executor=executor,
        )  # fmt: skip
        return asked.stream()

    async def amap(
        self,
        items: Iterable[Any] | AsyncIterable[Any],
        *,
        key: Callable[[Any], Any] | None = None,
        workers: int = 32,
        on_error: str = "raise",
        on_change: str | None = None,
        limit: int | None = None,
        priority: Callable[[Any], Any] | None = None,
        shared: bool = False,
        executor: Any = None,
    ) -> Results:
        """As ``map``, awaited, also of an async iterator: an async step runs on the running loop, at most ``workers`` calls at a time.

        A step that is not async runs on threads meanwhile, or where ``executor`` says; its items are then consumed on another
        thread.
        """
        asked = Mapping(
            self, items, key=key, workers=workers, on_error=on_error, on_change=on_change, limit=limit,
            priority=priority, shared=shared, executor=executor,
        )  # fmt: skip
        return await asked.run_async()

    def options(self, **changes: Unpack[StepOptions]) -> Step[P, R]:
        """The same step with other options, as ``step`` takes them: ``embed.options(timeout=5).map(docs)``.

        Limits that are not changed are shared: both ask the same service.
        """
        written: StepOptions = {**self._options.written, **changes}
        options = Options.of(written, like=self._options)
        changed: Step[P, R] = Step(self.function, name=written.get("name") or self.name, options=options)
        changed.bound = self.bound
        return changed

    def fingerprint(self, *, fresh: bool = True) -> Fingerprint:
        """What identifies the code. Not ``fresh`` is the last one while the globals it read are the same: 0.5 µs, not ms."""
        last = self._fingerprint
        if last is None or fresh or not last.is_current():
            last = sources.fingerprint(self.__durable_step__)
            if self.version is not None:
                parts: dict[str, Any] = {"version": self.version}
                last = last._replace(digest=keys.digest(parts).hex(), parts=parts)
            self._fingerprint = last
        return last

    def changed(self, run: str, old: StepVersion, new: Fingerprint, saved: int) -> CodeChanged:
        """The error that names what changed in this step."""
        parts = sources.changed(old.parts, new.parts)
        return CodeChanged(run, self.name, saved, parts, sources.diff(old.source, new.source))

    def try_again(self, of: LiveRun, results: Results, failed: dict[int, Call], *, workers: int, executor: Any) -> None:
        """Compute the ``failed`` calls of an earlier map again, in its run, into its ``results``."""
        if self.is_async:
            raise ConfigError(f"{self.name} is async.", f"Run the cell with await {self.name}.amap(…) again.")
        same = nullcontext(of) if not of.over else runs.opened(of.name, url=of.store.url, implicit=True)
        with same as live:
            computation = self.computed_by(executor, live.enter(self), workers)
            batch = Batch(computation, workers=workers, executor=executor)
            try:
                batch.run_again(results, failed, of=of)
            finally:  # also after ■: what is there by now is not tried once more
                for position in failed.keys() - results.errors.keys():
                    del failed[position]
                failed.update(batch.failed)

    def computed_in(self, entered: StepInRun) -> Computation:
        """How calls of this step are computed in a run."""
        computation = self._computation
        if computation is None or computation.entered is not entered:
            kind = GroupComputation if self.batch is not None else Computation
            kind = TransactionComputation if self.transaction else kind
            computation = self._computation = kind(self, entered)
        return computation

    def computed_by(self, executor: Any, entered: StepInRun, workers: int) -> Computation:
        """As ``computed_in``, with calls that somebody's executor makes."""
        if executor in executors.LOCAL:
            return self.computed_in(entered)
        if not executors.leaves_the_process(executor):
            pooled = PooledGroups if self.batch is not None else PooledComputation
            return pooled(self, entered, executor)
        remote = RemoteGroups if self.batch is not None else RemoteComputation
        return remote(self, entered, engine=executors.engine(executor, workers), workers=workers)
