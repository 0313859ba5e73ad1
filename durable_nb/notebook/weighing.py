"""How large a value is before it is pickled, what of the notebook it refers to, and whether it holds a credential.

A value is only weighed as far as a budget goes, and whatever cannot tell its size (a model, a client: their bulk lies in C)
is not weighed at all. So no pickle is ever begun of which it is not known that it stays small.
"""

from __future__ import annotations

import functools
import sys
from collections import deque
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

from durable_nb.credentials import holds
from durable_nb.notebook.descriptions import described
from durable_nb.origins import SCALARS, Origin, is_frozen, is_generator, origin_of

_COLLECTIONS = (dict, list, tuple, set, frozenset, deque)
_ATOMS = {type(None), bool, int, float, complex}
_CALLABLES = (type, FunctionType, BuiltinFunctionType)
_OF_ARRAYS = frozenset({"numpy", "torch"})
_OF_TABLES = frozenset({"pandas", "polars", "pyarrow"})
_MAIN = ("__main__", "__mp_main__")


class TooLarge(Exception):
    """More than the budget."""


class Unweighable(Exception):
    """A part cannot tell its size, or refers to what is gone; the text says which."""


class Confidential(Exception):
    """A part bears the name of a credential."""


class Weight:
    """Of one value: raises one of the above, or has these.

    Attributes
    ----------
    size : int
        Bytes, about.
    names : set of str
        Functions and classes of the notebook that a pickle refers to by name.
    shared : set of int
        Ids of the parts that can change: what two values have in common they share after a restart too.
    """

    def __init__(self, value: Any, budget: int) -> None:
        self.size, self.names, self.shared = 0, set[str](), set[int]()
        self._budget = budget
        self._alive: list[Any] = []  # ids are of objects that exist
        waiting = [value]
        while waiting:
            waiting += self._weighed(waiting.pop())

    def _add(self, size: int) -> None:
        self.size += size
        if self.size > self._budget:
            raise TooLarge

    def _is_known(self, value: Any) -> bool:
        if id(value) in self.shared:
            return True
        self.shared.add(id(value))
        self._alive.append(value)
        return False

    def _weighed(self, value: Any) -> list[Any]:
        kind = type(value)
        if kind in _ATOMS:
            self._add(9)
        elif isinstance(value, (str, bytes, bytearray)):
            self._add(len(value) + 8)
            if kind is bytearray:
                self._is_known(value)
        elif isinstance(value, _COLLECTIONS):
            return self._collection(value)
        elif isinstance(value, _CALLABLES):
            self._refer(value)
        elif isinstance(value, functools.partial):
            return [value.func, *value.args, *value.keywords.values()]
        elif (
            isinstance(value, ModuleType)
            or (kind.__module__, kind.__name__) == ("logging", "Logger")
            or isinstance(value, SCALARS)
            or is_frozen(value)
        ):
            self._add(64)
        elif (size := _declared(value)) is not None:
            self._add(size)
            self._is_known(value)
            return _objects_in(value)
        elif is_generator(value):
            self._add(4096)
            self._is_known(value)
        elif origin_of(kind.__module__) is Origin.OWN and not isinstance(value, MethodType):
            return self._own(value)
        else:
            raise Unweighable(described(value))
        return []

    def _collection(self, value: Any) -> list[Any]:
        kinds = {type(part) for part in value} if len(value) * 2 < self._budget else {object}
        self._add(16 + 2 * len(value))
        if not isinstance(value, (tuple, frozenset)) and self._is_known(value):
            return []
        if type(value) not in _COLLECTIONS:
            self._refer(type(value))
        more = list(vars(value).values()) if getattr(value, "__dict__", None) else []
        if isinstance(value, dict):
            for key, part in value.items():
                _refuse_confidential(key, part)
            return [*more, *value.keys(), *value.values()]
        if kinds == {str}:
            self._add(sum(map(len, value)))
        elif kinds <= _ATOMS:
            self._add(8 * len(value))
        else:
            return [*more, *value]
        return more

    def _own(self, value: Any) -> list[Any]:
        if self._is_known(value):
            return []
        self._add(32)
        self._refer(type(value))
        slots = (name for base in type(value).__mro__ for name in _names(vars(base).get("__slots__", ())))
        fields = {name: getattr(value, name) for name in slots if name != "__dict__" and hasattr(value, name)}
        fields |= getattr(value, "__dict__", None) or {}
        for name, part in fields.items():
            _refuse_confidential(name, part)
        return list(fields.values())

    def _refer(self, thing: Any) -> None:
        """A function or class goes into a pickle by its name: it must be what has this name."""
        self._add(64)
        module, name = str(getattr(thing, "__module__", "")), str(getattr(thing, "__qualname__", ""))
        if isinstance(thing, BuiltinFunctionType):
            return
        found: Any = sys.modules.get(module)
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is not thing:
            raise Unweighable(f"{name}, which is no global of the notebook" if module in _MAIN else f"{module}.{name}")
        if module in _MAIN:
            self.names.add(name.partition(".")[0])


def _refuse_confidential(name: Any, part: Any) -> None:
    if isinstance(name, str) and isinstance(part, (str, bytes)) and holds(name, part):
        raise Confidential(name)


def _declared(value: Any) -> int | None:
    """What a library says of the size of its arrays and tables; None of anything else."""
    kind = type(value)
    top = kind.__module__.partition(".")[0]
    if top in _OF_ARRAYS and hasattr(value, "dtype"):
        is_objects = str(value.dtype) == "object"  # who knows what of
        return None if is_objects or not isinstance(size := getattr(value, "nbytes", None), int) else size + 128
    if top == "pandas" and hasattr(value, "memory_usage"):
        if int(value.size) > 100_000:
            return int(value.size) * 16
        usage = value.memory_usage(deep=True)
        return int(usage if isinstance(usage, int) else usage.sum()) + 512
    if top == "polars" and hasattr(value, "estimated_size"):
        return int(value.estimated_size()) + 512
    if top in _OF_TABLES:
        size = getattr(value, "nbytes", None)
        return size + 512 if isinstance(size, int) else None
    if top == "PIL" and hasattr(value, "size"):
        return int(value.size[0] * value.size[1] * 4) + 512
    return None


def _objects_in(table: Any) -> list[Any]:
    """Of a pandas table the columns that may hold anything, as lists."""
    if type(table).__module__.partition(".")[0] != "pandas":
        return []
    columns = [column for _, column in table.items()] if hasattr(table, "columns") else [table]
    return [list(column) for column in columns if str(getattr(column, "dtype", "")) == "object"]


def _names(slots: Any) -> tuple[str, ...]:
    return (slots,) if isinstance(slots, str) else tuple(slots)
