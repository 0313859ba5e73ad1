"""Which tests are some of many: those that hold a promise of another test in one more shape, and take their time for it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable

IS_WHOLE = bool(os.environ.get("DURABLE_NB_MATRIX"))
"""Whether all are wanted; a part of them each day by `.ci/run`."""


def usual(values: Iterable[Any], *which: Any) -> list[Any]:
    """Parameters of which ``which`` are always tested, and the others with all of the matrix."""
    values = list(values)

    assert set(which) <= set(values)
    marks = [() if value in which else pytest.mark.matrix for value in values]
    return [
        pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=mark)
        for value, mark in zip(values, marks, strict=True)
    ]
