"""Where a cell calls something that may be a step: the records that the transformer leaves for the run-time half; pure."""

from __future__ import annotations

import ast
import copy
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HANDING = frozenset(
    "map starmap imap imap_unordered map_async starmap_async apply apply_async applymap submit transform filter reduce "  # noqa: SIM905 - one a line would fill a screen
    "accumulate run_in_executor run_sync to_thread thread_map process_map progress_map progress_apply parallel_apply "
    "map_elements map_batches map_groups map_rows map_partitions delayed pipe gather_map".split()
)
"""Names of calls that call the functions they are handed."""

ORDERING = frozenset({"sorted", "sort", "min", "max", "nlargest", "nsmallest", "groupby"})
"""Names of calls that call their ``key`` an unknown number of times and throw the results away."""

SLEEPS = frozenset({"time.sleep", "asyncio.sleep", "sleep"})
_OURS = frozenset({"get_ipython", "super"})
_FUNCTION_KEYWORDS = frozenset({"func", "fn", "function", "f", "callable", "arg"})
_BINDING_INSIDE = (ast.NamedExpr, ast.Await, ast.Yield, ast.YieldFrom)
_SCOPED = frozenset(
    {"locals", "globals", "eval", "exec", "vars", "dir"}
)  # what they see depends on where they are called
_FRAMED = frozenset({"query", "eval"})  # pandas looks for @names in the frame of the caller
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_INNER_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)

Operation = tuple[Any, ...]
"""What is done with the result of a call: ('attr', name), ('item', key), ('call', args, kwargs) or ('await',)."""


class Site(NamedTuple):
    """One expression of a cell that may be a step."""

    number: int
    form: str
    """call: arguments first; late: by what its arguments are built from; whole: by all it reads; function: handed to
    somebody who calls it; order: the key of a sort."""
    line: int
    text: str
    """As it is typed."""
    callee: str
    """What is called, as it is typed: ``client.embeddings.create``."""
    expression: str = ""
    """The text with the names that the loop binds replaced by v0, v1 …, so that renaming them changes nothing."""
    trail: tuple[Operation, ...] = ()
    names: tuple[str, ...] = ()
    """Names that the arguments are built from."""
    varying: frozenset[str] = frozenset()
    """Names that the loops around bind anew."""
    touched: frozenset[str] = frozenset()
    """Names whose object the loops around may change in place."""
    builders: tuple[str, ...] = ()
    """What is called to build the arguments."""
    arguments: tuple[tuple[int | str, str], ...] = ()
    """(position or keyword, name) of the arguments that are plain names which the loop does not bind."""

    inside: int = -1
    """Number of the site whose arguments this one stands in: part of that step, if it is one."""

    @property
    def root(self) -> str:
        """The name that what is called starts with: ``client``."""
        return self.callee.partition(".")[0].partition("[")[0]

    @property
    def awaits(self) -> bool:
        """Whether the result is awaited before something else is done with it."""
        return ("await",) in self.trail


class Plan(NamedTuple):
    """What the transformer found in a cell."""

    sites: tuple[Site, ...]
    bound: frozenset[str]
    """Names that the cell binds itself."""
    mentioned: frozenset[str]
    """Names and dotted names that stand in the cell outside of its functions."""
    called: tuple[str, ...]
    """What it calls, in loops or not, as it is typed."""
    has_loop: bool


class Chain(NamedTuple):
    """``base(…)`` and what is done with its result, up to the end of the expression."""

    base: ast.Call
    trail: tuple[Operation, ...]
    is_whole: bool
    """A later call of the chain has arguments that are no constants: only the expression as a whole can be known."""


def chain_of(node: ast.expr) -> Chain | None:
    """The chain that an expression is, None if it calls nothing or its value is indexed by a variable."""
    trail: list[Operation] = []
    is_whole = False
    while True:
        if isinstance(node, ast.Attribute):
            trail.append(("attr", node.attr))
            node = node.value
        elif isinstance(node, ast.Await):
            trail.append(("await",))
            node = node.value
        elif isinstance(node, ast.Subscript):
            key = _constant(node.slice)
            if key is None:
                return None
            trail.append(("item", key[0]))
            node = node.value
        elif isinstance(node, ast.Call) and not _calls(node.func):
            return Chain(node, tuple(reversed(trail)), is_whole)
        elif isinstance(node, ast.Call):
            arguments = _constant_arguments(node)
            is_whole = is_whole or arguments is None
            trail.append(("call", *(arguments or ())))
            node = node.func
        else:
            return None


def dotted(node: ast.AST) -> str:
    """``client.embeddings.create`` as text, '' for what is more than names and attributes."""
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return node.id if isinstance(node, ast.Name) else ""


def last_name(function: ast.expr) -> str:
    """The name by which something is called: ``map`` of ``pool.map``."""
    return function.attr if isinstance(function, ast.Attribute) else dotted(function)


def handed_functions(call: ast.Call) -> list[ast.expr]:
    """Arguments that may be functions which the call will call."""
    if last_name(call.func) not in HANDING:
        return []
    keywords = [keyword.value for keyword in call.keywords if keyword.arg in _FUNCTION_KEYWORDS]
    made = [argument for argument in call.args[:1] if isinstance(argument, ast.Call)]  # map(made(k), docs)
    return [argument for argument in [*call.args, *keywords] if argument in made or _may_be_function(argument)]


def function_in(node: ast.expr) -> ast.expr | None:
    """A function that is handed over, without what a partial binds: that would be evaluated twice; None if it is made here."""
    if not isinstance(node, ast.Call):
        return node
    return node.args[0] if _may_be_function(node) and node.args else None


def may_be_step(node: ast.expr, chain: Chain) -> bool:
    """Whether an expression that calls something may be one step."""
    function = chain.base.func
    later = [inner for inner in ast.walk(node) if isinstance(inner, ast.Call) and inner is not chain.base]
    in_chain = [call for call in later if any(inner is chain.base for inner in ast.walk(call.func))]
    if any(map(handed_functions, in_chain)) or (in_chain and handed_functions(chain.base)):
        return False  # delayed(embed)(doc), rows.groupby("x").apply(embed)
    named = dotted(function)
    if isinstance(function, ast.Lambda) or is_bound_here(function) or named.partition(".")[0] in _OURS:
        return False
    return named not in SLEEPS | _SCOPED


def is_bound_here(node: ast.AST) -> bool:
    """Whether evaluating it elsewhere would bind, await or yield at another place."""
    return any(
        isinstance(inner, _BINDING_INSIDE)
        or (isinstance(inner, ast.Call) and (dotted(inner.func) in _SCOPED or last_name(inner.func) in _FRAMED))
        for inner in ast.walk(node)
    )


def loops_inside(node: ast.AST) -> bool:
    """Whether a comprehension inside calls something."""
    return any(isinstance(inner, _COMPREHENSIONS) and _calls(inner) for inner in ast.walk(node))


def calls_in(nodes: Iterable[ast.AST]) -> tuple[str, ...]:
    """What is called inside, as text, each once; '?' for what is no plain name."""
    found = [call.func for node in nodes for call in ast.walk(node) if isinstance(call, ast.Call)]
    return tuple(dict.fromkeys(dotted(function) or "?" for function in found))


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
    elif isinstance(node, _COMPREHENSIONS):
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
                found |= _defined(inner)
    return frozenset(found)


def names_touched(nodes: Iterable[ast.AST]) -> frozenset[str]:
    """Names whose object statements may change in place: by storing into it, or by a method called for its effect."""
    found: set[str] = set()
    for node in nodes:
        for inner in walk_here(node):
            is_store = isinstance(inner, (ast.Attribute, ast.Subscript)) and not isinstance(inner.ctx, ast.Load)
            called = inner.value if isinstance(inner, ast.Expr) else None
            if is_store or isinstance(inner, ast.AugAssign):
                found.add(_root(getattr(inner, "target", inner)))
            elif isinstance(called, ast.Call) and isinstance(called.func, ast.Attribute):
                found.add(_root(called.func))
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


def _calls(node: ast.AST) -> bool:
    return any(isinstance(inner, (ast.Call, ast.Await)) for inner in ast.walk(node))


def _may_be_function(node: ast.expr) -> bool:
    is_partial = isinstance(node, ast.Call) and last_name(node.func) == "partial"
    return isinstance(node, ast.Lambda) or bool(dotted(node)) or is_partial


def _constant(node: ast.AST) -> tuple[Any] | None:
    """The value of a constant index or argument, in a tuple; None if it is none."""
    if isinstance(node, ast.Slice):
        bounds = [(None,) if part is None else _constant(part) for part in (node.lower, node.upper, node.step)]
        return None if None in bounds else (slice(*(bound[0] for bound in bounds if bound)),)
    try:
        return (ast.literal_eval(node),)
    except (ValueError, TypeError, SyntaxError):
        return None


def _constant_arguments(call: ast.Call) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    positional = [_constant(argument) for argument in call.args]
    keywords = {keyword.arg: _constant(keyword.value) for keyword in call.keywords}
    if None in positional or None in keywords or None in keywords.values():
        return None
    return tuple(one[0] for one in positional if one), {str(name): one[0] for name, one in keywords.items() if one}


def _root(node: ast.AST) -> str:
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _defined(node: ast.AST) -> set[str]:
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return {alias.asname or alias.name.partition(".")[0] for alias in node.names}
    return {node.name} if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) else set()
