"""What an expression of a cell calls: a step, whose code and receiver name its results, or something that runs again.

Decided by the object, when the expression is reached. A step is a function or method of the user, of a library whose
functions do work (a client, a model), or the network and processes of the standard library. Run again is what rebuilds
variables: builtins, the standard library, arrays and tables, classes, generators.
"""

from __future__ import annotations

import functools
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from durable_nb import keys, sources
from durable_nb.bytecode import scope_of, step_function
from durable_nb.classes import filled_by
from durable_nb.engine import arguments
from durable_nb.engine.options import Options
from durable_nb.engine.steps import Step
from durable_nb.errors import Unkeyable
from durable_nb.notebook.exposed import Exposed
from durable_nb.origins import Origin, is_data, origin_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable_nb.notebook.sites import Site
    from durable_nb.sources import Fingerprint

_PLUMBING = frozenset(
    "numpy pandas polars pyarrow scipy xarray tqdm rich IPython ipywidgets ipykernel matplotlib seaborn plotly joblib dask "  # noqa: SIM905 - one a line would fill a screen
    "distributed ray ipyparallel tenacity pydantic attr attrs dateutil pytz networkx more_itertools toolz".split()
)
_WORKING = frozenset({"urllib", "http", "subprocess", "ftplib", "smtplib", "poplib", "imaplib", "socket", "_socket"})
_GENERATES = 0x20 | 0x200  # inspect.CO_GENERATOR | CO_ASYNC_GENERATOR


class Callee(NamedTuple):
    """What is called."""

    step: CellStep | None
    """None: it is run again."""
    bound: tuple[Any, ...] = ()
    """(receiver,) of a method whose receiver is named by its value."""
    why: str = ""
    """Why it is run again, for people."""
    is_decorated: bool = False
    """It is a ``@step``, which keeps its results itself."""


_AS_WRITTEN = Options.of({})._replace(flow=None)


class CellStep(Step[..., Any]):
    """A function that a cell calls, undecorated."""

    def __init__(self, function: Callable[..., Any], *, name: str) -> None:
        super().__init__(function, name=name, options=_AS_WRITTEN)
        self._exposed: tuple[object, Exposed] | None = None

    def exposed_by(self, fingerprint: Fingerprint) -> Exposed:
        """What a call may change of what the code reads, ``fingerprint`` being that of now."""
        if self._exposed is None or self._exposed[0] is not fingerprint.globals_read:
            self._exposed = fingerprint.globals_read, Exposed.of(fingerprint)
        return self._exposed[1]

    def settle(self) -> None:
        """Data that the code reads was changed by the code itself: that is no edit."""
        if self._fingerprint is not None:
            self._fingerprint = sources.settled(self._fingerprint)


class ObjectMethod(CellStep):
    """A method of an object without a value (a client, a model): the statements that made the object stand for it."""

    def __init__(self, function: Callable[..., Any], *, name: str, root: str, path: str, scope: dict[str, Any]) -> None:
        super().__init__(function, name=name)
        self._root, self._path, self._scope = root, path, scope

    def fingerprint(self, *, fresh: bool = True) -> Fingerprint:
        """Of the global that the object is reached by, and of what is called on it."""
        last = self._fingerprint
        if last is None or fresh or not last.is_current():
            last = self._fingerprint = sources.fingerprint_of_global(self._root, self._scope, self._path)
        return last


class Callees:
    """The callees of one cell; each is looked into once."""

    def __init__(self, scope: dict[str, Any], *, steps: frozenset[str], replays: frozenset[str]) -> None:
        self._scope, self._steps, self._replays = scope, steps, replays
        self._known: dict[tuple[Any, ...], tuple[Callee, Any]] = {}
        self._again: dict[int, Callee] = {}

    def run_again(self, site: Site, why: str) -> None:
        """What is called at a site turned out to be nothing that can be kept."""
        self._again[site.number] = Callee(None, why=why)

    def forget(self) -> None:
        """Let go of every object that was called."""
        self._known.clear()

    def of(self, site: Site, function: Any) -> Callee:
        """What ``function``, called at ``site``, is."""
        if site.number in self._again:
            return self._again[site.number]
        kind = type(function)
        if kind is MethodType:
            receiver, called = function.__self__, function.__func__
        elif kind is BuiltinFunctionType and not isinstance(function.__self__, (ModuleType, type(None))):
            receiver, called = function.__self__, None
        else:
            return self._looked_into(site, function, (site.number, id(function)))
        if isinstance(receiver, type):
            return self._looked_into(site, function, (site.number, id(called), id(receiver)))
        # By type first: a text or a row is another object in every iteration.
        place = (site.number, function.__name__, type(receiver))
        found = self._known.get(place)
        if found is None:
            found = self._known[place] = (self._method(site, function, receiver), called)
        callee = found[0]
        if callee is _BY_STATEMENT:
            return self._object_method(site, function, receiver)
        return Callee(callee.step, (receiver,)) if callee.bound else callee

    def _looked_into(self, site: Site, function: Any, place: tuple[Any, ...]) -> Callee:
        found = self._known.get(place)
        if found is None:
            callee = self._function(site, function)
            if len(self._known) > 10_000:  # lambdas made anew in every iteration
                self._known.clear()
            found = self._known[place] = (callee, function)
        return found[0]

    def _function(self, site: Site, function: Any) -> Callee:
        if site.callee in self._replays:
            return Callee(None, why="--replay")
        if not callable(function) or is_ours(function):
            why = "not a function" if not callable(function) else "keeps its results itself"
            return Callee(None, why=why, is_decorated=step_function(function) is not None)
        is_forced = site.callee in self._steps
        if isinstance(function, type) and not is_forced:
            return Callee(None, why="makes an object")
        why = "" if is_forced else _why_plain(_module_of(function), function)
        if why:
            return Callee(None, why=why)
        if isinstance(function, (FunctionType, BuiltinFunctionType, MethodType, functools.partial, type)) or (
            "__wrapped__" in getattr(function, "__dict__", ()) and not filled_by(type(function), "__call__")
        ):
            return Callee(_step(site, function))
        # An object that is called: of an own class its value counts, any other is known by what made it.
        if is_data(function):
            return Callee(_step(site, type(function).__call__), (function,))
        return self._object_method(site, function, function)

    def _method(self, site: Site, function: Any, receiver: Any) -> Callee:
        if site.callee in self._replays:
            return Callee(None, why="--replay")
        if is_ours(receiver) or is_ours(function):
            return Callee(None, why="keeps its results itself")
        called = getattr(function, "__func__", None)
        module = _module_of(called) if called is not None else _home_of(receiver, function.__name__)
        why = "" if site.callee in self._steps else _why_plain(module, called)
        if not why and origin_of(module) is Origin.PYTHON and site.callee not in self._steps:
            why = "a method of the standard library"  # a connection: its answers depend on what was asked before
        if why:
            return Callee(None, why=why)
        if is_data(receiver) and called is not None:
            return Callee(_step(site, called), (receiver,))
        return _BY_STATEMENT

    def _object_method(self, site: Site, function: Any, receiver: Any) -> Callee:
        place = (site.number, getattr(function, "__name__", ""), id(receiver))
        found = self._known.get(place)
        if found is None:
            found = self._known[place] = (self._by_statement(site, function, receiver), receiver)
        return found[0]

    def _by_statement(self, site: Site, function: Any, receiver: Any) -> Callee:
        root, path = site.root, site.callee.partition(".")[2]
        is_named = all(part.isidentifier() for part in site.callee.split("."))  # models[0].encode is no name
        if is_named and root in self._scope and root not in site.varying | site.touched:
            name = getattr(function, "__qualname__", "") or site.callee
            return Callee(ObjectMethod(function, name=name, root=root, path=path, scope=self._scope))
        try:
            keys.digest(receiver)
        except Unkeyable as error:
            return Callee(None, why=f"called on a {type(receiver).__name__} made in the loop: {error.reason}")
        return Callee(_step(site, getattr(function, "__func__", function)), (receiver,))


_BY_STATEMENT = Callee(None, why="known by what made it")


def repeated(function: Any) -> str:
    """Of a method that is called for its effect: 'outside' if it changes the world, 'inside' if a variable; '' if it is a
    function, or a method of a class of the user, which may be a step.
    """
    receiver = getattr(function, "__self__", None)
    if receiver is None or isinstance(receiver, (ModuleType, type)):
        return ""
    module = type(receiver).__module__
    if origin_of(module) is Origin.OWN or is_ours(function):
        return ""
    top = module.partition(".")[0]
    if origin_of(module) is Origin.LIBRARY:
        return "inside" if top in _PLUMBING else "outside"
    return "outside" if top in _WORKING | {"sqlite3", "_io", "io"} else "inside"


def is_ours(thing: Any) -> bool:
    """Whether it is a step, a map or a workflow of this library, which keep their results themselves."""
    while isinstance(thing, functools.partial):
        thing = thing.func
    if step_function(thing) is not None:
        return True
    module = scope_of(thing).get("__name__") or type(thing).__module__
    return str(module).partition(".")[0] == "durable_nb"


def _step(site: Site, function: Any) -> CellStep:
    name = arguments.name_of(function)
    if site.form == "function" and site.callee.startswith("lambda"):
        name = f"lambda in {site.expression}"
    if not name or "<" in name:
        name = site.callee
    return CellStep(function, name=name)


def _module_of(function: Any) -> str | None:
    while isinstance(function, functools.partial):
        function = function.func
    if isinstance(function, MethodType):
        function = function.__func__
    return getattr(function, "__module__", None) or (
        "builtins" if isinstance(function, BuiltinFunctionType) else type(function).__module__
    )


def _home_of(receiver: Any, method: str) -> str:
    """The module of the class that a method in C comes from: an own list still appends as a list."""
    return next((base.__module__ for base in type(receiver).__mro__ if method in vars(base)), type(receiver).__module__)


def _why_plain(module: str | None, function: Any) -> str:
    """Why a function of a module is run again; '' if it is a step."""
    top = (module or "__main__").partition(".")[0]
    while isinstance(function, functools.partial):
        function = function.func
    code = getattr(function, "__code__", None)
    if code is not None and code.co_flags & _GENERATES:
        return "a generator, whose results cannot be kept"
    origin = origin_of(module)
    if origin is Origin.PYTHON:
        return "" if top in _WORKING else "a builtin" if top == "builtins" else "of the standard library"
    if origin is Origin.LIBRARY and top in _PLUMBING:
        return f"of {top}"
    return ""
