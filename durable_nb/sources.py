"""Functions → fingerprint: a digest of the code behind a step, in named parts, so that a message can say what changed.

What counts is in ``dependencies``; where an object without a value comes from, in ``provenance``. Importing this module
teaches ``keys`` that a function given as an argument stands for its fingerprint.
"""

from __future__ import annotations

import functools
from contextvars import ContextVar
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

import xxhash

from durable_nb import credentials, keys, origins, parts, provenance
from durable_nb.dependencies import UNDEFINED, Walk
from durable_nb.errors import Unkeyable
from durable_nb.origins import Origin, origin_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from durable_nb.bytecode import Filled

_LARGEST_ARRAY = 1 << 24
_ACTIVE: ContextVar[Walk | Glance | None] = ContextVar("durable_nb_fingerprint", default=None)


class Look(NamedTuple):
    """Data that code reads, as it was."""

    value: Any
    filled: Filled | None
    is_small: bool
    seen: object


class Glance:
    """Stands where a walk does while data is compared with itself: a function in it is the object that it is."""

    def identity(self, function: Any) -> int:
        """Of a function in data."""
        return id(function)

    def follow_class(self, cls: type) -> int:
        """Of a class in data."""
        return id(cls)

    def follow_module(self, module: ModuleType) -> int:
        """Of a module in data."""
        return id(module)


class Fingerprint(NamedTuple):
    """What the code behind a step is."""

    digest: str
    """32 hexadecimal digits."""
    parts: dict[str, str]
    """By label ('def:embed', 'global MODEL', 'lib:numpy'): a small value as it is written, or '#' and 16 digits."""
    source: str
    """The function's own source, then those of the helpers and classes it uses, dedented."""
    globals_read: tuple[tuple[Mapping[str, Any], str, object], ...] = ()
    """(scope, name, object) of every global, class attribute and function attribute the code read."""
    looks: tuple[Look, ...] = ()
    """What the data looked like that can change inside."""
    state: tuple[tuple[dict[str, Any], str], ...] = ()
    """(scope, name) of every global the code assigns or fills: counters, caches. They are no part of the digest."""

    def is_current(self) -> bool:
        """Whether a walk would find the same: each global is the same object, and its data has not changed inside.

        Of data above 64 KB, or of more than a few hundred objects, only the length is looked at: a loop of calls must not
        read a large table each time. What changed elsewhere inside of it is seen by the next walk.
        """
        for scope, name, value in self.globals_read:
            if scope.get(name, UNDEFINED) is not value:
                return False
        return not self.looks or looks_the_same(self.looks)


def fingerprint(function: Callable[..., Any]) -> Fingerprint:
    """The fingerprint of a function, method, class, partial, callable object or step.

    Equal after a restart, under another hash seed and Python minor version, and after edits of comments, layout,
    annotations, docstrings or place. Without source (``exec`` of a string) the bytecode counts, per Python version.
    """
    walk = Walk()
    token = _ACTIVE.set(walk)
    try:
        root = walk.follow(function, "def:lambda")
        walk.finish((function, root))
        looks = _looks(walk)
    finally:
        _ACTIVE.reset(token)
    return _result(walk, root, looks)


def current(function: Callable[..., Any]) -> Fingerprint:
    """The fingerprint of a function, walked again only if something that it read is not what it was."""
    known = _FUNCTIONS.get(function)
    if known is None or not known.is_current():
        known = _FUNCTIONS[function] = fingerprint(function)
    return known


def fingerprint_of_global(name: str, scope: dict[str, Any], path: str = "") -> Fingerprint:
    """What identifies the object that a global stands for: its value, or the statements that made it.

    ``path`` is what is used of it, ``embeddings.create`` of a client.
    """
    walk = Walk()
    token = _ACTIVE.set(walk)
    try:
        walk.read_global(scope, name)
        walk.finish()
        looks = _looks(walk)
    finally:
        _ACTIVE.reset(token)
    statement = provenance.statement_of(name, scope)
    source = parts.without_secrets(statement) + "\n" if statement else ""
    source = walk.credentials(scope).redacted(source)
    return _result(walk, f"def:{path}" if path else "", looks)._replace(source=source)


def changed(old_parts: dict[str, str], new_parts: dict[str, str]) -> tuple[str, ...]:
    """The parts that differ, code first; with the old and the new value where these are short literals."""
    lines = []
    for label in sorted(old_parts.keys() | new_parts.keys(), key=lambda label: (not label.startswith("def:"), label)):
        old, new = old_parts.get(label), new_parts.get(label)
        if old is None:
            lines.append(f"{label} (new)")
        elif new is None:
            lines.append(f"{label} (gone)")
        elif old != new:
            lines.append(label if old.startswith("#") or new.startswith("#") else f"{label}: {old} → {new}")
    return tuple(lines)


def diff(old_source: str, new_source: str) -> str:
    """A unified diff of two ``Fingerprint.source`` texts, without the lines that name files; '' if equal."""
    import difflib

    lines = difflib.unified_diff(old_source.splitlines(), new_source.splitlines(), lineterm="", n=3)
    return "\n".join(list(lines)[2:])


def settled(last: Fingerprint) -> Fingerprint:
    """The same fingerprint with the data as it is now: what a call did to it is its doing, not an edit."""
    token = _ACTIVE.set(_GLANCE)
    try:
        again = (look._replace(seen=_seen(look.value, look.filled, look.is_small)) for look in last.looks)
        return last._replace(looks=tuple(again))
    finally:
        _ACTIVE.reset(token)


def changed_data(last: Fingerprint) -> list[Any]:
    """The data that code reads and that has changed inside since the fingerprint was taken."""
    if not last.looks:
        return []
    token = _ACTIVE.set(_GLANCE)
    try:
        return [look.value for look in last.looks if look.seen != _seen(look.value, look.filled, look.is_small)]
    finally:
        _ACTIVE.reset(token)


def looks_the_same(looks: tuple[Look, ...]) -> bool:
    """Whether data looks as it did."""
    token = _ACTIVE.set(_GLANCE)
    try:
        return all(look.seen == _seen(look.value, look.filled, look.is_small) for look in looks)
    finally:
        _ACTIVE.reset(token)


def _looks(walk: Walk) -> tuple[Look, ...]:
    token = _ACTIVE.set(_GLANCE)
    try:
        found = []
        for value, filled in walk.mutable:
            is_small = origins.is_small(value)
            found.append(Look(value, filled, is_small, _seen(value, filled, is_small)))
        return tuple(found)
    finally:
        _ACTIVE.reset(token)


def _seen(value: Any, filled: Filled | None, is_small: bool) -> object:
    if filled is not None:
        value = filled.remaining(value)
    try:
        # The memory of an array says the same as its digest, in 0.3 µs instead of 4: a loop of calls looks each time.
        # A large one is read too, in 0.1 ms a megabyte: its length says nothing.
        if type(value).__name__ == "ndarray" and value.flags.c_contiguous and value.nbytes <= _LARGEST_ARRAY:
            return xxhash.xxh3_128_digest(value), value.shape
    except (AttributeError, ValueError, TypeError):  # no ndarray of numpy after all, or no buffer (datetime64)
        pass
    if not is_small:
        return origins.length_of(value)
    try:
        return keys.digest(value)
    except (Unkeyable, RuntimeError):  # another thread adds to it at this moment
        return None


def _result(walk: Walk, root: str, looks: tuple[Look, ...]) -> Fingerprint:
    full = {}
    for label, digests in walk.parts.items():  # two lambdas may bear one label: numbered by content, not by order
        for number, digest in enumerate(sorted(digests), 1):
            full[label if number == 1 else f"{label} ({number})"] = digest
    parts = {label: walk.readable.get(label) or f"#{digest[:16]}" for label, digest in sorted(full.items())}
    classes = tuple(f"def:{label.removeprefix('class:')}." for label in walk.sources if label.startswith("class:"))
    texts = {label: text for label, text in walk.sources.items() if label == root or not label.startswith(classes)}
    source = "\n".join(texts[label] for label in sorted(texts, key=lambda label: (label != root, label)))
    source = credentials.known_in(*walk.scopes.values()).redacted(source)
    return Fingerprint(keys.digest((root, full)).hex(), parts, source, walk.globals_read(), looks, walk.state())


def _function_stands_for(function: Any) -> object:
    walk = _ACTIVE.get()
    if walk is not None:
        return walk.identity(function)
    return current(function).digest


def _class_stands_for(cls: type) -> object:
    walk = _ACTIVE.get()
    if walk is not None:
        walk.follow_class(cls)
        return keys.qualified_name(cls)
    known = _CLASSES.get(cls)
    if known is None or not known[1].is_current():
        if origin_of(cls.__module__) is not Origin.OWN:
            return keys.qualified_name(cls)
        print_of = fingerprint(cls)
        known = _CLASSES[cls] = ((keys.qualified_name(cls), print_of.digest), print_of)
    return known[0]


def _module_stands_for(module: ModuleType) -> str:
    walk = _ACTIVE.get()
    if walk is not None:
        walk.follow_module(module)
    return module.__name__


_GLANCE = Glance()
_FUNCTIONS: WeakKeyDictionary[Any, Fingerprint] = WeakKeyDictionary()
"""Of functions that are arguments."""
_CLASSES: WeakKeyDictionary[type, tuple[object, Fingerprint]] = WeakKeyDictionary()
"""Of the user's own classes whose instances are arguments: a look-up for each call, a walk only after a change."""

keys.register(FunctionType, _function_stands_for)
keys.register(type(functools.lru_cache(len)), _function_stands_for)
keys.register(type, _class_stands_for)
keys.register(ModuleType, _module_stands_for)
