"""Where an object comes from: the statement that created it.

A model, client or connection has no value to hash, so the statement that made it stands for it. The built-in finder
reads the file of a module or script; the notebook adds one to ``statement_finders`` that reads the executed cells.
"""

from __future__ import annotations

import ast
import builtins
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from durable_nb.loads import loaded_text
from durable_nb.mutations import Mutations, are_possible, changes
from durable_nb.origins import full_name
from durable_nb.syntax import FUNCTIONS, SCOPES, functions_around, normal_form, parse

if TYPE_CHECKING:
    from types import CodeType

StatementFinder = Callable[[str, dict[str, Any]], str | None]
PYTHON_MAGICS = frozenset({"%%time", "%%timeit", "%%capture", "%%durable", "%%prun"})
_DURABLE = re.compile(r"\s*(%%?durable\b|%%(time|capture)\b[^\n]*\s%%durable\b|__durable_nb__\.begin\()")
_LINE_MAGIC = re.compile(r"^(\s*)(?:([\w, ]+?)\s*=\s*)?([%!].*|[\w.%]+\?{1,2}|\?{1,2}[\w.%]+)\s*$")
# What these give differs in every kernel, and no result should depend on it: then the statement says more than the value.
_IMPURE = frozenset(
    "time time_ns perf_counter perf_counter_ns monotonic monotonic_ns process_time thread_time now utcnow today ctime "  # noqa: SIM905 - one a line would fill a screen
    "localtime gmtime uuid1 uuid4 getpid getppid get_ident urandom token_hex token_bytes token_urlsafe getrandbits randint "
    "randrange fileno socket mkdtemp mkstemp mktemp gettempdir NamedTemporaryFile TemporaryDirectory id".split()
)
_IMPURE_MODULES = frozenset({"random", "secrets", "tempfile"})


def statements_about(
    cell_sources: Iterable[str], name: str, scope: dict[str, Any] | None = None, shown: Collection[int] = ()
) -> str | None:
    """What made an object what it is: from the last statement that binds ``name`` anew, each that rebinds it, stores
    into it or calls a method on it, a line each, newest last; None if there is none.

    With a ``scope`` to look names up in, also what changes it by way of functions that it is handed to and of objects that
    hold it; ``shown`` are the numbers of the cells whose last value the notebook showed. Looks into ``if``, ``with``,
    ``for``, ``while`` and ``try`` too, whose own line counts if something inside does. The text has no comments and one
    layout. Cells may hold magics; cells that are no Python are skipped.
    """
    found: list[str] = []
    sources = list(cell_sources)
    mutations = Mutations(name, scope)
    if scope is not None:
        mutations.look_at(_trees(sources, {name}))
        mutations.keep_used(_trees(sources, mutations.names))
    for number in reversed(range(len(sources))):
        source = sources[number]
        tree = next(_trees([source], mutations.names), None)
        if tree is None:
            continue
        last = tree.body[-1] if tree.body and number in shown else None
        body = [statement for statement in tree.body if mutations.names & _mentioned(statement)]
        about = list(_about(body, mutations, last))
        if _DURABLE.match(source):
            about = list(_about_durable(tree.body, name, about))
        for statement, is_new in reversed(about):
            found.insert(0, ast.unparse(statement))
            if is_new:
                return "\n".join(found)
    return "\n".join(found) or None


def _trees(sources: Iterable[str], names: Collection[str]) -> Iterator[ast.Module]:
    """Of the cells that may use one of these names."""
    for source in sources:
        tree = parse_cell(source) if any(name in source for name in names) else None
        if tree is not None:
            yield tree


def enclosing_statement(code: CodeType, name: str) -> str | None:
    """The statement that binds ``name`` in a function around a closure, without comments; None if there is none."""
    statements = (_last_binding(function.body, name) for function in functions_around(code))
    return next((statement for statement in statements if statement is not None), None)


def is_impure(statement: str) -> bool:
    """Whether a statement calls what gives another value in every kernel: a clock, a random number, a file handle."""
    for node in _nodes(statement):
        if isinstance(node, ast.Call):
            *before, last = _dotted(node.func)
            if last in _IMPURE or _IMPURE_MODULES & set(before) or (before == ["os"] and last in ("open", "dup")):
                return True
    return False


def names_read(statement: str) -> list[str]:
    """The names a statement reads, sorted."""
    nodes = _nodes(statement)
    return sorted({node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)})


def home_of(name: str, statement: str, scope: dict[str, Any]) -> tuple[dict[str, Any], str] | None:
    """The scope of the module that a statement imports ``name`` from, and the name there; None if it does not."""
    for node in _nodes(statement):
        if not isinstance(node, ast.ImportFrom):
            continue
        there = next((one.name for one in node.names if (one.asname or one.name) in (name, "*")), None)
        if there is not None:
            with suppress(KeyError):  # it did not work, or has been taken away
                home = full_name(str(scope.get("__package__") or ""), node.level, node.module or "")
                return vars(sys.modules[home]), name if there == "*" else there
    return None


def is_builtin(name: str) -> bool:
    """Whether a name means something without being defined."""
    return hasattr(builtins, name)


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
    star = None if name == "*" else statement_of("*", scope)
    home = None if star is None else home_of(name, star, scope)
    return star if home is not None and home[0].get(name, star) is scope.get(name) else None


def _statement_in_file(name: str, scope: dict[str, Any]) -> str | None:
    text = loaded_text(scope)
    return statements_about([text], name, scope if are_possible(scope.get(name)) else None) if text else None


statement_finders: list[StatementFinder] = [_statement_in_file]
"""Asked in order with a name and the globals it is read from; the notebook inserts its own at the front."""


def _nodes(statement: str) -> Iterator[ast.AST]:
    tree = parse(statement)
    return ast.walk(tree) if tree is not None else iter(())


def _dotted(node: ast.AST) -> list[str]:
    """``np.random.rand`` as its parts; '' for what is no name."""
    if isinstance(node, ast.Attribute):
        return [*_dotted(node.value), node.attr]
    return [node.id if isinstance(node, ast.Name) else ""]


def parse_cell(source: str) -> ast.Module | None:
    """The tree of a cell, magics as plain Python; None if it is none."""
    first, _, rest = source.lstrip().partition("\n")
    if first.startswith("%%"):
        return parse_cell(rest) if first.split()[0] in PYTHON_MAGICS else None
    tree = parse(source)
    return tree if tree is not None else parse("\n".join(map(_plain_line, source.splitlines())))


def _plain_line(line: str) -> str:
    """A magic as Python that binds the same names, so that ``files = !ls`` is found as what made ``files``."""
    magic = _LINE_MAGIC.match(line)
    if magic is None:
        return line
    indent, names, command = magic.groups()
    return f"{indent}{names} = __magic__({command!r})" if names else f"{indent}pass"


def _mentioned(statement: ast.stmt) -> frozenset[str]:
    """The names in a statement, noted with its tree: a cell is asked about each of the names that a notebook uses."""
    known: frozenset[str] | None = getattr(statement, "durable_nb_names", None)
    if known is None:
        nodes = list(ast.walk(statement))
        names = {node.id for node in nodes if isinstance(node, ast.Name)}
        names |= {node.name for node in nodes if isinstance(node, (*FUNCTIONS, ast.ClassDef))}
        names |= {one.asname or one.name.partition(".")[0] for one in nodes if isinstance(one, ast.alias)}
        known = statement.durable_nb_names = frozenset(names)  # type: ignore[attr-defined]
    return known


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


def _about(
    body: list[ast.stmt], mutations: Mutations, shown: ast.stmt | None = None
) -> Iterator[tuple[ast.stmt, bool]]:
    """The statements that make or change what a name stands for, and whether nothing before them matters."""
    for statement in body:
        header = _header(statement)
        inside = [found for part in _bodies(statement) for found in _about(part, mutations)]
        binds = header is not None and mutations.name in _bound(header)
        is_asked = statement is shown or isinstance(statement, ast.If | ast.While)
        if header is not None and (binds or inside or mutations.has(header, is_asked=is_asked)):
            is_new = binds and (isinstance(header, SCOPES) or mutations.name not in names_read(ast.unparse(header)))
            yield header, is_new or mutations.makes_anew(header)
        is_certain = isinstance(statement, (ast.With, ast.AsyncWith))
        yield from ((found, is_new and is_certain) for found, is_new in inside)


def _about_durable(
    body: list[ast.stmt], name: str, about: list[tuple[ast.stmt, bool]]
) -> Iterator[tuple[ast.stmt, bool]]:
    """Of a durable cell: what binds the name, and what changed its object before the first loop.

    In its loops, and after them, methods are called to compute results; the object is not what it is because of them, and
    it must be the same when the cell is run again.
    """
    loops = (ast.For, ast.AsyncFor, ast.While, ast.comprehension)
    first = next((s.lineno for s in body if any(isinstance(part, loops) for part in ast.walk(s))), len(body) + 1 << 20)
    for statement, is_new in about:
        if is_new or getattr(statement, "lineno", first) < first or name in _bound(statement):
            yield statement, is_new


def changed_names(body: list[ast.stmt]) -> frozenset[str]:
    """The names of objects that statements store into, or call methods on."""
    return frozenset(name for statement in body for name in _mentioned(statement) if changes(statement, name))


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
        return type(statement)(items=statement.items, body=[ast.Pass()], lineno=statement.lineno, col_offset=0)
    if isinstance(statement, (ast.For, ast.AsyncFor)):
        return type(statement)(
            target=statement.target,
            iter=statement.iter,
            body=[ast.Pass()],
            orelse=[],
            lineno=statement.lineno,
            col_offset=0,
        )
    if isinstance(statement, (ast.If, ast.While)):
        return ast.copy_location(ast.Expr(statement.test), statement)
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
