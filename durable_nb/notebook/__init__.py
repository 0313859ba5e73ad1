"""The Jupyter side: load and unload are mirror images."""

from __future__ import annotations

import builtins
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from durable_nb.engine.session import current as session
from durable_nb.signals import put_off

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell

    from durable_nb.engine.runs import LiveRun


class _Loaded(NamedTuple):
    magics: Any
    executed: Any
    forget: Callable[[], None] | None
    """Takes away what was shown of unfinished runs."""


_loaded: dict[int, _Loaded] = {}
_followed: set[int] = set()


def _show(live: LiveRun) -> None:
    from durable_nb.notebook import panels

    panels.show(live)


def _forget_marker() -> None:
    from durable_nb.notebook import marking

    if not _loaded:  # not loaded again meanwhile
        delattr(builtins, marking.MARKER)


def follow(shell: InteractiveShell) -> None:
    """Note which statements the cells execute, for steps that are used without ``%load_ext``; stays until the kernel ends."""
    if id(shell) in _loaded or id(shell) in _followed:
        return
    from durable_nb import loads, provenance
    from durable_nb.notebook import statements

    executed = statements.ExecutedCells(shell)
    shell.events.register("post_run_cell", executed.leave_cell)
    provenance.statement_finders.insert(0, executed.find)
    loads.updates.append(executed.updated)
    _followed.add(id(shell))


def load(shell: InteractiveShell) -> None:
    """Add the magics, the cell transformer, the end-of-cell hook and the panel. Runs nothing; tells of unfinished runs."""
    if id(shell) in _loaded:
        return
    with put_off():
        loaded = _add(shell)
    from durable_nb.notebook import unfinished

    _loaded[id(shell)] = loaded._replace(forget=unfinished.announce(shell))


def _add(shell: InteractiveShell) -> _Loaded:
    from durable_nb import loads, provenance
    from durable_nb.notebook import cellid, marking, statements
    from durable_nb.notebook.magics import DurableMagics

    executed = statements.ExecutedCells(shell)
    magics = DurableMagics(shell, executed)
    shell.register_magics(magics)
    shell.input_transformers_cleanup.append(marking.durable_cell)
    shell.ast_transformers.append(magics.cells)
    shell.events.register("pre_run_cell", magics.enter_cell)
    shell.events.register("post_run_cell", magics.leave_cell)
    shell.events.register("post_run_cell", executed.leave_cell)
    setattr(builtins, marking.MARKER, magics)
    provenance.statement_finders.insert(0, executed.find)
    loads.updates.append(executed.updated)
    session.observers += (_show, executed.enter_run)
    session.notebook, session.kernel = cellid.notebook_path(shell), cellid.kernel_id(shell)
    _loaded[id(shell)] = loaded = _Loaded(magics, executed, None)
    return loaded


def unload(shell: InteractiveShell) -> None:
    """Take away exactly what ``load`` added; ConfigError, and nothing changed, while a run goes on in the background."""
    loaded = _loaded.get(id(shell))
    if loaded is None:
        return
    from durable_nb import loads, provenance
    from durable_nb.notebook import marking

    magics = loaded.magics
    magics.background.close()
    if following := sys.modules.get("durable_nb.notebook.following"):
        following.stop_all()
    del _loaded[id(shell)]
    if loaded.forget is not None:
        loaded.forget()
    magics.when_idle(_forget_marker)  # the rest of a durable cell that is being executed still mentions it
    magics.end_leftover()
    session.observers.remove(_show)
    session.observers.remove(loaded.executed.enter_run)
    provenance.statement_finders.remove(loaded.executed.find)
    loads.updates.remove(loaded.executed.updated)
    shell.events.unregister("post_run_cell", loaded.executed.leave_cell)
    shell.events.unregister("post_run_cell", magics.leave_cell)
    shell.events.unregister("pre_run_cell", magics.enter_cell)
    shell.input_transformers_cleanup.remove(marking.durable_cell)
    shell.ast_transformers.remove(magics.cells)
    for kind in ("line", "cell"):
        for name in magics.magics[kind]:
            shell.magics_manager.magics[kind].pop(name, None)
    shell.magics_manager.registry.pop(type(magics).__name__, None)
    shell.configurables.remove(magics)
    session.notebook = session.kernel = session.cell = ""
    session.close()
