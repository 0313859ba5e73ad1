"""What of the standard library holds a lock or a cache and cannot be pickled, as what it is made from."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any

_CACHED = type(functools.lru_cache(len))


def parts_of(thing: Any) -> Any:
    """How it is made again, as ``__reduce__`` says it; NotImplemented of what pickle can do, and of what a worker imports.

    A cache arrives empty: what is in it is of this process (a model on a device), and is made there once.
    """
    if type(thing) is functools.cached_property:  # until Python 3.12 it holds a lock
        return _cached_property, (thing.func, thing.attrname)
    is_cached = type(thing) is _CACHED
    if not (is_cached or _is_dispatching(thing)) or _is_imported(thing):
        return NotImplemented
    if is_cached:
        return _cached, (thing.cache_parameters(), thing.__wrapped__)
    return _dispatching, (dict(thing.registry),)


def _is_dispatching(thing: Any) -> bool:
    return type(thing) is FunctionType and {"register", "dispatch", "registry"} <= vars(thing).keys()


def _is_imported(thing: Any) -> bool:
    found: Any = None if thing.__module__ in ("__main__", "__mp_main__") else sys.modules.get(thing.__module__)
    for name in thing.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is thing


def _cached(parameters: dict[str, Any], function: Callable[..., Any]) -> Any:
    return functools.lru_cache(**parameters)(function)


def _cached_property(function: Callable[[Any], Any], name: str | None) -> Any:
    made = functools.cached_property(function)
    if name is not None:
        made.__set_name__(object, name)
    return made


def _dispatching(functions: dict[type, Callable[..., Any]]) -> Any:
    made = functools.singledispatch(functions[object])
    for cls, function in functions.items():
        made.register(cls, function)
    return made
