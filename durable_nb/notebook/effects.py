"""What a call does besides returning a value, so that a restored call does it too.

Seen and replayed: arguments changed in place, globals of the notebook that the code assigns or fills, and the state of
random number generators. A call is watched only while no other one of the cell runs: otherwise nobody knows whose doing
a change was.
"""

from __future__ import annotations

import functools
import sys
from types import FunctionType
from typing import TYPE_CHECKING, Any

from durable_nb import keys, origins, sources
from durable_nb.errors import Unkeyable
from durable_nb.notebook.generators import Generators, set_states
from durable_nb.notebook.heap import (
    Heap,
    NotRestorable,
    can_be_put_back,
    partly_digested,
    put_back,
    put_value,
    result_of,
    way_to,
)
from durable_nb.notebook.inside import Inside, objects_of
from durable_nb.origins import SCALARS, is_data

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from durable_nb.sources import Fingerprint

__all__ = ["Effects", "NotRestorable", "Place", "Watch", "places", "repeat", "returned"]

Place = int | str
Effects = dict[str, Any]
_GONE = object()
_LARGE = 4096  # bytes of a global that is saved whole after each call that changes it: a counter, not a cache


def places(bound: tuple[Any, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[Place, Any]:
    """Every argument by where it stands, the receiver of a method before the first."""
    found: dict[Place, Any] = dict(enumerate((*bound, *args), -len(bound)))
    found.update(kwargs)
    return found


class Watch:
    """One call, from before to after."""

    def __init__(self, arguments: dict[Place, Any], fingerprint: Fingerprint) -> None:
        self._fingerprint = fingerprint
        self.saw_data_change = False
        """Whether data that the code reads is not what it was, once ``effects`` was asked."""
        self._heap = Heap(arguments)
        self._globals = [(scope, name, _glance(_at(scope, name))) for scope, name in _places_of(fingerprint)]
        self._generators = Generators(fingerprint)
        self._inside = [Inside(place, one) for place, one in objects_of(arguments, fingerprint)]

    def effects(self, value: Any = None, *, alone: bool) -> tuple[Effects, list[str]]:
        """What a call that returned ``value`` changed, and what it changed that is not repeated.

        Raises
        ------
        NotRestorable
        """
        found: Effects = {}
        assigned, before, left_out = {}, {}, list(self._used_up())
        if (changes := self._heap.changes()) is not None:
            found["arguments"] = changes
        if (way := self._heap.way_of(value)) is not None:
            found["returned"] = way
        else:
            try:
                if (held := self._heap.holding(value)) is not None:
                    found["holds"] = held
            except NotRestorable as error:
                left_out.append(f"the {type(error.value).__qualname__} that its result holds a part of")
        for one in self._inside:
            moved, lost = one.changes(alone=alone)
            if moved:
                found.setdefault("inside", {})[one.place] = moved
            left_out += lost
        for scope, name, now in self._changed():
            home = str(scope.get("__name__") or "")
            if alone and home and now is not _GONE and origins.is_small(now, _LARGE) and _has_value(now):
                assigned[home, name] = now
                before[home, name] = next(
                    (seen for at, other, seen in self._globals if at is scope and other == name), None
                )
            else:
                left_out.append(name)
        if assigned:
            found["globals"], found["globals_before"] = assigned, before
        if drawn := self._generators.moved():
            if alone:
                found["random"] = drawn
            else:
                left_out.append("the state of random numbers")
        return found, left_out

    def _changed(self) -> Iterator[tuple[Any, str, Any]]:
        """(scope, name, value) of every global, or other data of the function, that is not what it was."""
        told = set()
        for scope, name, before in self._globals:
            now = _at(scope, name)
            told.add(id(now))
            if before != _glance(now):
                yield scope, name, now
        changed = sources.changed_data(self._fingerprint)
        self.saw_data_change = bool(changed)
        for value in changed:
            if id(value) not in told:
                scope, name = self._place_of(value)
                # What cannot be put back has no scope either: it is told, not repeated.
                yield scope if can_be_put_back(value) else {}, name or f"a {type(value).__name__} of its own", value

    def _used_up(self) -> Iterator[str]:
        """Iterators that the code may have advanced."""
        for _, name, value in self._fingerprint.globals_read:
            if hasattr(type(value), "__next__"):
                yield name

    def _place_of(self, value: Any) -> tuple[Any, str]:
        found = ((scope, name) for scope, name, one in self._fingerprint.globals_read if one is value)
        return next(found, ({}, ""))


def _places_of(fingerprint: Fingerprint) -> Iterator[tuple[Any, str]]:
    """(scope, name) of what the code assigns or fills; of a class or function its attributes, as ``Shelf.count``."""
    for scope, name in fingerprint.state:
        value = scope.get(name)
        if isinstance(value, (type, FunctionType)):
            own = (key for key, one in vars(value).items() if is_data(one) and not key.startswith("__"))
            yield from ((scope, f"{name}.{attribute}") for attribute in own)
        yield scope, name


def _at(scope: Any, name: str) -> Any:
    owner, _, attribute = name.partition(".")
    found = scope.get(owner, _GONE)
    return getattr(found, attribute, _GONE) if attribute else found


def repeat(effects: Effects, arguments: dict[Place, Any], scope: dict[str, Any]) -> list[str]:
    """Do again what a call did besides returning its value; the globals that are not what they were before it."""
    others: list[str] = []
    if "arguments" in effects:
        put_back(effects["arguments"], arguments)
    for place, fields in effects.get("inside", {}).items():
        owner = _home(place[0], scope)[place[1]] if isinstance(place, tuple) else arguments[place]
        for name, after in fields.items():
            _put(vars(owner).get(name), after, functools.partial(vars(owner).__setitem__, name))
    for (module, name), after in effects.get("globals", {}).items():
        home, (owner, _, attribute) = _home(module, scope), name.partition(".")
        assign = (
            functools.partial(setattr, home[owner], attribute)
            if attribute
            else functools.partial(home.__setitem__, name)
        )
        before = effects.get("globals_before", {}).get((module, name))
        if before is not None and before != _glance(_at(home, name)):
            others.append(name)
        _put(_at(home, name), after, assign)
    set_states(effects.get("random", {}), scope)
    return others


def _home(module: str, scope: dict[str, Any]) -> dict[str, Any]:
    return scope if module == scope.get("__name__") else vars(sys.modules[module])


def _put(now: Any, after: Any, assign: Callable[[Any], object]) -> None:
    """Make what is there what it was after the call; an object that others may hold too is filled, not replaced."""
    if type(now) is type(after) and not isinstance(now, SCALARS) and can_be_put_back(now):
        put_value(now, after)
    else:
        assign(after)


def returned(effects: Effects, value: Any, arguments: dict[Place, Any]) -> Any:
    """The value of a restored call: the very argument, or with parts of it inside, if that is what the call returned."""
    if "holds" in effects:
        return result_of(effects["holds"], arguments)
    return way_to(effects["returned"], arguments) if "returned" in effects else value


def _has_value(value: Any) -> bool:
    try:
        return bool(keys.digest(value))
    except Unkeyable:
        return False


def _glance(value: Any) -> bytes | None:
    """A digest of a global that is assigned or filled; of a large one its length."""
    if isinstance(value, FunctionType):
        return repr(sorted(vars(value))).encode()  # an attribute that was not there
    try:
        if isinstance(value, SCALARS) or origins.is_small(value):
            return keys.digest(value)
        return _shallow(value)
    except Unkeyable:
        return partly_digested(value)
    except (RuntimeError, TypeError):  # changed by another thread meanwhile, no length
        return None


def _shallow(value: Any) -> bytes:
    """Of a large value which objects it holds; of an array or table its memory."""
    if isinstance(value, dict):
        return repr(hash((*map(id, value), *map(id, value.values())))).encode()
    if isinstance(value, (list, tuple)):
        return repr(hash(tuple(map(id, value)))).encode()
    if type(value).__module__.partition(".")[0] in ("numpy", "pandas"):
        return keys.digest(value)
    return repr(len(value)).encode()
