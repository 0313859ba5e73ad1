"""What a run puts into the notebook while it is computed, and what it leaves there.

Where our server extension reads the database for the page (``DURABLE_NB_SERVER``), that is one output: our own MIME type,
which the lab shows from the database; while the run is alive a widget for front ends that do not know it; and the static
picture of ``display.html`` and a line of text for everybody else.

Elsewhere (VS Code, Colab, another server) it is two outputs, of which the reader sees one: the picture, then an anywidget
view. A style in the first hides the picture while the view lives, and the front end's "model not found" once it is dead.

When the run ends, the picture is drawn a last time, and no widget is left in the notebook. Importing this module imports
neither anywidget nor ipywidgets.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, Protocol

from durable_nb import clock, display, wire
from durable_nb.notebook import comm, terminal
from durable_nb.signals import put_off

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from durable_nb.notebook.comm import Feed, Page
    from durable_nb.records import Mosaic, Snapshot

_TICK_S = 0.22  # Jupyter servers drop messages without a word above 1,000 a second and client: stay far below
_SPACING_S = 0.205  # so that no second holds more than five; a tick is never shorter, but the clock is not exact
_HEARTBEAT_S = 2.0  # the page calls a run silent after 15 s without news
_MOSAIC_S = 1.0
_CONTEXT_S = 4.0
_REDRAW_S = 5.0  # a redraw of the picture costs ten times a message to the view
_JOIN_S = 2.0

# `.dnb` is the root element of the live view, and the view's output follows the picture's.
_WHILE_LIVE = (
    "<style>.jp-OutputArea-child:has(.dnb-live):has(+ .jp-OutputArea-child .dnb),"
    ".jp-OutputArea-child:has(.dnb-live) + .jp-OutputArea-child:not(:has(.dnb)){display:none}</style>"
)
_EMPTIED = {
    "text/html": "<style>.jp-OutputArea-child:has(.dnb-gone){display:none}</style><span class='dnb-gone'></span>",
    "text/plain": "",
}

_logger = logging.getLogger("durable_nb")


class View(Protocol):
    """What shows a run: a Panel in a kernel, a ``terminal.TerminalReporter`` elsewhere."""

    def show(self, feed: Feed) -> None:
        """Appear, or begin to show another run where the last one was."""

    def update(self, snapshot: Snapshot) -> None:
        """Show newer figures; may be called at any rate."""

    def finish(self, snapshot: Snapshot) -> None:
        """Show the last figures, whatever was left out before."""


def presenter(*, beside_a_prompt: bool = False) -> View:
    """The view that fits where this process runs: a Panel in a Jupyter kernel, one line on stderr anywhere else.

    A Panel may always move; a line only while nobody types.
    """
    return Panel() if _in_kernel() else terminal.TerminalReporter(beside_a_prompt=beside_a_prompt)


class Panel:
    """The progress of one run in a notebook; works without anywidget, then without the live half.

    Safe to update from any thread. Sends at most one message in 0.2 s, but for its beginning and its end.

    Parameters
    ----------
    served : bool, optional
        Whether a server extension reads the database for the page; default, as the environment says.
    """

    def __init__(self, *, served: bool | None = None) -> None:
        self._served = os.environ.get("DURABLE_NB_SERVER") == "1" if served is None else served
        self._lock = threading.Lock()
        self._display_id = f"dnb-{os.urandom(8).hex()}"
        self._shown = False
        self._feed: Feed | None = None
        self._page: Page | None = None
        self._told: Snapshot | None = None
        self._mosaic: Mosaic | None = None
        self._sent_at = self._told_at = self._drawn_at = self._mosaic_at = self._context_at = -float("inf")

    def show(self, feed: Feed) -> None:
        """Display the picture and the live view, in the place they had before if there was one."""
        with self._lock:
            self._feed, self._mosaic = feed, None
            self._page = comm.open_page(feed)
            self._draw(feed.snapshot(), update=self._shown)
            if self._page is not None and not self._served:
                # text/plain must be there, and empty: it is all that is seen where widgets are not known.
                self._publish(self._page.bundle | {"text/plain": ""}, "-view", update=self._shown)
            self._shown = True

    def update(self, snapshot: Snapshot) -> None:
        """Send what is due most: the picture every 5 s, the mosaic every second, else figures when they changed."""
        with self._lock:
            now = clock.monotonic()
            if not self._shown or now - self._sent_at < _SPACING_S:
                return
            if now - self._drawn_at >= _REDRAW_S:
                self._draw(snapshot, update=True)
            elif self._page is None or not self._tell_what_is_due(self._page, snapshot, now):
                return
            self._sent_at = now

    def finish(self, snapshot: Snapshot) -> None:
        """Show the end of the run; what is saved holds no widget."""
        with self._lock:
            page, self._page = self._page, None
            try:
                if page is not None:
                    self._tell(page, snapshot)
                    self._tell_mosaic(page)
                    page.tell_context()
            finally:  # whatever became of the view, the picture is true
                if page is not None and not self._served:
                    self._publish(_EMPTIED, "-view", update=True)
                self._draw(snapshot, update=self._shown)
                self._shown = True
            if page is not None:
                page.close()

    def _tell_what_is_due(self, page: Page, snapshot: Snapshot, now: float) -> bool:
        if now - self._context_at >= _CONTEXT_S:
            self._context_at = now
            page.tell_context()
        elif now - self._mosaic_at >= _MOSAIC_S and self._tell_mosaic(page):
            self._mosaic_at = now
        elif now - self._told_at >= _HEARTBEAT_S or _news(snapshot) != self._told:
            self._tell(page, snapshot)
        else:
            return False
        return True

    def _tell(self, page: Page, snapshot: Snapshot) -> None:
        self._told, self._told_at = _news(snapshot), clock.monotonic()
        page.tell(snapshot)

    def _tell_mosaic(self, page: Page) -> bool:
        mosaic = None if self._feed is None else self._feed.mosaic()
        if mosaic is None or (self._mosaic is not None and mosaic.version == self._mosaic.version):
            return False
        self._mosaic = mosaic
        page.tell_mosaic(mosaic)
        return True

    def _draw(self, snapshot: Snapshot, *, update: bool = False) -> None:
        self._drawn_at = clock.monotonic()
        mosaic = None if self._feed is None else self._feed.mosaic()
        bundle = display.output(snapshot, b"" if mosaic is None else mosaic.states)
        if self._served:
            bundle |= {wire.MIME: wire.saved_json(snapshot)} | ({} if self._page is None else self._page.bundle)
        elif self._page is not None:
            bundle["text/html"] = f'{_WHILE_LIVE}<div class="dnb-live">{bundle["text/html"]}</div>'
        self._publish(bundle, update=update)

    def _publish(self, bundle: Mapping[str, Any], part: str = "", *, update: bool = False) -> None:
        from IPython import display as ipython

        publish: Any = ipython.display  # its types are not declared
        with put_off():
            publish(dict(bundle), raw=True, display_id=self._display_id + part, update=update)


class Publisher:
    """A daemon thread that shows the latest snapshot five times a second; a view that breaks never breaks the run.

    Parameters
    ----------
    panel : View
        Already shown.
    take : callable
        Returns the current Snapshot; called in the thread, so it must be safe there, and cheap.

    Attributes
    ----------
    error : Exception or None
        What broke the view, if something did; it is logged once.
    """

    def __init__(self, panel: View, take: Callable[[], Snapshot]) -> None:
        self.error: Exception | None = None
        self._panel, self._take = panel, take
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._publish, name="durable-panel", daemon=True)

    def start(self) -> None:
        """Begin to publish; once."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, then show a last snapshot from the calling thread, whose cell the outputs belong to."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)
        self._guard(lambda: self._panel.finish(self._take()))

    def _publish(self) -> None:
        self._guard(self._tick)

    def _tick(self) -> None:
        while not clock.wait(self._stopping, _TICK_S):
            self._panel.update(self._take())

    def _guard(self, draw: Callable[[], None]) -> None:
        # Caught broadly on purpose: hours of computing must not end because a front end went away in a new manner.
        try:
            draw()
        except Exception as error:
            self.error = error
            _logger.warning("the progress panel stopped (%s: %s); the run goes on", type(error).__name__, error)


def _news(snapshot: Snapshot) -> Snapshot:
    """The snapshot without what changes by the mere passing of time, which the page reckons itself."""
    return snapshot._replace(rate=0.0, eta_s=None, elapsed_s=0.0, commit_age_s=None, heartbeat_age_s=None)


def _in_kernel() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None
