"""What one object holds, and how it is made to hold something else: in place, so that every other name for it sees that."""

from __future__ import annotations

from collections import deque
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

from durable_nb.notebook.generators import set_state, state_of
from durable_nb.origins import SCALARS, Origin, is_generator, origin_of

_COLLECTIONS = (list, deque, dict, set, bytearray)
_NEVER = (*SCALARS, type, FunctionType, MethodType, BuiltinFunctionType, ModuleType)


def can_be_put_back(value: Any) -> bool:
    """Whether a change inside of an object can be repeated."""
    if isinstance(value, _NEVER):
        return False
    if isinstance(value, _COLLECTIONS) or is_generator(value) or is_array(value):
        return True
    return (is_table(value) and hasattr(value, "_update_inplace")) or is_own(value)


def held_by(value: Any) -> Any:
    """What an object holds, as another object."""
    fields = (dict(vars(value)), _slots(value)) if is_own(value) else None
    if isinstance(value, bytearray):
        return (bytes(value), fields)
    if isinstance(value, _COLLECTIONS):
        kind = _given(value)
        return (dict(kind.items(value)) if isinstance(value, dict) else list(kind.__iter__(value)), fields)
    if is_generator(value):
        return (state_of(value), None)
    if is_array(value):
        return (value.copy(), fields)
    if is_table(value):
        return (value.copy(deep=True), (dict(value.attrs), getattr(value, "name", None)))
    return (None, fields)


def put_value(now: Any, after: Any) -> None:
    """Make one object equal to another of its kind, in place."""
    put(now, held_by(after))


def put(now: Any, held: tuple[Any, Any]) -> None:
    """Make an object hold what ``held_by`` said of another."""
    content, fields = held
    if isinstance(now, (dict, set)):
        _given(now).clear(now)
        _given(now).update(now, content)
    elif isinstance(now, (list, deque)):
        _given(now).clear(now)
        _given(now).extend(now, content)
    elif isinstance(now, bytearray):
        now[:] = content
    elif is_generator(now):
        set_state(now, content)
    elif is_array(now):
        now[...] = content
    elif is_table(now):
        now._update_inplace(content)  # noqa: SLF001 - what pandas itself does for inplace=True
        now.attrs = fields[0]
        if hasattr(now, "name") and type(now).__name__ == "Series":
            now.name = fields[1]
        return
    if is_own(now):
        vars(now).clear()
        vars(now).update(fields[0])
        for name, part in fields[1].items():
            object.__setattr__(now, name, part)


def _given(value: Any) -> Any:
    """The collection that a class of the user's is built on: its own methods may count, or change what they are given."""
    return next(kind for kind in type(value).__mro__ if origin_of(kind.__module__) is not Origin.OWN)


def _slots(value: Any) -> dict[str, Any]:
    """What an object holds besides its ``__dict__``: slots of its bases, pydantic's private fields."""
    names = {name for base in type(value).__mro__ for name in _names_of(vars(base).get("__slots__", ()))}
    return {n: getattr(value, n) for n in names - {"__dict__", "__weakref__"} if hasattr(value, n)}


def _names_of(slots: Any) -> Any:
    return (slots,) if isinstance(slots, str) else slots


def is_array(value: Any) -> bool:
    """Whether an object is an array of numpy, or of a class of the user's that is one."""
    kind = type(value)
    if not hasattr(kind, "__array_interface__"):
        return False
    if origin_of(kind.__module__) is Origin.OWN:
        kind = _given(value)
    return kind.__module__ == "numpy" and kind.__name__ == "ndarray"


def is_table(value: Any) -> bool:
    """Whether an object is a table or column of pandas."""
    kind = type(value)
    return kind.__module__.partition(".")[0] == "pandas" and kind.__name__ in ("DataFrame", "Series")


def is_own(value: Any) -> bool:
    """Whether an object is an instance of a class of the user's."""
    kind = type(value)
    return hasattr(value, "__dict__") and not isinstance(value, type) and origin_of(kind.__module__) is Origin.OWN
