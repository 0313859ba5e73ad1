"""What a marked expression calls or hands over is read once: a property may give another client every time."""

from __future__ import annotations

import inspect
import threading
from types import ModuleType
from typing import Any

from durable_nb.origins import Origin, origin_of

_ABSENT = object()


class Reads(threading.local):
    """Values between the question whether an expression is a step, and the call that comes next in this thread."""

    def __init__(self) -> None:
        self._values: dict[int, Any] = {}

    def read(self, place: int, value: Any) -> Any:
        """The value, which is going to be taken."""
        self._values[place] = value
        return value

    def taken(self, place: int) -> Any:
        """The value that was read."""
        return self._values.pop(place)


def glimpsed(thing: Any, attribute: str, default: Any) -> Any:
    """An attribute; the default where it can only be told by running what the user wrote for whoever reads it."""
    if not isinstance(thing, ModuleType):
        found = inspect.getattr_static(thing, attribute, _ABSENT)
        reader = getattr(type(thing), "__getattr__", None) if found is _ABSENT else getattr(found, "fget", None)
        if reader is not None and origin_of(getattr(reader, "__module__", None)) is Origin.OWN:
            return default
    return getattr(thing, attribute, default)
