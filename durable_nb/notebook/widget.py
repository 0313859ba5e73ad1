"""The live panel of a run: two outputs, of which the reader sees one, and the thread that keeps them fresh.

- The first output is the static picture of ``display.html``. It is what a saved, exported or re-opened notebook shows.
- The second is an anywidget view, alive as long as this kernel. A style in the first hides the picture while the view
  lives, and hides the front end's "model not found" once it is dead.
- When the run ends the view is closed and its output emptied, unless there is something left to press (Retry failed).
- Clicks call back in whatever thread the kernel gives them: the callbacks may only set flags.

Importing this module imports neither anywidget nor ipywidgets; the first Panel that is shown does.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from durable_nb import clock
from durable_nb.notebook import display

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from durable_nb.records import Snapshot

_STATIC = Path(__file__).with_name("static")
_TICK_S = 0.2  # Jupyter servers drop messages without a word above 1,000 a second and client: stay far below
_SPACING_S = 0.75 * _TICK_S  # the tick is not exact; a whole one here would drop every second message
_HEARTBEAT_S = 2.0  # the page calls a run silent after 15 s without news
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
    """What shows a run: a Panel in a kernel, a ``display.TerminalReporter`` elsewhere."""

    def show(self) -> None:
        """Appear."""

    def update(self, snapshot: Snapshot) -> None:
        """Show newer figures; may be called at any rate."""

    def finish(self, snapshot: Snapshot) -> None:
        """Show the last figures, whatever was left out before."""


def presenter(
    snapshot: Snapshot, *, on_stop: Callable[[], None] | None = None, on_retry: Callable[[], None] | None = None
) -> View:
    """The view that fits where this process runs: a Panel in a Jupyter kernel, one line on stderr anywhere else."""
    if _in_kernel():
        return Panel(snapshot, on_stop=on_stop, on_retry=on_retry)
    return display.TerminalReporter(snapshot)


class Panel:
    """The progress of one run in a notebook; works without anywidget, then without the live half.

    Safe to update from any thread. ``finish`` without ``show`` displays the final picture only.

    Parameters
    ----------
    snapshot : Snapshot
        What to show first.
    on_stop, on_retry : callable, optional
        Called when the button is pressed, perhaps while the cell runs and in another thread. A button without
        callback is not shown.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        *,
        on_stop: Callable[[], None] | None = None,
        on_retry: Callable[[], None] | None = None,
    ) -> None:
        self._snapshot = snapshot
        self._actions = {name: call for name, call in (("stop", on_stop), ("retry", on_retry)) if call is not None}
        self._lock = threading.Lock()
        self._display_id = f"dnb-{os.urandom(8).hex()}"
        self._shown = False
        self._page: Any = None
        self._told: Snapshot | None = None
        self._told_at = self._drawn_at = -float("inf")

    def show(self) -> None:
        """Display the picture, and the live view after it."""
        with self._lock:
            self._page = _open_page(self._snapshot, self._actions)
            self._draw(self._snapshot)
            if self._page is not None:
                view = {"version_major": 2, "version_minor": 0, "model_id": self._page.model_id}
                # text/plain must be there, and empty: it is all that is seen where widgets are not known.
                self._publish({"application/vnd.jupyter.widget-view+json": view, "text/plain": ""}, "-view")
            self._shown = True

    def update(self, snapshot: Snapshot) -> None:
        """Send newer figures: at most five times a second, when something changed, and every 2 s to be believed."""
        with self._lock:
            now = clock.monotonic()
            silent_s = now - self._told_at
            if not self._shown or silent_s < _SPACING_S:
                return
            if silent_s < _HEARTBEAT_S and _news(snapshot) == self._told:
                return
            self._tell(snapshot)
            if now - self._drawn_at >= _REDRAW_S:
                self._draw(snapshot, update=True)

    def finish(self, snapshot: Snapshot) -> None:
        """Show the end of the run. The saved output holds no widget, unless Retry failed can still be pressed."""
        with self._lock:
            self._tell(snapshot)
            page, retryable = self._page, snapshot.failed > 0 and "retry" in self._actions
            if page is not None and not retryable:
                self._page = None
                self._publish(_EMPTIED, "-view", update=True)
                page.close()
            self._draw(snapshot, update=self._shown)
            self._shown = True

    def _tell(self, snapshot: Snapshot) -> None:
        self._told, self._told_at = _news(snapshot), clock.monotonic()
        if self._page is None:
            return
        state = display.as_dict(snapshot)
        with self._page.hold_sync():  # one message; failures apart, because they are long and seldom change
            self._page.failures = state.pop("failures")
            self._page.figures = state
            self._page.sent_at = clock.now()

    def _draw(self, snapshot: Snapshot, *, update: bool = False) -> None:
        self._drawn_at = clock.monotonic()
        picture = display.html(snapshot)
        if self._page is not None:
            picture = f'{_WHILE_LIVE}<div class="dnb-live">{picture}</div>'
        self._publish({"text/html": picture, "text/plain": display.text(snapshot)}, update=update)

    def _publish(self, bundle: Mapping[str, Any], part: str = "", *, update: bool = False) -> None:
        from IPython import display as ipython

        publish: Any = ipython.display  # its types are not declared
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
    return snapshot._replace(rate=0.0, eta_s=None, elapsed_s=0.0, commit_age_s=None)


def _in_kernel() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


def _open_page(snapshot: Snapshot, actions: Mapping[str, Callable[[], None]]) -> Any:
    """The live half, or None where it cannot be had: the picture tells the same, only slower."""
    try:
        page_class = _page_class()
    except ImportError:
        return None
    except FileNotFoundError as missing:
        _logger.warning("%s is missing, so there is no live panel; build it with `npm run build`", missing.filename)
        return None
    state = display.as_dict(snapshot)
    failures = state.pop("failures")
    page = page_class(figures=state, failures=failures, actions=list(actions), sent_at=clock.now())

    def pressed(_page: Any, content: Any, _buffers: Any) -> None:
        action = content.get("action") if isinstance(content, dict) else None
        callback = actions.get(str(action))
        if callback is not None:
            callback()
            page.send({"ack": action})

    page.on_msg(pressed)
    if hasattr(page.comm, "_reply_subshell_for"):
        # ipykernel 7.4 sends a click to the loop that sent last, the one the cell keeps busy, so that it would arrive
        # when the cell has ended; without this hook it arrives in a subshell at once, as on 7.0 to 7.3.
        page.comm._reply_subshell_for = None  # noqa: SLF001 - there is no public way
    return page


@cache
def _page_class() -> type[Any]:
    import anywidget
    from traitlets import Dict, Float, List

    class Page(anywidget.AnyWidget):
        _esm = (_STATIC / "panel.js").read_text(encoding="utf-8")
        _css = (_STATIC / "panel.css").read_text(encoding="utf-8")
        figures: Any = Dict().tag(sync=True)
        failures: Any = List().tag(sync=True)
        actions: Any = List().tag(sync=True)
        sent_at: Any = Float().tag(sync=True)

    return Page
