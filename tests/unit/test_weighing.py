"""What a value weighs before it is pickled."""

from __future__ import annotations

import pickle
import random
import threading

import numpy as np
import pandas as pd
import pytest

from durable_nb.notebook.weighing import Confidential, TooLarge, Unweighable, Weight

BUDGET = 1 << 20


class Shelf:
    """Of the user's."""

    def __init__(self, **fields: object) -> None:
        vars(self).update(fields)


class Never:
    """Tells when somebody pickles or looks at it."""

    def __reduce__(self) -> object:
        raise AssertionError("pickled")


SIZED = [
    [f"page {n} " * 20 for n in range(500)],
    {f"k{n}": [n, n / 2, None] for n in range(1000)},
    np.arange(10_000, dtype="float32"),
    pd.DataFrame({"a": range(1000), "b": ["word" * 5] * 1000}),
    [np.zeros(16) for _ in range(100)],
    Shelf(docs=["a" * 1000] * 3, n=4),
    random.Random(1),
    list(range(10_000)),
]


@pytest.mark.parametrize("value", SIZED, ids=lambda value: type(value).__name__)
def test_the_weight_is_about_the_size_of_a_pickle(value: object) -> None:
    """Within a factor of four, so that a budget of weight is one of bytes."""
    size = len(pickle.dumps(value, 5))

    assert size / 4 < Weight(value, BUDGET).size < size * 4


@pytest.mark.parametrize(
    "value",
    [
        np.zeros(1 << 20),
        ["a" * 1000] * 2000,
        list(range(1 << 20)),
        [[["a" * 100] * 1000] * 1000],
        {"x": bytes(1 << 21)},
    ],
    ids=["array", "texts", "numbers", "nested", "bytes"],
)
def test_what_is_too_large_is_found_without_reading_all_of_it(value: object) -> None:
    """It is told, and nothing is pickled."""
    with pytest.raises(TooLarge):
        Weight(value, BUDGET)


@pytest.mark.parametrize(
    "value",
    [
        threading.Lock(),
        [1, {"a": threading.Lock()}],
        np.array([Never()]),
        lambda: 1,
        (n for n in ()),
        Shelf(lock=threading.Lock()),
    ],
    ids=["lock", "nested", "objects", "lambda", "generator", "own"],
)
def test_what_cannot_tell_its_size_is_refused(value: object) -> None:
    """A model, client or lock, however deep, and a function that no name finds."""
    with pytest.raises(Unweighable):
        Weight(value, BUDGET)


@pytest.mark.parametrize(
    "value", [{"api_key": "abcd"}, [{"headers": {"Authorization": "Bearer x"}}], Shelf(password="abcd")]
)
def test_what_is_named_a_credential_is_refused(value: object) -> None:
    """Keys of dicts and attributes of objects, however deep."""
    with pytest.raises(Confidential):
        Weight(value, BUDGET)


def test_what_two_values_share_is_told() -> None:
    """By the identity of what can change."""
    inner = [1]
    one, two, three = Weight({"a": inner}, BUDGET), Weight([inner], BUDGET), Weight([[1]], BUDGET)

    assert one.shared & two.shared
    assert not one.shared & three.shared


def test_a_cycle_ends() -> None:
    """A list that holds itself is weighed once."""
    knot: list[object] = []
    knot.append(knot)

    assert Weight(knot, BUDGET).size < 1000
