"""Results of a stream on their way from whoever computes them to whoever reads, and how far the one may be ahead."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from durable_nb import clock
from durable_nb.codecs import decode
from durable_nb.engine.ends import hurry_after
from durable_nb.engine.unfinished import forget, unfinished
from durable_nb.errors import StoreError
from durable_nb.executors.threads import GRACE_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from durable_nb.engine.awaited import OnLoop
    from durable_nb.engine.batch import Batch
    from durable_nb.records import Call, Failure, Saved

_AHEAD = 128  # results that wait for their reader; then calls wait too
LOOK_S = 0.1
"""Who waits for room looks this often whether anybody still reads."""


class Arrivals:
    """Results on their way from the thread that runs the map to whoever reads; what `Results` is for a map that keeps them."""

    def __init__(self, name: str, *, key: Callable[[Any], Any] | None, collects: bool) -> None:
        self.name, self._key, self._collects = name, key, collects
        self._documents: dict[int, Any] = {}
        self._named: deque[Any] = deque()
        self._arrived: deque[tuple[int, Any, str | None]] = deque()
        self._changed = threading.Condition()
        self.reader: OnLoop | None = None
        """Who reads with ``async for``; everybody else waits for the condition."""
        self._batch: Batch | None = None
        self._where = ""
        self.is_begun = self.is_over = self.is_left = False
        self._error: BaseException | None = None
        self._left_at = 0.0

    @property
    def has_room(self) -> bool:
        """Always: who reads slowly is waited for."""
        return True

    def begin(self, batch: Batch) -> None:
        """What computes is there."""
        self._batch, self._where = batch, batch.live.store.where
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

    @contextlib.contextmanager
    def filled(self) -> Iterator[None]:
        """For the block that runs the map: what it raises is raised to who reads."""
        try:
            yield
        except BaseException as error:
            self._error = error
        finally:
            with self._changed:
                self.is_over = True
                self._tell()
            if self.is_left:
                self.give_back()
            forget(self.name, self)

    def take(self, end: type[Exception] = StopIteration) -> tuple[Any, Any]:
        """The next document and its result; ``end``, or what the map raised, after the last."""
        with self._changed:
            while not self.is_ready:
                self._changed.wait(clock.HEAR_S)
            if not self._arrived:
                error, self._error = self._error, None
                if error is None and self._batch is not None:
                    self._batch.is_made()
                raise end if error is None else error
            position, value, codec = self._arrived.popleft()
            self._changed.notify_all()
        return self._documents.pop(position), value if codec is None else decode(codec, value, where=self._where)

    @property
    def grace_s(self) -> float:
        """How much longer who has left waits for calls that run, however often it is closed."""
        return max(0.0, self._left_at + GRACE_S - clock.monotonic())

    def leave(self) -> None:
        """Nobody reads on: no further call is started."""
        if not self.is_left:
            self._left_at = clock.monotonic()
        self.is_left = True
        if self.reader is not None:
            self.reader.leave()
        if self._batch is not None:
            self._batch.cancel()
        # Also inside of a run: the next map of the step finds the numbers of its calls given back.
        if self.is_begun and not self.is_over:
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
            while self.is_full and not (self.reader and self.reader.computes):
                self._changed.wait(LOOK_S)
            self._arrived.append((position, value, codec))
            self._tell()

    @property
    def is_ready(self) -> bool:
        """Whether `take` does not wait."""
        return bool(self._arrived) or self.is_over

    @property
    def is_full(self) -> bool:
        """Whether so many wait for their reader that calls wait too."""
        return len(self._arrived) >= _AHEAD and not self.is_left and not self._is_halted()

    def _tell(self) -> None:
        self._changed.notify_all()
        if self.reader is not None:
            self.reader.tell()

    def _is_halted(self) -> bool:
        return self._batch is None or self._batch.live.halted
