"""Modules of the user, which a worker imports itself: whether it has loaded what the process that computes the run has.

A pool that lives on has a module as it was before an edit and a reload; a fresh worker has it as its file is now, whether that
was reloaded or not. Either way it would compute with other code than the result is saved under. So what the function uses of
such modules goes along, as digests. Of code they are those of its instructions: the text of a file says nothing of what was
loaded from it before.
"""

from __future__ import annotations

import functools
import re
import sys
from enum import Enum, EnumType
from types import FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from durable_nb import classes, keys, provenance
from durable_nb.bytecode import body_of, cells_of, defaults_of, names_used, step_function
from durable_nb.errors import Unkeyable
from durable_nb.executors.engines import Stale
from durable_nb.origins import SCALARS, Origin, is_data, is_frozen, origin_of
from durable_nb.parts import CODE
from durable_nb.sources import Glance, value_digest

if TYPE_CHECKING:
    from durable_nb.sources import Fingerprint

_OF_A_MACHINE = re.compile(r"__file__|environ|getenv|home|cwd|expanduser|abspath|resolve|node|cpu_count|executable")
_NOTHING = object()
_classes: WeakKeyDictionary[type, Used | None] = WeakKeyDictionary()
_statements: dict[tuple[str, str], tuple[object, str | None]] = {}
"""What made objects that have no value, as the file was when they were first asked for."""


class Used(NamedTuple):
    """Something of a module, as a process has loaded it."""

    module: str
    name: str
    """Dotted for what stands in a class."""
    digest: bytes | None
    """None of an object without a value: a client, a model."""
    statement: str | None
    """What made such an object, or a value that another machine need not share."""


class Checked:
    """Something that is refused where another code of the user's modules is loaded; it arrives as itself."""

    def __init__(self, thing: Any, used: tuple[Used, ...] | Met) -> None:
        self._thing, self._used = thing, used

    def __reduce__(self) -> tuple[Any, ...]:
        return checked, (self._thing, self._used)


class Met:
    """Classes that arguments were found to be of, while these were pickled; pickled itself after them."""

    def __init__(self) -> None:
        self.classes: dict[type, None] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        every = dict.fromkeys(base for cls in self.classes for base in cls.__mro__)
        return tuple, ([used for used in map(_used_class, every) if used is not None],)


def checked(thing: Any, used: tuple[Used, ...]) -> Any:
    """The thing, if what it uses is loaded here as it was where it comes from.

    Raises
    ------
    Stale
    """
    for one in used:
        if one.module in sys.modules and not _is_same(one):
            raise Stale(
                f"{one.module}.{one.name} is another one in a worker than in this process.",
                "If the module was edited and reloaded here, start the workers anew; if it was only edited, reload it here "
                f"(importlib.reload({one.module})). What is set in it while it runs belongs into the function's arguments.",
            )
    return thing


def used_by(fingerprint: Fingerprint) -> tuple[Used, ...]:
    """What the code behind a step uses of modules of the user; not what it fills itself, which is state."""
    found: dict[tuple[str, str], Any] = {}
    state = {(id(scope), name) for scope, name in fingerprint.state}
    attributes = set()
    for scope, name, value in fingerprint.globals_read:
        if type(scope) is not dict:  # of a class
            attributes.add((name, id(value)))
        elif (id(scope), name) not in state and _is_own(home := str(scope.get("__name__"))):
            found[home, name] = value
        for thing in (step_function(value) or value, *_classes_of(value)):
            if isinstance(thing, (FunctionType, type)):  # imported by name
                found[thing.__module__, thing.__qualname__] = thing if thing is not step_function(value) else value
    for (home, path), cls in list(found.items()):
        if isinstance(cls, type) and not isinstance(cls, EnumType):  # whose members are of it
            found |= {(home, f"{path}.{name}"): one for name, one in vars(cls).items() if (name, id(one)) in attributes}
    found = {place: value for place, value in found.items() if _is_own(place[0]) and _found(*place) is value}
    for label in fingerprint.parts:  # modules that the function imports when it is called
        module = label.removeprefix("module:")
        if module != label and module in sys.modules:
            names = vars(sys.modules[module]).items()
            found |= {(module, name): value for name, value in names if _is_code(value)}
    return tuple(_described(*place, value) for place, value in found.items() if not isinstance(value, ModuleType))


def _used_class(cls: type) -> Used | None:
    if cls not in _classes:
        home, path = cls.__module__, cls.__qualname__
        is_by_name = _is_own(home) and _found(home, path) is cls
        _classes[cls] = _described(home, path, cls) if is_by_name else None
    return _classes[cls]


def _classes_of(value: object) -> tuple[type, ...]:
    return (value if isinstance(value, type) else type(value)).__mro__


def _is_own(module: str) -> bool:
    return module in sys.modules and module not in ("__main__", "__mp_main__") and origin_of(module) is Origin.OWN


def _found(module: str, path: str) -> object:
    thing: Any = sys.modules[module]
    for name in path.split("."):
        thing = getattr(thing, "__dict__", {}).get(name, _NOTHING)
    return thing


def _is_same(there: Used) -> bool:
    value = _found(there.module, there.name)
    if value is _NOTHING:
        return False
    here = (_used_class(value) if isinstance(value, type) else None) or _described(there.module, there.name, value)
    if there.digest is not None and there.digest == here.digest:
        return True
    made = _statements.setdefault((there.module, there.name), (value, here.statement))[1]
    if there.statement is None or made is None:
        return there.digest is None
    return made == there.statement


def _described(module: str, name: str, value: object) -> Used:
    if _is_code(value):
        return Used(module, name, keys.digest(_code_of(value, set())), None)
    statement = provenance.statement_of(name, vars(sys.modules[module]))
    try:
        digest = value_digest(value, _Instructions()) if is_data(value) else None
    except Unkeyable:
        digest = None
    if isinstance(value, SCALARS) and statement is not None and provenance.is_impure(statement):
        digest = None
    is_elsewhere_another = isinstance(value, SCALARS) and _OF_A_MACHINE.search(statement or "")
    return Used(module, name, digest, statement if digest is None or is_elsewhere_another else None)


def _is_code(value: object) -> bool:
    return (
        isinstance(value, CODE) or step_function(value) is not None or "__wrapped__" in getattr(value, "__dict__", ())
    )


def _code_of(thing: Any, seen: set[int]) -> Any:
    """Instructions, and the plain values that go with them, of own code; of any other its name."""
    thing = step_function(thing) or thing
    if id(thing) in seen:
        return "seen"
    seen.add(id(thing))
    if isinstance(thing, functools.partial):
        return _code_of(thing.func, seen), [_carried(one, seen) for one in (*thing.args, *thing.keywords.values())]
    if isinstance(thing, MethodType):
        return _code_of(thing.__func__, seen)
    wrapped = getattr(thing, "__dict__", {}).get("__wrapped__")
    inner = None if wrapped is None else _code_of(wrapped, seen)
    if isinstance(thing, type) and origin_of(thing.__module__) is Origin.OWN:
        methods = {name: [_code_of(one, seen) for one in found] for name, found in classes.methods_of(thing).items()}
        members = (
            {name: _carried(one, seen) for name, one in classes.data_of(thing).items()}
            if isinstance(thing, EnumType)
            else {}
        )
        return methods, members, [_code_of(base, seen) for base in thing.__bases__]
    if isinstance(thing, FunctionType) and origin_of(thing.__globals__.get("__name__")) is Origin.OWN:
        code = thing.__code__
        if any(name.startswith("@py") for name in code.co_names):
            return "rewritten by pytest"
        carried = {**defaults_of(thing), **cells_of(thing)}
        plain = {
            name: _carried(one, seen) for name, one in carried.items() if name not in names_used(code).cells_written
        }
        return keys.digest(body_of(thing)), plain, inner
    return keys.qualified_name(thing if callable(thing) and hasattr(thing, "__qualname__") else type(thing)), inner


def _carried(value: Any, seen: set[int]) -> Any:
    """A value that code carries; of one that may have been filled meanwhile its type."""
    if _is_code(value):
        return _code_of(value, seen)
    return value if is_frozen(value) and not isinstance(value, Enum) else keys.qualified_name(type(value))


class _Instructions(Glance):
    """Stands where a walk does: what a function in data is."""

    def identity(self, function: Any) -> object:
        return _code_of(function, set())
