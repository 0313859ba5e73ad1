"""The names in a piece of a cell: which it reads, binds and changes; pure."""

from __future__ import annotations

import ast
import copy
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_INNER_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


def dotted(node: ast.AST) -> str:
    """``client.embeddings.create`` as text, '' for what is more than names and attributes."""
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return node.id if isinstance(node, ast.Name) else ""


def last_name(function: ast.expr) -> str:
    """The name by which something is called: ``map`` of ``pool.map``."""
    return function.attr if isinstance(function, ast.Attribute) else dotted(function)


def names_read(nodes: Iterable[ast.AST]) -> tuple[str, ...]:
    """Names that the expressions read and do not bind themselves, in order."""
    return tuple(dict.fromkeys(name for node in nodes for name in _free(node, frozenset())))


def _free(node: ast.AST, bound: frozenset[str]) -> Iterator[str]:
    """Names that are read from around; a lambda or comprehension binds its own inside of itself only."""
    if isinstance(node, ast.Name):
        if isinstance(node.ctx, ast.Load) and node.id not in bound:
            yield node.id
    elif isinstance(node, ast.Lambda):
        own = {arg.arg for arg in ast.walk(node.args) if isinstance(arg, ast.arg)}
        for default in [*node.args.defaults, *filter(None, node.args.kw_defaults)]:
            yield from _free(default, bound)
        yield from _free(node.body, bound | own)
    elif isinstance(node, COMPREHENSIONS):
        own = {name for generator in node.generators for name in names_bound([generator.target])}
        yield from _free(node.generators[0].iter, bound)
        for child in ast.iter_child_nodes(node):
            yield from _free(child, bound | own)
    else:
        for child in ast.iter_child_nodes(node):
            yield from _free(child, bound)


def names_bound(nodes: Iterable[ast.AST]) -> frozenset[str]:
    """Names that statements or targets bind, at this level of scope."""
    found: set[str] = set()
    for node in nodes:
        for inner in walk_here(node):
            if isinstance(inner, ast.Name) and not isinstance(inner.ctx, ast.Load):
                found.add(inner.id)
            else:
                found |= defined_by(inner)
    return frozenset(found)


def names_touched(nodes: Iterable[ast.AST]) -> frozenset[str]:
    """Names whose object statements may change in place: by storing into it, or by a method called for its effect."""
    found: set[str] = set()
    for node in nodes:
        for inner in walk_here(node):
            is_store = isinstance(inner, (ast.Attribute, ast.Subscript)) and not isinstance(inner.ctx, ast.Load)
            called = inner.value if isinstance(inner, ast.Expr) else None
            if is_store or isinstance(inner, ast.AugAssign):
                found.add(root_of(getattr(inner, "target", inner)))
            elif isinstance(called, ast.Call) and isinstance(called.func, ast.Attribute):
                found.add(root_of(called.func))
    return frozenset(found)


def renamed(node: ast.AST, varying: frozenset[str]) -> str:
    """The text with varying names replaced by their order of appearance."""
    node = copy.deepcopy(node)
    order: dict[str, str] = {}
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name) and inner.id in varying:
            inner.id = order.setdefault(inner.id, f"v{len(order)}")
    return ast.unparse(node)


def walk_here(node: ast.AST) -> Iterator[ast.AST]:
    """As ``ast.walk``, without the bodies of functions and classes."""
    waiting = [node]
    while waiting:
        inner = waiting.pop()
        yield inner
        if not isinstance(inner, _INNER_SCOPES):
            waiting.extend(ast.iter_child_nodes(inner))


def root_of(node: ast.AST) -> str:
    """The name that an attribute or item is taken from, however deep; '' for none."""
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def defined_by(node: ast.AST) -> set[str]:
    """Names that an import, a ``def`` or a ``class`` binds."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return {alias.asname or alias.name.partition(".")[0] for alias in node.names}
    return {node.name} if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) else set()


def names_in(text: str) -> frozenset[str]:
    """The names of an option: ``embed,model.encode``."""
    return frozenset(filter(None, (name.strip() for name in text.split(","))))
