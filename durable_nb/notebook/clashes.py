"""Whether a cell comes to the same in a copy of the notebook's names, where functions keep the notebook's own."""

from __future__ import annotations

import ast
from types import FunctionType
from typing import TYPE_CHECKING, Any, NoReturn

from durable_nb.bytecode import names_used, step_function
from durable_nb.errors import ConfigError
from durable_nb.notebook.names import COMPREHENSIONS, names_bound, walk_here

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from durable_nb.notebook.sites import Plan

_MAGICS = frozenset({"run_line_magic", "run_cell_magic", "magic"})


def refuse_what_clashes(cell: ast.Module, plan: Plan, names: dict[str, Any], steps: frozenset[str]) -> None:
    """Raise ConfigError for a cell that would come to something else in the background.

    Parameters
    ----------
    cell : Module
        Its tree.
    plan : Plan
        What the transformer found in it.
    names : dict
        The notebook's.
    steps : set of str
        What ``--steps`` names.
    """
    for statement in cell.body:
        for node in walk_here(statement):
            if isinstance(node, ast.ClassDef):
                _refuse(
                    f"class {node.name} is defined in it",
                    "Define it in a cell above: what a background cell defines is not the notebook's before it ends.",
                )
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _MAGICS:
                magic = ast.literal_eval(node.args[0]) if node.args else "magic"
                _refuse(f"line {node.lineno}: %{magic} works on the notebook's own names", "Leave that line out.")
    elsewhere = sorted(name for name in steps - plan.mentioned if name.partition(".")[0] in names)
    if elsewhere:
        _refuse(
            f"--steps {elsewhere[0]} is called by functions and not by the cell itself, and other cells may call it too",
            f"Decorate {elsewhere[0]} with @step, or leave --background out.",
        )
    own = _set_by(cell.body, names)
    for function, reads, writes in _functions([names[name] for name in _roots(plan) if name in names], names):
        for name in sorted(own & reads):
            _refuse(
                f"`{function}` uses `{name}` of the notebook, and the cell assigns it",
                f"Assign {name} in a cell above, or hand it to {function} as an argument.",
            )
        for name in sorted((own | _roots(plan)) & writes):
            _refuse(f"`{function}` sets `{name}` of the notebook, and the cell uses it", f"Let {function} return it.")


def _refuse(why: str, remedy: str) -> NoReturn:
    raise ConfigError(f"this cell cannot run in the background: {why}. Nothing was run.", remedy)


def _roots(plan: Plan) -> frozenset[str]:
    return frozenset(name.partition(".")[0] for name in plan.mentioned)


def _set_by(body: Iterable[ast.stmt], names: dict[str, Any]) -> frozenset[str]:
    """What a cell binds; not the variables of comprehensions, nor what it only imports again."""
    inner: list[ast.AST] = []
    imported: set[str] = set()
    bound: set[str] = set()
    for statement in body:
        for node in walk_here(statement):
            if isinstance(node, COMPREHENSIONS):
                inner += [target for generator in node.generators for target in ast.walk(generator.target)]
    hidden = {id(node) for node in inner}
    for statement in body:
        for node in walk_here(statement):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                imported |= names_bound([node])
            elif isinstance(node, ast.Name):
                bound |= set() if isinstance(node.ctx, ast.Load) or id(node) in hidden else {node.id}
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                bound.add(node.name)
    return frozenset(bound | (imported - names.keys()))


def _functions(things: list[Any], names: dict[str, Any]) -> Iterator[tuple[str, frozenset[str], frozenset[str]]]:
    """Functions of the notebook that the cell reaches: name, and which globals each reads and sets."""
    seen: set[int] = set()
    while things:
        thing = things.pop()
        inner = step_function(thing)
        if inner is not None and inner is not thing:
            things.append(inner)
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        function = getattr(thing, "__func__", thing)
        if isinstance(function, FunctionType):
            if function.__globals__ is names:
                used = names_used(function.__code__)
                yield function.__name__, frozenset(used.reads), used.writes
                things += [names[name] for name in used.reads if name in names]
            things += [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
            things += [function.__wrapped__] if hasattr(function, "__wrapped__") else []
        else:
            kind = thing if isinstance(thing, type) else type(thing)
            if kind.__module__ == names.get("__name__"):
                things += [one for base in kind.__mro__ for one in vars(base).values() if callable(one)]


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False
