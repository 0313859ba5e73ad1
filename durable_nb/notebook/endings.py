"""How the run of a durable cell ends, in front or in the background."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable_nb.errors import StoreError

if TYPE_CHECKING:
    from durable_nb.engine.runs import LiveRun
    from durable_nb.notebook.replay import Replay


def ended(live: LiveRun, replay: Replay | None, error: BaseException | None) -> BaseException | None:
    """End the run of a cell that ended with ``error``; what the cell is to raise, which may be an error of ours."""
    try:
        if replay is not None:
            replay.land(is_stopped=live.stopping.is_set())
            error = error if error is not None else replay.settle()
    except KeyboardInterrupt as again:  # ■ a second time: it waits no longer for calls that run
        error = error if error is not None else again
    try:
        live.finish(error)
    except StoreError as failure:
        return failure
    except KeyboardInterrupt as again:
        return error if error is not None else again
    return error
