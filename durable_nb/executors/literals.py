"""What the text of a module says for sure: how its names are made, and which no process can give another value or code."""

from __future__ import annotations

import ast
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from durable_nb import keys
from durable_nb.loads import loaded_text
from durable_nb.provenance import statements_about
from durable_nb.syntax import FUNCTIONS, attributes_set, default_statements, normal_form, parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import ModuleType

WHOLE = "*"
_CHOICES = (ast.IfExp, ast.BoolOp, ast.Compare, ast.Subscript)


class Text(NamedTuple):
    """Of a module; names in it are dotted for what stands in a class: ``Kind.A``."""

    constants: frozenset[str]
    """Bound once, to a literal of what cannot change inside."""
    defaults: frozenset[str]
    """Parameters whose default is such a literal: ``clean.by``."""
    chosen: frozenset[str]
    """Names that may stand for other code elsewhere: bound in two branches, or by what looks at the machine."""
    imported: dict[str, tuple[int, str, str]]
    """Level, module and name there of what is imported by name."""
    assigned: frozenset[str]
    """Names and attributes that code sets when it is called."""


class Making(NamedTuple):
    """How a name of a module is made."""

    digest: bytes
    """Of the statements that bind it and change what it stands for, without the bodies of functions."""
    reads: frozenset[tuple[str, str]]
    """The names in them, each with an attribute that is asked for; '' for the name itself."""


def text_of(module: ModuleType) -> Text:
    """What the text of a module says; that of an empty one if there is no source."""
    return _read(parse(loaded_text(vars(module))) or ast.Module([], []))


@lru_cache(maxsize=4096)
def making_of(name: str, text: str) -> Making | None:
    """How a module with this text makes a name; None if it does not say."""
    statements = statements_about([text], name)
    if not statements:
        return None
    tree = ast.parse(statements)
    reads: set[tuple[str, str]] = set()
    for node in list(ast.walk(tree)):
        match node:
            case ast.Name(read):
                reads.add((read, ""))
            case ast.Attribute(ast.Name(read), attribute):
                reads.add((read, attribute))
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                node.body = []  # its instructions are compared, which autoreload replaces without loading the module anew
    return Making(keys.digest(normal_form(tree)), frozenset(reads))


def digest_of(name: str, text: str) -> bytes | None:
    """Of how a module with this text makes a name, or of the ``WHOLE`` of it; None if it does not say."""
    if name != WHOLE:
        making = making_of(name, text)
        return None if making is None else making.digest
    tree = parse(text) if text else None
    return None if tree is None else keys.digest(normal_form(tree))


def assigned_in(source: str) -> frozenset[str]:
    """The names and attributes that a text sets when it is called."""
    tree = parse(source)
    return frozenset() if tree is None else _read(tree).assigned


@lru_cache(maxsize=256)
def _read(tree: ast.Module) -> Text:
    bound, set_by_code = _bindings(tree.body), frozenset(_globals_set(tree))
    chosen = set_by_code.union(name for name, found in bound.items() if not _is_certain(found))
    imported = {
        alias.asname or alias.name: (node.level, node.module or "", alias.name)
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if len(bound[alias.asname or alias.name]) == 1
    }
    of_others = (name for thing, name in attributes_set(tree) if not _is_self(thing))  # its class has what it had
    assigned = set_by_code.union(of_others)
    return Text(frozenset(_constants(bound)), frozenset(_defaults(bound)), chosen, imported, assigned)


def _is_self(thing: ast.expr) -> bool:
    return isinstance(thing, ast.Name) and thing.id == "self"


def _globals_set(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Global(names):
                yield from names
            case ast.Subscript(ast.Call(ast.Name("globals")), ast.Constant(str(name)), ast.Store()):
                yield name


def _bindings(body: Iterable[ast.stmt]) -> dict[str, list[tuple[ast.AST, bool]]]:
    """What binds each name in the body of a module or class, and whether it stands there itself, in no branch."""
    found: dict[str, list[tuple[ast.AST, bool]]] = {}
    waiting: list[tuple[ast.AST, bool]] = [(statement, True) for statement in body]
    while waiting:
        node, is_direct = waiting.pop()
        inside: Iterable[ast.AST] = ast.iter_child_nodes(node)
        names: list[str] = []
        match node:
            case ast.FunctionDef(name) | ast.AsyncFunctionDef(name) | ast.ClassDef(name):
                names, inside = [name], ()
            case ast.Lambda() | ast.AnnAssign(value=None):
                inside = ()
            case ast.Import(aliases) | ast.ImportFrom(names=aliases):
                names, inside = [alias.asname or alias.name.partition(".")[0] for alias in aliases], ()
            case ast.Assign([ast.Name(name)], value) | ast.AnnAssign(target=ast.Name(name), value=ast.expr() as value):
                names, inside = [name], [value]
            case ast.Name(name, ast.Store() | ast.Del()):
                names = [name]
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(str(name)):
                names = [name]
        for name in names:
            found.setdefault(name, []).append((node, is_direct))
        waiting += [(one, False) for one in inside]
    return found


def _is_certain(found: list[tuple[ast.AST, bool]]) -> bool:
    """Whether what binds a name is the same in every process, if anything does."""
    if len(found) > 1 and not all(is_direct for _, is_direct in found):
        return False
    for node, _ in found:
        value = node.value if isinstance(node, (ast.Assign, ast.AnnAssign)) else None
        if value is not None and any(isinstance(part, _CHOICES) for part in ast.walk(value)):
            return False
    return not any(isinstance(node, ast.Name) for node, _ in found)


def _constants(bound: dict[str, list[tuple[ast.AST, bool]]], prefix: str = "") -> Iterator[str]:
    for name, found in bound.items():
        match found:
            case [(ast.Assign(value=value) | ast.AnnAssign(value=value), True)] if _is_literal(value):
                yield prefix + name
            case [(ast.ClassDef(body=body), True)]:
                yield from _constants(_bindings(body), f"{prefix}{name}.")


def _defaults(bound: dict[str, list[tuple[ast.AST, bool]]], prefix: str = "") -> Iterator[str]:
    for name, found in bound.items():
        node = found[0][0] if len(found) == 1 else None
        if isinstance(node, ast.ClassDef):
            yield from _defaults(_bindings(node.body), f"{prefix}{name}.")
        elif isinstance(node, FUNCTIONS):
            for parameter, default in default_statements(node).items():
                if _is_literal(ast.parse(default, mode="eval").body):
                    yield f"{prefix}{name}.{parameter}"


def _is_literal(node: ast.AST | None) -> bool:
    match node:
        case ast.Constant():
            return True
        case ast.Tuple(parts):
            return all(map(_is_literal, parts))
        case ast.UnaryOp(operand=operand):
            return _is_literal(operand)
        case ast.BinOp(left, _, right):
            return _is_literal(left) and _is_literal(right)
        case ast.Call(ast.Name("frozenset"), [ast.Set(parts) | ast.List(parts) | ast.Tuple(parts)], []):
            return all(map(_is_literal, parts))
        case ast.Call(ast.Attribute(ast.Constant(), _), arguments, []):  # """…""".strip()
            return all(map(_is_literal, arguments))
    return False
