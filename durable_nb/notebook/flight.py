"""Calls of a durable cell that are being computed: what to do with one that raises, and with all of them after ■."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable_nb import clock
from durable_nb.errors import Unsaveable

if TYPE_CHECKING:
    from durable_nb.notebook.links import Link
    from durable_nb.notebook.sites import Site

GRACE_S = 2.0
"""How long calls in threads may take to end after ■; a longer one goes on, and is saved without being counted."""

_LOOK_S = 0.01


class Flight:
    """The calls of one cell that are being computed in threads now."""

    def __init__(self) -> None:
        self._calls: set[Computing] = set()  # adding and discarding is atomic: no lock in the way of a call

    def computing(self, site: Site, link: Link | None, *, is_async: bool) -> Computing:
        """One more of them, for the length of a ``with`` block."""
        return Computing(self._calls, site, link, is_async=is_async)

    def land(self) -> None:
        """Return when all have ended and are saved, after ``GRACE_S`` at the latest.

        The cell has ended by ■: its own thread computes nothing any more, and what awaited was cancelled with it.
        """
        until = clock.monotonic() + GRACE_S
        while self._calls and clock.monotonic() < until:
            clock.sleep(_LOOK_S)


class Computing:
    """One call while it is computed; one that raises gives back the number of its expression."""

    __slots__ = ("_calls", "_is_async", "_link", "_site")

    def __init__(self, calls: set[Computing], site: Site, link: Link | None, *, is_async: bool) -> None:
        self._calls, self._site, self._link, self._is_async = calls, site, link, is_async

    def __enter__(self) -> None:
        if not self._is_async:
            self._calls.add(self)

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        __tracebackhide__ = True
        self._calls.discard(self)
        if kind is not None and self._link is not None:
            self._link.give_back()
        if isinstance(error, Unsaveable):
            hint = f"{error.reason}. If it is cheap, let it run again: --replay {self._site.callee}"
            raise Unsaveable(error.type_name, hint, error.step, error.label) from None
