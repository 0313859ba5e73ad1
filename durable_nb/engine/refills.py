"""Items of an iterator, which may put something else into what it gave before: kept apart from it where they can be."""

from __future__ import annotations

import itertools
import sys
from collections import deque
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

from durable_nb import keys
from durable_nb.origins import gone_through, length_of
from durable_nb.reductions import unread

_FIXED = frozenset(
    {type(None), bool, int, float, complex, str, bytes, range, date, datetime, time, timedelta, Decimal, UUID}
)
_COLLECTIONS = frozenset({range, str, bytes, type({}.keys()), type({}.values()), type({}.items()), itertools.repeat})
CHANGED = object()
"""In place of what an item was: nobody can say later whether it still is that."""


def is_collection(items: Any) -> bool:
    """Whether it has its items all at once; any other may make them on the way, one in place of the other."""
    items = gone_through(items)
    kind = type(items)
    top = kind.__module__.partition(".")[0]
    if top in ("numpy", "pandas", "polars", "pyarrow"):
        return length_of(items) is not None
    return kind in _COLLECTIONS or isinstance(items, (list, tuple, set, frozenset, dict, deque))


def is_fixed(item: Any) -> bool:
    """Whether nothing else can be put into an item."""
    if type(item) in _FIXED or isinstance(item, (PurePath, Enum, date, timedelta)):
        return True
    if isinstance(item, tuple):
        return _FIXED.issuperset(map(type, item)) or all(map(is_fixed, item))
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(item, numpy.generic) and not isinstance(item, numpy.void)


def apart(item: Any) -> Any:
    """A copy of lists, dicts, sets and tuples of plain data, of an array or a table; None for anything else."""
    with suppress(_NotPlain, RecursionError, RuntimeError):  # it is being changed
        return _copied(item)
    return None


def what_it_is(item: Any) -> object:
    """The digest of an item, or `CHANGED` if it has none."""
    # Whoever names its call says why it has no name; what a cached property keeps is no change.
    with suppress(Exception), unread(frozenset()):
        return keys.digest(item)
    return CHANGED


class _NotPlain(Exception):
    """Only its own code can copy it."""


def _copied(item: Any) -> Any:
    kind = type(item)
    if is_fixed(item):
        return item
    if kind is dict:
        if _FIXED.issuperset(map(type, item.values())) and _FIXED.issuperset(map(type, item)):
            return item.copy()
        return {_copied(name): _copied(value) for name, value in item.items()}
    if kind is list:
        return item.copy() if _FIXED.issuperset(map(type, item)) else list(map(_copied, item))
    if kind in (tuple, set, frozenset):
        return kind(map(_copied, item))
    if kind is bytearray:
        return item.copy()
    numpy, pandas = sys.modules.get("numpy"), sys.modules.get("pandas")
    if numpy is not None and kind is numpy.ndarray and not item.dtype.hasobject:
        return item.copy()
    if pandas is not None and kind in (pandas.Series, pandas.DataFrame):  # a row of `iterrows`, a group of `groupby`
        return item.copy()
    raise _NotPlain
