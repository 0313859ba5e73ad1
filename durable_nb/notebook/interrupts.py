"""■ in a durable cell: no further call starts, whatever the cell is waiting for."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def also_on_interrupt(stop: Callable[[], None], withholds: Callable[[], bool]) -> Callable[[], None]:
    """Call ``stop`` at SIGINT, then what handled it before unless ``withholds()``; returns what undoes this.

    KeyboardInterrupt alone reaches one thread only: a ``with ThreadPoolExecutor()`` then still waits for everything that
    was submitted, and ipykernel raises nothing in a cell that awaits. Installed for each cell, because ipykernel sets its
    own handlers around each.
    """
    previous = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(previous):
        return lambda: None

    def interrupted(number: int, frame: Any) -> Any:
        __tracebackhide__ = True  # the user's line is what counts, not ours
        stop()
        _wake_loop()
        return None if withholds() else previous(number, frame)

    def undo() -> None:
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is interrupted:
            signal.signal(signal.SIGINT, previous)

    signal.signal(signal.SIGINT, interrupted)
    return undo


class _Heeding:
    """In a worker process: ■ reaches it too, and is heard in the user's calls alone.

    At any other moment KeyboardInterrupt would leave the pool's pipe locked, and the cell would wait for it for ever, as
    plain Python does; or a result would be lost between its end and its commit.
    """

    def __init__(self) -> None:
        self._installed_in = 0  # a process number: a forked child has its own to ask
        self._calling = False

    def only_in_calls(self) -> None:
        """From now on; nothing where interrupts are ignored already, or cannot be had."""
        previous = signal.getsignal(signal.SIGINT)
        if (
            self._installed_in == os.getpid()
            or threading.current_thread() is not threading.main_thread()
            or not callable(previous)
        ):
            return

        def interrupted(number: int, frame: Any) -> None:
            if self._calling:
                self._calling = False  # one ■ is one exception: what cleans up after it is not interrupted as well
                previous(number, frame)

        self._installed_in, self._calling = os.getpid(), False
        signal.signal(signal.SIGINT, interrupted)

    @contextlib.contextmanager
    def in_call(self) -> Iterator[None]:
        """Here ■ is heard."""
        self._calling = True
        try:
            yield
        finally:
            self._calling = False


heeding = _Heeding()


def _wake_loop() -> None:
    """Make the loop look again: ipykernel 7.4 cancels an awaiting cell by a callback that does not wake an idle loop."""
    asyncio = sys.modules.get("asyncio")
    loop = asyncio._get_running_loop() if asyncio is not None else None  # noqa: SLF001 - documented, does not raise
    if loop is not None:
        loop.call_soon_threadsafe(lambda: None)
