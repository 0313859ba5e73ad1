"""Rows and slices of an array, found again in another array like it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from durable_nb.notebook.views import is_view, step_to_view, view_of

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    "take",
    [
        lambda x: x[3],
        lambda x: x[2:5],
        lambda x: x[::-1],
        lambda x: x[:, ::2],
        lambda x: x.T,
        lambda x: x[5:1:-2, 1:],
        lambda x: x.reshape(-1)[7:9],
        lambda x: x.view("i8")[1],
    ],
)
def test_the_same_part_of_another_array(take: Callable[[Any], Any]) -> None:
    """What is written through the view that was found again is in that array, where it would be in the first one."""
    first, second = np.arange(24.0).reshape(6, 4), np.arange(24.0).reshape(6, 4)
    step = step_to_view(first, take(first))
    assert step is not None
    assert is_view(("place", *step))

    found = view_of(second, step[1])
    found[...] = 7
    take(first)[...] = 7

    assert found.dtype == take(first).dtype
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("array", "view"),
    [
        (np.zeros(4), np.zeros(4)[1:]),
        (np.zeros(4), np.zeros(4)[:0]),
        (np.zeros((4, 4)).T, np.zeros((4, 4)).T[1]),
        (np.array([{}, {}]), np.array([{}, {}])[1:]),
    ],
)
def test_what_is_no_part_of_it_is_none(array: Any, view: Any) -> None:
    """Other memory, nothing at all, an array with gaps, objects: no view to be found again."""
    assert step_to_view(array, view) is None
