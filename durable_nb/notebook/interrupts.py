"""■ in a durable cell: no further call starts, whatever the cell is waiting for."""

from __future__ import annotations

import contextlib
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


@contextlib.contextmanager
def interrupts_withheld() -> Iterator[None]:
    """In a worker process: ■ reaches it too, and waits until a result is saved."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    come: list[tuple[int, Any]] = []
    previous = signal.signal(signal.SIGINT, lambda number, frame: come.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
        if come and callable(previous):
            previous(*come[0])


def _wake_loop() -> None:
    """Make the loop look again: ipykernel 7.4 cancels an awaiting cell by a callback that does not wake an idle loop."""
    asyncio = sys.modules.get("asyncio")
    loop = asyncio._get_running_loop() if asyncio is not None else None  # noqa: SLF001 - documented, does not raise
    if loop is not None:
        loop.call_soon_threadsafe(lambda: None)
