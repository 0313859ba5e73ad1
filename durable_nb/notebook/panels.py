"""A panel for each run: shown when it begins, kept fresh while it lives, finished with it."""

from __future__ import annotations

import contextlib
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from durable_nb import registry, wire
from durable_nb.errors import ConfigError, StoreError
from durable_nb.limits import ACTIONS
from durable_nb.notebook import widget
from durable_nb.sparing import Sparing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from durable_nb.engine.runs import LiveRun
    from durable_nb.notebook.widget import View
    from durable_nb.records import Mosaic, Snapshot

# Views whose Retry failed was pressed: the run that it begins is shown in them, not below another cell.
_waiting: dict[str, View] = {}


def show(live: LiveRun) -> None:
    """Observer of the session: called when a run begins."""
    registry.remember(registry.Known(live.store.id, live.store.where, live.record.notebook))
    view = _waiting.pop(live.name, None)
    _follow(live, widget.presenter(beside_a_prompt=live.apart) if view is None else view)


def attach(live: LiveRun, *, beside_a_prompt: bool) -> None:
    """One more panel of a run that this kernel computes."""
    _follow(live, widget.presenter(beside_a_prompt=beside_a_prompt))


def _follow(live: LiveRun, view: View) -> None:
    feed = LiveFeed(live, view)
    view.show(feed)
    publisher = widget.Publisher(view, feed.snapshot)
    publisher.start()
    live.finished.append(publisher.stop)


class LiveFeed:
    """A run of this process, as a panel sees it."""

    def __init__(self, live: LiveRun, view: View) -> None:
        self._live, self._view = live, view
        self._context: dict[str, Any] = {"history": [], "versions": []}
        # Counting a million results takes 0.1 s; a panel takes at most 1 % of a core.
        self._versions = Sparing(lambda: live.store.contents(live.record.id), share=0.005)

    @property
    def actions(self) -> Mapping[str, Callable[[str], None]]:
        """What can be asked for; a run that is alive is not forgotten."""
        controls = {name: partial(self._live.control, name) for name in ACTIONS}
        return controls | {"retry": lambda _value: _retry(self._live, self._view), "recompute": self._recompute}

    def snapshot(self) -> Snapshot:
        """The figures now."""
        return self._live.progress.snapshot()

    def context(self) -> dict[str, Any]:
        """History and versions; the last that were read while the database is away: a view must not end for that."""
        store, run_id = self._live.store, self._live.record.id
        with contextlib.suppress(StoreError):
            versions = store.contents(run_id) if self._live.over else self._versions()
            self._context = wire.context_json(store.events(run_id), versions)
        return self._context

    def mosaic(self) -> Mosaic | None:
        """The states of all documents."""
        return self._live.progress.mosaic()

    def document(self, position: int) -> dict[str, Any] | None:
        """One document, None while nothing is saved of it."""
        with contextlib.suppress(StoreError):
            found = self._live.store.document(self._live.record.id, position)
            return None if found is None else wire.document_json(found)
        return None

    def _recompute(self, version: str) -> None:
        """Compute the results of an older version again when the cell is run next."""
        versions = self._live.store.contents(self._live.record.id)
        older = next((one for one in versions if str(one.id) == version), None)
        current = next((one for one in versions if older is not None and one.name == older.name), None)
        if older is None or current is None or current.id == older.id:
            raise ConfigError(f"this run has no older version {version!r}.")
        self._live.store.choose(self._live.record.id, current.id, [older.id], "recompute")


def _retry(live: LiveRun, view: View) -> None:
    """Try what failed again, in a thread: the click arrives on the kernel's loop, which must stay free."""
    if live.name in _waiting:
        return

    def work() -> None:
        for retry in list(live.retries):
            _waiting[live.name] = view
            try:
                retry()
            finally:
                _waiting.pop(live.name, None)

    start = threading.Thread(target=work, name="durable-retry", daemon=True).start
    if live.over:
        start()
    else:
        live.finished.append(start)  # pressed while the cell runs: its results are not complete yet
