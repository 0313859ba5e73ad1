"""How far two results are apart: equal or not, and for vectors the cosine of their angle and the length of the difference."""

from __future__ import annotations

import heapq
import math
from typing import Any, NamedTuple

_NUMBERS = (int, float)


class Far(NamedTuple):
    """Vectors and numbers that differ."""

    vectors: int
    cosine: float | None
    """Mean of the cosines; None if there are none, as of single numbers and of zeros."""
    least_cosine: float | None
    relative: float | None
    """Mean of |a - b| / max(|a|, |b|), of those where it is a number; None if there are none."""
    most_relative: float | None
    shapes: int
    """Pairs of different shapes among them, which are not measured."""


class Measure:
    """Pairs of vectors, measured many at a time.

    Parameters
    ----------
    shown : int
        So many of the farthest are remembered.
    """

    def __init__(self, shown: int) -> None:
        self._shown, self._waiting = shown, dict[tuple[int, ...], list[tuple[int, Any, Any]]]()
        self._vectors = self._shapes = self._cosines = self._relatives = 0
        self._cosine_sum = self._relative_sum = self._most = 0.0
        self._least = math.inf
        self._farthest: list[tuple[float, int, str]] = []

    def take(self, number: int, one: Any, other: Any) -> bool:
        """Take a pair that differs, under its ``number``; False if these are no vectors."""
        left, right = vector_of(one), vector_of(other)
        if left is None or right is None:
            return False
        self._vectors += 1
        if left.shape != right.shape:
            self._shapes += 1
            self._remember(math.inf, number, f"shape {left.shape} → {right.shape}")
        else:
            self._waiting.setdefault(left.shape, []).append((number, left.ravel(), right.ravel()))
        return True

    def measure(self) -> None:
        """Measure what has been taken."""
        waiting, self._waiting = self._waiting, {}
        for pairs in waiting.values():
            self._measured(pairs)

    def far(self) -> Far:
        """Of all that was measured."""
        mean = self._cosine_sum / self._cosines if self._cosines else None
        least = self._least if self._cosines else None
        relative, most = (self._relative_sum / self._relatives, self._most) if self._relatives else (None, None)
        return Far(self._vectors, mean, least, relative, most, self._shapes)

    def farthest(self) -> list[tuple[int, str]]:
        """Number and words of the farthest, the farthest first."""
        return [(number, how) for _, number, how in sorted(self._farthest, key=lambda one: (-one[0], one[1]))]

    def _measured(self, pairs: list[tuple[int, Any, Any]]) -> None:
        import numpy as np

        left, right = (np.stack([pair[side] for pair in pairs]).astype(np.float64) for side in (1, 2))
        with np.errstate(all="ignore"):
            lengths = [np.linalg.norm(side, axis=1) for side in (left, right)]
            relative = np.linalg.norm(left - right, axis=1) / np.maximum(*lengths)
            is_number: Any = np.isfinite(left).all(axis=1) & np.isfinite(right).all(axis=1)
            cosine = np.einsum("ij,ij->i", left, right) / (lengths[0] * lengths[1])
        is_vector = left.shape[1] > 1
        finite = np.isfinite(relative)
        self._relatives += int(finite.sum())
        self._relative_sum += float(relative[finite].sum())
        self._most = max(self._most, float(relative[finite].max(initial=0.0)))
        if is_vector and (known := np.isfinite(cosine)).any():
            self._cosines += int(known.sum())
            self._cosine_sum += float(cosine[known].sum())
            self._least = min(self._least, float(cosine[known].min()))
        every = zip(pairs, relative.tolist(), cosine.tolist(), is_number.tolist(), strict=True)
        for (number, _, _), far, near, is_one in every:
            if not math.isfinite(far):
                self._remember(math.inf, number, "too large to compare" if is_one else "not a number on one side")
            elif len(self._farthest) < self._shown or far > self._farthest[0][0]:
                angle = f"cosine {near:.4f}, " if is_vector and not math.isnan(near) else ""
                self._remember(far, number, f"{angle}relative difference {far:.2g}")

    def _remember(self, far: float, number: int, how: str) -> None:
        (heapq.heappush if len(self._farthest) < self._shown else heapq.heappushpop)(self._farthest, (far, number, how))


def vector_of(value: Any) -> Any:
    """The value as an array of numbers; None for what is none."""
    if isinstance(value, bool):
        return None
    is_list = isinstance(value, (list, tuple)) and bool(value) and all(type(one) in _NUMBERS for one in value)
    if not (is_list or type(value) in _NUMBERS or hasattr(value, "__array__")):
        return None
    try:
        import numpy as np

        found = np.asarray(value)
    except Exception:  # no numpy, or an array of somebody's that cannot be read as one
        return None
    return found if found.dtype.kind in "iuf" and found.size else None


def is_same(one: Any, other: Any) -> bool:
    """Whether two values are equal, of one type; what cannot be compared is not."""
    if type(one) is not type(other):
        return False
    try:
        if hasattr(one, "dtype") and hasattr(one, "tobytes"):
            return bool(one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes())
        if hasattr(one, "equals"):  # a table
            return bool(one.equals(other))
        return bool(one == other)
    except Exception:  # the user's __eq__, or arrays inside of a container
        return False
