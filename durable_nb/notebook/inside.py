"""Objects that a call is given or reads, and that have no value of their own: which of their attributes it changes, and
what to.

A model or client has no value, but its attributes may have: a counter, a seed, the last page. Those that are small data are
saved after a call that changes them; anything else that is seen to change is told: so is a queue that is filled, a
context variable that is set, a database that is written to. Of an object of the user's, whose value is what it gives to
pickle, that goes for what its ``__getstate__`` leaves out.
"""

from __future__ import annotations

import threading
from contextvars import ContextVar
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

from durable_nb import keys, origins
from durable_nb.errors import Unkeyable
from durable_nb.notebook.contents import is_own
from durable_nb.origins import SCALARS, Origin, is_data

if TYPE_CHECKING:
    from collections.abc import Iterator

    from durable_nb.notebook.exposed import Named

_CODE = (type, FunctionType, MethodType, BuiltinFunctionType, ModuleType)
_QUEUES = frozenset({"queue", "_queue", "asyncio.queues", "multiprocessing.queues"})
_KEPT_BYTES = 4096  # of one attribute that is saved after each call that changes it


class Inside:
    """The attributes of one object, before a call."""

    def __init__(self, place: Any, one: Any) -> None:
        self.place = place
        """Of an argument where it stands, of a global (module, name)."""
        self._one, self._before = one, _seen(one)

    def changes(self, *, alone: bool) -> tuple[dict[str, Any], list[str]]:
        """The attributes that have another value now; and what the object is called, if some of that cannot be saved."""
        now, fields = _seen(self._one), getattr(self._one, "__dict__", {})
        if now == self._before:
            return {}, []
        changed = {name for name in now.keys() | self._before.keys() if now.get(name) != self._before.get(name)}
        kept = {name: fields[name] for name in changed if alone and _can_be_kept(fields, name)}
        if len(kept) == len(changed):
            return kept, []
        is_global = isinstance(self.place, tuple)
        return kept, [self.place[1] if is_global else f"the {type(self._one).__qualname__} that it is given"]


def objects_of(arguments: dict[Any, Any], read: Named) -> Iterator[tuple[Any, Any]]:
    """(place, object) of what a call may change inside: arguments, and globals of which the type says that it may."""
    for place, one in arguments.items():
        if may_change_inside(one) and _can_be_seen(one):
            yield place, one
    for place, one in read:
        if _can_be_seen(one):
            yield place, one


def may_change_inside(one: Any) -> bool:
    """Whether an object is of a library, of one of these types of Python's, or has a ``__getstate__`` of the user's."""
    if isinstance(one, (*_CODE, *SCALARS)):
        return False
    if is_own(one):
        return _leaves_out(type(one))
    is_of_library = origins.origin_of(type(one).__module__) is Origin.LIBRARY and not is_data(one)
    return is_of_library or isinstance(one, threading.local) or _has_level(type(one))


def _can_be_seen(one: Any) -> bool:
    if is_own(one):
        return True
    if _has_level(type(one)):
        return _level(one) is not None
    fields = _fields(one)
    return bool(fields) and origins.is_small(fields)


def _seen(one: Any) -> dict[str, Any]:
    if (level := _level(one)) is not None:
        return {"": level}
    found: dict[str, Any] = {}
    for name, value in _fields(one).items():
        try:
            found[name] = (
                id(value) if isinstance(value, _CODE) else keys.digest(value) if is_data(value) else type(value)
            )
        except (Unkeyable, RuntimeError):  # no value, or changed by another thread meanwhile
            found[name] = type(value)
    return found


def _fields(one: Any) -> dict[str, Any]:
    """The attributes of an object; of one that shows something where it stands, not how it looks; of one of the user's,
    those that are no part of its value.
    """
    fields = dict(getattr(one, "__dict__", None) or {})
    if is_own(one):
        state = one.__getstate__()
        return {name: value for name, value in fields.items() if name not in state} if isinstance(state, dict) else {}
    if not origins.is_display(one):
        return fields
    return {name: value for name, value in fields.items() if isinstance(value, SCALARS)}


def _leaves_out(kind: type) -> bool:
    """Whether a class says itself what of its objects is pickled."""
    return getattr(kind, "__getstate__", None) is not getattr(object, "__getstate__", None)


def _has_level(kind: type) -> bool:
    module = kind.__module__
    return kind is ContextVar or module in _QUEUES or (module == "sqlite3" and hasattr(kind, "total_changes"))


def _level(one: Any) -> Any:
    """What tells that an object of the standard library is not what it was; None for any other."""
    if not _has_level(type(one)):
        return None
    try:
        if type(one) is ContextVar:
            return (id(one.get(_level)),)
        return one.total_changes if type(one).__module__ == "sqlite3" else one.qsize()
    except Exception:  # of another thread's connection, or a queue that cannot count
        return None


def _can_be_kept(fields: dict[str, Any], name: str) -> bool:
    value = fields.get(name, _can_be_kept)
    try:
        return (
            is_data(value)
            and not isinstance(value, _CODE)
            and origins.is_small(value, _KEPT_BYTES)
            and bool(keys.digest(value))
        )
    except Unkeyable:
        return False
