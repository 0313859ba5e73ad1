"""Where an object comes from: the statement that created it.

A model, client or connection has no value to hash, so the statement that made it stands for it. The built-in finder
reads the file of a module or script; the notebook adds one to ``statement_finders`` that reads the executed cells.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from durable_nb.syntax import FUNCTIONS, SCOPES, file_tree, functions_around, normal_form, parse

if TYPE_CHECKING:
    from types import CodeType

StatementFinder = Callable[[str, dict[str, Any]], str | None]
_PYTHON_MAGICS = frozenset({"%%time", "%%timeit", "%%capture", "%%durable", "%%prun"})
_LINE_MAGIC = re.compile(r"^(\s*)(?:([\w, ]+?)\s*=\s*)?([%!].*|[\w.%]+\?{1,2}|\?{1,2}[\w.%]+)\s*$")
_PURE = frozenset(  # equal arguments, equal value: then the value itself says more than the statement
    "int float str bytes bool complex len min max sum round abs tuple frozenset Path PurePath Decimal "  # noqa: SIM905 - one a line would fill a screen
    "Fraction UUID date datetime timedelta compile join format lower upper strip replace encode dedent".split()
)


def last_assignment(cell_sources: Iterable[str], name: str) -> str | None:
    """The last statement at the top of these cells that binds ``name``, newest cell last; None if there is none.

    Looks into ``if``, ``with``, ``for``, ``while`` and ``try`` too; of a compound statement only the line that binds.
    The text has no comments and one layout. Cells may hold magics; cells that are no Python are skipped.
    """
    for source in reversed(list(cell_sources)):
        tree = _parse_cell(source)
        statement = _last_binding(tree.body, name) if tree is not None else None
        if statement is not None:
            return statement
    return None


def enclosing_statement(code: CodeType, name: str) -> str | None:
    """The statement that binds ``name`` in a function around a closure, without comments; None if there is none."""
    statements = (_last_binding(function.body, name) for function in functions_around(code))
    return next((statement for statement in statements if statement is not None), None)


def is_volatile(statement: str) -> bool:
    """Whether the value of a statement may differ each time it is run: it calls something, or reads the environment."""
    for node in _nodes(statement):
        if isinstance(node, ast.Call) and _last_name(node.func) not in _PURE:
            return True
        if isinstance(node, (ast.Await, ast.Yield)) or _last_name(node) == "environ":
            return True
    return False


def names_read(statement: str) -> list[str]:
    """The names a statement reads, sorted."""
    nodes = _nodes(statement)
    return sorted({node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)})


def statement_value(statement: str) -> object:
    """What is compared of a statement: its normal form, or the text if a finder returned something else."""
    tree = parse(statement)
    return statement if tree is None else normal_form(tree)


def statement_of(name: str, scope: dict[str, Any]) -> str | None:
    """The statement that bound a global, in normal form, from the first finder that knows."""
    for find in statement_finders:
        statement = find(name, scope)
        if statement is not None:
            return statement
    return None


def _statement_in_file(name: str, scope: dict[str, Any]) -> str | None:
    tree = file_tree(str(scope.get("__file__") or ""))
    return _last_binding(tree.body, name) if tree is not None else None


statement_finders: list[StatementFinder] = [_statement_in_file]
"""Asked in order with a name and the globals it is read from; the notebook inserts its own at the front."""


def _nodes(statement: str) -> Iterator[ast.AST]:
    tree = parse(statement)
    return ast.walk(tree) if tree is not None else iter(())


def _last_name(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _parse_cell(source: str) -> ast.Module | None:
    first, _, rest = source.lstrip().partition("\n")
    if first.startswith("%%"):
        return _parse_cell(rest) if first.split()[0] in _PYTHON_MAGICS else None
    tree = parse(source)
    return tree if tree is not None else parse("\n".join(map(_plain_line, source.splitlines())))


def _plain_line(line: str) -> str:
    """A magic as Python that binds the same names, so that ``files = !ls`` is found as what made ``files``."""
    magic = _LINE_MAGIC.match(line)
    if magic is None:
        return line
    indent, names, command = magic.groups()
    return f"{indent}{names} = __magic__({command!r})" if names else f"{indent}pass"


def _last_binding(body: list[ast.stmt], name: str) -> str | None:
    for statement in reversed(body):
        for part in reversed(list(_bodies(statement))):
            inner = _last_binding(part, name)
            if inner is not None:
                return inner
        header = _header(statement)
        if header is not None and name in _bound(header):
            return ast.unparse(header)
    return None


def _bodies(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    if isinstance(statement, SCOPES):
        return
    for field in ("body", "orelse", "finalbody"):
        yield getattr(statement, field, [])
    for handler in getattr(statement, "handlers", []):
        yield handler.body


def _header(statement: ast.stmt) -> ast.stmt | None:
    """A compound statement without its body: what itself binds names."""
    if isinstance(statement, (ast.With, ast.AsyncWith)):
        return type(statement)(items=statement.items, body=[ast.Pass()], lineno=0, col_offset=0)
    if isinstance(statement, (ast.For, ast.AsyncFor)):
        return type(statement)(
            target=statement.target, iter=statement.iter, body=[ast.Pass()], orelse=[], lineno=0, col_offset=0
        )
    if isinstance(statement, (ast.If, ast.While)):
        return ast.Expr(statement.test)
    return None if isinstance(statement, ast.Try) else statement


def _bound(statement: ast.stmt) -> set[str]:
    if isinstance(statement, (*FUNCTIONS, ast.ClassDef)):
        return {statement.name}
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return {alias.asname or alias.name.partition(".")[0] for alias in statement.names}
    bound: set[str] = set()
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound.add(node.id)
        elif not isinstance(node, (ast.comprehension, ast.Lambda)):  # what these bind is their own
            waiting.extend(ast.iter_child_nodes(node))
    return bound
