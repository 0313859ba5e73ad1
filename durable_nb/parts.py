"""The parts of a fingerprint: how the data that code reads is written down.

Data counts by value; an object without one (a model, a client) by the statements that made it, which ``provenance``
finds, and by what those statements read. Nothing of the user's is executed, except what pickle would call on a value.
"""

from __future__ import annotations

import ast
import copy
import functools
import re
import sys
from enum import Enum
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from durable_nb import classes, credentials, decorations, keys, provenance, syntax
from durable_nb.bytecode import Filled, step_function
from durable_nb.errors import Unkeyable
from durable_nb.mutations import binds
from durable_nb.origins import (
    SCALARS,
    Origin,
    can_be_filled,
    is_data,
    is_display,
    is_environment,
    is_frozen,
    is_setting,
    library,
    origin_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

CODE = (FunctionType, MethodType, BuiltinFunctionType, type, functools.partial)
MISSING = "missing"
"""Readable value of a part: the name is not defined yet. A text of the user's would stand in quotes."""
_SHOWN = (type(None), bool, int, float, str, bytes)
_SECRET = re.compile(r"(?i)key|token|secret|passw|pwd|dsn|credential|auth")
_SECRET_VALUE = re.compile(r"://[^/\s]*@|^[\w+/=.-]{20,}$")


class Read(NamedTuple):
    """A value that code reads."""

    label: str
    name: str
    value: Any
    scope: dict[str, Any]
    statement: str | None
    filled: Filled | None = None
    bearer: object = None
    """The function that carries it, as a closure variable or a default."""


def without_secrets(statement: str) -> str:
    """The text of statements with what may be a password or token replaced by ***."""
    tree = syntax.parse(statement)
    if tree is None:
        return ""
    tree = copy.deepcopy(tree)
    for node in ast.walk(tree):
        named = isinstance(node, ast.keyword) and _SECRET.search(node.arg or "")
        for part in ast.walk(node) if named else [node]:
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                part.value = "***" if named or _SECRET_VALUE.search(part.value) else part.value
    return ast.unparse(tree)


class Parts:
    """Named parts, and what they were read from."""

    def __init__(self) -> None:
        self.parts: dict[str, set[str]] = {}
        self.readable: dict[str, str] = {}
        self.sources: dict[str, str] = {}
        self.bound: list[tuple[Mapping[str, Any], str, object]] = []
        self.mutable: list[tuple[Any, Filled | None]] = []
        self.scopes: dict[int, dict[str, Any]] = {}
        self.written: set[tuple[int, str]] = set()
        self.carried: list[tuple[Any, str]] = []
        self.filled: dict[tuple[int, str], Filled] = {}
        self.shapes: list[tuple[str, type]] = []
        self._credentials: dict[int, credentials.Credentials] = {}

    def credentials(self, scope: dict[str, Any]) -> credentials.Credentials:
        """What must not be shown, as far as the environment and a scope tell."""
        known = self._credentials.get(id(scope))
        if known is None:
            known = self._credentials[id(scope)] = credentials.known_in(scope)
        return known

    def state(self) -> tuple[tuple[Any, str], ...]:
        """(scope, name) of every global, closure variable or default that the code assigns or fills."""
        places = self.written | self.filled.keys()
        found = [(self.scopes[scope], name) for scope, name in sorted(places, key=str) if scope in self.scopes]
        return (*found, *self.carried)

    def globals_read(self) -> tuple[tuple[Any, str, object], ...]:
        """(scope, name, object) of every global the code reads and does not assign."""
        return tuple(one for one in self.bound if (id(one[0]), one[1]) not in self.written)

    def add(self, label: str, value: object, shown: str = "") -> None:
        """Add a part, by its value; ``shown`` instead of the digest in messages."""
        self.parts.setdefault(label, set()).add(keys.digest(value).hex())
        if shown:
            self.readable[label] = shown

    def add_library(self, module: str) -> None:
        """Add the version of the library a module belongs to."""
        if origin_of(module) is Origin.LIBRARY:
            name, version = library(module)
            self.add(f"lib:{name}", version, version)

    def add_data(self, read: Read) -> None:
        """Add a value that is no code."""
        value = read.value
        if isinstance(value, SCALARS) and not isinstance(value, Enum):
            statement = self._statement(read)
            if statement is not None and self._differs_in_every_kernel(statement, read.scope):
                self._by_statement(read, statement)
                return
            shown = repr(value) if type(value) in _SHOWN else ""
            is_secret = _SECRET.search(read.label) or (isinstance(value, str) and _SECRET_VALUE.search(value))
            is_shown = len(shown) <= 40 and not is_secret
            is_shown = is_shown and not (len(shown) > 6 and self.credentials(read.scope).found_in(shown))
            self.add(read.label, value, shown if is_shown else "")
            return
        if is_data(value) and not is_environment(value):
            try:
                if read.filled is not None and can_be_filled(value):
                    value = read.filled.remaining(value)
                    if value is None:
                        return
                    self.follow_class(type(read.value))
                self.add(read.label, value)
                if not is_frozen(read.value):
                    self.mutable.append((read.value, read.filled))
                return
            except Unkeyable:
                self.follow_class(type(value))
        self._by_statement(read, self._statement(read))

    def value_of(self, value: Any) -> str:
        """A digest of a value, or the name of its type if it has none."""
        if is_data(value) or isinstance(value, CODE):
            try:
                return keys.digest(value).hex()
            except Unkeyable:
                pass  # a lock in a class: its type must do
        self.add_library(type(value).__module__)
        return keys.qualified_name(type(value))

    def read_global(self, scope: dict[str, Any], name: str) -> None:
        """Take in a global; made by the traversal."""
        raise NotImplementedError

    def follow_class(self, cls: type) -> str:
        """Take in a class; made by the traversal."""
        raise NotImplementedError

    def fill_by_methods(self, scope: dict[str, Any], name: str, paths: Iterable[tuple[str, ...]]) -> None:
        """Note what methods of an object of an own class write on it: ``tracker.add(doc)`` counts."""
        cls = type(scope.get(name))
        if origin_of(cls.__module__) is Origin.OWN and not isinstance(scope.get(name), type):
            methods = [path[0] if path else "__call__" for path in paths]
            written = frozenset[str]().union(*(classes.filled_by(cls, method) for method in methods))
            if written:
                filled = Filled(written, frozenset(), frozenset())
                self.filled[id(scope), name] = filled.joined(self.filled.get((id(scope), name)))

    def fill_by_class_methods(self, cls: type) -> None:
        """Note what methods of an own class, and of its bases, write on the class: ``cls.made += 1`` counts, ``type(self).made
        += 1`` does too.
        """
        scopes, written = [vars(sys.modules[cls.__module__])] if cls.__module__ in sys.modules else [], frozenset[str]()
        for base in cls.__mro__:
            if origin_of(base.__module__) is Origin.OWN:
                for name, function in classes.class_methods_of(base).items():
                    scopes.append(function.__globals__)
                    written |= classes.filled_by(cls, name)
                written |= classes.filled_through_objects(base)
        for scope in {id(scope): scope for scope in scopes}.values():
            self._fill_class(cls, scope, written)

    def _fill_class(self, cls: type, scope: dict[str, Any], written: frozenset[str]) -> None:
        if written and scope.get(cls.__name__) is cls:
            place, filled = (id(scope), cls.__name__), Filled(written, frozenset(), frozenset())
            self.scopes[id(scope)] = scope
            self.filled[place] = filled.joined(self.filled.get(place))

    def written_of(self, cls: type) -> frozenset[str]:
        """The attributes of a class that the code seen so far assigns, by a name of the class: ``Shelf.count = 0``."""
        written = [
            filled.written | filled.defaulted
            for (scope, name), filled in self.filled.items()
            if self.scopes.get(scope, {}).get(name) is cls
        ]
        return frozenset(place[1:] for place in frozenset[str]().union(*written) if place.startswith("."))

    def add_shapes(self) -> None:
        """Take in what the classes hold; what code assigns to their attributes is state."""
        shapes, self.shapes = self.shapes, []
        for label, cls in shapes:
            state = self.written_of(cls)
            for attribute, value in classes.data_of(cls).items():
                if attribute not in state:
                    if attribute in vars(cls):
                        self.bound.append((vars(cls), attribute, vars(cls)[attribute]))
                    self.mutable += [(value, None)] if is_data(value) and not isinstance(value, SCALARS) else []
                    self._add_attribute(label, cls, attribute, value)
            self.add(label, classes.shape_of(cls, self.value_of, state))

    def _add_attribute(self, label: str, cls: type, attribute: str, value: Any) -> None:
        """Take in what made an attribute of a class, if it has no value: ``class Index: model = Model("small")``."""
        home = sys.modules.get(cls.__module__)
        if home is None or isinstance(value, SCALARS) or f"{label} (declaration)" in self.parts:
            return
        statement = classes.statement_in(self.sources.get(label, ""), attribute)
        if statement is not None and self.value_of(value) == keys.qualified_name(type(value)):
            self._by_statement(Read(f"attribute {attribute} of {label}", attribute, value, vars(home), None), statement)

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

    def _differs_in_every_kernel(self, statement: str, scope: dict[str, Any], depth: int = 3) -> bool:
        """Whether a number or text comes from a clock, from random numbers without a seed, or from one that does."""
        names = provenance.names_read(statement)
        if provenance.is_impure(statement):
            modules = [name for name in names if isinstance(scope.get(name), ModuleType)]
            return not any("seed(" in (provenance.statement_of(name, scope) or "") for name in modules)
        numbers = [name for name in names if depth and name in scope and isinstance(scope[name], SCALARS)]
        made = {name: provenance.statement_of(name, scope) for name in numbers if scope[name] is not None}
        return any(
            one and one != statement and self._differs_in_every_kernel(one, scope, depth - 1) for one in made.values()
        )

    def _by_statement(self, read: Read, statement: str | None) -> None:
        """An object without a value of its own: the statements that made it, and what they read."""
        self.add_library(type(read.value).__module__)
        if statement is None:
            self.add(read.label, ("type", keys.qualified_name(type(read.value))))
            if self._is_made_with_bearer(read):
                return
            fields = getattr(read.value, "__dict__", None) or {}  # made inside of a function: nobody can say how
            plain = {name: field for name, field in fields.items() if isinstance(field, SCALARS)}
            if plain and origin_of(type(read.value).__module__) is not Origin.PYTHON:
                self.add(f"{read.label} (attributes)", plain)
            return
        self.add(read.label, ("statement", provenance.statement_value(statement)))
        home = provenance.home_of(read.name, statement, read.scope)
        if home is not None and origin_of(home[0].get("__name__")) is Origin.OWN:
            self.read_global(*home)
        self._follow_names(read, statement)
        local = [name for name in provenance.names_read(statement) if not _is_known(name, read.scope)]
        if local and not isinstance(read.value, SCALARS):  # they are gone: then the value must do, if there is one
            try:
                self.add(f"{read.label} (value)", read.value)
            except Unkeyable:
                self._is_made_with_bearer(read)

    def _is_made_with_bearer(self, read: Read) -> bool:
        """Whether it is known what made the function that carries an object, as ``embed = embed_with(Model("small"))`` does."""
        return read.bearer is not None and self.add_maker(read.label, read.bearer, read.scope)

    def add_maker(self, label: str, made: Any, scope: dict[str, Any]) -> bool:
        """Take in what is called to make a global, ``limited(rate)(embed)``; whether that is known."""
        names = [name for name, other in list(scope.items()) if (step_function(other) or other) is made]
        statement = provenance.statement_of(min(names), scope) if names else None
        call = "" if statement is None else decorations.what_made(statement, scope)
        if call:
            self.add(f"{label} (made with)", provenance.statement_value(call))
            self._follow_names(Read(label, min(names), made, scope, call), call)
        return bool(call)

    def _follow_names(self, read: Read, statement: str) -> None:
        for name in provenance.names_read(statement):
            value = read.scope.get(name)
            if value is None or name == read.name or (is_display(read.value) and not is_setting(value)):
                continue
            written = set(self.written)
            self.read_global(read.scope, name)
            self.written = written if binds(value, read.name) else self.written  # what made it is not what reads it


def _is_known(name: str, scope: Mapping[str, Any]) -> bool:
    return name in scope or provenance.is_builtin(name)
