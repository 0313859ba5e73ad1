"""What somebody asks of a live run, through the database or a click: obeyed, noted in its history, shown at once."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from durable_nb import clock, limits
from durable_nb.errors import DurableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable_nb.engine.runs import LiveRun
    from durable_nb.records import Control

_TICK_S = 0.1  # what a look costs: see tests/bench/controls.py
_JOIN_S = 2.0

_logger = logging.getLogger("durable_nb")


def obey(live: LiveRun, action: str, value: str) -> None:
    """Do what is asked, write it to the history and show it; ConfigError for what cannot be asked."""
    number = limits.parsed(action, value)
    gate = live.gate
    if action == "pause":
        gate.pause()
        told = ("paused", "no further call starts")
    elif action == "resume":
        gate.resume()
        told = ("resumed", "")
    elif action == "stop":
        live.stop()
        told = ("stopping", "running calls end and are saved")
    elif action == "workers":
        gate.limit(workers=None if number is None else int(number))
        told = ("limited", "as many calls at a time as the cell makes" if number is None else f"{number} at a time")
    else:
        gate.limit(per_minute=number)
        told = ("limited", "as many calls a minute as there can be" if number is None else f"{number:g} calls a minute")
    live.store.tell(live.record.id, *told)


class Poller:
    """Looks for controls of one run until it is over. Those of earlier attempts are gone: the claim has dropped them."""

    def __init__(self, live: LiveRun) -> None:
        self._live, self._after = live, 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="durable-controls", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """The run is over; a look that hangs is not waited for long, and ends by itself."""
        self._over.set()
        if self._thread.ident is not None and self._thread is not threading.current_thread():  # ■ may come as it starts
            self._thread.join(_JOIN_S)

    def _run(self) -> None:
        live = self._live
        while not clock.wait(self._over, _TICK_S):
            try:
                with live.store.listening(live.record.id) as asked:
                    self._listen(asked)
            except DurableError as error:  # the database is away for a moment, or a newer page asks what is not known
                _logger.debug("controls: %s", error)

    def _listen(self, asked: Callable[[int], list[Control]]) -> None:
        live = self._live
        while True:
            for control in asked(self._after):
                self._after = control.id
                if not live.halted:
                    live.control(control.action, control.value)
            if live.halted:
                live.gate.wake()  # a lost lease is announced by nobody
            if clock.wait(self._over, _TICK_S):
                return
