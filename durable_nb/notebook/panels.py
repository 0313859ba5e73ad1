"""A panel for each run: shown when it begins, kept fresh while it lives, finished with it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from durable_nb.notebook import widget

if TYPE_CHECKING:
    from durable_nb.engine.runs import LiveRun
    from durable_nb.notebook.widget import View

# Views whose Retry failed was pressed after the end: the run that it begins is shown in them, not below another cell.
_waiting: dict[str, View] = {}


def show(live: LiveRun) -> None:
    """Observer of the session: called when a run begins."""
    view = _waiting.pop(live.name, None)
    if view is None:
        view = widget.presenter(live.progress.snapshot(), on_stop=live.stop, on_retry=lambda: _retry(live, view))
        view.show()
    publisher = widget.Publisher(view, live.progress.snapshot)
    publisher.start()
    live.finished.append(publisher.stop)


def _retry(live: LiveRun, view: View | None) -> None:
    """Try what failed again, in a thread: the click arrives on the kernel's loop, which must stay free."""
    if view is None or live.name in _waiting:
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
