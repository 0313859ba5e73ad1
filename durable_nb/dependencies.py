"""What a function depends on: code first, then the data it reads, as named parts with their digests.

Followed: helpers, globals, closures, defaults, methods, classes, partials, decorators (through ``__wrapped__`` and
closures), whole files of the user's own modules. A library counts with its version, the standard library not at all.
Not followed: globals that the code itself writes or fills (counters, caches): they are state.

Data counts by value; an object without one (a model, a client) by the statement that created it, which ``provenance``
finds, and by the settings that statement reads. Nothing of the user's is executed, except what pickle would call on a
data value.
"""

from __future__ import annotations

import builtins
import functools
import re
import sys
from enum import Enum, EnumType
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

from durable_nb import keys, provenance, syntax
from durable_nb.bytecode import (
    body_of,
    cells_of,
    defaults_of,
    functions_of,
    is_generated,
    label_of,
    names_filled,
    names_used,
    scope_of,
    step_function,
)
from durable_nb.errors import Unkeyable
from durable_nb.origins import SCALARS, Origin, can_be_filled, is_data, is_setting, library, origin_of

_SHOWN = (type(None), bool, int, float, str, bytes)
_SECRET = re.compile(r"(?i)key|token|secret|passw|pwd|dsn|credential|auth")
_SECRET_VALUE = re.compile(r"://[^/\s]*@|^[\w+/=.-]{20,}$")
_CODE = (FunctionType, MethodType, BuiltinFunctionType, type, functools.partial)


class Read(NamedTuple):
    """A value that code reads."""

    label: str
    name: str
    value: Any
    scope: dict[str, Any]
    statement: str | None


class Walk:
    """One traversal: code first, then the data it reads, since only then it is known what the code writes."""

    def __init__(self) -> None:
        self.parts: dict[str, set[str]] = {}
        self.readable: dict[str, str] = {}
        self.sources: dict[str, str] = {}
        self.seen: dict[int, object] = {}
        self.written: set[tuple[int, str]] = set()
        self.filled: set[tuple[int, str]] = set()
        self.waiting: dict[tuple[str, int], Read] = {}
        self.done: set[tuple[str, int]] = set()
        self.bound: list[tuple[dict[str, Any], str, object]] = []

    def add(self, label: str, value: object) -> None:
        """Add a part, by its value."""
        self.parts.setdefault(label, set()).add(keys.digest(value).hex())

    def follow(self, thing: Any, reached: str) -> str:
        """Take in a piece of code; its label. ``reached`` is the label of a lambda, which has no name."""
        step = step_function(thing)
        if step is not None:
            return self.follow(step, reached)
        if isinstance(thing, functools.partial):
            name = self.follow(thing.func, reached)
            for key, value in [*enumerate(thing.args), *thing.keywords.items()]:
                self.read(f"argument {key} bound to {name.removeprefix('def:')}", "", value, scope_of(thing.func))
            return name
        if isinstance(thing, MethodType):
            name = self.follow(thing.__func__, reached)
            self.read(f"self of {name.removeprefix('def:')}", "", thing.__self__, scope_of(thing.__func__))
            return name
        if isinstance(thing, type):
            return self.follow_class(thing)
        if isinstance(thing, FunctionType):
            return self._function(thing, reached)
        if "__wrapped__" in getattr(thing, "__dict__", ()):  # functools.lru_cache, and what imitates it
            self._library(type(thing).__module__)
            return self.follow(thing.__dict__["__wrapped__"], reached)
        if isinstance(thing, BuiltinFunctionType):
            self._library(thing.__module__ or "builtins")
            return f"def:{keys.qualified_name(thing)}"
        self._data(Read(f"object {type(thing).__qualname__}", "", thing, {}, None))
        return self.follow_class(type(thing))

    def read(
        self, label: str, name: str, value: Any, scope: dict[str, Any] | None = None, statement: str | None = None
    ) -> None:
        """Take in a value that code reads: code and modules now, data when all code is known."""
        scope = {} if scope is None else scope
        if scope.get(name) is value:
            self.bound.append((scope, name, value))
        if (
            isinstance(value, _CODE)
            or step_function(value) is not None
            or "__wrapped__" in (getattr(value, "__dict__", None) or ())
        ):
            self.follow(value, f"def:{name or label}")
        elif isinstance(value, ModuleType):
            self._module(value)
        elif (label, id(value)) not in self.done:
            self.done.add((label, id(value)))
            self.waiting[label, id(value)] = Read(label, name, value, scope, statement)

    def finish(self) -> None:
        """Take in the data; data may hold functions, which may read more data."""
        while self.waiting:
            waiting, self.waiting = self.waiting, {}
            for read in waiting.values():
                place = (id(read.scope), read.name)
                filled = place in self.filled and can_be_filled(read.value)
                if not (read.label.startswith("global ") and (place in self.written or filled)):
                    self._data(read)

    def globals_read(self) -> tuple[tuple[dict[str, Any], str, object], ...]:
        """(scope, name, object) of every global the code reads and does not assign."""
        return tuple(one for one in self.bound if (id(one[0]), one[1]) not in self.written)

    def _data(self, read: Read) -> None:
        value = read.value
        if isinstance(value, SCALARS) and not isinstance(value, Enum):
            statement = self._statement(read)
            if statement is not None and provenance.is_volatile(statement):
                self._by_statement(read, statement)
                return
            self.add(read.label, value)
            shown = repr(value) if type(value) in _SHOWN else ""
            is_secret = _SECRET.search(read.label) or (isinstance(value, str) and _SECRET_VALUE.search(value))
            if 0 < len(shown) <= 40 and not is_secret:
                self.readable[read.label] = shown
            return
        if is_data(value):
            try:
                self.add(read.label, value)
                return
            except Unkeyable:
                self.follow_class(type(value))
        self._by_statement(read, self._statement(read))

    def _statement(self, read: Read) -> str | None:
        if read.statement is not None:
            return read.statement
        if read.name in read.scope and read.scope[read.name] is read.value:
            return provenance.statement_of(read.name, read.scope)
        if isinstance(read.value, SCALARS):
            return None
        # An argument of the function around a closure: perhaps a global is the same object.
        same = [name for name, other in list(read.scope.items()) if other is read.value and not name.startswith("_")]
        return provenance.statement_of(min(same), read.scope) if same else None

    def _by_statement(self, read: Read, statement: str | None) -> None:
        """An object without a value of its own: the statement that created it, and the settings it was created with."""
        self._library(type(read.value).__module__)
        if statement is None:
            self.add(read.label, ("type", keys.qualified_name(type(read.value))))
            return
        self.add(read.label, ("statement", provenance.statement_value(statement)))
        for name in provenance.names_read(statement):
            value = read.scope.get(name)
            if value is not None and name != read.name and is_setting(value):
                self.read(f"global {name}", name, value, read.scope)
            elif name not in read.scope and not hasattr(builtins, name) and not isinstance(read.value, SCALARS):
                # Made from a local variable that is gone: then the value must do, if there is one.
                self._try_value(read)

    def _try_value(self, read: Read) -> None:
        try:
            self.add(f"{read.label} (value)", read.value)
        except Unkeyable:
            return

    def _library(self, module: str) -> None:
        if origin_of(module) is Origin.LIBRARY:
            name, version = library(module)
            self.add(f"lib:{name}", version)
            self.readable[f"lib:{name}"] = version

    def _module(self, module: ModuleType) -> None:
        if id(module) in self.seen:
            return
        self.seen[id(module)] = module
        if origin_of(module.__name__) is not Origin.OWN:
            self._library(module.__name__)
            return
        tree = syntax.file_tree(str(vars(module).get("__file__") or ""))
        if tree is not None:
            self.add(f"module:{module.__name__}", syntax.normal_form(tree))
        for value in list(vars(module).values()):
            home = value if isinstance(value, ModuleType) else None
            if isinstance(value, (FunctionType, type)):
                home = sys.modules.get(value.__module__)
            if home is not None:
                self._module(home)

    def _function(self, function: FunctionType, reached: str) -> str:
        code = function.__code__
        module = str(function.__globals__.get("__name__"))  # functools.wraps copies __module__ from what it wraps
        label = label_of(code.co_qualname, module, reached)
        wrapped = vars(function).get("__wrapped__")
        if id(function) in self.seen:
            return label if wrapped is None else self.follow(wrapped, reached)
        self.seen[id(function)] = function
        root = label if wrapped is None else self.follow(wrapped, reached)
        if origin_of(module) is not Origin.OWN:
            self._library(module)
            for value in cells_of(function).values():
                if isinstance(value, _CODE):  # a decorator of a library around a function of ours
                    self.follow(value, reached)
            return root
        node = syntax.function_node(code)
        self.add(label, body_of(function) if node is None else syntax.normal_form(node))
        self.sources[label] = syntax.source_of(code)
        filled = frozenset() if node is None else names_filled(node)
        reads, writes, cells_written = names_used(code)
        scope = function.__globals__
        self.written |= {(id(scope), name) for name in writes}
        self.filled |= {(id(scope), name) for name in filled}
        for name in sorted(reads & scope.keys()):
            self.read(f"global {name}", name, scope[name], scope)
        for name, value in cells_of(function).items():
            if name not in cells_written and not (name in filled and can_be_filled(value)):
                is_value = is_data(value) and not isinstance(value, SCALARS)
                statement = None if is_value else provenance.enclosing_statement(code, name)
                self.read(f"closure {name} of {label.removeprefix('def:')}", name, value, scope, statement)
        written = syntax.default_statements(node)
        for name, value in defaults_of(function).items():
            if not (name in filled and can_be_filled(value)):
                self.read(f"default {name} of {label.removeprefix('def:')}", name, value, scope, written.get(name))
        return root

    def follow_class(self, cls: type) -> str:
        """Take in a class: its attributes, fields, bases and methods, or the version of its library."""
        name = keys.qualified_name(cls).removeprefix("__main__.").replace("<locals>.", "")
        label = f"class:{name}"
        if id(cls) in self.seen:
            return label
        self.seen[id(cls)] = cls
        if origin_of(cls.__module__) is not Origin.OWN:
            self._library(cls.__module__)
            return label
        home = sys.modules.get(cls.__module__)
        text = None if home is None else provenance.statement_of(cls.__name__, vars(home))
        if text is not None:
            self.sources[label] = text + "\n"
        data: dict[str, str] = {}
        for attribute, value in sorted(vars(cls).items()):
            functions = [function for function in functions_of(value) if not is_generated(attribute, function)]
            for function in functions:
                self.follow(function, f"def:{name}.{attribute}")
            if not functions_of(value) and not attribute.startswith(("__", "_abc_")):
                data[attribute] = self._value(value)
        if isinstance(cls, EnumType):
            members: dict[str, Any] = dict(cls.__members__)
            data = {key: self._value(member._value_) for key, member in members.items()}
        fields = [
            (field, self._value(details.default), self._value(details.default_factory))
            for field, details in vars(cls).get("__dataclass_fields__", {}).items()
        ]
        annotations = [
            (
                field,
                kind if isinstance(kind, str) else kind.__qualname__ if isinstance(kind, type) else self._value(kind),
            )
            for field, kind in vars(cls).get("__annotations__", {}).items()
        ]
        self.add(label, (data, fields, annotations, [keys.qualified_name(base) for base in cls.__bases__]))
        for base in cls.__bases__:
            self.follow_class(base)
        return label

    def _value(self, value: Any) -> str:
        if is_data(value) or isinstance(value, _CODE):
            try:
                return keys.digest(value).hex()
            except Unkeyable:
                pass  # a lock in a class: its type must do
        self._library(type(value).__module__)
        return keys.qualified_name(type(value))
