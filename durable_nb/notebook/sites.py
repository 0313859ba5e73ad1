"""Where a cell calls something that may be a step: the records that the transformer leaves for the run-time half; pure."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any, NamedTuple

from durable_nb.notebook.names import COMPREHENSIONS, defined_by, dotted, last_name, names_bound, walk_here
from durable_nb.notebook.needs import globals_read
from durable_nb.provenance import changed_names
from durable_nb.syntax import FUNCTIONS

if TYPE_CHECKING:
    from collections.abc import Iterable

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
    stirred: frozenset[str]
    """Those, and the names of objects that it changes or calls methods on before its first possible step."""
    mentioned: frozenset[str]
    """Names and dotted names that stand in the cell outside of its functions."""
    called: tuple[str, ...]
    """What it calls, in loops or not, as it is typed."""
    has_loop: bool
    functions: dict[str, frozenset[str]]
    """The globals that each function reads which it defines and does not decorate."""

    @classmethod
    def of(cls, found: list[Site], body: list[ast.stmt], first: int | None) -> Plan:
        """Of the statements of a cell; ``first`` is the index of the one that holds its first possible step."""
        nodes = [inner for statement in body for inner in walk_here(statement)]
        bound = names_bound(body)
        return cls(
            tuple(found),
            bound,
            bound | changed_names(body[:first]),
            frozenset(dotted(node) for node in nodes if isinstance(node, (ast.Name, ast.Attribute))) - {""},
            calls_in(node for node in nodes if isinstance(node, ast.Call)),
            any(isinstance(node, (ast.For, ast.AsyncFor, ast.While, ast.comprehension)) for node in nodes),
            {
                one.name: frozenset(globals_read(one))
                for one in nodes
                if isinstance(one, FUNCTIONS) and not one.decorator_list
            },
        )


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


def read_first(call: ast.Call) -> list[ast.expr]:
    """What is called and the functions handed over, as far as reading them can have effects, and nothing else has before."""
    found, handed = [call.func], handed_functions(call)
    for argument in call.args:
        if isinstance(argument, ast.Attribute) and argument in handed:
            found.append(argument)
        elif not isinstance(argument, (ast.Name, ast.Constant)):
            break
    return [one for one in found if not isinstance(one, ast.Name)]


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


def first_of_interest(body: list[ast.stmt], line: int | None) -> int | None:
    """Index of the statement that holds the first possible step, which is on ``line``; without one, of the first that calls
    a function which the cell has defined, because its loop may be in there; None if there is none.
    """
    defined: set[str] = set()
    for index, statement in enumerate(body):
        if line is not None:
            if (statement.end_lineno or 0) >= line:
                return index
        elif defined & {name.partition(".")[0] for name in calls_in([statement])} and not defined_by(statement):
            return index
        defined |= defined_by(statement)
    return None


def is_bound_here(node: ast.AST) -> bool:
    """Whether evaluating it elsewhere would bind, await or yield at another place."""
    return any(
        isinstance(inner, _BINDING_INSIDE)
        or (isinstance(inner, ast.Call) and (dotted(inner.func) in _SCOPED or last_name(inner.func) in _FRAMED))
        for inner in ast.walk(node)
    )


def loops_inside(node: ast.AST) -> bool:
    """Whether a comprehension inside calls something."""
    return any(isinstance(inner, COMPREHENSIONS) and _calls(inner) for inner in ast.walk(node))


def calls_in(nodes: Iterable[ast.AST]) -> tuple[str, ...]:
    """What is called inside, as text, each once; '?' for what is no plain name."""
    found = [call.func for node in nodes for call in ast.walk(node) if isinstance(call, ast.Call)]
    return tuple(dict.fromkeys(dotted(function) or "?" for function in found))


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
