"""``%durable wait``, ``stop`` and ``attach``: runs that are computed in the background, here or elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from durable_nb import clock
from durable_nb.engine.session import current as session
from durable_nb.errors import CodeChanged
from durable_nb.notebook import detaching, following, panels, resuming
from durable_nb.records import State

if TYPE_CHECKING:
    from durable_nb.engine.runs import LiveRun
    from durable_nb.notebook.background import BackgroundCell
    from durable_nb.notebook.commands import Asked
    from durable_nb.records import Run

_LOOK_S = 0.1


def attach(asked: Asked) -> None:
    """Show the panel of a run; it moves until the run has ended, whoever computes it."""
    run, live = asked.run(), _live_here(asked)
    if live is not None:
        panels.attach(live, beside_a_prompt=True)
    else:
        following.Follower(asked.store, run, beside_a_prompt=True).start()


def stop(asked: Asked) -> None:
    """Ask whoever computes a run to end it."""
    run = asked.run()
    if run.state is not State.RUNNING:
        raise UsageError(f"nobody is computing run {run.name!r} now (it is {run.state}). There is nothing to stop.")
    asked.store.control(run.id, "stop")
    where = f" (pid {run.owner.pid} on {run.owner.host})" if run.owner else ""
    print(f"Asked run {run.name!r}{where} to stop: running calls end, and what is finished is kept.")


def wait(asked: Asked) -> Any:
    """Return when a run has ended and its names are there; raises what its cell raised."""
    __tracebackhide__ = True  # the user's lines are what counts
    cell = asked.magics.background.find(asked.name)
    if cell is not None:
        return _wait_here(asked, cell)
    run = asked.run()
    if run.state is State.RUNNING:
        if _live_here(asked) is not None:
            raise UsageError(f"run {run.name!r} is computed by this very cell, or by a thread that it has started.")
        run = _wait_elsewhere(asked, run)
    if run.state is not State.DONE:
        raise UsageError(_ended_otherwise(asked, run))
    if run.attempts == asked.magics.attempts.get(run.name):
        return None  # computed in this kernel, in front: its names are here
    print(f"Run {run.name!r} is done. Its cell is run here now; what it has computed is restored.")
    resuming.resume(asked)
    return None


def _ended_otherwise(asked: Asked, run: Run) -> str:
    why, log = asked.store.events(run.id)[-1].detail, detaching.log_of(asked.store, run.name)
    printed = f" What it printed: {log}." if log.exists() else ""
    return (
        f"run {run.name!r} has ended as {run.state}{f': {why}' if why else ''}.{printed} It sets no names here; run its cell "
        "again to go on from what is saved."
    )


def _wait_here(asked: Asked, cell: BackgroundCell) -> Any:
    __tracebackhide__ = True
    if not cell.over.is_set():
        panels.attach(cell.live, beside_a_prompt=False)
    while not clock.wait(cell.over, _LOOK_S):
        pass
    asked.magics.background.settle()
    if isinstance(cell.error, CodeChanged):
        asked.magics.ask(cell.error)
    if cell.error is not None:
        raise cell.error
    return cell.kept or None


def _wait_elsewhere(asked: Asked, run: Run) -> Run:
    follower = following.Follower(asked.store, run, beside_a_prompt=False)
    follower.start()
    try:
        while run.state is State.RUNNING:
            clock.sleep(_LOOK_S)
            run = asked.run()
    finally:
        follower.stop()
    return run


def _live_here(asked: Asked) -> LiveRun | None:
    return next((live for live in session.live if live.name == asked.name and live.store is asked.store), None)
