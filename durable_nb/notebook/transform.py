"""The tree of a durable cell → the same cell with its possible steps marked; pure, line numbers kept.

An expression ``embed(clean(d)).vector`` in a loop becomes, on the same line::

    R.late(3, embed, lambda: R.given(clean(d)), lambda: (d, clean)) if R.owns(3, embed) else embed(clean(d)).vector

where ``R`` is the `Replay` of this cell, named by its number: bound lexically, because a generator expression may be
consumed by another thread, or after another cell has begun. Whether it *is* a step is decided when it is reached, by the
object that is called; ``pool.client.ask`` is read once for it (``R.read``), and used (``R.taken``): a property may give
another client each time. The bodies of functions, classes and lambdas stay as they are: what is pickled from them must
not refer to us, and must run without us.
"""

from __future__ import annotations

import ast
import copy
import itertools
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from durable_nb.notebook import names, sites
from durable_nb.notebook.names import dotted
from durable_nb.notebook.nodes import Node, lambda_of, placed
from durable_nb.notebook.sites import Chain, Plan, Site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CALLED = "__called__"


def planned(
    body: list[ast.stmt], replay: ast.expr, *, named: frozenset[str] = frozenset()
) -> tuple[list[ast.stmt], Plan]:
    """The statements of a cell with their possible steps marked, and what was found.

    Parameters
    ----------
    body : list of statements
        Of the cell, without the line that marks it. Not changed.
    replay : expression
        Evaluates to the `Replay` of the cell.
    named : set of str
        What is a step outside of loops too, as it is typed: ``model.encode``.
    """
    marker = _Marker(replay, named)
    marked = [marker.visit(copy.deepcopy(statement)) for statement in body]
    index = sites.first_of_interest(body, marker.first)
    if index is not None:
        ready = ast.Expr(marker.runtime("ready"))
        marked.insert(index, ast.fix_missing_locations(ast.copy_location(ready, body[index])))
    return marked, Plan.of(marker.sites, body, index)


class _Marker(ast.NodeTransformer):
    """One walk over a cell."""

    def __init__(self, replay: ast.expr, named: frozenset[str]) -> None:
        self.sites: list[Site] = []
        self.first: int | None = None
        """Line of the first possible step."""
        self._replay, self._named = replay, named
        self._varying: frozenset[str] = frozenset()
        self._touched: frozenset[str] = frozenset()
        self._depth = 0
        self._outer = -1

    def runtime(self, method: str, *args: ast.expr, keywords: list[ast.keyword] | None = None) -> ast.Call:
        """A call of the run-time half."""
        return ast.Call(ast.Attribute(copy.deepcopy(self._replay), method, ast.Load()), list(args), keywords or [])

    def _same(self, node: Node) -> Node:
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = visit_Lambda = _same  # noqa: N815 - as ast calls them

    def visit_For(self, node: Any) -> Any:
        """Its iterable is evaluated once per entry, outside of the loop."""
        node.iter = self.visit(node.iter)
        with self._loop([node.target, *node.body, *node.orelse]):
            node.body = self._each(node.body)
        node.orelse = self._each(node.orelse)
        return node

    visit_AsyncFor = visit_For  # noqa: N815

    def visit_While(self, node: ast.While) -> ast.While:
        """Its test is evaluated in every iteration."""
        with self._loop([node.test, *node.body]):
            node.test = self.visit(node.test)
            node.body = self._each(node.body)
        node.orelse = self._each(node.orelse)
        return node

    def _comprehension(self, node: Any) -> Any:
        generators = node.generators
        generators[0].iter = self.visit(generators[0].iter)
        with self._loop([generator.target for generator in generators]):
            for index, generator in enumerate(generators):
                if index:
                    generator.iter = self.visit(generator.iter)
                generator.ifs = self._each(generator.ifs)
            for field in ("key", "value") if isinstance(node, ast.DictComp) else ("elt",):
                setattr(node, field, self.visit(getattr(node, field)))
        return node

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension  # noqa: N815

    def visit_withitem(self, node: ast.withitem) -> ast.withitem:
        """A context manager is entered again; its arguments may be steps."""
        if isinstance(node.context_expr, ast.Call):
            self._inside(node.context_expr, self.visit)
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.Expr:
        """A method called for its effect runs again; its arguments may be steps."""
        value = node.value.value if isinstance(node.value, ast.Await) else node.value
        is_method = isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute)
        node.value = self._possible(node.value, for_effect=is_method)
        return node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        """A call, not followed by anything."""
        return self._possible(node)

    def visit_Await(self, node: ast.Await) -> ast.expr:
        """An awaited call."""
        return self._possible(node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        """What is read from the result of a call."""
        return self._possible(node) if isinstance(node.ctx, ast.Load) else self.generic_visit(node)  # type: ignore[return-value]

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        """What is taken from the result of a call."""
        return self._possible(node) if isinstance(node.ctx, ast.Load) else self.generic_visit(node)  # type: ignore[return-value]

    def _possible(self, node: ast.expr, *, for_effect: bool = False) -> ast.expr:
        """The expression, as a step if what it calls turns out to be one."""
        chain = sites.chain_of(node)
        form = self._form(node, chain) if chain is not None and sites.may_be_step(node, chain) else None
        if chain is None or form is None or not (self._depth or ast.unparse(chain.base.func) in self._named):
            return self._inside(node, self.visit)
        base, original, site = chain.base, copy.deepcopy(node), self._site(form, node, chain)
        looked_up = [base.func, *filter(None, map(sites.function_in, sites.handed_functions(base)))]
        owns = self.runtime("owns", ast.Constant(site.number), *map(copy.deepcopy, looked_up))
        if for_effect:
            owns.keywords = [ast.keyword("for_effect", ast.Constant(value=True))]
        first = sites.read_first(base)  # before the arguments are marked
        with self._part_of(site):
            plain = self._inside(node, self._along)
        for place, read in enumerate(looked_up):
            if read in first:
                self._read_once(place, owns, base, read)
        return placed(ast.IfExp(owns, self._step(site, original, base), plain), original)

    def _read_once(self, place: int, owns: ast.Call, base: ast.Call, read: ast.expr) -> None:
        """What the question whether it is a step has read is what is called or handed over."""
        owns.args[1 + place] = placed(self.runtime("read", ast.Constant(place), owns.args[1 + place]), read)
        taken = placed(self.runtime("taken", ast.Constant(place)), read)
        if read is base.func:
            base.func = taken
        else:
            handed = next(one for one in base.args if isinstance(one, ast.Call) and one.args[-1:] == [read])
            handed.args[-1] = taken

    def _form(self, node: ast.expr, chain: Chain) -> str | None:
        """How the key of a step is made; None if it cannot be one."""
        arguments: list[ast.AST] = [*chain.base.args, *chain.base.keywords]
        moves = any(map(sites.is_bound_here, arguments)) or any(map(sites.loops_inside, arguments))
        if chain.is_whole:
            return None if sites.is_bound_here(node) or sites.loops_inside(node) else "whole"
        return "late" if sites.calls_in(arguments) and not moves else "call"

    def _site(self, form: str, node: ast.expr, chain: Chain) -> Site:
        base = chain.base
        arguments: list[ast.AST] = [*base.args, *base.keywords]
        root = dotted(base.func).partition(".")[0]
        read = names.names_read([node] if form == "whole" else arguments)
        positional = itertools.takewhile(lambda one: not isinstance(one[1], ast.Starred), enumerate(base.args))
        given: list[tuple[int | str, ast.expr]] = [
            *positional,
            *((one.arg, one.value) for one in base.keywords if one.arg),
        ]
        site = Site(
            number=len(self.sites),
            form=form,
            line=node.lineno,
            text=ast.unparse(node),
            callee=ast.unparse(base.func),
            expression=names.renamed(node, self._varying),
            trail=() if form == "whole" else chain.trail,
            names=tuple(name for name in read if form != "whole" or name != root),
            varying=self._varying,
            touched=self._touched,
            builders=sites.calls_in(arguments) if form == "late" else (),
            arguments=tuple(
                (place, value.id)
                for place, value in given
                if isinstance(value, ast.Name) and value.id not in self._varying
            ),
            inside=self._outer,
        )
        self._add(site)
        return site

    def _step(self, site: Site, node: ast.expr, marked: ast.Call) -> ast.expr:
        """The expression as a step; ``marked`` is the call it begins with, what stands in its arguments marked."""
        chain, number, function = sites.chain_of(node), ast.Constant(site.number), copy.deepcopy(marked.func)
        assert chain is not None
        read = lambda_of(ast.Tuple([ast.Name(name, ast.Load()) for name in site.names], ast.Load()))
        if site.form == "whole":
            chain.base.func = ast.Name(_CALLED, ast.Load())
            step = self.runtime("whole", number, function, lambda_of(node, _CALLED), read)
        elif site.form == "late":
            given = lambda_of(self.runtime("given", *chain.base.args, keywords=chain.base.keywords))
            step = self.runtime("late_async" if site.awaits else "late", number, function, given, read)
        else:
            method, base = "call_async" if site.awaits else "call", copy.deepcopy(marked)
            step = self.runtime(method, number, function, *base.args, keywords=base.keywords)
        return ast.Await(step) if site.awaits else step

    def _along(self, node: ast.expr) -> ast.expr:
        """The expression that a chain goes on from: no step of its own."""
        spine = (ast.Call, ast.Attribute, ast.Subscript, ast.Await)
        return self._inside(node, self._along) if isinstance(node, spine) else self.visit(node)

    def _inside(self, node: ast.expr, along: Callable[[ast.expr], ast.expr]) -> ast.expr:
        """The expression with what is inside of it marked: arguments, functions that are handed over, naps."""
        if isinstance(node, ast.Call):
            handed = {id(argument) for argument in sites.handed_functions(node)}
            self._note_order(node)
            is_sleep = bool(self._depth) and dotted(node.func) in sites.SLEEPS and len(node.args) == 1
            # What is called is no step itself, only what it may be taken from.
            node.func = self._inside(node.func, along) if isinstance(node.func, ast.Attribute) else along(node.func)
            node.args = [self._handed(one, node) if id(one) in handed else self.visit(one) for one in node.args]
            for keyword in node.keywords:
                value = keyword.value
                keyword.value = self._handed(value, node) if id(value) in handed else self.visit(value)
            if is_sleep:
                node.args = [placed(self.runtime("nap", node.args[0], copy.deepcopy(node.func)), node)]
        elif isinstance(node, (ast.Attribute, ast.Await)):
            node.value = along(node.value)
        elif isinstance(node, ast.Subscript):
            node.value, node.slice = along(node.value), self.visit(node.slice)
        else:
            return self.visit(node)  # type: ignore[no-any-return]
        return node

    def _handed(self, function: ast.expr, call: ast.Call) -> ast.expr:
        """A function that is handed over: what receives it gets one that keeps its results."""
        text, to = ast.unparse(function), ast.unparse(call.func)
        site = Site(len(self.sites), "function", function.lineno, text, text, expression=to, varying=self._varying)
        self._add(site)
        made = function if sites.function_in(function) is not None else self.visit(function)
        return placed(self.runtime("handed", ast.Constant(site.number), made), function)

    def _note_order(self, node: ast.Call) -> None:
        for keyword in node.keywords:
            if keyword.arg == "key" and names.last_name(node.func) in sites.ORDERING and dotted(keyword.value):
                name = dotted(keyword.value)
                self._add(Site(len(self.sites), "order", node.lineno, ast.unparse(node), name, varying=self._varying))

    def _add(self, site: Site) -> None:
        self.sites.append(site)
        if self.first is None or site.line < self.first:
            self.first = site.line

    def _each(self, nodes: list[Any]) -> list[Any]:
        return [self.visit(node) for node in nodes]

    @contextmanager
    def _part_of(self, site: Site) -> Iterator[None]:
        before = self._outer
        self._outer = site.number if site.form != "call" else before
        yield
        self._outer = before

    @contextmanager
    def _loop(self, nodes: list[Any]) -> Iterator[None]:
        before = self._varying, self._touched
        self._varying |= names.names_bound(nodes)
        self._touched |= names.names_touched(nodes)
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            self._varying, self._touched = before
