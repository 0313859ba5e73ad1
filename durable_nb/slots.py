"""Where the results of a map stand: as objects, as payloads, or, when they are many, still in the database."""

from __future__ import annotations

import contextlib
import gc
import threading
from typing import TYPE_CHECKING, Any, NoReturn

from durable_nb.codecs import decode, decode_arrays
from durable_nb.errors import ConfigError
from durable_nb.records import STORED
from durable_nb.sizes import size_of, size_of_all
from durable_nb.texts import Texts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from durable_nb.records import Call, Failure, Saved

NOTHING = "nothing"
"""Codec of a slot that is not filled."""

_WIDTH = 16  # of a key

KEPT_BYTES = 104 << 20
"""Of more results than this, further ones are left in the database and read each time they are asked for."""


class Slots:
    """A place for each document, in input order; what `Results` reads."""

    def __init__(
        self,
        step: str,
        *,
        where: str = "",
        fetch: Callable[[list[bytes]], dict[bytes, Saved]] | None = None,
    ) -> None:
        self._step, self._where, self._fetch = step, where, fetch
        self.has_room, self._kept = True, 0
        """Whether more results may be held here, and the bytes of those that are."""
        self.labels = Texts()
        # Parallel lists rather than a record per slot: to fill one is a few list stores, and all codecs are one set().
        self._values: list[Any] = []
        self._codecs: list[str | None] = []  # None: the value is an object; otherwise it is a payload of that codec
        self._keys = bytearray()  # of each slot so many bytes, if it is of codec STORED
        self._restored = bytearray()
        self._failures: dict[int, Failure] = {}
        self._lock = threading.RLock()  # re-entrant: unpickling may run code that reads this very sequence

    def grow(self, n: int) -> None:
        """Make room for ``n`` documents in all."""
        with self._lock:
            more = n - len(self._values)
            if more > 0:
                self.labels.put(n, ())
                self._restored += bytes(more)
                self._codecs += [NOTHING] * more
                self._values += [None] * more

    def expect(self, first: int, items: Sequence[Any], labels: Sequence[str]) -> None:
        """These documents are looked up now, ``first`` is the position of the first of them."""
        with self._lock:
            self.labels.put(first, labels)
            self.grow(first + len(items))

    def put_restored(self, positions: Sequence[int], rows: Sequence[Saved]) -> None:
        """Fill slots with restored results, still encoded or (codec `STORED`) still in the database."""
        codecs, payloads, *_ = zip(*rows, strict=True)
        is_without_gap = list(positions) == list(range(positions[0], positions[-1] + 1))
        with self._lock:
            if is_without_gap and codecs.count(STORED) in (0, len(rows)):
                self._fill(positions[0], codecs, payloads)
            else:
                for position, codec, payload in zip(positions, codecs, payloads, strict=True):
                    self._fill(position, (codec,), (payload,))
            if self._failures:
                for position in positions:
                    self._failures.pop(position, None)
            self.has_room = self._kept < KEPT_BYTES or self._fetch is None

    def _fill(self, first: int, codecs: Sequence[str], payloads: Sequence[bytes]) -> None:
        """As `put_restored`, of slots one after the other."""
        end = first + len(codecs)
        self._restored[first:end] = b"\1" * len(codecs)
        if codecs[0] == STORED:
            self._leave(first, payloads)
        else:
            self._values[first:end], self._codecs[first:end] = payloads, codecs
            self._kept += sum(map(len, payloads))

    def put_value(self, position: int, value: object, key: bytes | None = None) -> None:
        """Fill a slot with a computed result; one with a ``key`` may be left in the database."""
        with self._lock:
            if self.has_room or key is None:
                self._values[position], self._codecs[position] = value, None
                self._kept += size_of(value)
                if self._kept >= KEPT_BYTES:
                    self.has_room = self._fetch is None
            else:
                self._leave(position, [key])
            self._restored[position] = 0
            if self._failures:
                self._failures.pop(position, None)

    def put_values(self, calls: Sequence[Call], values: Sequence[object]) -> None:
        """Fill the slots of several calls with computed results, which may be left in the database."""
        with self._lock:
            first, end = calls[0].position, calls[-1].position + 1
            if not self.has_room or self._failures or [call.position for call in calls] != list(range(first, end)):
                for call, value in zip(calls, values, strict=True):
                    self.put_value(call.position, value, call.key)
                return
            self._values[first:end], self._codecs[first:end] = values, [None] * len(calls)
            self._restored[first:end] = bytes(len(calls))
            self._kept += size_of_all(values)
            self.has_room = self._kept < KEPT_BYTES or self._fetch is None

    def put_encoded(self, position: int, codec: str, payload: bytes, key: bytes) -> None:
        """Fill a slot with a result that was computed and encoded elsewhere; decoded when it is first asked for."""
        with self._lock:
            self.put_value(position, payload, key)
            if self._codecs[position] is None:
                self._codecs[position] = codec

    def put_failure(self, failure: Failure, exception: BaseException) -> None:
        """Fill the slot of a document that gave up; the exception is what the slot holds."""
        with self._lock:
            self.put_value(failure.position, exception)
            self._failures[failure.position] = failure

    def _read(self, positions: Iterable[int], *, keep: bool = True) -> list[Any]:
        """Values of these slots, decoded, in place if they are to be kept."""
        with self._lock, paused_gc():
            if isinstance(positions, range) and positions.step == 1 and (alike := self._read_alike(positions, keep)):
                return alike
            found, positions = [], list(positions)
            stored = self._fetched(positions)
            for i in positions:
                value = self._values[i]
                if (codec := self._codecs[i]) == STORED:
                    saved = stored.get(self._key(i))
                    if saved is None:
                        self._refuse(
                            i, "has been dropped from the database.", "Run the cell again: it is computed anew."
                        )
                    value = decode(saved.codec, saved.payload, where=self._where)
                elif codec == NOTHING:
                    self._refuse(i, "has no result yet.", "Run the cell again to go on.")
                elif codec is not None:
                    value = decode(codec, value, where=self._where)
                    if keep:
                        self._values[i], self._codecs[i] = value, None
                found.append(value)
        return found

    def _read_alike(self, positions: range, keep: bool) -> list[Any] | None:
        """As `_read`, of slots one after the other; None or [] if it has to look at each."""
        part = slice(positions.start, positions.stop)
        codecs, values = self._codecs[part], self._values[part]
        if not codecs or codecs.count(codecs[0]) < len(codecs):
            return None
        if codecs[0] is None:
            return values
        arrays = decode_arrays(codecs[0], values)
        if arrays is not None and keep:
            self._values[part], self._codecs[part] = arrays, [None] * len(arrays)
        return arrays

    def _leave(self, first: int, keys: Sequence[bytes]) -> None:
        """In the database: here are only the keys."""
        missing = _WIDTH * len(self._values) - len(self._keys)
        if missing > 0:
            self._keys += bytes(missing)
        end = first + len(keys)
        self._keys[_WIDTH * first : _WIDTH * end] = b"".join(keys)
        self._values[first:end], self._codecs[first:end] = [None] * len(keys), [STORED] * len(keys)

    def _key(self, position: int) -> bytes:
        return bytes(self._keys[_WIDTH * position : _WIDTH * (position + 1)])

    def _fetched(self, positions: list[int]) -> dict[bytes, Saved]:
        keys = [self._key(i) for i in positions if self._codecs[i] == STORED]
        return self._fetch(keys) if keys and self._fetch is not None else {}

    def _label(self, position: int) -> str:
        label = self.labels[position] if position < len(self.labels) else ""
        return label or f"document {position}"

    def _refuse(self, position: int, problem: str, remedy: str) -> NoReturn:
        raise ConfigError(f"{self._step}: {self._label(position)} {problem}", remedy)


@contextlib.contextmanager
def paused_gc() -> Iterator[None]:
    """No cyclic collections while many objects are made that live: 100,000 small dicts unpickle in 144 ms instead of 348."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
