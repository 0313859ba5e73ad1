"""The syntax tree behind a function, and its normal form: equal for functions that differ only in how they were typed.

The normal form has no positions, comments, docstrings and annotations, and is equal on Python 3.11, 3.12 and 3.13.
"""

from __future__ import annotations

import ast
import linecache
import sys
import textwrap
from functools import lru_cache
from types import CodeType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
SCOPES = (*FUNCTIONS, ast.ClassDef, ast.Lambda)
_POSITIONS = frozenset(
    {"lineno", "col_offset", "end_lineno", "end_col_offset", "ctx", "type_comment", "kind", "type_params"}
)

_TRIES = 20

TRAVELLED = "<dynamic-code>"
"""The file, as cloudpickle 3 tells it, of code that it brings by value."""

_homes: dict[CodeType, CodeType] = {}


def function_node(code: CodeType) -> ast.AST | None:
    """The definition that was compiled to ``code``, if its source can be found; the right one of several lambdas."""
    code = _at_home(code)
    tree, known = file_tree(code.co_filename), _as_in_file(code)
    if tree is None or known is None:
        return None
    found = _functions_of(tree).get((known.co_name, known.co_firstlineno), [])
    if len(found) > 1:
        found = [node for node in found if _holds(node, known)]
    if found:
        _homes.setdefault(code, code)
    # Of a lambda and one inside it, both hold the inner one's instructions.
    return min(found, key=_extent, default=None)


def _at_home(code: CodeType) -> CodeType:
    """The equal code that was compiled from a text, of code that came by value and lost the name of its file on the way.

    When an instance of a class of the notebook comes back from a worker, cloudpickle gives the class all of its methods anew.
    """
    if code.co_filename != TRAVELLED:
        return code
    if code not in _homes:  # equal codes have the same name, first line, instructions and constants
        texts = [name for name, entry in list(linecache.cache.items()) if len(entry) > 1 and entry[1] is None]
        script = getattr(sys.modules["__main__"], "__file__", None)
        found = (_equal_in(name, code) for name in (*reversed(texts), *([script] if script else [])))
        _homes[code] = next((same for same in found if same is not None), code)
    return _homes[code]


def _equal_in(path: str, code: CodeType) -> CodeType | None:
    tree = file_tree(path)
    if tree is None or (code.co_name, code.co_firstlineno) not in _functions_of(tree):
        return None
    same = (other for other in _compiled(file_text(path)).get(code.co_qualname, ()) if other == code)
    return next((other.replace(co_filename=path) for other in same), None)


@lru_cache(maxsize=64)
def _functions_of(tree: ast.AST) -> dict[tuple[str, int], list[ast.AST]]:
    """The functions of a file by name and first line."""
    found: dict[tuple[str, int], list[ast.AST]] = {}
    for node in ast.walk(tree):
        if isinstance(node, (*FUNCTIONS, ast.Lambda)):
            found.setdefault((getattr(node, "name", "<lambda>"), _first_line(node)), []).append(node)
    return found


def code_value(code: CodeType, doc: str | None = None) -> Any:
    """Instructions, names and constants of compiled code, without its place in a file and the docstring ``doc``."""
    constants = list(code.co_consts)
    if doc is not None and constants and constants[0] == doc:
        constants[0] = None
    values = [code_value(constant) if isinstance(constant, CodeType) else constant for constant in constants]
    return (code.co_code, code.co_names, code.co_varnames, code.co_freevars, values)


def _as_in_file(code: CodeType) -> CodeType | None:
    """``code`` with the lines it has in its file now; None if the file was edited since it was loaded.

    The text of a cell is kept under a name of its own, so that one never changes.
    """
    entry = linecache.cache.get(code.co_filename)
    if entry is None or len(entry) < 4 or entry[1] is None or any(name.startswith("@py") for name in code.co_names):
        return code  # or pytest has rewritten its asserts: then it never equals what is in the file
    loaded = repr(code_value(code))
    same = [
        other
        for other in _compiled("".join(linecache.getlines(code.co_filename))).get(code.co_qualname, ())
        if other == code or repr(code_value(other)) == loaded
    ]
    return min(same, key=lambda other: abs(other.co_firstlineno - code.co_firstlineno), default=None)


@lru_cache(maxsize=64)
def _compiled(text: str) -> dict[str, list[CodeType]]:
    """The functions of a file by their qualified name, as Python would load them now."""
    found: dict[str, list[CodeType]] = {}
    try:
        waiting = [compile(text, "<file>", "exec", dont_inherit=True)]
    except (SyntaxError, ValueError):
        return found
    while waiting:
        code = waiting.pop()
        found.setdefault(code.co_qualname, []).append(code)
        waiting += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return found


def source_of(code: CodeType) -> str:
    """The text of a definition as it was typed, dedented; '' if it cannot be found."""
    node, code = function_node(code), _at_home(code)
    if node is None:
        return ""
    if isinstance(node, ast.Lambda):
        return f"{ast.unparse(node)}\n"  # its line may hold others
    lines = linecache.getlines(code.co_filename)[_first_line(node) - 1 : getattr(node, "end_lineno", 0)]
    return textwrap.dedent("".join(lines)).rstrip() + "\n"


def functions_around(code: CodeType) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """The functions inside which a closure was defined, from the inside out."""
    node, tree = function_node(code), file_tree(_at_home(code).co_filename)
    if node is None or tree is None:
        return []
    nodes = [other for other in ast.walk(tree) if isinstance(other, FUNCTIONS) and other is not node]
    return sorted((other for other in nodes if _contains(other, node)), key=_extent)


def default_statements(node: ast.AST | None) -> dict[str, str]:
    """The default expression of each parameter that has one."""
    if not isinstance(node, (*FUNCTIONS, ast.Lambda)):
        return {}
    positional = [*node.args.posonlyargs, *node.args.args]
    pairs = [
        *zip(reversed(positional), reversed(node.args.defaults), strict=False),
        *zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True),
    ]
    return {argument.arg: ast.unparse(default) for argument, default in pairs if default is not None}


def imports(tree: ast.Module) -> list[tuple[int, str, tuple[str, ...]]]:
    """Level, module and names of each import statement at the top of a file."""
    found: list[tuple[int, str, tuple[str, ...]]] = []
    for node in tree.body:
        if isinstance(node, ast.Import):
            found += [(0, alias.name, ()) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.level, node.module or "", tuple(alias.name for alias in node.names)))
    return found


def attributes_set(tree: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    """The objects whose attributes code sets or deletes by name, and the attributes."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(thing, name, ast.Store() | ast.Del()):
                yield thing, name
            case ast.Call(
                ast.Name("setattr" | "delattr") | ast.Attribute(attr="__setattr__" | "__delattr__"),
                [thing, ast.Constant(str(name)), *_],
            ):
                yield thing, name


def file_tree(path: str) -> ast.Module | None:
    """The tree of a module's file, or of a cell by the name it was compiled under; None if there is no source."""
    text = file_text(path)
    return parse(text) if text else None


def file_text(path: str) -> str:
    """The text of a file or cell as it is now; '' if there is none."""
    linecache.checkcache(path)  # a file edited and reloaded; what IPython put there has no date and stays
    return "".join(linecache.getlines(path))


def normal_form(node: Any, *, root: bool = True) -> Any:
    """A syntax tree as nested tuples, without what does not change the behaviour.

    Name, decorators and defaults of the outermost definition are left out too: they are seen in the function object.
    """
    if isinstance(node, list):
        return tuple(normal_form(item, root=False) for item in node)
    if not isinstance(node, ast.AST):
        return repr(node)
    if isinstance(node, ast.Constant):
        return ("Constant", type(node.value).__name__, repr(node.value))
    if isinstance(node, ast.JoinedStr):
        return ("JoinedStr", _merged(node.values))
    if isinstance(node, ast.AnnAssign) and node.value is not None:
        return normal_form(ast.Assign([node.target], node.value), root=False)
    # A decorator may read annotations and docstring: of tools and prompts they are what is sent.
    is_decorated = bool(not root and getattr(node, "decorator_list", None))
    skip = {"annotation", "returns"}
    if root and isinstance(node, (*SCOPES, ast.arguments)):
        skip |= {"name", "decorator_list", "defaults", "kw_defaults"}
    out: list[Any] = [type(node).__name__]
    for field in node._fields:
        value = getattr(node, field, None)
        if field in _POSITIONS or field in skip or value is None or value == []:
            continue
        if field == "body" and isinstance(node, (*FUNCTIONS, ast.ClassDef, ast.Module)) and not is_decorated:
            value = _without_docstring(value)
        if field == "body" and isinstance(node, ast.ClassDef):
            out.append(tuple(map(_class_statement, value)))
        else:
            out.append((field, normal_form(value, root=root and field == "args")))
    return tuple(out)


def _class_statement(node: ast.stmt) -> Any:
    if isinstance(node, ast.AnnAssign):  # of a dataclass or pydantic model the annotation is what it does
        return ("Field", *(normal_form(part, root=False) for part in (node.target, node.annotation, node.value)))
    return normal_form(node, root=False)


def _merged(parts: list[ast.expr]) -> tuple[Any, ...]:
    """The parts of an f-string; 3.11 and 3.12 cut its constant text in different places."""
    merged: list[Any] = []
    for part in parts:
        if not isinstance(part, ast.Constant):
            merged.append(normal_form(part, root=False))
        elif merged and merged[-1][0] == "text":
            merged[-1] = ("text", merged[-1][1] + str(part.value))
        else:
            merged.append(("text", str(part.value)))
    return tuple(part for part in merged if part != ("text", ""))  # 3.12 leaves empty ones behind


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]
    return [statement for statement in body if not isinstance(statement, ast.Pass)]


@lru_cache(maxsize=1024)
def parse(text: str) -> ast.Module | None:
    """The tree of a text; None if it is no Python."""
    try:
        return _parsed(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # the last two of what is nested too deeply
        return None


def _parsed(text: str) -> ast.Module:
    """Python 3.11 keeps a depth of trees for all threads together, and notices at the end that another thread has moved it."""
    for _ in range(_TRIES):
        try:
            return ast.parse(text)
        except SystemError:
            continue
    return ast.parse(text)


def _first_line(node: Any) -> int:
    return int(min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))]))


def _extent(node: Any) -> tuple[int, int]:
    return (node.end_lineno - node.lineno, node.end_col_offset - node.col_offset)


def _contains(outer: Any, inner: Any) -> bool:
    start, end = (inner.lineno, inner.col_offset), (inner.end_lineno, inner.end_col_offset)
    return (outer.lineno, outer.col_offset) <= start and end <= (outer.end_lineno, outer.end_col_offset)


def _holds(node: Any, code: CodeType) -> bool:
    """Whether the instructions of ``code`` come from inside a definition."""
    body = node.body if isinstance(node, ast.Lambda) else node
    known = False
    for line, end_line, column, end_column in code.co_positions():
        if line is None or end_line is None or column is None or end_column is None or end_column == 0:
            continue  # no columns: `python -X no_debug_ranges`, or the instruction that opens a function
        known = True
        end = (end_line, end_column)
        if (line, column) < (body.lineno, body.col_offset) or (body.end_lineno, body.end_col_offset) < end:
            return False
    return known
