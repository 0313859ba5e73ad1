"""Open databases, read-only and each once; and recent mosaics, so that a poll costs what changed."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from durable_nb import clock
from durable_nb.errors import StoreError
from durable_nb.store import Store

if TYPE_CHECKING:
    from durable_nb.records import Mosaic, Run
    from durable_nb.server.places import Place

_MOST_OPEN = 32
_SULK_S = 5.0  # a server that does not answer holds a thread for 10 s: not again for each poll
_MOSAIC_BYTES = 64 << 20


class Stores:
    """The stores of a server, opened when they are asked for the first time."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, Store] = OrderedDict()
        self._failed: dict[str, tuple[float, StoreError]] = {}
        self._opening: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def at(self, place: Place) -> Store:
        """The store at a place.

        Raises
        ------
        StoreError
            It cannot be read, or not by this version; the same error again for 5 s.
        """
        with self._lock:
            opening = self._opening.setdefault(place.store, threading.Lock())
        with opening:  # two polls at once do not open it twice, and one that hangs holds up no other
            found = self._found(place)
            if found is None:
                found = self._opened(place)
            return found

    def close(self) -> None:
        """Close all."""
        with self._lock:
            closing = list(self._open.values())
            self._open.clear()
        for store in closing:
            store.close()

    def _found(self, place: Place) -> Store | None:
        with self._lock:
            until, error = self._failed.get(place.store, (0.0, None))
            if error is not None and clock.monotonic() < until:
                raise error
            store = self._open.get(place.store)
            if store is None:
                return None
            if store.is_gone:  # deleted, or another file in its place
                del self._open[place.store]
            else:
                self._open.move_to_end(place.store)
                return store
        store.close()
        return None

    def _opened(self, place: Place) -> Store:
        try:
            store = Store.read_only(place.url)
        except StoreError as error:
            with self._lock:
                self._failed[place.store] = (clock.monotonic() + _SULK_S, error)
            raise
        with self._lock:
            self._failed.pop(place.store, None)
            self._open[place.store] = store
            oldest = self._open.popitem(last=False)[1] if len(self._open) > _MOST_OPEN else None
        if oldest is not None:
            oldest.close()
        return store


class Mosaics:
    """The last mosaics that were sent, by run and version: what a page has, so that the next answer is what changed."""

    def __init__(self, most_bytes: int = _MOSAIC_BYTES) -> None:
        self._kept: OrderedDict[tuple[str, int, float, int], bytes] = OrderedDict()
        self._most_bytes, self._bytes = most_bytes, 0
        self._lock = threading.Lock()

    def keep(self, store: str, run: Run, mosaic: Mosaic) -> None:
        """Remember a mosaic that is about to be sent; the oldest ones go when together they take over 64 MiB."""
        key = (store, run.id, run.created, mosaic.version)  # a database that is made anew counts from the beginning
        with self._lock:
            self._bytes += len(mosaic.states) - len(self._kept.pop(key, b""))
            self._kept[key] = mosaic.states
            while self._bytes > self._most_bytes and len(self._kept) > 1:
                self._bytes -= len(self._kept.popitem(last=False)[1])

    def states(self, store: str, run: Run, version: int) -> bytes | None:
        """What a page has that says it has ``version``; None when that is not known any more."""
        with self._lock:
            return self._kept.get((store, run.id, run.created, version))
