"""A durable cell on its way through IPython: its tree is rewritten when it is about to be compiled."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from IPython.core.error import InputRejected

from durable_nb.notebook.marking import MARKER

if TYPE_CHECKING:
    from durable_nb.notebook.sites import Plan


_STEPS = re.compile(r"--steps[= ]+(\S+)")
_APART = re.compile(r"(?:^|\s)--(?:background|detach)(?:\s|$)")


class CellRefused(InputRejected):
    """The cell could not be prepared; nothing of it was run. IPython drops a transformer that raises anything else."""

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


class DurableCells(ast.NodeTransformer):
    """An AST transformer of IPython: leaves every cell alone but those that begin with our marker."""

    def __init__(self) -> None:
        self.plans: dict[int, Plan] = {}
        """By the number that the first line of the cell is given; taken by the run that begins."""
        self.aside: dict[int, ast.Module] = {}
        """By the same number, the cells of which only the first line is run in front; that takes them too."""
        self._numbers = 0

    def visit(self, node: ast.AST) -> ast.AST:
        """The tree of a cell, its possible steps marked if it is durable."""
        if not isinstance(node, ast.Module) or not node.body or not _is_marker(node.body[0]):
            return node
        try:
            return self._marked(node)
        except Exception as error:
            raise CellRefused(
                f"durable_nb could not prepare this cell ({type(error).__name__}: {error}). Nothing was run. Run it "
                "without the %%durable line, and please report the cell."
            ) from error

    def _marked(self, node: ast.Module) -> ast.Module:
        from durable_nb.notebook import sizes, transform  # with the first durable cell, not with %load_ext

        begin = node.body[0].value  # type: ignore[attr-defined]
        self._numbers += 1
        number = ast.Constant(self._numbers)
        marker = ast.Attribute(ast.Name(MARKER, ast.Load()), "replays", ast.Load())
        replay = ast.Subscript(marker, number, ast.Load())
        named = frozenset(name for names in _STEPS.findall(begin.args[0].value) for name in names.split(","))
        body, plan = transform.planned(node.body[1:], replay, named=named)
        body = sizes.measured(body, replay)
        self.plans[self._numbers] = plan
        begin.keywords.append(ast.copy_location(ast.keyword("plan", number), begin))
        marked = ast.fix_missing_locations(ast.Module([node.body[0], *body], node.type_ignores))
        if not _APART.search(begin.args[0].value):
            return marked
        self.aside[self._numbers] = marked
        return ast.Module([node.body[0]], node.type_ignores)


def _is_marker(statement: ast.stmt) -> bool:
    call = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(call, ast.Call) and ast.unparse(call.func) == f"{MARKER}.begin"
