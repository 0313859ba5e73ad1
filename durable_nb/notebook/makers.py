"""The statement that made a name of the notebook: as it was typed, with its place, so that it can be executed again."""

from __future__ import annotations

import ast
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from durable_nb import provenance, syntax
from durable_nb.notebook.names import names_bound

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Made(NamedTuple):
    """Where a name comes from."""

    number: int
    """Of the cell, as in ``In [5]``."""
    place: int
    """Of the statement in the cell."""
    kind: str
    """``def`` for functions and classes, ``import``, ``lambda``, ``environment``, or ``other``."""
    text: str
    """The statement, as it was typed."""
    cell: str
    """The whole cell, as it was typed."""
    statements: str = ""
    """All that made or changed the object since it was bound, as `provenance` tells."""


def decorated(made: Made) -> Made:
    """``embed = step(embed)`` below a ``def embed``, ``ask = partial(ask_with, client)``: as a definition, if no other call
    stands in it.
    """
    tree = syntax.parse(made.statements)
    if made.kind != "other" or tree is None or not all(_is_decoration(statement) for statement in tree.body):
        return made
    return made._replace(kind="def", text=f"{made.statements}\n")


def _is_decoration(statement: ast.stmt) -> bool:
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return True
    call = statement.value if isinstance(statement, ast.Assign) else None
    if not isinstance(call, ast.Call):
        return False
    parts: list[ast.expr] = []
    while isinstance(call, ast.Call):
        parts += [*call.args, *(keyword.value for keyword in call.keywords)]
        call = call.func
    return not any(isinstance(node, ast.Call) for part in [call, *parts] if part for node in ast.walk(part))


class Makers:
    """Of all names that the executed cells bind.

    Parameters
    ----------
    cells : sequence of str
        By number.
    adopted : dict
        By name, from an earlier kernel; what cells of this one bind comes after it.
    transform : callable
        From the text of a cell to Python.
    """

    def __init__(
        self, cells: Sequence[str], adopted: dict[str, Made], transform: Callable[[str], str] = lambda cell: cell
    ) -> None:
        self._adopted = adopted
        self._found: dict[str, Made] = {}
        self._parts: dict[str, None] = {}
        for number, cell in enumerate(cells):
            python = python_of(cell, transform)
            self._parts |= dict.fromkeys(_modules_in_modules(python))
            for name, (index, kind, text) in _bindings(python).items():
                self._found[name] = Made(number, index, kind, text, cell)

    def of(self, name: str) -> Made | None:
        """The last statement that bound a name, None if no cell did."""
        return self._found.get(name) or self._adopted.get(name)

    def parts_of(self, name: str) -> list[str]:
        """The modules that were imported as a part of what a name stands for: ``xml.dom.minidom`` of ``xml``."""
        return [part for part in self._parts if part.startswith(f"{name}.")]

    def is_of_this_kernel(self, name: str) -> bool:
        """Whether a cell that was run here bound it."""
        return name in self._found


def python_of(cell: str, transform: Callable[[str], str]) -> str:
    """The Python of a cell: below magics that run it as it is, or as IPython translates it; '' if it is none."""
    first, _, rest = cell.lstrip().partition("\n")
    if first.startswith("%%") and first.split()[0] in provenance.PYTHON_MAGICS:
        return python_of(rest, transform)
    if syntax.parse(cell) is not None:
        return cell
    text = transform(cell)
    return text if syntax.parse(text) is not None else ""


@lru_cache(maxsize=4096)
def _modules_in_modules(text: str) -> tuple[str, ...]:
    tree = syntax.parse(text) if "import" in text else None
    names = (
        [] if tree is None else [one for node in ast.walk(tree) if isinstance(node, ast.Import) for one in node.names]
    )
    return tuple(one.name for one in names if "." in one.name and one.asname is None)


@lru_cache(maxsize=4096)
def _bindings(text: str) -> dict[str, tuple[int, str, str]]:
    tree = syntax.parse(text)
    found: dict[str, tuple[int, str, str]] = {}
    body, lines = ([] if tree is None else tree.body), text.splitlines()
    used = Counter(line for one in body for line in {_first_line(one), one.end_lineno})
    for index, statement in enumerate(body):
        names = names_bound([statement])
        typed = _typed(statement, lines, is_alone=max(used[_first_line(statement)], used[statement.end_lineno]) == 1)
        found |= dict.fromkeys(names, (index, _kind(statement, typed), typed))
    return found


def _typed(statement: ast.stmt, lines: list[str], *, is_alone: bool) -> str:
    """The lines of a statement with its decorators; of several on one line, as Python writes it."""
    is_alone = is_alone and statement.col_offset == 0
    typed = "\n".join(lines[_first_line(statement) - 1 : statement.end_lineno])
    return f"{typed if is_alone else ast.unparse(statement)}\n"


def _first_line(statement: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(one.lineno for one in decorators)])


def _kind(statement: ast.stmt, typed: str) -> str:
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return "def"
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return "import"
    if isinstance(statement, ast.Assign) and all(isinstance(target, ast.Name) for target in statement.targets):
        if isinstance(statement.value, ast.Lambda):
            return "lambda"
        return "environment" if "env" in typed and _only_reads_environment(statement.value) else "other"
    return "other"


def _only_reads_environment(value: ast.expr) -> bool:
    """``os.environ["KEY"]``, ``os.getenv("KEY") or ""``: to evaluate it does nothing else."""
    known = (ast.Name, ast.Attribute, ast.Subscript, ast.Call, ast.Constant, ast.BoolOp, ast.Or, ast.Load)
    words = {node.id if isinstance(node, ast.Name) else getattr(node, "attr", "") for node in ast.walk(value)} - {""}
    return (
        all(isinstance(node, known) for node in ast.walk(value))
        and bool(words & {"environ", "getenv"})
        and words <= {"os", "environ", "getenv", "get"}
    )
