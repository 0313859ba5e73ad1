"""What holds calls back: a pause, calls at a time, calls a minute. Somebody sets them while the run is under way."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from typing import TYPE_CHECKING, Protocol

from durable_nb import clock
from durable_nb.errors import ConfigError
from durable_nb.locks import lock_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable
    from types import EllipsisType

    from durable_nb.rates import Flow

ACTIONS = ("pause", "resume", "stop", "workers", "rate")

_LOOK_S = 1.0  # who waits is woken by every change; this is for a halt that nobody announced


class Gate:
    """Before each call of a step; open unless somebody closed it. Safe from any thread and loop.

    Calls that are running are never held back, nor are calls made inside of them. Those that wait are let in one by one, in
    the order they came.

    Attributes
    ----------
    limited : bool
        Whether a call has to ask (`admit`); while False it need only note itself in ``running``.
    running : set of int
        Numbers of the documents whose calls are inside the user's function.
    flows : set of Flow
        What the steps of the run may ask of their services, for `waiting_for`.
    """

    def __init__(self) -> None:
        self.limited = self.paused = self._ended = False
        self.workers: int | None = None
        self.per_minute: float | None = None
        self.running: set[int] = set()
        self.flows: set[Flow] = set()
        self._apart: set[Hashable] = set()  # names of calls that run alone
        self._alone: Hashable = None  # the one of them that runs now
        self._queue: deque[_Waiting] = deque()
        self._next = 0.0  # when the next call may start, for per_minute
        self._lock = lock_of(self)

    def pause(self) -> None:
        """Let no further call start."""
        self._set(paused=True)

    def resume(self) -> None:
        """Take the pause back; the limits stay."""
        self._set(paused=False)

    def limit(self, *, workers: int | EllipsisType | None = ..., per_minute: float | EllipsisType | None = ...) -> None:
        """So many calls at a time, evenly spaced so many a minute; None for no limit, what is not given stays.

        Raises
        ------
        ConfigError
        """
        for action, value in (("workers", workers), ("rate", per_minute)):
            if value is not ... and value is not None:
                parsed(action, str(value))
        self._set(workers=workers, per_minute=per_minute)

    def keep_apart(self, names: Collection[Hashable]) -> None:
        """Let calls of these names run only while no other call does, until they have passed."""
        with self._lock:
            self._apart.update(names)
            self._close_or_open()

    def end(self) -> None:
        """The run is over: nobody waits any more, and none of those who did may start."""
        self._ended = True
        self.wake()

    def wake(self) -> None:
        """Let all who wait look whether their run was halted. Takes no lock: it is called from signal handlers."""
        for waiting in list(self._queue):
            waiting.wake()

    @property
    def waiting_for(self) -> str:
        """What a call that could start otherwise waits for, '' if none does."""
        if self.paused:
            return "somebody to press Resume"
        if not self._queue:
            return next((text for flow in list(self.flows) if (text := flow.waiting_for)), "")
        if self._alone is not None:
            return "a document that runs alone, because a kernel died during it"
        if self.workers is not None and len(self.running) >= self.workers:
            return f"one of {self.workers:,} calls at a time to end"
        return "" if self.per_minute is None else f"the limit of {self.per_minute:g} calls a minute"

    def admit(
        self, document: int, halted: Callable[[], bool], name: Hashable = None, *, patience_s: float | None = None
    ) -> bool:
        """Block until the call may start, and note it in ``running``; False once it may not, because of a halt.

        After ``patience_s`` it starts although it, or the one that runs, should be alone.
        """
        waiting = _InThread()
        until = None if patience_s is None else clock.monotonic() + patience_s
        try:
            while not (self._ended or halted()):
                delay = self._try(document, waiting, name, until)
                if delay is None:
                    return True
                clock.wait(waiting, delay)
            return False
        finally:
            self._leave(waiting)

    async def admit_async(self, document: int, halted: Callable[[], bool], name: Hashable = None) -> bool:
        """As ``admit``, without blocking the loop."""
        waiting = _OnLoop()
        try:
            while not (self._ended or halted()):
                delay = self._try(document, waiting, name)
                if delay is None:
                    return True
                await waiting.wait(delay)
            return False
        finally:
            self._leave(waiting)

    def left(self, name: Hashable = None, *, is_saved: bool = True) -> None:
        """A call has ended while the gate was limited: somebody may have waited for its place.

        Once it ``is_saved`` it need not run alone any more.
        """
        if name is not None and (name == self._alone or name in self._apart):
            with self._lock:
                self._alone = None if name == self._alone else self._alone
                if is_saved:
                    self._apart.discard(name)
                self._close_or_open()
            self.wake()
        self._wake_first()

    def _set(
        self,
        *,
        paused: bool | None = None,
        workers: int | EllipsisType | None = ...,
        per_minute: float | EllipsisType | None = ...,
    ) -> None:
        with self._lock:
            if paused is not None:
                self.paused = paused
            if workers is not ...:
                self.workers = workers
            if per_minute is not ...:
                self.per_minute, self._next = per_minute, 0.0
            self._close_or_open()
        self.wake()

    def _close_or_open(self) -> None:
        asked = self.paused or self.workers is not None or self.per_minute is not None
        self.limited = asked or bool(self._apart)

    def _try(self, document: int, waiting: _Waiting, name: Hashable = None, until: float | None = None) -> float | None:
        """None if the call may start, else for how long to wait before asking again."""
        with self._lock:
            if waiting not in self._queue:
                self._queue.append(waiting)
            is_late = bool(self._apart) and until is not None and clock.monotonic() >= until
            if self.paused or (self._queue[0] is not waiting and not is_late):
                return _LOOK_S
            if self.workers is not None and len(self.running) >= self.workers:
                return _LOOK_S
            is_apart = name in self._apart
            if (self._alone is not None or (is_apart and self.running)) and not is_late:
                return _LOOK_S
            if self.per_minute is not None:
                now = clock.monotonic()
                if now < self._next:
                    return min(self._next - now, _LOOK_S)
                # Slots of one call each: who comes late in its slot delays no later one, and what an idle run or a pause
                # left unused is gone, so that no burst follows.
                slot = 60 / self.per_minute
                self._next = (self._next if now < self._next + slot else now) + slot
            self._queue.remove(waiting)
            self.running.add(document)
            self._alone = name if is_apart else None
        self._wake_first()
        return None

    def _leave(self, waiting: _Waiting) -> None:
        with self._lock, contextlib.suppress(ValueError):
            self._queue.remove(waiting)
        self._wake_first()

    def _wake_first(self) -> None:
        with contextlib.suppress(IndexError):
            self._queue[0].wake()


def parsed(action: str, value: str) -> float | None:
    """The number in the value of a control, None for no limit and for actions without one.

    Raises
    ------
    ConfigError
        For an action that is not known or a value that is not possible.
    """
    if action not in ACTIONS:
        raise ConfigError(f"action {action!r:.40} is not known.", f"There are: {', '.join(ACTIONS)}.")
    if action not in ("workers", "rate"):
        if value:
            raise ConfigError(f"{action} takes no value, not {value!r:.40}.")
        return None
    if not value:
        return None
    try:
        number = int(value) if action == "workers" else float(value)
    except ValueError:
        number = 0
    if action == "workers" and not 1 <= number <= 1_000_000:
        raise ConfigError(f"{value!r:.40} is no number of calls at a time.", "It is a whole number from 1 up.")
    if not 0 < number < 1e9:
        raise ConfigError(f"{value!r:.40} is no number of calls a minute.", "It is a number above 0.")
    return number


class _Waiting(Protocol):
    def wake(self) -> None: ...


class _InThread:
    """Not a ``threading.Event``: setting one in a signal handler can deadlock with the thread that it interrupted."""

    def __init__(self) -> None:
        self._asleep = threading.Lock()
        self._asleep.acquire()

    def wait(self, timeout: float | None = None) -> bool:
        return self._asleep.acquire(timeout=-1 if timeout is None else timeout)

    def is_set(self) -> bool:
        return not self._asleep.locked()

    def wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # awake already
            self._asleep.release()


class _OnLoop:
    def __init__(self) -> None:
        import asyncio

        self._loop = asyncio.get_running_loop()
        self._bell: asyncio.Event = asyncio.Event()

    async def wait(self, seconds: float) -> None:
        import asyncio

        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._bell.wait(), seconds)
        self._bell.clear()

    def wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits there any more
            self._loop.call_soon_threadsafe(self._bell.set)
