"""One ``map`` of a step as it was asked for: checked, then run here, on the loop, or behind a stream."""

from __future__ import annotations

from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, Any

from durable_nb import clock
from durable_nb.engine import arguments, runs
from durable_nb.engine.arrivals import Arrivals
from durable_nb.engine.options import whole
from durable_nb.engine.selection import FromLoop, chosen
from durable_nb.engine.sharing import kind_of
from durable_nb.engine.streams import Stream
from durable_nb.engine.unfinished import closing_unfinished, forget, unfinished
from durable_nb.errors import ConfigError

if TYPE_CHECKING:
    import asyncio
    from contextlib import AbstractContextManager

    from durable_nb.engine.batch import Batch
    from durable_nb.engine.runs import LiveRun
    from durable_nb.engine.steps import Step
    from durable_nb.results import Results


class Mapping:
    """The items and the options of ``Step.map``, ``amap`` and ``stream``.

    Raises
    ------
    ConfigError
    """

    def __init__(
        self,
        step: Step[..., Any],
        items: Any,
        *,
        on_error: str,
        on_change: str | None,
        limit: int | None,
        shared: bool = False,
        executor: Any,
        **given: Any,
    ) -> None:
        limit, given["workers"] = whole(limit), whole(given["workers"])
        arguments.check_map(step, items, on_error=on_error, on_change=on_change, limit=limit, shared=shared, **given)
        self.step, self._limit = step, limit
        self._items = items.as_items() if isinstance(items, Stream) else items
        self._collects, self._on_change, self._shared, self._given = on_error == "collect", on_change, shared, given
        self._executor = arguments.checked_executor(step, executor)
        self._started: Batch | None = None
        self.is_left = self._is_over = self._is_alone = False

    def run(self, stream: Arrivals | None = None) -> Results:
        """Compute what is missing, in this thread and in those of its workers."""
        self.refuse_async(f"await {self.step.name}.amap(…)")
        items = chosen(self._items, self._limit, self._given["priority"])
        self._is_alone = runs.current() is None
        for pause_s in closing_unfinished(self.step.name, self, stream, is_alone=self._is_alone):
            clock.sleep(pause_s)
        self._make_known(stream)
        try:
            with self._joined() as live:
                batch = self._started = self._batch(live, stream)
                if self.is_left:
                    batch.cancel()
                batch.run(items)
                return self._finished(batch)
        finally:
            self._is_over = True
            forget(self.step.name, self)

    def refuse_async(self, instead: str) -> None:
        """Say what to write ``instead`` where nothing can be awaited."""
        if self.step.is_async:
            raise ConfigError(f"{self.step.name} is async.", f"Write: {instead}")
        if isinstance(self._items, AsyncIterable):
            raise ConfigError("items is an async iterator.", f"Write: {instead}")

    def read_from(self, loop: asyncio.AbstractEventLoop) -> None:
        """An async iterator of items belongs to ``loop``, wherever the map runs."""
        if isinstance(self._items, AsyncIterable):
            self._items = FromLoop(self._items, loop)

    async def run_async(self, stream: Arrivals | None = None) -> Results:
        """The same beside the running loop, or on it if the step is async."""
        from durable_nb.executors import aio  # imports asyncio: 20 ms that whoever has no loop does not pay

        with aio.awake():
            return await self._run_async(stream)

    async def _run_async(self, stream: Arrivals | None) -> Results:
        import asyncio

        from durable_nb.executors import aio

        if not self.step.is_async:
            self.read_from(asyncio.get_running_loop())
            try:
                return await aio.beside(self.run)
            except asyncio.CancelledError:
                self.leave()
                if not self._is_over:
                    unfinished(self.step.name, self)
                if self._is_over:  # meanwhile
                    forget(self.step.name, self)
                raise
        items = chosen(self._items, self._limit, self._given["priority"])
        self._is_alone = runs.current() is None
        for pause_s in closing_unfinished(self.step.name, self, stream, is_alone=self._is_alone):
            await asyncio.sleep(pause_s)
        self._make_known(stream)
        with self._joined() as live:
            batch = self._batch(live, stream)
            await batch.run_async(items)
            return self._finished(batch)

    def leave(self) -> None:
        """Nobody waits for it: no further call is started."""
        self.is_left = True
        if self._started is not None:
            self._started.cancel()

    def stream(self) -> Stream:
        """The same, once somebody reads."""
        arrivals = Arrivals(self.step.name, key=self._given["key"], collects=self._collects)
        if self._given["key"] is not None:
            self._given["key"] = arrivals.name_of
        return Stream(arrivals, self)

    def _make_known(self, stream: Arrivals | None) -> None:
        """The next map of the step ends a stream that has a run of its own, from before that is opened."""
        if stream is not None and self._is_alone:
            unfinished(self.step.name, stream)

    def _joined(self) -> AbstractContextManager[LiveRun]:
        return runs.joined(self.step.name, on_change=self._on_change, shared=self._shared)

    def _batch(self, live: LiveRun, stream: Arrivals | None) -> Batch:
        kind = kind_of(live, self.step, shared=self._shared)
        entered = live.enter(self.step, on_change=self._on_change)
        computation = self.step.computed_by(self._executor, entered, self._given["workers"])
        batch = kind(computation, executor=self._executor, is_alone=self._is_alone, stream=stream, **self._given)
        if stream is not None:
            stream.begin(batch)
        return batch

    def _finished(self, batch: Batch) -> Results:
        if batch.failed and batch.is_kept:
            batch.live.retries.append(batch.results.retry)
        if batch.failed and not self._collects:
            batch.give_back()
            batch.raise_failures()
        if batch.is_kept:  # a stream is when it has been read
            batch.is_made()
        return batch.results
