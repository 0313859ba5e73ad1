"""In a worker process that the cell started: look up and save without the notebook."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from durable_nb import clock, codecs, keys
from durable_nb.engine import labels
from durable_nb.errors import ValueUnavailable
from durable_nb.executors.mains import classes_behind, known_in_main, named_in_main
from durable_nb.notebook.interrupts import heeding
from durable_nb.records import Checkpoint, State

if TYPE_CHECKING:
    from durable_nb.store import Store

_UNNUMBERED = -1  # only the cell's process gives documents their numbers, and it does not wait for these
_stores: dict[tuple[int, str], Store] = {}


class InWorker:
    """A function as it arrives in a worker process: its calls are kept in the run of the cell that sent it."""

    def __init__(
        self,
        sent_from: int,
        function: Any,
        url: str,
        settings: tuple[str, bool],
        run_id: int,
        accepted: tuple[int, ...],
        has_receiver: bool,
    ) -> None:
        self._function, self._url, (self._durability, self._labels) = function, url, settings
        self._run_id, self._accepted, self._has_receiver = run_id, accepted, has_receiver
        if os.getpid() != sent_from:  # a copy made in the kernel leaves the kernel's ■ alone
            heeding.only_in_calls()

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """The saved value, else the function's, committed before it is returned."""
        store = self._store()
        bound = (getattr(self._function, "__self__", self._function),) if self._has_receiver else ()
        digest = keys.call_digest((*bound, *args), kwargs)
        number = store.tallies.take(self._run_id, self._accepted[0], digest)
        key = keys.numbered(digest, number)
        saved = store.look_up(self._run_id, self._accepted, [key]).get(key)
        if saved is not None:
            return self._decoded(saved.codec, saved.payload, store.where)
        started, before = clock.now(), clock.stopwatch()
        try:
            with heeding.in_call():
                value = self._function(*args, **kwargs)
        except BaseException:
            store.tallies.give_back(self._run_id, self._accepted[0], digest, number)
            raise
        seconds = clock.stopwatch() - before
        with known_in_main(value):
            codec, payload = codecs.encode(value, check=codecs.prove)
        label = labels.of_arguments(args, kwargs, 0) if self._labels else "#0"
        checkpoint = Checkpoint(
            self._run_id,
            self._accepted[0],
            key,
            State.DONE,
            _UNNUMBERED,
            label,
            1,
            None,
            started,
            seconds,
            codec,
            payload,
        )
        store.save_now(checkpoint).result()
        return value

    def _decoded(self, codec: str, payload: bytes, where: str) -> Any:
        try:
            return codecs.decode(codec, payload, where=where)
        except ValueUnavailable:  # its class came by value, with the function
            with named_in_main(classes_behind(self._function)):
                return codecs.decode(codec, payload, where=where)

    def _store(self) -> Store:
        from durable_nb.store import Store

        identity = (os.getpid(), self._url)  # a forked worker inherits the table, and not what is open
        if identity not in _stores:
            _stores[identity] = Store.open(self._url, durability=self._durability, patient=True)
        return _stores[identity]
