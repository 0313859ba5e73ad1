"""Functions → fingerprint: a digest of the code behind a step, in named parts, so that a message can say what changed.

What counts is in ``dependencies``; where an object without a value comes from, in ``provenance``. Importing this module
teaches ``keys`` that a function given as an argument stands for its fingerprint.
"""

from __future__ import annotations

import functools
from contextvars import ContextVar
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple

from durable_nb import keys
from durable_nb.dependencies import Walk

if TYPE_CHECKING:
    from collections.abc import Callable

_ACTIVE: ContextVar[Walk | None] = ContextVar("durable_nb_fingerprint", default=None)


class Fingerprint(NamedTuple):
    """What the code behind a step is."""

    digest: str
    """32 hexadecimal digits."""
    parts: dict[str, str]
    """By label ('def:embed', 'global MODEL', 'lib:numpy'): a small value as it is written, or '#' and 16 digits."""
    source: str
    """The function's own source, then those of the helpers and classes it uses, dedented."""
    globals_read: tuple[tuple[dict[str, Any], str, object], ...] = ()
    """(scope, name, object) of every global the code read: as long as these are the same objects, a loop of calls need
    not walk the code again. What was changed inside of an object is seen by the next walk only."""

    def is_current(self) -> bool:
        """Whether every global that was read is still the same object."""
        return all(scope.get(name) is value for scope, name, value in self.globals_read)


def fingerprint(function: Callable[..., Any]) -> Fingerprint:
    """The fingerprint of a function, method, class, partial, callable object or step.

    Equal after a restart, under another hash seed and Python minor version, and after edits of comments, layout,
    annotations, docstrings or place. Without source (``exec`` of a string) the bytecode counts, per Python version.
    """
    walk = Walk()
    token = _ACTIVE.set(walk)
    try:
        root = walk.follow(function, "def:lambda")
        walk.finish()
    finally:
        _ACTIVE.reset(token)
    return _result(walk, root)


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


def _result(walk: Walk, root: str) -> Fingerprint:
    full = {}
    for label, digests in walk.parts.items():  # two lambdas may bear one label: numbered by content, not by order
        for number, digest in enumerate(sorted(digests), 1):
            full[label if number == 1 else f"{label} ({number})"] = digest
    parts = {label: walk.readable.get(label) or f"#{digest[:16]}" for label, digest in sorted(full.items())}
    classes = tuple(f"def:{label.removeprefix('class:')}." for label in walk.sources if label.startswith("class:"))
    texts = {label: text for label, text in walk.sources.items() if label == root or not label.startswith(classes)}
    source = "\n".join(texts[label] for label in sorted(texts, key=lambda label: (label != root, label)))
    return Fingerprint(keys.digest((root, full)).hex(), parts, source, walk.globals_read())


def _function_stands_for(function: Any) -> str:
    walk = _ACTIVE.get()
    return fingerprint(function).digest if walk is None else walk.follow(function, "def:lambda in data")


def _class_stands_for(cls: type) -> str:
    walk = _ACTIVE.get()
    if walk is not None:
        walk.follow_class(cls)
    return keys.qualified_name(cls)


keys.register(FunctionType, _function_stands_for)
keys.register(type(functools.lru_cache(len)), _function_stands_for)
keys.register(type, _class_stands_for)
