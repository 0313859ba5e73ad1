"""Which names a piece of a notebook needs to find before it is run; pure.

What it binds itself before it reads it is no need. What a function of it reads is looked up when that is called, so it
is one only if nothing of the piece binds it.
"""

from __future__ import annotations

import ast
import re
import symtable
from typing import TYPE_CHECKING

from durable_nb.notebook.names import defined_by, names_bound

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_IN_LINES = re.compile(r"[{$]\s*([A-Za-z_]\w*)")
_PYTHON_LINES = frozenset({"time", "timeit", "prun", "capture"})
_LINES = frozenset({"run_line_magic", "run_cell_magic", "system", "getoutput"})


def names_needed(statements: Iterable[ast.stmt]) -> list[str]:
    """The names, in the order in which they are met."""
    reader = _Reader()
    for statement in statements:
        reader.visit(statement)
    later = (name for name in reader.later if name not in reader.bound)
    return list(dict.fromkeys([*reader.read, *later]))


class _Reader(ast.NodeVisitor):
    """Walks in the order of evaluation."""

    def __init__(self) -> None:
        self.bound: set[str] = set()
        self.read: list[str] = []
        self.later: list[str] = []
        self._inner: list[frozenset[str]] = []

    def visit_Name(self, node: ast.Name) -> None:
        if not isinstance(node.ctx, ast.Store):
            self._reads(node.id)
        if not isinstance(node.ctx, ast.Load):
            self.bound.add(node.id)

    def _reads(self, name: str) -> None:
        if name not in self.bound and not any(name in own for own in self._inner):
            self.read.append(name)

    def _in_turn(self, *parts: ast.AST | list[ast.stmt] | None) -> None:
        for part in parts:
            for node in part if isinstance(part, list) else [part]:
                if node is not None:
                    self.visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        self._in_turn(node.value, *node.targets)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self._reads(node.target.id)
        self._in_turn(node.value, node.target)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._in_turn(node.annotation, node.value)
        if node.value is not None or not isinstance(node.target, ast.Name):
            self.visit(node.target)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self._in_turn(node.value, node.target)

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        self._in_turn(node.iter, node.target, node.body, node.orelse)

    visit_AsyncFor = visit_For  # noqa: N815 - named by ast

    def visit_If(self, node: ast.If) -> None:
        """What only one branch binds may be unbound afterwards."""
        self.visit(node.test)
        before, after = set(self.bound), []
        for branch in (node.body, node.orelse):
            self.bound = set(before)
            self._in_turn(branch)
            after.append(self.bound)
        self.bound = after[0] & after[1]

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        self._in_turn(node.type)
        self.bound |= {node.name} if node.name else set()
        self._in_turn(node.body)

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        self.bound |= defined_by(node)

    visit_ImportFrom = visit_Import  # noqa: N815

    def visit_MatchAs(self, node: ast.MatchAs | ast.MatchStar) -> None:
        self.generic_visit(node)
        self.bound |= {node.name} if node.name else set()

    visit_MatchStar = visit_MatchAs  # noqa: N815

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._in_turn(*node.decorator_list)
        self._visit_arguments(node.args)
        self._in_turn(node.returns)
        self.later += globals_read(node)
        self.bound.add(node.name)

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._visit_arguments(node.args)
        inner = {name for own in self._inner for name in own}  # of a comprehension around it
        self.later += [name for name in globals_read(node) if name not in inner]

    def _visit_arguments(self, arguments: ast.arguments) -> None:
        self._in_turn(*arguments.defaults, *arguments.kw_defaults)
        every = [*arguments.posonlyargs, *arguments.args, arguments.vararg, *arguments.kwonlyargs, arguments.kwarg]
        self._in_turn(*(one.annotation for one in every if one is not None))

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._in_turn(*node.decorator_list, *node.bases, *node.keywords)
        for name in globals_read(node, deep=False):
            self._reads(name)
        self.later += globals_read(node)
        self.bound.add(node.name)

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> None:
        first, *rest = node.generators
        self.visit(first.iter)
        self._inner.append(names_bound(generator.target for generator in node.generators))
        self._in_turn(*first.ifs)
        for generator in rest:
            self._in_turn(generator.iter, *generator.ifs)
        self._in_turn(*([node.elt] if not isinstance(node, ast.DictComp) else [node.key, node.value]))
        self._inner.pop()

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension  # noqa: N815

    def visit_Call(self, node: ast.Call) -> None:
        """Lines for IPython are texts: ``!ls {folder}``, ``%time embed(doc)``."""
        self.generic_visit(node)
        if isinstance(node.func, ast.Attribute) and node.func.attr in _LINES:
            texts = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
            for name in (name for text in texts for name in _IN_LINES.findall(text)):
                self._reads(name)
            if texts and texts[0] in _PYTHON_LINES:
                self._in_turn([statement for text in texts[1:] for statement in _parsed(text)])


def _parsed(text: str) -> list[ast.stmt]:
    try:
        return ast.parse(text).body
    except SyntaxError:
        return []


def globals_read(node: ast.AST, *, deep: bool = True) -> list[str]:
    """Globals that a function or class reads, by the symbol tables of Python's own compiler."""
    table = symtable.symtable(ast.unparse(node), "<cell>", "exec")
    tables = [inner for child in table.get_children() for inner in (_all_tables(child) if deep else [child])]
    found = {name.get_name(): None for one in tables for name in one.get_symbols() if _is_read(name)}
    return list(found)


def _is_read(symbol: symtable.Symbol) -> bool:
    return symbol.is_global() and (symbol.is_referenced() or symbol.is_declared_global())  # n += 1 is no reference


def _all_tables(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    yield table
    for child in table.get_children():
        yield from _all_tables(child)
