"""Modules of the user, which a worker imports itself: whether it has loaded what the process that computes the run has.

A pool that lives on has a module as it was before an edit and a reload; a fresh worker has it as its file is now, whether that
was reloaded or not. Either way it would compute with other code than the result is saved under. So what the function uses of
such modules goes along, as digests: of code those of its instructions, and constants that are written as literals. All else may
differ by process (clients, caches, paths, devices, what is drawn or filled), and who compares it refuses what is right: of that,
and of the rest, compared is the text that it is made by, as the file was when each process first looked.
"""

from __future__ import annotations

import functools
import sys
from enum import Enum, EnumType
from types import FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from durable_nb import classes, keys
from durable_nb.bytecode import body_of, cells_of, defaults_of, functions_of, names_used, step_function
from durable_nb.executors.engines import Stale
from durable_nb.executors.literals import WHOLE, assigned_in, digest_of, making_of, text_of
from durable_nb.loads import loaded_text
from durable_nb.origins import Origin, full_name, is_frozen, origin_of, own_file
from durable_nb.parts import CODE
from durable_nb.syntax import file_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from durable_nb.sources import Fingerprint

_NOTHING = object()


class Used(NamedTuple):
    """Something of a module, as a process has loaded it."""

    module: str
    name: str
    compared: tuple[str, ...]
    """What of it has one value everywhere, dotted: code, constants, attributes of a class, defaults of parameters."""
    digest: bytes
    making: bytes | None
    """Of the text that it is made by; None if there is no source."""


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
        # Described anew for each task: a class is patched, and autoreload changes it in place.
        every = dict.fromkeys(place for cls in self.classes for place in _places_of(cls))
        return tuple, (list(_described(every, frozenset())),)


def checked(thing: Any, used: tuple[Used, ...]) -> Any:
    """The thing, if what it uses is loaded here as it was where it comes from.

    Raises
    ------
    Stale
    """
    for one in used:
        if one.module in sys.modules and not _is_same(one):
            what = one.module if one.name == WHOLE else f"{one.module}.{one.name}"
            raise Stale(
                f"{what} is another one in a worker than in this process.",
                "If the module was edited and reloaded here, start the workers anew; if it was only edited, reload it here "
                f"(importlib.reload({one.module})). What is set in it while it runs belongs into the function's arguments.",
            )
    return thing


def used_by(fingerprint: Fingerprint) -> tuple[Used, ...]:
    """What the code behind a step uses of modules of the user, as far as their text makes it the same in every process."""
    places: dict[tuple[str, str], None] = {}
    elsewhere: list[Used] = []
    for label in fingerprint.parts:
        kind, _, path = label.partition(":")
        if kind in ("def", "class"):
            places |= dict.fromkeys(_place_in(path))
        elif kind == "module":  # the function imports it when it is called
            if _is_own(path):
                places |= dict.fromkeys((path, name) for name in vars(sys.modules[path]))
            elif file := own_file(path):
                elsewhere.append(Used(path, WHOLE, (), _digest(path, ()), digest_of(WHOLE, file_text(file))))
    for scope, name, value in fingerprint.globals_read:
        if _is_own(home := str(scope.get("__name__"))):
            places[home, name] = None
        places |= dict.fromkeys(_places_of(type(value)))
    assigned = [text_of(sys.modules[home]).assigned for home in dict.fromkeys(home for home, _ in places)]
    set_by_code = assigned_in(fingerprint.source).union(*assigned)
    return (*_described(places, set_by_code), *elsewhere)


def _place_in(path: str) -> Iterator[tuple[str, str]]:
    """The module in a dotted path, and the name in it; none of what a function has made, which goes along itself."""
    parts = path.partition(" ")[0].split(".")
    for length in range(len(parts) - 1, 0, -1):
        if _is_own(module := ".".join(parts[:length])):
            if length == len(parts) - 1 or isinstance(_found(module, parts[length]), type):
                yield module, parts[length]
            return


def _places_of(cls: type) -> Iterator[tuple[str, str]]:
    for base in cls.__mro__:
        yield from _place_in(keys.qualified_name(base))


def _is_own(module: str) -> bool:
    return module in sys.modules and module not in ("__main__", "__mp_main__") and origin_of(module) is Origin.OWN


def _described(places: Iterable[tuple[str, str]], set_by_code: frozenset[str]) -> Iterator[Used]:
    """What is compared of names in modules, and of those that they are made with."""
    waiting, seen = list(places), set()
    while waiting:
        module, name = place = waiting.pop()
        if place in seen or module not in sys.modules:
            continue
        seen.add(place)
        value, making = _found(module, name), making_of(name, loaded_text(vars(sys.modules[module])))
        certain = () if value is _NOTHING else _certain(module, name, value, set_by_code)
        compared = tuple(path for path in certain if _found(module, path) is not _NOTHING)
        if compared or making is not None:
            yield Used(module, name, compared, _digest(module, compared), making and making.digest)
        if (home := _imported_from(module, name)) is not None:
            waiting.append(home)
        for read, attribute in making.reads if making is not None else ():
            used = _found(module, read)
            if not isinstance(used, ModuleType):
                waiting.append((module, read))
            elif attribute and _is_own(used.__name__):
                waiting.append((used.__name__, attribute))


def _certain(module: str, name: str, value: object, set_by_code: frozenset[str]) -> list[str]:
    """What of a name has one value in every process: its code with the literals in it, or a constant."""
    text = text_of(sys.modules[module])
    if name in text.chosen:
        return []
    set_by_code |= text.assigned
    if not _is_code(value):
        return [name] if name not in set_by_code and _is_constant(module, name) else []
    constants = [path for path in text.constants if path.rpartition(".")[2] not in set_by_code]
    return [name, *sorted(path for path in (*constants, *text.defaults) if path.startswith(f"{name}."))]


def _is_same(there: Used) -> bool:
    if there.digest != _digest(there.module, there.compared):
        return False
    here = digest_of(there.name, loaded_text(vars(sys.modules[there.module])))
    return None in (here, there.making) or here == there.making


def _imported_from(module: str, name: str) -> tuple[str, str] | None:
    """The own module that a name is imported from, and its name there."""
    imported = text_of(sys.modules[module]).imported.get(name)
    if imported is None:
        return None
    level, home, there = imported
    home = full_name(sys.modules[module].__package__ or "", level, home)
    return (home, there) if _is_own(home) and home != module else None


def _is_constant(module: str, name: str) -> bool:
    """Whether a name is bound to a literal, in its module or in that from which it is imported."""
    text = text_of(sys.modules[module])
    if name not in text.imported:
        return name in text.constants
    home = _imported_from(module, name)
    return home is not None and _is_constant(*home)


def _found(module: str, path: str) -> object:
    thing: Any = sys.modules[module]
    for name in path.split("."):
        thing = _names_in(thing).get(name, _NOTHING)
    return thing


def _names_in(thing: Any) -> Mapping[str, Any]:
    """The names in a module or class; of a function its parameters with a default."""
    if isinstance(thing, EnumType):
        return {**vars(thing), **thing.__members__}
    if not isinstance(thing, type):
        function = step_function(thing) or next(iter(functions_of(thing)), None)
        while "__wrapped__" in (names := getattr(function, "__dict__", None) or {}):
            function = names["__wrapped__"]
        if isinstance(function, FunctionType):
            return defaults_of(function)
    return getattr(thing, "__dict__", None) or {}


def _digest(module: str, paths: tuple[str, ...]) -> bytes:
    return keys.digest([_compared(_found(module, path)) for path in paths])


def _compared(value: Any) -> object:
    if _is_code(value):
        return "code", _code_of(value, set())
    value = value._value_ if isinstance(value, Enum) else value
    return value if is_frozen(value) else ("another", keys.qualified_name(type(value)))


def _is_code(value: object) -> bool:
    return (
        isinstance(value, CODE)
        or step_function(value) is not None
        or "__wrapped__" in (getattr(value, "__dict__", None) or ())
    )


def _code_of(thing: Any, seen: set[int]) -> Any:
    """Instructions of own code, and of the own code that it is wrapped around; None of any other."""
    thing = step_function(thing) or thing
    if id(thing) in seen:
        return "seen"
    seen.add(id(thing))
    if isinstance(thing, functools.partial):
        return _code_of(thing.func, seen)
    if isinstance(thing, MethodType):
        return _code_of(thing.__func__, seen)
    if isinstance(thing, type):
        if origin_of(thing.__module__) is not Origin.OWN:
            return None
        methods = {
            name: [_code_of(one, seen) for one in found if _is_code(one)]
            for name, found in classes.methods_of(thing).items()
        }
        bases = [keys.qualified_name(base) for base in thing.__bases__ if origin_of(base.__module__) is Origin.OWN]
        return {name: found for name, found in methods.items() if any(found)}, bases
    wrapped = (getattr(thing, "__dict__", None) or {}).get("__wrapped__")
    inner = None if wrapped is None else _code_of(wrapped, seen)
    if not isinstance(thing, FunctionType) or origin_of(thing.__globals__.get("__name__")) is not Origin.OWN:
        return inner
    if any(name.startswith("@py") for name in thing.__code__.co_names):
        return "rewritten by pytest"
    written = names_used(thing.__code__).cells_written
    held = {name: _code_of(one, seen) for name, one in cells_of(thing).items() if name not in written and _is_code(one)}
    return keys.digest(body_of(thing)), held, inner
