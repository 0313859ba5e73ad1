"""Runs cells plainly and marked, without a kernel: what they leave, in which order they evaluated, how they failed."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import re
import sys
from collections.abc import Iterator
from random import Random
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

from hypothesis import strategies as st

from durable_nb.notebook import sizes, transform
from durable_nb.notebook.reads import Reads
from durable_nb.notebook.sites import Plan
from durable_nb.notebook.trails import followed, followed_async

REPLAY = ast.Subscript(ast.Name("R", ast.Load()), ast.Constant(0), ast.Load())
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def marked(source: str, *named: str) -> tuple[ast.Module, Plan]:
    """The tree of a cell as it is compiled when it is durable, and its plan."""
    body, plan = transform.planned(ast.parse(source).body, REPLAY, named=frozenset(named))
    return ast.fix_missing_locations(ast.Module(sizes.measured(body, REPLAY), [])), plan


class CallsThrough:
    """A run-time half that keeps nothing: every possible step is one, or none is."""

    def __init__(self, plan: Plan, *, owned: bool) -> None:
        self.sites, self.owned = plan.sites, owned
        reads = Reads()
        self.read, self.taken = reads.read, reads.taken

    def owns(self, number: int, function: Any, /, *handed: Any, for_effect: bool = False) -> bool:
        return self.owned

    def call(self, number: int, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        return followed(function(*args, **kwargs), self.sites[number].trail)

    async def call_async(self, number: int, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        return await followed_async(function(*args, **kwargs), self.sites[number].trail)

    def late(self, number: int, function: Any, given: Any, names: Any, /) -> Any:
        self._read(number, names)
        args, kwargs = given()
        return self.call(number, function, *args, **kwargs)

    async def late_async(self, number: int, function: Any, given: Any, names: Any, /) -> Any:
        self._read(number, names)
        args, kwargs = given()
        return await self.call_async(number, function, *args, **kwargs)

    def whole(self, number: int, function: Any, expression: Any, names: Any, /) -> Any:
        self._read(number, names)
        return expression(function)

    def given(self, *args: Any, **kwargs: Any) -> Any:
        return args, kwargs

    def handed(self, number: int, function: Any) -> Any:
        return function

    def nap(self, seconds: Any, sleep: Any) -> Any:
        return seconds

    def sized(self, items: Any, here: Any, deeper: Any) -> Any:
        return items

    def ready(self) -> None:
        pass

    def _read(self, number: int, names: Any) -> None:
        with contextlib.suppress(NameError):
            assert len(self.sites[number].names) == len(names())


class Outcome(NamedTuple):
    """What is left of a cell."""

    namespace: dict[str, str]
    trace: list[Any]
    error: str
    line: int


def outcome(source: str, *, owned: bool | None = None) -> Outcome:
    """Of a cell that is run plainly (None), or marked with a run-time half for which every call is a step or none is."""
    trace: list[Any] = []
    space = namespace(trace)
    tree: ast.Module = ast.parse(source)
    if owned is not None:
        tree, plan = marked(source)
        space["R"] = [CallsThrough(plan, owned=owned)]
    error, line = "", 0
    try:
        code = compile(tree, "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        if code.co_flags & inspect.CO_COROUTINE:
            asyncio.run(_awaited(code, space))
        else:
            exec(code, space)
    except Exception as problem:
        error = f"{type(problem).__name__}: {problem}"
        traceback = problem.__traceback__
        while traceback is not None:
            if traceback.tb_frame.f_code.co_filename == "cell" and not line:
                line = traceback.tb_lineno
            traceback = traceback.tb_next
    left = {name: shown(value) for name, value in space.items() if name not in ("R", "__builtins__", "trace")}
    return Outcome(left, trace, error, line)


async def _awaited(code: Any, space: dict[str, Any]) -> None:
    await eval(code, space)


def shown(value: Any) -> str:
    """A value as text; code by its instructions."""
    if isinstance(value, FunctionType):
        return f"{value.__qualname__} {value.__code__.co_code.hex()} {value.__code__.co_names} {value.__defaults__}"
    if isinstance(value, ModuleType):
        return value.__name__
    if isinstance(value, type):
        return f"{value.__qualname__} {sorted(vars(value))}"
    return f"{type(value).__name__} {_ADDRESS.sub('', repr(value))}"


def namespace(trace: list[Any]) -> dict[str, Any]:
    """Names for cells, whose calls are traced."""

    class Number(int):
        """Can be called, indexed and iterated over, so that few cells fail."""

        @property
        def low(self) -> Number:
            return Number(self % 5)

        def plus(self, *others: Any, **named: Any) -> Number:
            trace.append(("plus", int(self), repr(others), repr(named)))
            return Number(self + len(repr(others)) + len(named))

        def __call__(self, *others: Any) -> Number:
            trace.append(("call", int(self), repr(others)))
            return Number(self + 1)

        def __getitem__(self, key: Any) -> Number:
            return Number(self // 2)

        def __iter__(self) -> Iterator[Number]:
            return iter([Number(n) for n in range(self % 3)])

        def __add__(self, other: int) -> Number:
            return Number((int(self) + int(other)) % 101)

    def traced(name: str) -> Any:
        def function(*args: Any, **kwargs: Any) -> Number:
            trace.append((name, shown(args), shown(kwargs)))
            return Number(sum(map(ord, f"{trace[-1]}")) % 101)

        function.__qualname__ = function.__name__ = name
        return function

    async def wait(*args: Any) -> Number:
        trace.append(("wait", repr(args)))
        await asyncio.sleep(0)
        trace.append(("waited", repr(args)))
        return Number(len(repr(args)))

    async def stream(count: int) -> Any:
        for n in range(count):
            yield Number(n)

    @contextlib.contextmanager
    def room(*args: Any) -> Iterator[Number]:
        trace.append(("enter", repr(args)))
        yield Number(len(repr(args)))
        trace.append(("leave",))

    def boom(*args: Any) -> None:
        trace.append(("boom", repr(args)))
        raise ValueError(f"boom {args}")

    class Shelf:
        """Gives something else every time that it is asked."""

        def __init__(self) -> None:
            self.asked_for = 0

        @property
        def book(self) -> Number:
            trace.append(("book", self.asked_for))
            self.asked_for += 1
            return Number(self.asked_for)

        @property
        def books(self) -> list[Number]:
            return [self.book]

        @property
        def asked(self) -> Any:
            number = self.book

            async def answer(*args: Any) -> Number:
                return number.plus(*args)

            return answer

        @property
        def submit(self) -> Any:
            return self.book.plus

    numbers = {name: Number(value) for name, value in zip("abcw", (3, 7, 12, 20), strict=True)}
    functions = {name: traced(name) for name in "fgh"}
    rest = {
        "items": [Number(4), Number(5), Number(4)],
        "wait": wait,
        "stream": stream,
        "room": room,
        "boom": boom,
        "shelf": Shelf(),
    }
    return {"__name__": "cell", "trace": trace, "Number": Number, **numbers, **functions, **rest, "sys": sys}


def cells() -> st.SearchStrategy[str]:
    """One to four statements, whose loops end; each from a seed, so that drawing is quick and shrinking drops statements."""
    seeds = st.lists(st.integers(0, 1 << 20), min_size=1, max_size=4)
    return seeds.map(
        lambda found: "\n".join("\n".join(_statement(Random(seed), ["a", "b", "c", "w"], 2)) for seed in found)
    )


def _number(draw: Random, names: list[str], depth: int) -> str:
    """An expression whose value is a number that can be called, indexed and iterated over."""
    kind = draw.choice(_KINDS if depth > 1 else _KINDS[:5] if depth else _KINDS[:1])
    if kind == "name":
        return draw.choice(names)
    if kind == "call":
        return f"{draw.choice('fgh')}({_arguments(draw, names, depth - 1)})"
    inner = _number(draw, names, depth - 1)
    if kind in ("method", "called"):
        return f"{inner}{'.plus' if kind == 'method' else ''}({_arguments(draw, names, depth - 1)})"
    other = _number(draw, names, depth - 1) if kind in ("sum", "choice") else ""
    forms = {"sum": f"({inner} + {other})", "choice": f"({inner} if {other} else a)", "walrus": f"(w := {inner})"}
    return forms.get(kind) or (f"{inner}.low" if kind == "low" else f"{inner}[{draw.choice(['0', '1:2', '-1'])}]")


def _arguments(draw: Random, names: list[str], depth: int) -> str:
    """What stands between the brackets of a call."""
    found = []
    for _ in range(draw.randrange(3)):
        kind, number = draw.choice(_PASSED), _number(draw, names, depth)
        element = _number(draw, [*names, "p"], depth).replace(":=", "+")
        over = draw.choice(["items", "a", "b"])
        forms = {
            "constant": draw.choice(["1", "'x'", "None"]),
            "list": f"[{element} for p in {over}]",
            "set": f"sorted({{{element} for p in {over}}})",
            "items": f"sorted({element} for p in {over} if p)",
            "starred": f"*{number}",
            "lambda": number if ":=" in number else f"(lambda z: {number})(1)",
            "text": number if '"' in number else f'f"{{{number}}}"',
        }
        found.append(forms.get(kind, number))
    return ", ".join([*found, f"k={_number(draw, names, depth)}"] if draw.random() < 0.3 else found)


def _statement(draw: Random, names: list[str], depth: int) -> list[str]:
    kind = draw.choice(_STATEMENTS if depth else _STATEMENTS[:3])
    number, name = _number(draw, names, 2), draw.choice("abc")
    body = (
        [f"    {line}" for _ in range(draw.choice((1, 2))) for line in _statement(draw, [*names, "i"], depth - 1)]
        if depth
        else []
    )
    element = _number(draw, [*names, "p"], 2).replace(":=", "+")
    return {
        "assign": [f"{name} = {number}"],
        "effect": [number],
        "add": [f"{name} += {number}"],
        "for": [f"for i in {draw.choice(['items', 'a', number])}:", *body, "else:", f"    c = {number}"],
        "while": [f"left = {number} % 3", "while (left := left - 1) > 0:", "    i = Number(left)", *body],
        "if": [f"if {number}:", f"    i = {number}", *body],
        "with": [f"with room({number}) as i:", *body],
        "try": ["try:", f"    boom({number})", "except ValueError as error:", "    i = b", *body],
        "list": [f"found = [{element} for p in items if {name}]"],
        "def": ["def k(i, *, d=1):", *body, "    return f(i)", "h(k(b))"],
    }[kind]


_KINDS = ["name", "call", "method", "low", "item", "called", "sum", "choice", "walrus"]
_PASSED = ["number", "number", "constant", "list", "set", "items", "starred", "lambda", "text"]
_STATEMENTS = ["assign", "effect", "add", "for", "while", "if", "with", "try", "list", "def", "for", "list"]
