"""New nodes for the tree of a cell; pure."""

from __future__ import annotations

import ast
from typing import TypeVar

Node = TypeVar("Node", bound=ast.AST)


def placed(node: Node, original: ast.AST) -> Node:
    """A new node where the original stood, so that tracebacks point at what was typed."""
    for inner in ast.walk(node):
        if isinstance(inner, (ast.expr, ast.keyword)) and not hasattr(inner, "lineno"):
            ast.copy_location(inner, original)
    return ast.fix_missing_locations(node)


def lambda_of(body: ast.expr, *names: str) -> ast.Lambda:
    """The expression as a function of some names."""
    arguments = [ast.arg(name) for name in names]
    return ast.Lambda(ast.arguments(posonlyargs=[], args=arguments, kwonlyargs=[], kw_defaults=[], defaults=[]), body)
