"""How a run ends, and in which task."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from durable_nb.engine.hidden import told_of
from durable_nb.errors import CodeChanged, RunStopped
from durable_nb.records import State

if TYPE_CHECKING:
    from collections.abc import Callable

_logger = logging.getLogger("durable_nb")


def current_task() -> object:
    """The task that runs now, None outside of any loop."""
    asyncio = sys.modules.get("asyncio")  # not imported for this: it costs 20 ms, and without it there is no task
    loop = None if asyncio is None else asyncio._get_running_loop()  # noqa: SLF001 - documented, does not raise
    return None if loop is None or asyncio is None else asyncio.current_task(loop)


def ending(error: BaseException | None, failed: int) -> tuple[State, str]:
    """State and last words of a run that ended with ``error`` and so many failed documents."""
    if error is None:
        noun = "document" if failed == 1 else "documents"
        return (State.FAILED, f"{failed:,} {noun} failed") if failed else (State.DONE, "")
    if isinstance(error, RunStopped):
        return State.INTERRUPTED, "stopped; run the cell again to go on"
    if isinstance(error, RuntimeError) and isinstance(error.__context__, KeyboardInterrupt) and "lock" in str(error):
        error = error.__context__  # Condition.wait of the standard library, interrupted while it takes its lock again
    asyncio = sys.modules.get("asyncio")
    cancelled = () if asyncio is None else (asyncio.CancelledError,)
    if isinstance(error, (KeyboardInterrupt, GeneratorExit, *cancelled)):
        return State.INTERRUPTED, "interrupted; run the cell again to go on"
    if isinstance(error, CodeChanged):
        return State.FAILED, f"the code of step {error.step!r} changed: keep its results or recompute them?"
    return State.FAILED, told_of(error, f"{type(error).__name__}: {error}").partition("\n")[0][:500]


def told(tell: Callable[[], None]) -> None:
    """Call what wants to know that a run has ended; a view that breaks then must not cost the results."""
    try:
        tell()
    except Exception as error:
        _logger.warning("after the end of a run: %s: %s", type(error).__name__, error)
