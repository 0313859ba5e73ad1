"""Which code a name stands for: several functions may bear one label, and one function may be another after an edit."""

from __future__ import annotations

from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from durable_nb import keys, provenance, syntax
from durable_nb.bytecode import FILLING, Filled, code_of, step_function
from durable_nb.carried import Carried, carried_by
from durable_nb.errors import Unkeyable
from durable_nb.origins import SCALARS, Origin, can_be_filled, origin_of
from durable_nb.parts import Parts


class Identities(Parts):
    """Of the functions that a traversal has come to."""

    def __init__(self) -> None:
        super().__init__()
        self.called: dict[int, str] = {}
        self.bearers: dict[str, set[int]] = {}
        self._identities: dict[int, str] = {}
        self._open: set[int] = set()

    def follow(self, thing: Any, reached: str) -> str:
        """Take in a piece of code; made by the traversal."""
        raise NotImplementedError

    def identity(self, function: Any) -> str:
        """A digest of one function object: its code and what it carries; its label where it holds itself."""
        label = self.follow(function, "def:lambda in data")
        if not isinstance(function, FunctionType) or id(function) not in self.called:
            return keys.qualified_name(function) + label
        if id(function) in self._open:
            return label
        if id(function) not in self._identities:
            self._open.add(id(function))
            try:
                carried, filled = carried_by(function, syntax.function_node(function.__code__))
                held = {(one.kind, one.name): self._held(one, filled) for one in carried}
                what = (function.__code__.co_qualname, code_of(function), held)
                self._identities[id(function)] = keys.digest(what).hex()
            finally:
                self._open.discard(id(function))
        return self._identities[id(function)]

    def _held(self, carried: Carried, filled: dict[str, Filled]) -> object:
        if carried.name in filled and can_be_filled(carried.value):
            return self.value_of(filled[carried.name].remaining(carried.value))
        if isinstance(carried.value, SCALARS) and carried.statement and provenance.is_impure(carried.statement):
            return carried.statement
        return self.value_of(carried.value)

    def bound_to(self, thing: Any, target: str) -> str:
        """Which code a name stands for: its label if only one object bears it, else a digest."""
        thing = step_function(thing) or thing
        name = keys.qualified_name(thing)
        if isinstance(thing, type) and "<locals>" not in name:
            return target if target.startswith("class:") and origin_of(thing.__module__) is Origin.OWN else name
        if isinstance(thing, BuiltinFunctionType) and (
            thing.__self__ is None or isinstance(thing.__self__, ModuleType) or thing.__name__ in FILLING
        ):
            return name
        label = self.called.get(id(thing))
        wrapped = getattr(thing, "__dict__", {}).get("__wrapped__")
        if label is None and (isinstance(thing, FunctionType) or wrapped is not None):
            if wrapped is None or origin_of(getattr(wrapped, "__module__", None)) is not Origin.OWN:
                return name
            label = keys.qualified_name(getattr(thing, "__code__", type(thing)))
        if label is not None and len(self.bearers.get(label, ())) <= 1:
            return label if wrapped is None else f"{label} around {self.bound_to(wrapped, target)}"
        try:
            return f"{target} #{keys.digest(thing).hex()[:16]}"
        except Unkeyable:
            return target
