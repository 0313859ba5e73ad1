"""``step.stream``: documents with their results, handed over as they arrive, while a thread or the loop goes on with the map."""

from __future__ import annotations

import threading
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Self

from durable_nb.locks import lock_of

if TYPE_CHECKING:
    from durable_nb.engine.arrivals import Arrivals
    from durable_nb.engine.awaited import OnLoop
    from durable_nb.engine.maps import Mapping


class OnThread:
    """The thread that runs the map of a stream."""

    def __init__(self, arrivals: Arrivals, asked: Mapping) -> None:
        self._arrivals, self._asked = arrivals, asked
        self._thread: threading.Thread | None = None
        self._lock = lock_of(self)

    def begin(self) -> None:
        """Once, however many threads read."""
        with self._lock:
            if self._thread is not None or self._arrivals.is_over:
                return
            self._arrivals.is_begun = True
            # The run around the stream is the one that it belongs to: so the thread has a copy of the context.
            self._thread = threading.Thread(
                target=copy_context().run, args=(self._fill,), name="durable-stream", daemon=True
            )
            self._thread.start()

    def close(self) -> None:
        """Start no further call; returns when running ones have ended and are saved, at most two seconds later."""
        self._arrivals.leave()
        with self._lock:
            thread = self._thread
            if thread is None:
                self._arrivals.is_over = True
                return
        thread.join(self._arrivals.grace_s)
        with self._lock:  # several threads may read it, and each of them closes it
            self._arrivals.give_back()

    def _fill(self) -> None:
        with self._arrivals.filled():
            self._asked.run(self._arrivals)


class Stream:
    """An iterator over (document, result), in the order in which they are there: restored ones, then computed ones.

    Nothing happens before the first ``next``. Leaving the loop early ends the map: what is finished stays saved. Use it as
    a context manager, or ``close`` it, where it is kept in a variable or the moment matters. ``async for``, ``async with``
    and ``aclose`` do the same while the running loop goes on; an async step, whose calls are made there, needs them.
    """

    def __init__(self, arrivals: Arrivals, asked: Mapping) -> None:
        self._arrivals, self._asked = arrivals, asked
        self._thread = OnThread(arrivals, asked)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> tuple[Any, Any]:
        if not self._arrivals.is_begun:
            self._asked.refuse_async(f"async for document, result in {self._arrivals.name}.stream(…)")
            self._thread.begin()
        try:
            return self._arrivals.take()
        except BaseException as error:
            self._close(error)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, *__: object) -> None:
        self._close(error)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[Any, Any]:
        __tracebackhide__ = True
        reader = self._reader_on_loop()
        if reader.is_done_here:
            self._arrivals.reader = None
            reader = self._reader_on_loop()
        return await reader.take()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, _: object, error: BaseException | None, *__: object) -> None:
        await self._reader_on_loop().close(error)

    def __del__(self) -> None:
        self._arrivals.abandon()  # the thread holds what arrives, not its reader: so a loop that is left is heard of

    def __repr__(self) -> str:
        return f"<stream of {self._arrivals.name}>"

    def close(self) -> None:
        """Start no further call; returns when running ones have ended and are saved, at most two seconds later.

        Those of an async step go on meanwhile, for a second: ``aclose`` waits for them.
        """
        if self._arrivals.reader is not None and self._arrivals.reader.computes:
            self._arrivals.leave()
        else:
            self._thread.close()

    async def aclose(self) -> None:
        """As ``close``, awaited."""
        await self._reader_on_loop().close(None)

    def as_items(self) -> Any:
        """The same for another map, with the one kind of loop that its own calls need."""
        return (pair async for pair in self) if self._asked.step.is_async else (pair for pair in self)

    def _close(self, error: BaseException | None) -> None:
        """After ■ it waits for the database no longer, and says what could not be saved."""
        self._arrivals.hurry_after(error)
        self.close()
        if isinstance(error, KeyboardInterrupt) and (unsaved := self._arrivals.unsaved()) is not None:
            raise unsaved

    def _reader_on_loop(self) -> OnLoop:
        from durable_nb.engine.awaited import OnLoop  # imports asyncio: 20 ms that whoever has no loop does not pay

        if self._arrivals.reader is None:
            self._arrivals.reader = OnLoop(self._arrivals, self._asked, self._thread)
        return self._arrivals.reader
