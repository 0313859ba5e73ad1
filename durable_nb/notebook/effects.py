"""What a call does besides returning a value, so that a restored call does it too.

Seen and replayed: arguments changed in place, globals of the notebook that the code assigns or fills, and the state of
random number generators. A call is watched only while no other one of the cell runs: otherwise nobody knows whose doing
a change was.
"""

from __future__ import annotations

import sys
from collections import deque
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

from durable_nb import keys, origins, sources
from durable_nb.errors import Unkeyable
from durable_nb.notebook.generators import Generators, is_generator, set_state, set_states, state_of
from durable_nb.origins import SCALARS, Origin, is_data, is_frozen, origin_of

if TYPE_CHECKING:
    from durable_nb.sources import Fingerprint

Place = int | str
Effects = dict[str, Any]
_SETTLED = (*SCALARS, FunctionType, BuiltinFunctionType, MethodType, type, ModuleType)
_LARGE = 4096  # bytes of a global that is saved whole after each call that changes it: a counter, not a cache
_CONTAINERS = (list, dict, set, bytearray, deque)


def places(bound: tuple[Any, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[Place, Any]:
    """Every argument by where it stands, the receiver of a method before the first."""
    found: dict[Place, Any] = dict(enumerate((*bound, *args), -len(bound)))
    found.update(kwargs)
    return found


class NotRestorable(Exception):
    """Something was changed in place that cannot be put back."""

    def __init__(self, place: Place, value: Any) -> None:
        super().__init__(place, value)
        self.place, self.value = place, value


class Watch:
    """One call, from before to after."""

    def __init__(self, arguments: dict[Place, Any], fingerprint: Fingerprint) -> None:
        self._fingerprint = fingerprint
        self._arguments = {place: (value, seen) for place, value in arguments.items() if (seen := _seen(value))}
        self._globals = [(scope, name, _glance(scope.get(name))) for scope, name in fingerprint.state]
        self._generators = Generators(fingerprint)

    def effects(self, *, alone: bool) -> tuple[Effects, list[str]]:
        """What changed, and what changed but is not replayed.

        Raises
        ------
        NotRestorable
        """
        found: Effects = {}
        changed = {place: value for place, (value, seen) in self._arguments.items() if _seen(value) != seen}
        for place, value in changed.items():
            if not _can_be_restored(value):
                raise NotRestorable(place, value)
        if changed:
            found["arguments"] = changed
        assigned = {}
        left_out = []
        for scope, name, before in self._globals:
            if before == _glance(scope.get(name)):
                continue
            if alone and name in scope and origins.is_small(scope[name], _LARGE):
                assigned[str(scope.get("__name__")), name] = scope[name]
            else:
                left_out.append(name)
        for value in sources.changed_data(self._fingerprint):
            scope, name = self._place_of(value)
            if alone and name and origins.is_small(value, _LARGE) and _can_be_restored(value):
                assigned[str(scope.get("__name__")), name] = value
            else:
                left_out.append(name or f"a {type(value).__name__} that the function carries")
        if assigned:
            found["globals"] = assigned
        if (moved := self._generators.moved()) and alone:
            found["random"] = moved
        return found, left_out

    def _place_of(self, value: Any) -> tuple[Any, str]:
        found = ((scope, name) for scope, name, one in self._fingerprint.globals_read if one is value)
        return next(found, ({}, ""))


def repeat(effects: Effects, arguments: dict[Place, Any], scope: dict[str, Any]) -> None:
    """Do again what a call did besides returning its value."""
    for place, after in effects.get("arguments", {}).items():
        _put_back(arguments[place], after)
    for (module, name), after in effects.get("globals", {}).items():
        home = scope if module == scope.get("__name__") else vars(sys.modules[module])
        now = home.get(name)
        if type(now) is type(after) and not isinstance(now, SCALARS) and _can_be_restored(now):
            _put_back(now, after)
        else:
            home[name] = after
    set_states(effects.get("random", {}), scope)


def _seen(value: Any) -> bytes | None:
    """A digest of a value that can change; None for one that cannot, or has no value."""
    if isinstance(value, _SETTLED) or not is_data(value) or (type(value) in (tuple, frozenset) and is_frozen(value)):
        return _generator_seen(value)
    try:
        return keys.digest(value)
    except Unkeyable:
        return None


def _generator_seen(value: Any) -> bytes | None:
    return keys.digest(state_of(value)) if is_generator(value) else None


def _glance(value: Any) -> bytes | None:
    """A digest of a global that is assigned or filled; of a large one its length."""
    try:
        if isinstance(value, SCALARS) or origins.is_small(value):
            return keys.digest(value)
        return repr(len(value)).encode()
    except (Unkeyable, RuntimeError, TypeError):  # no value, changed by another thread meanwhile, no length
        return None


def _can_be_restored(value: Any) -> bool:
    if isinstance(value, (*_CONTAINERS, tuple)) or is_generator(value):
        return True
    module, name = type(value).__module__, type(value).__name__
    top = module.partition(".")[0]
    if top == "numpy" and name == "ndarray":
        return True
    if top == "pandas" and name in ("DataFrame", "Series"):
        return True
    return hasattr(value, "__dict__") and origin_of(module) is Origin.OWN


def _put_back(now: Any, after: Any) -> None:
    """Make an object equal to what it was after the call; what is inside stays the same object where it can."""
    if is_generator(now):
        set_state(now, state_of(after))
    elif isinstance(now, dict):
        merged = {key: _inside(now.get(key), item) for key, item in after.items()}
        now.clear()
        now.update(merged)
    elif isinstance(now, (list, deque)):
        before = list(now)
        items = [_inside(before[i] if i < len(before) else None, item) for i, item in enumerate(after)]
        now.clear()
        now.extend(items)
    elif isinstance(now, (set, bytearray)):
        now.clear()
        now |= after
    elif isinstance(now, tuple):
        for one, item in zip(now, after, strict=True):
            _inside(one, item)
    elif type(now).__module__.partition(".")[0] == "numpy":
        now[...] = after
    elif type(now).__module__.partition(".")[0] == "pandas":
        _put_back_table(now, after)
    else:
        fields = {key: _inside(vars(now).get(key), item) for key, item in vars(after).items()}
        vars(now).clear()
        vars(now).update(fields)


def _inside(now: Any, after: Any) -> Any:
    """The part itself, made equal, if it is of the same kind; else what it became."""
    if type(now) is not type(after) or isinstance(now, SCALARS) or not _can_be_restored(now):
        return after
    if type(now).__module__.partition(".")[0] == "numpy" and (now.shape, now.dtype) != (after.shape, after.dtype):
        return after
    if isinstance(now, tuple) and len(now) != len(after):
        return after
    if isinstance(now, tuple) and keys.digest(now) != keys.digest(after):
        return after
    if not isinstance(now, tuple):
        _put_back(now, after)
    return now


def _put_back_table(now: Any, after: Any) -> None:
    if type(now).__name__ == "Series":
        now.iloc[:] = after.iloc[:] if len(now) == len(after) else after.iloc[: len(now)]
        return
    if len(now) != len(after):
        now.drop(index=now.index, inplace=True)
    for column in [name for name in now.columns if name not in after.columns]:
        del now[column]
    now.index = after.index if len(now) == len(after) else now.index
    for column in after.columns:
        now[column] = after[column]
