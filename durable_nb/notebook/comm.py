"""The live half of a panel: an anywidget model, and what it and the page say to each other.

Traits hold what a view needs to appear: ``figures`` (the snapshot without its failures), ``failures``, ``context``,
``actions``, ``sent_at``. They may be saved into the notebook, so nothing large is one. Custom messages:

====================  ==========================================  ====================================================
from the page         ``{"action": NAME, "value": TEXT}``         answered ``{"ack": NAME}``, with ``"error": SENTENCE``
                                                                  when it could not be done
from the page         ``{"mosaic": VERSION}`` (0: none yet)       answered as below; without a buffer if nothing changed
from the page         ``{"document": POSITION}``                  answered ``{"document": POSITION, "found": {…}}``,
                                                                  ``found`` null for none
from the kernel       ``{"mosaic": VERSION, "since": VERSION}``   one buffer in the format of `durable_nb.wire`; a delta
                                                                  applies to ``since``, and 0 means all of it
====================  ==========================================  ====================================================

Importing this module imports neither anywidget nor ipywidgets.
"""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from durable_nb import clock, wire
from durable_nb.errors import DurableError
from durable_nb.signals import put_off

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from durable_nb.records import Mosaic, Snapshot

_STATIC = Path(__file__).with_name("static")
_WHOLE_S = 10.0  # a view that appeared meanwhile cannot always ask for it: ipykernel 6 hears nothing while a cell runs

_logger = logging.getLogger("durable_nb")


class Feed(Protocol):
    """What a panel shows of a run, and what can be asked of it."""

    def snapshot(self) -> Snapshot:
        """The figures now; cheap, from any thread."""

    def context(self) -> dict[str, Any]:
        """History and versions, JSON-ready; reads the database."""

    def mosaic(self) -> Mosaic | None:
        """The states of all documents now."""

    def document(self, position: int) -> dict[str, Any] | None:
        """One document, JSON-ready; reads the database."""

    @property
    def actions(self) -> Mapping[str, Callable[[str], None]]:
        """What a click does, by name; called with its value, in any thread."""


class Page:
    """One view of a run that follows it over the comm. Not safe to use from two threads at once."""

    def __init__(self, feed: Feed) -> None:
        snapshot = wire.snapshot_json(feed.snapshot())
        failures = snapshot.pop("failures")
        self._feed = feed
        self._sent: Mosaic | None = None
        self._whole_at = -_WHOLE_S
        model, context = _model_class(), feed.context()
        with put_off():
            self._model = model(
                figures=snapshot, failures=failures, context=context, actions=list(feed.actions), sent_at=clock.now()
            )
        self._model.on_msg(self._heard)
        if hasattr(self._model.comm, "_reply_subshell_for"):
            # ipykernel 7.4 sends a click to the loop that sent last, the one the cell keeps busy, so that it would
            # arrive when the cell has ended; without this hook it arrives in a subshell at once, as on 7.0 to 7.3.
            self._model.comm._reply_subshell_for = None  # noqa: SLF001 - there is no public way

    @property
    def bundle(self) -> dict[str, Any]:
        """The MIME entry that shows the view."""
        reference = {"version_major": 2, "version_minor": 0, "model_id": self._model.model_id}
        return {"application/vnd.jupyter.widget-view+json": reference}

    def tell(self, snapshot: Snapshot) -> None:
        """Send newer figures: one message."""
        figures = wire.snapshot_json(snapshot)
        with put_off(), self._model.hold_sync():  # failures apart, because they are long and seldom change
            self._model.failures = figures.pop("failures")
            self._model.figures = figures
            self._model.sent_at = clock.now()

    def tell_context(self) -> None:
        """Send history and versions, if they changed: one message."""
        context = self._feed.context()
        with put_off():
            self._model.context = context

    def tell_mosaic(self, mosaic: Mosaic) -> None:
        """Send the states that changed since the last time, now and then all: one message."""
        due = clock.monotonic() - self._whole_at >= _WHOLE_S
        before = None if due else self._sent
        if due:
            self._whole_at = clock.monotonic()
        self._send_mosaic(mosaic, before)
        self._sent = mosaic

    def close(self) -> None:
        """End the view; it must be gone from the output by then."""
        with put_off():
            self._model.close()

    def _heard(self, _model: Any, content: Any, _buffers: Any) -> None:
        if not isinstance(content, dict):
            return
        if "action" in content:
            self._act(str(content["action"]), str(content.get("value") or ""))
        elif "mosaic" in content:
            mosaic = self._feed.mosaic()
            if mosaic is None or mosaic.version == content["mosaic"]:
                self._model.send({"mosaic": content["mosaic"]})
            else:
                self._send_mosaic(mosaic, None)
        elif type(position := content.get("document")) is int:
            self._model.send({"document": position, "found": self._feed.document(position)})

    def _act(self, action: str, value: str) -> None:
        callback = self._feed.actions.get(action)
        if callback is None:
            return
        try:
            callback(value)
        except DurableError as error:
            self._model.send({"ack": action, "error": str(error)})
        else:
            self._model.send({"ack": action})

    def _send_mosaic(self, mosaic: Mosaic, before: Mosaic | None) -> None:
        written, since = wire.mosaic_full(mosaic), 0
        if before is not None:
            written = wire.mosaic_since(mosaic, before.states)
            since = before.version if written[0] else 0  # the first byte: 0 for all, 1 for changes
        with put_off():
            self._model.send({"mosaic": mosaic.version, "since": since}, buffers=[written])


def open_page(feed: Feed) -> Page | None:
    """The live half, or None where it cannot be had: the picture tells the same, only slower."""
    try:
        return Page(feed)
    except ImportError:
        return None
    except FileNotFoundError as missing:
        _logger.warning("%s is missing, so there is no live panel; build it with `npm run build`", missing.filename)
        return None


@cache
def _model_class() -> type[Any]:
    import anywidget
    from traitlets import Dict, Float, List

    class Panel(anywidget.AnyWidget):
        _esm = (_STATIC / "panel.js").read_text(encoding="utf-8")
        _css = (_STATIC / "panel.css").read_text(encoding="utf-8")
        figures: Any = Dict().tag(sync=True)
        failures: Any = List().tag(sync=True)
        context: Any = Dict().tag(sync=True)
        actions: Any = List().tag(sync=True)
        sent_at: Any = Float().tag(sync=True)

    return Panel
