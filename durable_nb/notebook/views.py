"""Views of arrays: a row that a function returns is a part of the array that it was given."""

from __future__ import annotations

import sys
from typing import Any

Step = tuple[str, tuple[Any, ...]]
"""('view', (offset in bytes, shape, strides, dtype)): the last part of the way to a view."""


def is_view(way: tuple[Any, ...]) -> bool:
    """Whether a way ends with a view."""
    return len(way) > 2 and way[-2] == "view"


def step_to_view(array: Any, view: Any) -> Step | None:
    """From a contiguous array to a view whose memory is all in it; None if it is not."""
    if view.dtype.hasobject or not array.flags.c_contiguous:
        return None
    (first, last), (start, end) = _memory(array), _memory(view)
    if not first <= start < end <= last:
        return None
    return ("view", (_address(view) - first, view.shape, view.strides, view.dtype))


def view_of(array: Any, place: tuple[Any, ...]) -> Any:
    """The view of this array that is at ``place``."""
    offset, shape, strides, dtype = place
    return sys.modules["numpy"].ndarray(shape, dtype, array, offset, strides)


def _address(array: Any) -> int:
    return int(array.__array_interface__["data"][0])


def _memory(array: Any) -> tuple[int, int]:
    """The addresses between which the elements are."""
    if not array.size:
        return _address(array), _address(array)
    reach = [stride * (length - 1) for stride, length in zip(array.strides, array.shape, strict=True)]
    first = _address(array) + sum(step for step in reach if step < 0)
    return first, _address(array) + sum(step for step in reach if step > 0) + int(array.itemsize)
