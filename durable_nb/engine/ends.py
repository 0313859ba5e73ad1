"""How a run ends, and in which task."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TYPE_CHECKING

from durable_nb import clock
from durable_nb.engine.hidden import told_of
from durable_nb.errors import CodeChanged, RunStopped, StoreUnavailable
from durable_nb.executors.threads import GRACE_S
from durable_nb.records import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from durable_nb.engine.batch import Batch
    from durable_nb.engine.runs import LiveRun
    from durable_nb.records import Run

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
    if isinstance(error, StoreUnavailable) and isinstance(error.__context__, KeyboardInterrupt):
        error = error.__context__  # what it had to say when it was told to wait no longer
    # Of a task, and of a thread that waited for one.
    loaded = (sys.modules.get(name) for name in ("asyncio", "concurrent.futures"))
    cancelled = [module.CancelledError for module in loaded if module is not None]
    if isinstance(error, (KeyboardInterrupt, GeneratorExit, *cancelled)):
        return State.INTERRUPTED, "interrupted; run the cell again to go on"
    if isinstance(error, CodeChanged):
        return State.FAILED, f"the code of step {error.step!r} changed: keep its results or recompute them?"
    return State.FAILED, told_of(error, f"{type(error).__name__}: {error}").partition("\n")[0][:500]


def keep_counts(live: LiveRun, error: BaseException | None, before: Run | None) -> None:
    """A question about its code, asked before anything was looked at, takes nothing from what a run had ``before``."""
    if isinstance(error, CodeChanged) and live.progress.total is None and not live.calls and before is not None:
        live.progress.total, live.progress.restored = before.total, before.done


def hurry_after(live: LiveRun, error: BaseException | None, *, is_last: bool = False) -> None:
    """■ or Ctrl-C: whoever pressed it is there, and the run waits for an absent database no longer.

    So does a cancelled task where it is the last of its run; another one may have been given up by ``asyncio.timeout``.
    """
    asyncio = sys.modules.get("asyncio")
    is_cancelled = is_last and asyncio is not None and isinstance(error, asyncio.CancelledError)
    if is_cancelled or isinstance(error, KeyboardInterrupt):
        live.store.hurry(live.record.id)


@contextlib.contextmanager
def hurrying(live: LiveRun, *, is_last: bool = False) -> Iterator[None]:
    """The same for a block."""
    try:
        yield
    except BaseException as error:
        hurry_after(live, error, is_last=is_last)
        raise


def tell_all(finished: list[Callable[[], None]]) -> None:
    """Call what wants to know that a run has ended, each once; a view that breaks then must not cost the results.

    And forget them: a step remembers its last run, they the whole cell.
    """
    while finished:
        try:
            finished.pop(0)()
        except Exception as error:
            _logger.warning("after the end of a run: %s: %s", type(error).__name__, error)
        except BaseException:  # ■: those that follow undo what was done for the cell
            tell_all(finished)
            raise


class AtWork:
    """Maps of a run that a thread or a task computes: behind a stream, or one that the user has started."""

    def __init__(self) -> None:
        self._batches: set[Batch] = set()

    @contextlib.contextmanager
    def on(self, batch: Batch) -> Iterator[None]:
        """A map, for as long as it takes."""
        self._batches.add(batch)
        try:
            yield
        finally:
            self._batches.discard(batch)

    def end(self) -> bool:
        """End those that nobody has waited for, as the run does; False if somebody might still have wanted their results.

        Takes at most two seconds, less of those that were cancelled before.
        """
        batches = list(self._batches)
        wanted = [batch for batch in batches if not (batch.is_cancelled or batch.is_inner)]
        for batch in batches:
            batch.cancel()
        # From when their map was cancelled: who closed its stream has waited for the calls that run already.
        due = max((batch.cancelled_at for batch in batches), default=0.0) + GRACE_S
        # Not for those of a loop, which would wait for this thread.
        while any(not batch.is_on_loop for batch in list(self._batches)) and clock.monotonic() < due:
            clock.sleep(0.005)
        return not wanted
