"""What a call does besides returning a value, so that a restored call does it too.

Seen and replayed: arguments changed in place, globals of the notebook that the code assigns or fills, and the state of
random number generators. A call is watched only while no other one of the cell runs: otherwise nobody knows whose doing
a change was.
"""

from __future__ import annotations

import functools
import sys
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from durable_nb import keys, origins, sources
from durable_nb.errors import Unkeyable
from durable_nb.notebook.contents import can_be_put_back, put_value
from durable_nb.notebook.deltas import add, delta
from durable_nb.notebook.exposed import Exposed
from durable_nb.notebook.generators import Generators, set_states
from durable_nb.notebook.heap import (
    Heap,
    NotRestorable,
    put_back,
    result_of,
    way_from,
    way_to,
)
from durable_nb.notebook.inside import Inside, objects_of
from durable_nb.notebook.state import GONE, LARGE, Seen, at, glance, places_of, shared_globals
from durable_nb.origins import SCALARS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from durable_nb.sources import Fingerprint

__all__ = ["Effects", "NotRestorable", "Place", "Watch", "places", "repeat", "replayed"]

Place = int | str
Effects = dict[str, Any]


def places(bound: tuple[Any, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[Place, Any]:
    """Every argument by where it stands, the receiver of a method before the first."""
    found: dict[Place, Any] = dict(enumerate((*bound, *args), -len(bound)))
    found.update(kwargs)
    return found


class Watch:
    """One call, from before to after."""

    def __init__(self, arguments: dict[Place, Any], fingerprint: Fingerprint, exposed: Exposed) -> None:
        self._fingerprint, self._exposed = fingerprint, exposed
        self.saw_data_change = False
        """Whether data that the code reads is not what it was, once ``effects`` was asked."""
        filled = list(places_of(fingerprint, arguments))
        self._globals = [Seen.of(scope, name) for scope, name in filled]
        self._shared = shared_globals(filled, exposed.held)
        self._heap = Heap(arguments, self._shared)
        self._generators = Generators(exposed.generators)
        self._inside = [Inside(place, one) for place, one in objects_of(arguments, exposed.inside)]

    def effects(self, value: Any = None, *, alone: bool) -> tuple[Effects, list[str]]:
        """What a call that returned ``value`` changed, and what it changed that is not repeated.

        Raises
        ------
        NotRestorable
        """
        found: Effects = {}
        left_out = list(self._exposed.iterators)
        if changed := self._heap.changed_arguments():
            found["arguments"] = self._heap.changes(set(changed))
        for one in self._inside:
            moved, lost = one.changes(alone=alone)
            if moved:
                found.setdefault("inside", {})[one.place] = moved
            left_out += lost
        for scope, name, now in self._changed():
            home = str(scope.get("__name__") or "")
            if not (alone and home and self._take_global(found, scope, (home, name), now)):
                left_out.append(name)
        left_out += self._take_result(found, value, changed)
        drawn = self._generators.moved()
        left_out += [place[1] for place in drawn if not place[0]]  # of a class: nobody could say where it is
        if drawn := {place: state for place, state in drawn.items() if place[0]}:
            if alone:
                found["random"] = drawn
            else:
                left_out.append("the state of random numbers")
        return found, left_out

    def _take_global(self, found: Effects, scope: Any, place: tuple[str, str], now: Any) -> bool:
        """What a global holds now, by value and, if it holds other objects, by the ways to those that were there."""
        if now is GONE or not origins.is_small(now, LARGE):
            return False
        by_ways = self._by_ways(place) if self._shared.get(place) is now else None
        if by_ways is not None:
            found.setdefault("shared", {})[place] = by_ways
        if _has_value(now):
            found.setdefault("globals", {})[place] = now
        elif by_ways is None:
            return False
        seen = next((one for one in self._globals if one.scope is scope and one.name == place[1]), None)
        found.setdefault("globals_before", {})[place] = None if seen is None else seen.digest
        if seen is not None and (change := delta(seen.held, now)):
            found.setdefault("deltas", {})[place] = change
        return True

    def _by_ways(self, place: tuple[str, str]) -> bytes | None:
        try:
            return self._heap.changes({place}, with_shared=True)
        except NotRestorable:
            return None

    def _take_result(self, found: Effects, value: Any, changed: dict[Place, Any]) -> list[str]:
        """Where the result is, or objects in it are, if it is not all new; what cannot be said of that."""
        if isinstance(value, SCALARS):
            return []
        if (way := self._heap.way_of(value)) is not None:
            found["returned"] = way
            return []
        filled = {place: self._shared[place] for place in found.get("globals_before", ()) if place in self._shared}
        if (changed or filled) and (way := way_from({**changed, **filled}, value)) is not None:
            found["placed"] = way
            return []
        try:
            if (held := self._heap.holding(value)) is not None:
                found["holds"] = held
        except NotRestorable as error:
            return [f"the {type(error.value).__qualname__} that its result holds a part of"]
        return []

    def _changed(self) -> Iterator[tuple[Any, str, Any]]:
        """(scope, name, value) of every global, or other data of the function, that is not what it was."""
        told = set()
        for scope, name, before, _ in self._globals:
            now = at(scope, name)
            told.add(id(now))
            if before != glance(now):
                yield scope, name, now
        changed = sources.changed_data(self._fingerprint)
        self.saw_data_change = bool(changed)
        for value in changed:
            if id(value) not in told:
                scope, name = self._place_of(value)
                # What cannot be put back has no scope either: it is told, not repeated.
                yield scope if can_be_put_back(value) else {}, name or f"a {type(value).__name__} of its own", value

    def _place_of(self, value: Any) -> tuple[Any, str]:
        found = ((scope, name) for scope, name, one in self._fingerprint.globals_read if one is value)
        return next(found, ({}, ""))


def replayed(
    effects: Effects,
    value: Any,
    arguments: Callable[[], dict[Place, Any]],
    fingerprint: Fingerprint,
    scope: dict[str, Any],
) -> tuple[Any, list[str]]:
    """The value of a restored call, with all else that the call did; the globals that are not what they were before it.

    The value is the very object, or has objects in it that are, if that is what the call returned.
    """
    has_place = effects.keys() & {"shared", "returned", "placed"}
    given = arguments() if has_place or effects.keys() & {"arguments", "holds", "inside"} else {}
    shared = shared_globals(places_of(fingerprint, given), Exposed.of(fingerprint).held) if has_place else {}
    if "holds" in effects:
        value = result_of(effects["holds"], given)
    value = _at_the_end(effects.get("returned"), value, {**given, **shared})
    others = repeat(effects, given, scope, shared)
    return _at_the_end(effects.get("placed"), value, {**given, **shared}), others


def _at_the_end(way: tuple[Any, ...] | None, value: Any, around: dict[Any, Any]) -> Any:
    try:
        return value if way is None else way_to(way, around)
    except KeyError:  # what was shared is not what it was, and that is said
        return value


def repeat(
    effects: Effects,
    arguments: dict[Place, Any],
    scope: dict[str, Any],
    shared: Mapping[tuple[str, str], Any] = MappingProxyType({}),
) -> list[str]:
    """Do again what a call did besides returning its value; the globals that are not what they were before it."""
    others: list[str] = []
    if "arguments" in effects:
        put_back(effects["arguments"], arguments)
    for place, fields in effects.get("inside", {}).items():
        owner = _home(place[0], scope)[place[1]] if isinstance(place, tuple) else arguments[place]
        for name, after in fields.items():
            _put(vars(owner).get(name), after, functools.partial(vars(owner).__setitem__, name))
    was = {
        place: glance(at(_home(place[0], scope), place[1])) for place in effects.get("globals_before", {})
    }  # all before any
    for place, before in effects.get("globals_before", {}).items():
        home, name = _home(place[0], scope), place[1]
        is_same = before is None or before == was[place]
        if not is_same:
            others.append(name)
            if place in effects.get("deltas", {}) and (now := at(home, name)) is not GONE:
                _put_global(home, name, add(now, effects["deltas"][place]))
                continue
        if not (is_same and _put_shared(effects, place, arguments, shared)) and place in effects.get("globals", {}):
            _put_global(home, name, effects["globals"][place])
    set_states(effects.get("random", {}), scope)
    return others


def _put_shared(
    effects: Effects, place: tuple[str, str], arguments: dict[Place, Any], shared: Mapping[tuple[str, str], Any]
) -> bool:
    if place not in effects.get("shared", {}):
        return False
    try:
        put_back(effects["shared"][place], dict[Any, Any](arguments) | dict(shared))
    except KeyError:
        return False
    return True


def _put_global(home: dict[str, Any], name: str, after: Any) -> None:
    owner, _, attribute = name.partition(".")
    assign = (
        functools.partial(setattr, home[owner], attribute) if attribute else functools.partial(home.__setitem__, name)
    )
    _put(at(home, name), after, assign)


def _home(module: str, scope: dict[str, Any]) -> dict[str, Any]:
    return scope if module == scope.get("__name__") else vars(sys.modules[module])


def _put(now: Any, after: Any, assign: Callable[[Any], object]) -> None:
    """Make what is there what it was after the call; an object that others may hold too is filled, not replaced."""
    if type(now) is type(after) and not isinstance(now, SCALARS) and can_be_put_back(now):
        put_value(now, after)
    else:
        assign(after)


def _has_value(value: Any) -> bool:
    try:
        return bool(keys.digest(value))
    except Unkeyable:
        return False
