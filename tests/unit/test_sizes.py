"""Estimates of memory."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from durable_nb.sizes import size_of, size_of_all

MEGABYTE = 1_000_000


@pytest.mark.parametrize(
    "value",
    [
        b"x" * MEGABYTE,
        np.zeros(MEGABYTE, "u1"),
        np.zeros((1, MEGABYTE), "u1")[0],
        {"id": 7, "vector": np.zeros(MEGABYTE, "u1")},
        [{"text": "x" * 1000, "score": 0.5}] * 900,
        ("a", ["x" * 500_000, "x" * 500_000]),
        SimpleNamespace(answer=SimpleNamespace(text="x" * MEGABYTE)),
        [[0.5] * 768] * 150,
    ],
    ids=["bytes", "array", "view", "dict", "records", "nested", "object", "lists"],
)
def test_what_a_value_holds_counts(value: Any) -> None:
    """A megabyte, to a third."""
    assert 0.7 * MEGABYTE < size_of(value) < 4 * MEGABYTE
    assert 0.7 * 20 * MEGABYTE < size_of_all([value] * 20) < 4 * 20 * MEGABYTE
    assert 0.7 * 20 * MEGABYTE < size_of_all((value,) * 20)


def test_what_holds_nothing_is_small() -> None:
    """Empty ones, numbers, and what holds itself."""
    ring: list[Any] = []
    ring.append(ring)

    assert all(size_of(value) < 1000 for value in ([], {}, set(), (), None, 7, 0.5, object(), ring))
    assert 0 == size_of_all([])
    assert size_of_all(np.zeros((20, 1000), "f4")) >= 80_000
