"""What each route answers: plain JSON values or bytes, from the databases; called in threads."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from durable_nb import display, wire
from durable_nb.errors import ConfigError, DurableError
from durable_nb.records import State
from durable_nb.server.stores import Mosaics, Stores
from durable_nb.sparing import Sparing
from durable_nb.store.tables import SCHEMA

if TYPE_CHECKING:
    from durable_nb.records import Run, StepVersion
    from durable_nb.server.places import Place, Places
    from durable_nb.store import Store

_THREADS = 8
_MOST_FAILURES = 500
_MOST_CONTENTS = 100


class Missing(DurableError):
    """There is no such store, run or document; or none that this server may show."""


class NotLive(DurableError):
    """Nobody computes the run now."""


class Answers:
    """The answers of one server.

    Attributes
    ----------
    threads : ThreadPoolExecutor
        Where they are to be called: a database may keep them waiting.
    """

    def __init__(self, places: Places) -> None:
        self.threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="durable-server")
        self._places, self._stores, self._mosaics = places, Stores(), Mosaics()
        self._contents: OrderedDict[tuple[Store, int, int, State], Sparing[list[StepVersion]]] = OrderedDict()
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the databases, when the answers under way are given."""
        self.threads.shutdown(cancel_futures=True)
        self._stores.close()

    def status(self) -> dict[str, Any]:
        """Versions, so that a page can say that server and kernel differ."""
        try:
            installed = version("durable-nb")
        except PackageNotFoundError:  # run from a checkout
            installed = ""
        return {"version": installed, "schema": SCHEMA}

    def runs(self, notebook: str | None, folder: str | None) -> dict[str, Any]:
        """The runs of a notebook's databases, or a folder's: newest first, one group for each database."""
        try:
            places = self._places.of_folder(folder or "") if notebook is None else self._places.of_notebook(notebook)
        except ConfigError as error:
            if error.remedy:  # settings that cannot be read; a refused path has none
                places, problem = self._places.configured(), str(error)
                where = str(folder if notebook is None else notebook)
                return {"stores": [*map(self._group, places), _group("", where, error=problem)]}
            raise
        return {"stores": [self._group(place) for place in places]}

    def run(self, store: str, name: str, notebook: str) -> dict[str, Any]:
        """One run in full."""
        opened, run = self._run(store, name, notebook)
        snapshot = opened.snapshot(name)
        if snapshot is None:
            raise _missing_run(name)
        context = wire.context_json(opened.events(run.id), self._versions(opened, run))
        figures = wire.snapshot_json(snapshot) | {"created": run.created}
        return {"snapshot": self._for_page(figures)} | context

    def output(self, store: str, name: str, notebook: str) -> dict[str, Any]:
        """What a notebook keeps of the run, by MIME type, for a page whose kernel could not leave it there."""
        opened, run = self._run(store, name, notebook)
        snapshot, mosaic = opened.snapshot(name), opened.mosaic(run.id)
        if snapshot is None:
            raise _missing_run(name)
        picture = display.output(snapshot, b"" if mosaic is None else mosaic.states)
        return picture | {wire.MIME: wire.saved_json(snapshot)}

    def mosaic(self, store: str, name: str, notebook: str, since: int) -> bytes:
        """The states of all documents, or what changed since a version the page has; b'' when nothing did."""
        opened, run = self._run(store, name, notebook)
        mosaic = opened.mosaic(run.id)
        if mosaic is None or mosaic.version == since:
            return b""
        before = self._mosaics.states(store, run, since)
        self._mosaics.keep(store, run, mosaic)
        return wire.mosaic_full(mosaic) if before is None else wire.mosaic_since(mosaic, before)

    def document(self, store: str, name: str, notebook: str, position: int) -> dict[str, Any] | None:
        """One document, for whoever points at its square; None while nothing is saved of it."""
        opened, run = self._run(store, name, notebook)
        document = opened.document(run.id, position)
        return None if document is None else wire.document_json(document)

    def failures(self, store: str, name: str, notebook: str, offset: int, limit: int) -> dict[str, Any]:
        """A page of the documents that gave up, and how many there are."""
        if offset < 0 or not 1 <= limit <= _MOST_FAILURES:
            raise ConfigError(f"offset={offset}, limit={limit} is no page.", f"At most {_MOST_FAILURES} at a time.")
        opened, run = self._run(store, name, notebook)
        page = opened.failures(run.id, limit=limit, offset=offset, counted=run.failed)
        return {"failures": wire.failures_json(page), "failed": run.failed}

    def control(self, store: str, name: str, notebook: str, action: Any, value: Any) -> dict[str, Any]:
        """Ask something of a live run; it is taken within a tenth of a second."""
        opened, run = self._run(store, name, notebook)
        if run.state is not State.RUNNING:
            raise NotLive(f"nobody is computing run {name!r} now, so there is nobody to {action}.")
        return {"id": opened.control(run.id, str(action), "" if value is None else str(value))}

    def choose(self, store: str, name: str, notebook: str, step: Any, older: Any, choice: Any) -> dict[str, Any]:
        """Keep the results of older code, or compute them again when the cell is run next."""
        opened, run = self._run(store, name, notebook)
        chosen = older if isinstance(older, list) else [older]
        known = {version.id for version in opened.contents(run.id)}
        if not chosen or not all(type(one) is int and one in known for one in (step, *chosen)):
            raise Missing(f"run {name!r} has no such versions of a step.")
        opened.choose(run.id, step, chosen, str(choice), edited=True)
        return {"choice": choice}

    def forget(self, store: str, name: str, notebook: str) -> dict[str, Any]:
        """Drop a run that is not live."""
        opened, _ = self._run(store, name, notebook)
        return {"dropped": opened.forget(name)}

    def _versions(self, opened: Store, run: Run) -> list[StepVersion]:
        """Read seldom: counting a million results takes 0.1 s, and each page polls. A run that ended is read anew, and so is
        one of another file in the place of the first.
        """
        key = (opened, run.id, run.attempts, run.state)
        with self._lock:
            read = self._contents.pop(key, None) or Sparing(lambda: opened.contents(run.id), share=0.05)
            self._contents[key] = read
            if len(self._contents) > _MOST_CONTENTS:
                self._contents.popitem(last=False)
        return read()

    def _run(self, store: str, name: str, notebook: str) -> tuple[Store, Run]:
        place = self._places.find(store, notebook)
        if place is None:
            raise Missing(
                "this server knows no such database. It shows those beside notebooks below its folder, and those named in "
                "its setting DurableServer.databases."
            )
        opened = self._stores.at(place)
        run = opened.run(name)
        if run is None:
            raise _missing_run(name)
        return opened, run

    def _group(self, place: Place) -> dict[str, Any]:
        try:
            store = self._stores.at(place)
            return _group(
                place.store, place.where, runs=[self._for_page(wire.summary_json(*entry)) for entry in store.overview()]
            )
        except DurableError as error:
            return _group(place.store, place.where, error=str(error))

    def _for_page(self, figures: dict[str, Any]) -> dict[str, Any]:
        """With the path of the notebook as the page knows it: below the root."""
        return figures | {"notebook": self._places.relative(figures["notebook"])}


def _group(store: str, where: str, *, runs: list[dict[str, Any]] | None = None, error: str = "") -> dict[str, Any]:
    return {"store": store, "where": where, "error": error, "runs": runs or []}


def _missing_run(name: str) -> Missing:
    return Missing(f"there is no run {name!r} in this database any more.")
