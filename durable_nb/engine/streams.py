"""``step.stream``: documents with their results, handed over as they arrive, while a thread goes on with the map."""

from __future__ import annotations

import functools
import itertools
import threading
import weakref
from collections import deque
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Protocol, Self

from durable_nb import clock
from durable_nb.codecs import decode
from durable_nb.engine.ends import hurry_after
from durable_nb.errors import StoreError
from durable_nb.executors.threads import GRACE_S
from durable_nb.locks import lock_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from durable_nb.engine.batch import Batch
    from durable_nb.records import Call, Failure, Saved

_AHEAD = 128  # results that wait for their reader; then calls wait too
_LOOK_S = 0.1


class Arrivals:
    """Results on their way from the thread that runs the map to whoever reads; what `Results` is for a map that keeps them."""

    def __init__(self, name: str, *, key: Callable[[Any], Any] | None, collects: bool) -> None:
        self.name, self._key, self._collects = name, key, collects
        self._documents: dict[int, Any] = {}
        self._named: deque[Any] = deque()
        self._arrived: deque[tuple[int, Any, str | None]] = deque()
        self._changed = threading.Condition()
        self._batch: Batch | None = None
        self._where = ""
        self.is_over = self.is_left = False
        self._error: BaseException | None = None

    @property
    def has_room(self) -> bool:
        """Always: who reads slowly is waited for."""
        return True

    def begin(self, batch: Batch, *, is_alone: bool) -> None:
        """What computes is there; ``is_alone`` if the run is its own."""
        self._batch, self._where = batch, batch.live.store.where
        if is_alone:
            unfinished(self.name, self)
        if self.is_left:
            batch.cancel()

    def name_of(self, item: Any) -> Any:
        """What ``key`` gives for an item, which is asked once of each: it may count, or take long."""
        assert self._key is not None
        name = self._key(item)
        self._named.append(name)
        return name

    def expect(self, first: int, items: Sequence[Any], labels: Sequence[str]) -> None:  # noqa: ARG002 - as `Results` has it
        """These documents are looked up now, ``first`` is the position of the first of them. They were named in this order."""
        names = items if self._key is None else [self._named.popleft() for _ in items]
        self._documents.update(zip(itertools.count(first), names))

    def put_restored(self, positions: Sequence[int], rows: Sequence[Saved]) -> None:
        """Restored results, still encoded."""
        for position, saved in zip(positions, rows, strict=True):
            self._put(position, saved.payload, saved.codec)

    def put_value(self, position: int, value: object, key: bytes | None = None) -> None:  # noqa: ARG002
        """A computed result."""
        self._put(position, value, None)

    def put_values(self, calls: Sequence[Call], values: Sequence[object]) -> None:
        """Computed results of several calls."""
        for call, value in zip(calls, values, strict=True):
            self._put(call.position, value, None)

    def put_encoded(self, position: int, codec: str, payload: bytes, key: bytes) -> None:  # noqa: ARG002
        """A result that was computed and encoded elsewhere."""
        self._put(position, payload, codec)

    def put_failure(self, failure: Failure, exception: BaseException) -> None:
        """A document that gave up; passed on if failures are collected."""
        if self._collects:
            self._put(failure.position, exception, None)
        else:
            self._documents.pop(failure.position)

    def fill(self, work: Callable[[Arrivals], object]) -> None:
        """Run the map."""
        try:
            work(self)
        except BaseException as error:  # raised to who reads
            self._error = error
        finally:
            with self._changed:
                self.is_over = True
                self._changed.notify_all()
            if self.is_left:
                self.give_back()
            forget(self.name, self)

    def take(self) -> tuple[Any, Any]:
        """The next document and its result; StopIteration, or what the map raised, after the last."""
        with self._changed:
            self._changed.wait_for(lambda: self._arrived or self.is_over)
            if not self._arrived:
                error, self._error = self._error, None
                if error is None and self._batch is not None:
                    self._batch.is_made()
                raise StopIteration if error is None else error
            position, value, codec = self._arrived.popleft()
            self._changed.notify_all()
        return self._documents.pop(position), value if codec is None else decode(codec, value, where=self._where)

    def leave(self) -> None:
        """Nobody reads on: no further call is started."""
        self.is_left = True
        if self._batch is None:
            return
        self._batch.cancel()
        if not self.is_over:  # also inside of a run: the next map of the step finds the numbers of its calls given back
            unfinished(self.name, self)
        if self.is_over:  # meanwhile
            forget(self.name, self)

    def hurry_after(self, error: BaseException | None) -> None:
        """See ``ends.hurry_after``."""
        if self._batch is not None:
            hurry_after(self._batch.live, error)

    def unsaved(self) -> StoreError | None:
        """What the database had to say when the map ended, told once."""
        error = self._error
        if not isinstance(error, StoreError):
            return None
        self._error = None
        return error

    def abandon(self) -> None:
        """Leave, from wherever a garbage collection comes."""
        self.leave()
        if (batch := self._unread()) is not None:
            batch.abandon()

    def give_back(self) -> None:
        """How far the map was ahead of who read it shall not matter to the calls that follow."""
        if (batch := self._unread()) is not None:
            batch.give_back()

    def _unread(self) -> Batch | None:
        """The map, if it is over and not all of it was read."""
        return self._batch if self.is_over and self._arrived else None

    def _put(self, position: int, value: Any, codec: str | None) -> None:
        with self._changed:
            while len(self._arrived) >= _AHEAD and not self.is_left and not self._is_halted():
                self._changed.wait(_LOOK_S)
            self._arrived.append((position, value, codec))
            self._changed.notify_all()

    def _is_halted(self) -> bool:
        return self._batch is None or self._batch.live.halted


class Stream:
    """An iterator over (document, result), in the order in which they are there: restored ones, then computed ones.

    Nothing happens before the first ``next``. Leaving the loop early ends the map: what is finished stays saved. Use it as
    a context manager, or ``close`` it, where it is kept in a variable or the moment matters.
    """

    def __init__(self, arrivals: Arrivals, work: Callable[[Arrivals], object]) -> None:
        self._arrivals, self._work = arrivals, work
        self._thread: threading.Thread | None = None
        self._lock = lock_of(self)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> tuple[Any, Any]:
        if self._thread is None:
            self._begin()
        try:
            return self._arrivals.take()
        except BaseException as error:
            self._close(error)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, *__: object) -> None:
        self._close(error)

    def __del__(self) -> None:
        self._arrivals.abandon()  # the thread holds what arrives, not its reader: so a loop that is left is heard of

    def __repr__(self) -> str:
        return f"<stream of {self._arrivals.name}>"

    def close(self) -> None:
        """Start no further call; returns when running ones have ended and are saved, at most two seconds later."""
        self._arrivals.leave()
        with self._lock:
            thread = self._thread
            if thread is None:
                self._arrivals.is_over = True
                return
        thread.join(GRACE_S)
        with self._lock:  # several threads may read it, and each of them closes it
            self._arrivals.give_back()

    def _close(self, error: BaseException | None) -> None:
        """After ■ it waits for the database no longer, and says what could not be saved."""
        self._arrivals.hurry_after(error)
        self.close()
        if isinstance(error, KeyboardInterrupt) and (unsaved := self._arrivals.unsaved()) is not None:
            raise unsaved

    def _begin(self) -> None:
        with self._lock:
            if self._thread is not None or self._arrivals.is_over:
                return
            # The run around the stream is the one that it belongs to: so the thread has a copy of the context.
            fill = functools.partial(copy_context().run, self._arrivals.fill, self._work)
            self._thread = threading.Thread(target=fill, name="durable-stream", daemon=True)
            self._thread.start()


class _Unfinished(Protocol):
    is_left: bool

    def leave(self) -> None: ...


# Each has a key of its own, so that any thread, and a garbage collection in the middle, may add and forget without a lock.
_unfinished: weakref.WeakValueDictionary[tuple[str, int], _Unfinished] = weakref.WeakValueDictionary()
"""Streams, and maps whose waiting was cancelled, by the name of their step."""


def unfinished(name: str, one: _Unfinished) -> None:
    """The next map of that name ends this one."""
    _unfinished[name, id(one)] = one


def forget(name: str, one: _Unfinished) -> None:
    """It is over."""
    _unfinished.pop((name, id(one)), None)


def close_unfinished(name: str, *, is_alone: bool) -> None:
    """Nobody can use what was left (a loop over a stream, an ``amap``), and it is not over yet: make room for the next.

    One that opens a run of its own (``is_alone``) ends one that still reads, too: it holds that run.
    """
    left = _left(name, is_alone=is_alone)
    due = clock.monotonic() + GRACE_S
    while any(key in _unfinished for key in left) and clock.monotonic() < due:
        clock.sleep(0.01)


def _left(name: str, *, is_alone: bool) -> list[tuple[str, int]]:
    """Leave what nobody can use, or all there is of that name; where it is found until it is over."""
    left = []
    for reference in _unfinished.valuerefs():
        one = reference() if reference.key[0] == name else None
        if one is not None and (is_alone or one.is_left):
            one.leave()
            left.append(reference.key)
    return left
