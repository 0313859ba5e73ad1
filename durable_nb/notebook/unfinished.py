"""What ``%load_ext`` says of runs that were not finished; it begins none of them."""

from __future__ import annotations

import html
import logging
import os
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from durable_nb import config, display, glance
from durable_nb.engine.session import current as session
from durable_nb.errors import ConfigError
from durable_nb.signals import put_off

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell

    from durable_nb.glance import Unfinished

_MOST = 3
_logger = logging.getLogger("durable_nb")


def announce(shell: InteractiveShell) -> Callable[[], None] | None:
    """A line for each of the last ones, and in a notebook a button, which what is returned takes away again."""
    try:
        runs = glance.unfinished(*_place())
        return _show(shell, runs) if runs else None
    except Exception as error:  # a notebook is loaded all the same
        _logger.debug("unfinished runs are not announced", exc_info=error)
        return None


def _place() -> tuple[str, str]:
    """The SQLite file that a durable cell would use now, and the notebook. Not asked of the session, which would hold on to
    the folder of this moment.
    """
    folder = Path(session.notebook).parent if session.notebook else Path.cwd()
    try:
        url = config.database_url(config.settings(session.given, folder=folder).url, folder=folder)
    except ConfigError:
        return "", session.notebook
    path = config.file_of(url)
    return (os.path.abspath(path) if path else ""), session.notebook


def sentence(run: Unfinished) -> str:
    """How far a run is, and how to go on with it."""
    far = f"{run.done:,}" if run.total is None else f"{run.done:,} of {run.total:,}"
    failed = f", {run.failed:,} failed" if run.failed else ""
    ended = "its kernel died" if run.is_dead else "stopped"
    how = f"%durable resume {run.name}" if run.has_capsule else "run its cell again"
    return f"{run.name}: {far} durable{failed}, {ended} {display.duration(run.age_s)} ago. To go on: {how}"


def _text(runs: list[Unfinished]) -> str:
    lines = [f"durable_nb: unfinished {sentence(run)}" for run in runs[:_MOST]]
    return "\n".join([*lines, f"durable_nb: and {len(runs) - _MOST:,} more: %durable"] if len(runs) > _MOST else lines)


def _show(shell: InteractiveShell, runs: list[Unfinished]) -> Callable[[], None] | None:
    ready = [run for run in runs[:_MOST] if run.has_capsule]
    if getattr(shell, "kernel", None) is not None and ready:
        try:
            with put_off():
                import ipywidgets
        except ImportError:
            pass
        else:
            return _Buttons(shell, ipywidgets, _text(runs), [run.name for run in ready]).forget
    print(_text(runs))
    return None


class _Buttons:
    """The lines, and a button for each run. They go with the next cell, since a saved notebook holds no dead ones."""

    @put_off()
    def __init__(self, shell: InteractiveShell, ipywidgets: Any, text: str, names: list[str]) -> None:
        import asyncio

        from IPython.display import display as publish

        show: Any = publish  # its types are not declared
        self._shell, self._is_going, self._is_pressed = shell, False, False
        self._loop = asyncio.get_running_loop()  # of the cell that loads us, in the main thread
        self._output = ipywidgets.Output()
        buttons = []
        for name in names:
            button = ipywidgets.Button(description=f"Resume {name}", layout={"width": "auto"}, button_style="primary")
            button.on_click(partial(self._clicked, name))
            buttons.append(button)
        self._row = ipywidgets.HBox(buttons)
        lines = "<br>".join(html.escape(line) for line in text.splitlines())
        show({"text/plain": text, "text/html": f"<div>{lines}</div>"}, raw=True)
        box = ipywidgets.VBox([self._row, self._output])
        view = {"version_major": 2, "version_minor": 0, "model_id": box.model_id}
        bundle = {"application/vnd.jupyter.widget-view+json": view, "text/plain": ""}
        self._handle = show(bundle, raw=True, display_id=True)
        shell.events.register("pre_run_cell", self._entered)

    @put_off()
    def forget(self) -> None:
        """Take the buttons away; again does nothing."""
        if self._handle is not None:
            self._shell.events.unregister("pre_run_cell", self._entered)
            self._handle.update({"text/plain": ""}, raw=True)
            self._handle = None

    def _entered(self, _info: Any) -> None:
        if not self._is_going:
            self.forget()

    def _clicked(self, name: str, _button: Any) -> None:
        """As a cell, in the main thread: a click may arrive in another one."""
        if self._is_pressed:
            return
        self._is_pressed = True
        self._row.children = ()
        if threading.current_thread() is threading.main_thread():
            self._go(name)
        else:
            self._loop.call_soon_threadsafe(self._go, name)

    def _go(self, name: str) -> None:
        run_cell: Any = self._shell.run_cell
        self._is_going = True
        try:
            with self._output:
                run_cell(f"%durable resume {name}", store_history=True)
        finally:
            self._is_going = False
