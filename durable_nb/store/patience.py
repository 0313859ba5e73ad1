"""Wait for a database that is away for a moment: a server that starts anew, a lock of another process.

Only for a run that is under way. Its calls are paid for, and whoever started it may have gone home; who begins a run is
there, and is told at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol, TypeVar

from durable_nb import clock
from durable_nb.errors import StoreUnavailable

T = TypeVar("T")

PATIENCE_S = 600.0
"""How long a run waits in all; a failover takes seconds, an update of a managed server minutes."""

_ANY = "any"
_FIRST_S, _LAST_S, _LOOK_S = 0.1, 5.0, 0.1


class Waiting(Protocol):
    """Who shows what a run waits for."""

    def held_up(self, by: str) -> None:
        """The run waits for ``by``; '' once it goes on. Called from any thread."""


class Patience:
    """Of one database, for the runs that this process computes with it."""

    def __init__(self, seconds: float = PATIENCE_S) -> None:
        self._seconds = seconds
        self.start_anew()

    def start_anew(self) -> None:
        """In a forked child the runs are the parent's."""
        self._runs: dict[int, Waiting] = {}
        self._waiting: set[int] = set()  # idents of threads
        self._hurried: set[int] = set()
        self._since: dict[str, float] = {}  # by kind of attempt, and of any: when they began to fail
        self.always = False

    def watch(self, run_id: int, who: Waiting) -> None:
        """A run is under way: from now on it is worth waiting, for as long as ever, since to begin it was possible."""
        self._since.clear()
        self._runs[run_id] = who

    def unwatch(self, run_id: int) -> None:
        """That run is over."""
        self._runs.pop(run_id, None)
        self._hurried.discard(run_id)

    def hurry(self, run_id: int) -> None:
        """Somebody wants the run to end: it waits no longer. Takes no lock, so that signal handlers may call it."""
        self._hurried.add(run_id)

    def keep(self, attempt: Callable[[], T], kind: str) -> T:
        """What ``attempt`` returns; it is made again, after growing pauses, for as long as waiting may help.

        That is counted from when any attempt began to fail, and from when those of this ``kind`` did: from a full disk all can
        be read, and each save would wait anew.
        """
        pause, began = _FIRST_S, 0.0
        try:
            while True:
                try:
                    value = attempt()
                except StoreUnavailable as problem:
                    now = clock.monotonic()
                    began = began or now
                    if not (problem.may_pass and self._is_worth_it and now < self._due(kind, began)):
                        raise
                    self.hold_up(problem.problem)
                    self._sleep(pause)
                    pause = min(2 * pause, _LAST_S)
                else:
                    if self._since:
                        self._since.pop(kind, None)
                        self._since.pop(_ANY, None)
                    return value
        finally:  # also by another error: it need not be of the database
            self.go_on()

    def hold_up(self, problem: str) -> None:
        """Say in every run that the calling thread waits."""
        self._waiting.add(threading.get_ident())
        self._tell(f"the database: {problem.rstrip('.')}")

    def go_on(self) -> None:
        """The calling thread waits no longer."""
        if self._waiting:
            self._waiting.discard(threading.get_ident())
            if not self._waiting:
                self._tell("")

    @property
    def is_hurried(self) -> bool:
        """Whether no run may wait any longer."""
        return bool(self._hurried) and not self._runs.keys() - self._hurried

    @property
    def _is_worth_it(self) -> bool:
        return bool(self._runs.keys() - self._hurried or self.always)

    def _due(self, kind: str, began: float) -> float:
        """When no attempt of this kind is made again; ``began``: since when the one that asks fails."""
        return min(began, *(self._since.setdefault(name, began) for name in (kind, _ANY))) + self._seconds

    def _sleep(self, seconds: float) -> None:
        until = clock.monotonic() + seconds
        while self._is_worth_it and (left := until - clock.monotonic()) > 0:
            clock.sleep(min(left, _LOOK_S))

    def _tell(self, by: str) -> None:
        for who in list(self._runs.values()):
            who.held_up(by)
