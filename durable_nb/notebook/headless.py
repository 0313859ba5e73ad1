"""A notebook's shell without a notebook: the cell of a run is resumed from a command line."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from durable_nb.engine.session import current as session
from durable_nb.errors import CodeChanged, DurableError, RunBusy, RunStopped
from durable_nb.notebook import capsules, commands, resuming
from durable_nb.records import State

if TYPE_CHECKING:
    from durable_nb.records import Run
    from durable_nb.store import Store

DONE, FAILED, CANNOT, BUSY, INTERRUPTED = 0, 1, 2, 75, 130
"""75 is EX_TEMPFAIL of sysexits.h: try again later."""


def resume(store: Store, run: Run, *, make: bool = False, on_change: str | None = None) -> int:
    """Run the saved cell of a run to its end, in this process, which has to be one of its own; an exit status.

    0: done. 1: the cell raised, or documents failed. 2: it cannot be resumed as asked, and stderr says what to do. 75:
    another process computes it. 130: Ctrl-C.
    """
    saved = store.capsule(run.id)
    capsule = None if saved is None else capsules.unpacked(saved, store.where)
    shell = _shell(capsule)
    from durable_nb import notebook

    notebook.load(shell)
    session.notebook = run.notebook
    options = Namespace(make=make, on_change=on_change, db=store.url, yes=False)
    asked = commands.Asked(shell.magics_manager.registry["DurableMagics"], run.name, options)
    error: BaseException | None
    try:
        result = resuming.carried_on(asked, say=_say)
        error = result.error_before_exec or result.error_in_exec
    except DurableError as refusal:
        error = refusal
        _say(f"durable-nb: {refusal}")
    return _status(error, store.run(run.name), run.attempts)


def _status(error: BaseException | None, run: Run | None, attempts: int) -> int:
    if error is None:
        return DONE if run is not None and run.state is State.DONE else FAILED
    if isinstance(error, RunBusy):
        return BUSY
    if isinstance(error, (KeyboardInterrupt, RunStopped)):
        return INTERRUPTED
    never_begun = run is None or run.attempts == attempts or isinstance(error, CodeChanged)
    return CANNOT if never_begun else FAILED


def _shell(capsule: capsules.Unpacked | None) -> Any:
    """An IPython that keeps no history, where the kernel of the run was: paths in its code are relative to that."""
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    os.environ.setdefault("MPLBACKEND", "agg")
    if capsule is not None:
        try:
            os.chdir(capsule.folder)
        except OSError:
            _say(f"durable-nb: {capsule.folder}, where the kernel was, is not here; the cell runs in {os.getcwd()}.")
    sys.path.insert(0, os.getcwd())
    config = Config()
    config.HistoryManager.hist_file = ":memory:"
    config.InteractiveShell.colors = "nocolor"
    return InteractiveShell.instance(config=config)


def _say(text: str) -> None:
    sys.stdout.flush()
    print(text, file=sys.stderr, flush=True)
