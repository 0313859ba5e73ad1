"""How much memory values take: an estimate that looks at little of what is large."""

from __future__ import annotations

import sys
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

_LOOKED_AT, _FEW, _DEPTH = 8, 3, 4
_FLAT = frozenset({str, bytes, bytearray, int, float, complex, bool, type(None)})
_ARRAYS = frozenset({"numpy", "torch", "pandas", "polars", "pyarrow"})


def size_of(value: Any, depth: int = _DEPTH) -> int:
    """Bytes of a value with what it holds; of many parts some are looked at.

    What an array shows of another one counts: it keeps that alive.
    """
    size, kind = sys.getsizeof(value), type(value)
    if kind in _FLAT or depth == 0:
        return size
    if kind.__module__.partition(".")[0] in _ARRAYS:
        seen = getattr(value, "nbytes", None)
        return max(size, seen) if isinstance(seen, int) else size
    if isinstance(value, (list, tuple, set, frozenset, dict)):
        parts: Any = value.values() if isinstance(value, dict) else value
        return size + _together(list(islice(parts, _LOOKED_AT)), len(value), depth - 1)
    fields = getattr(value, "__dict__", None)
    return size + size_of(fields, depth - 1) if isinstance(fields, dict) else size


def size_of_all(values: Sequence[Any]) -> int:
    """The same of several, mostly alike."""
    if set(map(type, values)) <= _FLAT:
        return sum(map(sys.getsizeof, values))
    return _together(values[:: -(-len(values) // _FEW) or 1], len(values), _DEPTH)


def _together(some: Sequence[Any], count: int, depth: int) -> int:
    return sum(size_of(one, depth) for one in some) * count // len(some) if len(some) else 0
