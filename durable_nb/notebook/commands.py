"""The sub-commands of ``%durable``: each is asked by its name, looks at a store or this kernel, and returns what is shown."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, NamedTuple

from IPython.core.error import StdinNotImplementedError, UsageError

from durable_nb import config
from durable_nb.engine.session import current as session

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable_nb.notebook.magics import DurableMagics
    from durable_nb.records import Run
    from durable_nb.store import Store


class Asked(NamedTuple):
    """One line of ``%durable``, parsed."""

    magics: DurableMagics
    name: str
    """Of a run; '' where none was given."""
    options: Any
    """As ``DurableMagics.durable`` declares them."""

    @property
    def store(self) -> Store:
        """The store of this line."""
        return session.store(url=self.options.db)

    def run(self, otherwise: str = "") -> Run:
        """The run of that name; UsageError, ending in ``otherwise``, for one that is not there."""
        store = self.store
        run = store.run(self.name)
        if run is None:
            known = ", ".join(run.name for run in store.runs()[:10]) or "none yet"
            raise UsageError(f"there is no run {self.name!r} in {store.where}{otherwise or f'. There are: {known}.'}")
        return run


def listed(asked: Asked) -> Any:
    """The runs of the database."""
    from durable_nb.notebook import pages

    return pages.RunTable(asked.store.runs())


def perform(command: str, asked: Asked) -> Any:
    """Do what one of ``COMMANDS`` says."""
    __tracebackhide__ = True
    needs_name, carry_out = COMMANDS[command]
    if needs_name and not asked.name:
        raise UsageError(f"%durable {command} needs the name of a run; %durable lists them.")
    return carry_out(asked)


def _show(asked: Asked) -> Any:
    from durable_nb.notebook.pages import RunPage

    return RunPage(asked.store, asked.run())


def _resume(asked: Asked) -> None:
    from durable_nb.notebook import resuming

    resuming.resume(asked)


def _history(asked: Asked) -> Any:
    from durable_nb.notebook.history import HistoryPage

    return HistoryPage(asked.store, asked.run())


def _diff(asked: Asked) -> Any:
    from durable_nb.notebook.history import DiffPage

    names = asked.name.split()
    if len(names) != 2:
        raise UsageError("%durable diff compares two: %durable diff embed-filings embed-large, or NAME@1 NAME@2")
    return DiffPage(asked.store, *names)


def _retry(asked: Asked) -> None:
    from durable_nb.notebook import pages

    run = asked.run()
    print(pages.spared(run.name, asked.store.spare(run.id)))


def _config(asked: Asked) -> None:
    for name, value in config.shown(session.settings(url=asked.options.db), folder=session.folder).items():
        print(f"{name:<12} {value}")


def _gc(asked: Asked) -> None:
    raise UsageError(
        "%durable gc: old runs are dropped from a shell: durable-nb gc --older 30d --max-size 2GB "
        f"--db {shlex.quote(asked.store.where)} (first with --dry-run); one of them here: %durable forget NAME"
    )


def _explain(asked: Asked) -> Any:
    """Of the last durable cell of this kernel, whether it ran or was refused, or the last one of that name."""
    from durable_nb.notebook.explain import explained

    for cell in reversed(asked.magics.replays.values()):
        if asked.name in ("", cell.name):
            return explained(cell)
    which = f"of run {asked.name!r} has" if asked.name else "has"
    raise UsageError(f"no durable cell {which} been run in this kernel yet. Run it, then %durable explain.")


def _forget(asked: Asked) -> None:
    name, store, run = asked.name, asked.store, asked.run("; nothing was dropped.")
    if not asked.options.yes:
        question = f"Drop run {name!r} and its {run.done:,} saved results from {store.where}? [y/N] "
        try:
            answer = input(question)
        except StdinNotImplementedError:
            raise UsageError(f"nobody can answer here; to drop it: %durable forget {name} --yes") from None
        if answer.strip().lower() not in ("y", "yes"):
            print("Kept.")
            return
    print(f"Dropped run {name!r}: {store.forget(name):,} saved results.")


def _wait(asked: Asked) -> Any:
    __tracebackhide__ = True
    from durable_nb.notebook import waiting

    return waiting.wait(asked)


def _stop(asked: Asked) -> None:
    from durable_nb.notebook import waiting

    waiting.stop(asked)


def _attach(asked: Asked) -> None:
    from durable_nb.notebook import waiting

    waiting.attach(asked)


COMMANDS: dict[str, tuple[bool, Callable[[Asked], Any]]] = {
    "show": (True, _show),
    "resume": (True, _resume),
    "retry": (True, _retry),
    "forget": (True, _forget),
    "explain": (False, _explain),
    "wait": (True, _wait),
    "stop": (True, _stop),
    "attach": (True, _attach),
    "history": (True, _history),
    "diff": (True, _diff),
    "config": (False, _config),
    "gc": (False, _gc),
}
"""By name: whether it needs the name of a run, and what it does."""
