"""``%durable resume NAME``: the names that its cell needs, then the cell, on IPython's own path."""

from __future__ import annotations

import ast
import re
import textwrap
from typing import TYPE_CHECKING, Any

from durable_nb import syntax
from durable_nb.errors import ConfigError, RunBusy
from durable_nb.notebook import capsules, restoring
from durable_nb.provenance import parse_cell
from durable_nb.records import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import ExecutionResult

    from durable_nb.notebook.capsules import Need
    from durable_nb.notebook.commands import Asked
    from durable_nb.notebook.makers import Made
    from durable_nb.notebook.restoring import Restored
    from durable_nb.records import Run

_NOUNS = {
    "definition": ("definition", "definitions"),
    "import": ("import", "imports"),
    "value": ("value", "values"),
    "from the environment": ("from the environment", "from the environment"),
}
_HEAD = re.compile(r"^(\s*%%?durable)(?:[ \t]+(?![-])\S+)?(.*)$")
_LEFT_OUT = re.compile(r"""[ \t]+--(?:(?:background|detach)|db(?:[ \t]+|=)(?:"[^"]*"|'[^']*'|\S+))(?!\S)""")
_CELL_LINES, _CELL_LETTERS = 12, 110


class CannotResume(ConfigError):
    """What is to be done first; nothing of the cell was run."""


def resume(asked: Asked) -> None:
    """The sub-command."""
    result = carried_on(asked, say=print)
    error = result.error_before_exec or result.error_in_exec
    if error is not None:
        shown = f"{type(error).__name__}: {error}".partition("\n")[0]
        error._render_traceback_ = lambda: [f"{shown} (shown above)"]  # type: ignore[attr-defined]
        raise error


def carried_on(asked: Asked, *, say: Callable[[str], None]) -> ExecutionResult:
    """Restore, say what came from where, and run the cell.

    Raises
    ------
    CannotResume
        Something has to be run or decided first.
    RunBusy
        Another process computes it.
    UntrustedStore
        Somebody else saved what would be executed.
    """
    shell: Any = asked.magics.shell
    executed, store, run = asked.magics.executed, asked.store, asked.run()
    _refuse_if_busy(run)
    saved = store.capsule(run.id)
    if saved is None:
        raise CannotResume(_nothing_saved(asked, run), "Run the cells above its cell, then its cell.")
    capsule = capsules.unpacked(saved, store.where)
    if not capsule.is_whole:
        raise CannotResume(
            f"the cell of {run.name!r} holds what looks like a credential, so it was not saved as it is:",
            f"\n\n{_indented(capsule.cell)}\n\nRun it by hand; better, let it read the credential from the environment.",
        )
    restored = restoring.restore(capsule, shell, executed, asked.magics.makers(), where=store.where)
    say(told(run.name, restored))
    if restored.missing and asked.options.make:
        say(f"making again: {', '.join(need.name for need in restored.missing)}")
        restoring.make(restored.missing, shell)
        restored = restoring.restore(capsule, shell, executed, asked.magics.makers(), where=store.where)  # what waited
    if restored.missing or restored.failed:
        raise CannotResume(*_asks(run.name, restored.missing, restored.failed, can_make=not asked.options.make))
    source = with_name(capsule.cell, run.name, asked.options.on_change)
    if shell.should_run_async(source, transformed_cell=shell.transform_cell(source)) and _loop_is_running():
        shell.set_next_input(source)
        raise CannotResume(
            f"the cell of {run.name!r} awaits at its top level, and a cell that runs cannot run that one.",
            "All it needs is here, and its text stands below: run it.",
        )
    asked.magics.urls[run.name] = store.url
    restoring.set_generators(capsule, shell.user_ns, where=store.where)
    result: ExecutionResult = shell.run_cell(source, store_history=True, cell_id=run.cell or None)
    return result


def told(name: str, restored: Restored) -> str:
    """What was taken from where, a sentence or two."""
    parts = []
    for kind, count in sorted(restored.taken.items(), key=lambda item: list(_NOUNS).index(item[0])):
        parts.append(f"{count:,} {_NOUNS[kind][count != 1]}")
    count = restored.taken.total()
    lines = [
        f"{name}: {count:,} name{'s' if count != 1 else ''} restored" + (f": {', '.join(parts)}." if parts else ".")
    ]
    if restored.already:
        lines[0] += f" {restored.already:,} had been restored before."
    if same := [name for name in restored.yours if name not in restored.differing]:
        lines.append(f"  kept what this kernel has made already: {_listed(same)}")
    if restored.differing:
        lines.append(f"  kept yours, which differ from what was saved: {_listed(restored.differing)}")
    if restored.replaced:
        lines.append(f"  replaced, since no cell of this kernel had made them: {_listed(restored.replaced)}")
    if restored.changed_files:
        lines.append(f"  the files behind these have changed since, or are gone: {_listed(restored.changed_files)}")
    return "\n".join(lines)


def with_name(source: str, name: str, on_change: str | None = None) -> str:
    """The cell with the name of its run in its first line.

    Who resumes it waits for it, whoever it was left to, and has its database: a variable named that.
    """
    first, line_end, rest = source.lstrip("\n").partition("\n")
    head = _HEAD.match(first)
    if head is None:  # the magic stands below another one
        return source
    option = f" --on-change {on_change}" if on_change and "--on-change" not in head[2] else ""
    return f"{head[1]} {name}{_LEFT_OUT.sub('', head[2]).rstrip()}{option}{line_end}{rest}"


def _asks(name: str, missing: list[Need], failed: dict[str, str], *, can_make: bool) -> tuple[str, str]:
    """The error of what has to be done by hand, and how."""
    again = f"%durable resume {name}"
    if nameless := [need.name for need in missing if need.kind == "shown"]:
        return (
            f"{name} is not resumed: its cell reads {_listed(nameless)}, what another cell showed, and here that is another value.",
            "Run the cells above, then its cell. Give that value a name (docs = …), and it can be resumed next time.",
        )
    waited_for = {f"NameError: name '{need.name}' is not defined" for need in missing}
    failed = {one: error for one, error in failed.items() if error not in waited_for}
    lines = [f"    {one}: {error}" for one, error in failed.items()]
    problem = f"{name} is not resumed yet: these could not be brought back here.\n" + "\n".join(lines) if failed else ""
    if not missing:
        return problem, f"\nInstall or mend that, or run the cells that make them, then: {again}"
    cells = {need.made.number: need.made.cell for need in missing if need.made.cell}
    count = "1 cell has" if len(cells) == 1 else f"{len(cells):,} cells have"
    why = "\n".join(f"    {need.name}: {need.why}" for need in missing if need.why)
    said = f"{problem}\n" if problem else ""
    said += (
        f"{name} is not resumed yet: {count} to be run for what is not saved.\n{why}"
        if cells
        else (f"{name} is not resumed yet: no cell made these, and they are not saved.\n{why}")
    )
    shown = "\n\n".join(f"In [{number}] was:\n\n{_indented(cell)}" for number, cell in sorted(cells.items()))
    if later := [line for need in missing for line in _said_later(need.made)]:
        shown += "\n\nand in other cells, afterwards:\n\n" + _indented("\n".join(dict.fromkeys(later)))
    remedy = (
        f"\n\n{shown}\n\nRun {'it' if len(cells) == 1 and not later else 'them'}, then: {again}"
        if cells
        else f"\n\nThen: {again}"
    )
    if can_make and any(need.kind in ("made", "value") and need.is_whole for need in missing):
        remedy += f"\nOr let the statements that made them be executed again: {again} --make"
    if any(need.why.startswith("too large") for need in missing):
        remedy += "\nMore data is noted next time after configure(capsule_mb=…); the default is 0.9."
    return said, remedy


def _said_later(made: Made) -> list[str]:
    """The statements that changed an object and do not stand in the cell that made it."""
    cell, statements = parse_cell(made.cell), syntax.parse(made.statements)
    if cell is None or statements is None:
        return []
    nodes = [getattr(node, "test", node) for node in ast.walk(cell) if isinstance(node, ast.stmt)]
    there = {ast.unparse(node).partition("\n")[0] for node in nodes}
    return [text for text in map(ast.unparse, statements.body) if text.partition("\n")[0] not in there]


def _indented(cell: str) -> str:
    lines = [line[:_CELL_LETTERS] for line in cell.rstrip().splitlines()]
    more = [f"… and {len(lines) - _CELL_LINES} more lines"] if len(lines) > _CELL_LINES else []
    return textwrap.indent("\n".join(lines[:_CELL_LINES] + more), "    ")


def _listed(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _nothing_saved(asked: Asked, run: Run) -> str:
    events = [event.detail for event in asked.store.events(run.id) if event.kind == "not captured"]
    why = (
        events[-1] if events else "capsule_mb was 0, or it was begun by a step, from a script or by an older durable_nb"
    )
    return f"nothing was saved of what the cell of {run.name!r} needs ({why})."


def _refuse_if_busy(run: Run) -> None:
    if run.state is State.RUNNING and run.owner is not None:
        from durable_nb import clock

        age = clock.now() - run.heartbeat
        raise RunBusy(run.name, run.owner.host, run.owner.pid, run.owner.kernel, age)


def _loop_is_running() -> bool:
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
