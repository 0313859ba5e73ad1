"""The panel of a run that somebody else computes: its figures are read from the database until it has ended."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from durable_nb import clock, wire
from durable_nb.errors import StoreError
from durable_nb.limits import ACTIONS
from durable_nb.notebook import widget
from durable_nb.records import State
from durable_nb.sparing import Sparing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from durable_nb.records import Mosaic, Run, Snapshot
    from durable_nb.store import Store

_LOOK_S = 0.5  # the owner writes its figures with every commit, and at least each second
_JOIN_S = 2.0

_logger = logging.getLogger("durable_nb")


class StoredFeed:
    """A run of any process, as a panel sees it; the last that was read while the database is away."""

    def __init__(self, store: Store, run: Run) -> None:
        self._store, self._run = store, run
        snapshot = store.snapshot(run.name)
        assert snapshot is not None, "the run was read a moment ago"
        self._snapshot = snapshot
        self._mosaic = store.mosaic(run.id)
        self._context: dict[str, Any] = {"history": [], "versions": []}
        self._versions = Sparing(lambda: store.contents(run.id), share=0.005)

    @property
    def actions(self) -> Mapping[str, Callable[[str], None]]:
        """What can be asked of whoever computes it."""
        return {name: partial(self._ask, name) for name in ACTIONS}

    def snapshot(self) -> Snapshot:
        """The figures, as their owner wrote them last."""
        with contextlib.suppress(StoreError):
            self._snapshot = self._store.snapshot(self._run.name) or self._snapshot
        return self._snapshot

    def context(self) -> dict[str, Any]:
        """History and versions."""
        with contextlib.suppress(StoreError):
            self._context = wire.context_json(self._store.events(self._run.id), self._versions())
        return self._context

    def mosaic(self) -> Mosaic | None:
        """The states of all documents."""
        with contextlib.suppress(StoreError):
            self._mosaic = self._store.mosaic(self._run.id) or self._mosaic
        return self._mosaic

    def document(self, position: int) -> dict[str, Any] | None:
        """One document, None while nothing is saved of it."""
        with contextlib.suppress(StoreError):
            found = self._store.document(self._run.id, position)
            return None if found is None else wire.document_json(found)
        return None

    def _ask(self, action: str, value: str) -> None:
        self._store.control(self._run.id, action, value)


class Follower:
    """A panel that follows a run in a thread, until that has ended or ``stop`` is called."""

    def __init__(self, store: Store, run: Run, *, beside_a_prompt: bool) -> None:
        self._feed, self._view = StoredFeed(store, run), widget.presenter(beside_a_prompt=beside_a_prompt)
        self._attempts = run.attempts
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Show the panel, and keep it fresh if the run is alive."""
        self._view.show(self._feed)
        if self._feed.snapshot().state is not State.RUNNING:
            self._view.finish(self._feed.snapshot())
            return
        _alive.append(self)
        work = contextvars.copy_context().run  # what front ends know the output of this cell by
        self._thread = threading.Thread(target=work, args=(self._follow,), name="durable-attached", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Follow no longer."""
        self._over.set()
        if self._thread is not None:
            self._thread.join(_JOIN_S)

    def _follow(self) -> None:
        # Caught broadly on purpose, as in the panel of a run of this kernel.
        try:
            while not clock.wait(self._over, _LOOK_S):
                snapshot = self._feed.snapshot()
                if snapshot.state is not State.RUNNING or snapshot.attempts != self._attempts:
                    break
                self._view.update(snapshot)
            self._view.finish(self._feed.snapshot())
        except Exception as error:
            _logger.warning("the attached panel stopped (%s: %s); the run goes on", type(error).__name__, error)
        finally:
            with contextlib.suppress(ValueError):
                _alive.remove(self)


_alive: list[Follower] = []


def stop_all() -> None:
    """Every panel of this kernel that follows a run of somebody else."""
    for follower in _alive:
        follower.stop()
