"""Globals that code assigns, fills or reads: what they are before a call, to see afterwards what it did to them."""

from __future__ import annotations

from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from durable_nb import keys, origins, sources
from durable_nb.errors import Unkeyable
from durable_nb.notebook.contents import can_be_put_back, is_own
from durable_nb.notebook.deltas import before_of
from durable_nb.notebook.generators import state_of
from durable_nb.notebook.heap import partly_digested
from durable_nb.origins import SCALARS, Origin, is_data, is_generator

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from durable_nb.notebook.exposed import Named
    from durable_nb.sources import Fingerprint

GONE = object()
LARGE = 4096
"""Bytes of a global that is saved whole after each call that changes it: a counter, not a cache."""


class Seen(NamedTuple):
    """A global before a call."""

    scope: Any
    name: str
    digest: bytes | None
    held: Any
    """What a delta has to know of it; nothing of a large one."""

    @classmethod
    def of(cls, scope: Any, name: str) -> Seen:
        """As it is now."""
        value = at(scope, name)
        return cls(scope, name, glance(value), before_of(value) if origins.is_small(value, LARGE) else GONE)


def places_of(fingerprint: Fingerprint, arguments: dict[Any, Any]) -> Iterator[tuple[Any, str]]:
    """(scope, name) of what the code assigns or fills; of a class or function its attributes, as ``Shelf.count``."""
    kinds = {type(one) for one in arguments.values() if is_own(one)}
    for scope, name in (*fingerprint.state, *(place for kind in kinds for place in sources.current(kind).state)):
        value = scope.get(name)
        if isinstance(value, (type, FunctionType, ModuleType)):
            fields = [key for key, one in _fields(value).items() if is_data(one) and not key.startswith("__")]
            yield from ((scope, f"{name}.{attribute}") for attribute in fields)
        yield scope, name


def _fields(value: Any) -> dict[str, Any]:
    """The attributes of a class, function or module; of a class also those of its bases, which it may set anew."""
    bases = [one for one in getattr(value, "__mro__", ())[1:] if origins.origin_of(one.__module__) is Origin.OWN]
    return {name: one for owner in (*reversed(bases), value) for name, one in vars(owner).items()}


def at(scope: Any, name: str) -> Any:
    """What is there now, ``GONE`` if nothing is."""
    owner, _, attribute = name.partition(".")
    found = scope.get(owner, GONE)
    return getattr(found, attribute, GONE) if attribute else found


def shared_globals(filled: Iterable[tuple[Any, str]], read: Named) -> dict[tuple[str, str], Any]:
    """By (module, name) the small collections and own objects in the places that code fills, or that it reads: what is in
    them may have other names.
    """
    held = ((scope, name, at(scope, name)) for scope, name in filled)
    found = {
        (home, name): value
        for scope, name, value in held
        if can_be_put_back(value) and (home := str(scope.get("__name__") or "")) and origins.is_small(value, LARGE)
    }
    found.update((place, value) for place, value in read if origins.is_small(value, LARGE))
    return found


def glance(value: Any) -> bytes | None:
    """A digest of a global that is assigned or filled; of a large one its length."""
    if isinstance(value, FunctionType):
        return repr(sorted(vars(value))).encode()  # an attribute that was not there
    try:
        if isinstance(value, SCALARS) or origins.is_small(value):
            return keys.digest(value)
        return _shallow(value)
    except Unkeyable:
        return keys.digest(state_of(value)) if is_generator(value) else partly_digested(value)
    except (RuntimeError, TypeError):  # changed by another thread meanwhile, no length
        return None


def _shallow(value: Any) -> bytes:
    """Of a large value which objects it holds; of an array or table its memory."""
    if isinstance(value, dict):
        return repr(hash((*map(id, value), *map(id, value.values())))).encode()
    if isinstance(value, (list, tuple)):
        return repr(hash(tuple(map(id, value)))).encode()
    if type(value).__module__.partition(".")[0] in ("numpy", "pandas"):
        return keys.digest(value)
    return repr(len(value)).encode()
