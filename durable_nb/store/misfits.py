"""A database may have been written by anybody: what its rows hold is looked at before anything is made of it.

SQLite keeps any type in any column, JSON may nest without end, and what is compressed may be a bomb.
"""

from __future__ import annotations

import json
import math
import types
import zlib
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from durable_nb.records import COMPUTED, GAVE_UP, RESTORED, WAITING

_Record = TypeVar("_Record", bound=NamedTuple)

_FARTHEST = 2.5e11  # seconds: the year 9,900; datetime ends soon after
_AMOUNTS = frozenset({"spent", "saved_cost", "cost", "rate", "per_minute"})  # in any unit
_MOSAIC_BYTES = 64 << 20
_STATES = bytes((WAITING, RESTORED, COMPUTED, GAVE_UP))


class Misfit(ValueError):
    """A row holds what durable_nb never writes; said with the place of the database by whoever opened it."""


def fitting(record: _Record) -> _Record:
    """The record, if each of its fields holds what its annotation says; numbers finite, times within the age of calendars."""
    for name, value, kinds in zip(record._fields, record, _kinds(type(record)), strict=True):
        most = math.inf if name in _AMOUNTS else _FARTHEST
        if not isinstance(value, kinds) or (type(value) is float and not abs(value) < most):
            raise Misfit(f"{type(record).__name__}.{name} is {value!r:.60}")
    return record


def json_of(text: Any, kind: type) -> Any:
    """What a column of JSON says, if it is a ``kind``."""
    try:
        found = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        found = None
    if not isinstance(found, kind):
        raise Misfit(f"{text!r:.60} is no JSON {kind.__name__}")
    return found


def number_of(value: Any) -> float:
    """A column of a time or cost."""
    if not isinstance(value, (int, float)):
        raise Misfit(f"a time or cost is {value!r:.60}")
    return value


def inflated(payload: Any) -> bytes:
    """The states of a mosaic, at most 64 million."""
    machine = zlib.decompressobj()
    try:
        states = machine.decompress(payload, _MOSAIC_BYTES)
    except (TypeError, zlib.error):
        raise Misfit("a mosaic that cannot be read") from None
    if machine.unconsumed_tail or not machine.eof:
        raise Misfit("a mosaic that does not end")
    if states.translate(None, _STATES):
        raise Misfit("a mosaic of states that there are not")
    return states


@lru_cache(maxsize=64)
def _kinds(record: type[Any]) -> tuple[tuple[type, ...], ...]:
    return tuple(_kinds_of(hint) for hint in get_type_hints(record).values())


def _kinds_of(hint: Any) -> tuple[type, ...]:
    if get_origin(hint) in (Union, types.UnionType):
        return tuple(kind for one in get_args(hint) for kind in _kinds_of(one))
    kind = get_origin(hint) or hint
    return (int, float) if kind is float else (kind,)
