"""What libraries were told that made a function: by decorators as they are written, or by the call that gave it."""

from __future__ import annotations

import ast
import copy
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

from durable_nb import syntax
from durable_nb.origins import Origin, origin_of

_REPEATING = frozenset({"tenacity", "backoff", "retrying", "stamina", "ratelimit", "cachetools", "diskcache", "joblib"})
"""Libraries whose decorators repeat, wait or remember, and change no value."""


class Told(NamedTuple):
    """Statements, or parts of them, that a library has read and keeps in a way of its own."""

    text: str
    names: tuple[str, ...]
    """Globals that are read in it."""


def what_made(statement: str, scope: dict[str, Any]) -> str:
    """Of a statement that makes a function what is called for it, the value that is assigned or the decorators, but for what
    only keeps or repeats its calls; '' if there is nothing.
    """
    tree = copy.deepcopy(syntax.parse(statement))
    last = tree.body[-1] if tree is not None and tree.body else None
    if isinstance(last, syntax.FUNCTIONS):
        made = [_Unkept(scope).visit(one) for one in last.decorator_list]
        return "\n".join(ast.unparse(one) for one in made if not _only_keeps(one, scope))
    if not isinstance(last, ast.Assign) or isinstance(last.value, ast.Lambda):
        return ""
    return ast.unparse(_Unkept(scope).visit(last))


class _Unkept(ast.NodeTransformer):
    """Takes away ``step(…)`` around a function, and what it is told: that is no part of the code."""

    def __init__(self, scope: dict[str, Any]) -> None:
        self._scope = scope

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        if not _only_keeps(node.func, self._scope):
            return node
        return node.args[0] if node.args else node.func


def _only_keeps(node: ast.expr, scope: dict[str, Any]) -> bool:
    """Whether an expression is of this library, or of one that repeats or remembers."""
    while isinstance(node, ast.Attribute | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    module = _module_of(scope.get(node.id)) if isinstance(node, ast.Name) else ""
    return module.partition(".")[0] in _REPEATING | {"durable_nb"}


def told_by(node: Any, scope: dict[str, Any]) -> Told:
    """What decorators of libraries are called with: the name of a model, a prompt, a check."""
    calls = [one for one in getattr(node, "decorator_list", ()) if isinstance(one, ast.Call)]
    calls = [one for one in calls if _library_in(one.func, scope) not in _REPEATING | {""}]
    read = {part.id for one in calls for part in ast.walk(one) if isinstance(part, ast.Name)}
    return Told("\n".join(map(ast.unparse, calls)), tuple(sorted(read & scope.keys())))


def made_decorators(node: Any, scope: dict[str, Any]) -> list[Any]:
    """Decorators that a call of a library has made: ``limited`` after ``limited = validate_call(config=config)``."""
    named = [scope.get(one.id) for one in getattr(node, "decorator_list", ()) if isinstance(one, ast.Name)]
    return [one for one in named if is_made_by_library(one)]


def is_made_by_library(thing: Any) -> bool:
    """Whether a call of a library has made a function."""
    made = isinstance(thing, FunctionType) and "<locals>" in thing.__code__.co_qualname
    return made and _library_of(str(thing.__globals__.get("__name__"))) not in _REPEATING | {""}


def is_by_library(node: Any, scope: dict[str, Any]) -> bool:
    """Whether a decorator of a library saw a definition, and with it its words."""
    return any(_library_in(decorator, scope) for decorator in getattr(node, "decorator_list", ()))


def _library_in(node: ast.AST, scope: dict[str, Any]) -> str:
    """The first library that a name in an expression is of; '' if there is none."""
    modules = (_module_of(scope.get(part.id)) for part in ast.walk(node) if isinstance(part, ast.Name))
    return next(filter(None, map(_library_of, modules)), "")


def _library_of(module: str) -> str:
    return module.partition(".")[0] if module and origin_of(module) is Origin.LIBRARY else ""


def _module_of(value: Any) -> str:
    """What a module is called, or that of a function or class; '' of what says none."""
    home = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    return home if isinstance(home, str) else ""
