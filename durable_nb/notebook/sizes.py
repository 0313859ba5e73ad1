"""How many calls a loop will make, as far as its iterable says: what the time left is reckoned from; pure.

Looks at a tree that `transform` has marked: the iterable of every outermost loop, and what a function is mapped over, is
handed to the run-time half on its way, together with the numbers of the steps that stand in the loop.
"""

from __future__ import annotations

import ast
import copy
from typing import TYPE_CHECKING, Any

from durable_nb.notebook import names
from durable_nb.notebook.nodes import placed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_LOOPS = (ast.For, ast.AsyncFor, ast.While, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_PASSING_ON = frozenset({"enumerate", "zip", "tqdm", "reversed", "sorted", "list", "tuple", "iter", "track"})
_ROWS_OF = frozenset({"iterrows", "itertuples", "iter_rows"})
_MAPPING = frozenset(
    "map imap imap_unordered starmap filter apply applymap thread_map process_map progress_map progress_apply "  # noqa: SIM905 - one a line would fill a screen
    "map_elements parallel_apply".split()
)


def measured(body: list[ast.stmt], replay: ast.expr) -> list[ast.stmt]:
    """The marked statements, changed in place, with what their outermost loops iterate over handed to ``replay.sized``."""
    for statement in body:
        _Measure(replay).visit(statement)
    return body


class _Measure(ast.NodeVisitor):
    def __init__(self, replay: ast.expr) -> None:
        self._replay = replay

    def _leave(self, node: ast.AST) -> None:
        """Functions, classes and while loops: nobody knows how often."""

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = visit_Lambda = visit_While = _leave  # noqa: N815

    def visit_For(self, node: Any) -> None:
        """One iteration for each item."""
        self.visit(node.iter)
        node.iter = self._sized(node.iter, node.body)

    visit_AsyncFor = visit_For  # noqa: N815

    def _comprehension(self, node: Any) -> None:
        first = node.generators[0]
        self.visit(first.iter)
        inner = [node.elt] if hasattr(node, "elt") else [node.key, node.value]
        first.iter = self._sized(first.iter, [*inner, *first.ifs, *node.generators[1:]])

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension  # noqa: N815

    def visit_Call(self, node: ast.Call) -> None:
        """A function mapped over something: one call for each item of it."""
        self.generic_visit(node)
        handed = list(_number(node.args[0], "handed")) if node.args else []
        if not handed or names.last_name(node.func) not in _MAPPING:
            return
        if len(node.args) > 1:
            node.args[1] = self._hinted(node.args[1], handed, [])
        elif isinstance(node.func, ast.Attribute):
            node.func.value = self._hinted(node.func.value, handed, [])

    def _sized(self, iterable: ast.expr, body: Iterable[ast.AST]) -> ast.expr:
        here: set[int] = set()
        deeper: set[int] = set()
        for node in body:
            _collect(node, here, deeper)
        return self._hinted(iterable, sorted(here), sorted(deeper - here))

    def _hinted(self, node: ast.expr, here: list[int], deeper: list[int]) -> ast.expr:
        if isinstance(node, ast.Call) and names.last_name(node.func) in _PASSING_ON and node.args:
            node.args[0] = self._hinted(node.args[0], here, deeper)
            return node
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _ROWS_OF:
            node.func.value = self._hinted(node.func.value, here, deeper)
            return node
        if isinstance(node, ast.Starred) or not here:
            return node
        numbers = [ast.Tuple([ast.Constant(n) for n in some], ast.Load()) for some in (here, deeper)]
        sized = ast.Attribute(copy.deepcopy(self._replay), "sized", ast.Load())
        return placed(ast.Call(sized, [node, *numbers], []), node)


def _collect(node: ast.AST, here: set[int], deeper: set[int]) -> None:
    """The numbers of the sites inside: directly, and in loops of their own."""
    here.update(_number(node, "owns"), _number(node, "handed"))
    for child in ast.iter_child_nodes(node):
        _collect(child, deeper if isinstance(node, _LOOPS) else here, deeper)


def _number(node: ast.AST, method: str) -> Iterator[int]:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == method:
        first = node.args[0] if node.args else None
        if (
            isinstance(first, ast.Constant)
            and isinstance(first.value, int)
            and isinstance(node.func.value, ast.Subscript)
        ):
            yield first.value
