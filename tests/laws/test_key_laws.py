"""Laws of keys: equal values one key, different values different keys, whatever the value."""

from __future__ import annotations

import copy
import pickle
import string
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from durable_nb import keys
from tests.matrix import IS_WHOLE

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.complex_numbers(), st.text(), st.binary(),
    st.text(st.characters(codec=None, categories=["Cs", "L"]), max_size=3), st.datetimes(), st.decimals(allow_nan=False), st.fractions(), st.uuids(),
)  # fmt: skip
hashables = st.recursive(
    scalars, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=4), max_leaves=6
)
values = st.recursive(
    hashables,
    lambda inner: (
        st.lists(inner, max_size=6)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(hashables, inner, max_size=6)
        | st.sets(hashables, max_size=4)
    ),
    max_leaves=12,
)
arrays = npst.arrays(
    st.one_of(npst.boolean_dtypes(), npst.integer_dtypes(), npst.floating_dtypes(), npst.datetime64_dtypes(), npst.unicode_string_dtypes()),
    npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
)  # fmt: skip


def spelled(value: Any) -> Any:
    """A value as what its key is to tell apart, written down independently of the code under test."""
    kind = type(value)
    if kind is float:
        return ("float", np.float64(value).tobytes())
    if kind is complex:
        return ("complex", np.complex128(value).tobytes())
    if kind in (list, tuple):
        return (kind.__name__, tuple(map(spelled, value)))
    if kind is dict:
        return ("dict", tuple(sorted(((spelled(key), spelled(item)) for key, item in value.items()), key=repr)))
    if kind in (set, frozenset):
        return (kind.__name__, tuple(sorted(map(spelled, value), key=repr)))
    return (kind.__name__, repr(value))


@given(values)
def test_copies_have_the_same_key(value: Any) -> None:
    """A deep copy and a pickled copy share nothing with the value and have its key."""
    assert keys.digest(value) == keys.digest(copy.deepcopy(value)) == keys.digest(pickle.loads(pickle.dumps(value)))


@given(values, values)
@settings(max_examples=300 if IS_WHOLE else 150)
def test_keys_are_equal_exactly_when_values_are(left: Any, right: Any) -> None:
    """Two values have one key if and only if they have the same types, structure and bits."""
    assert (spelled(left) == spelled(right)) == (keys.digest(left) == keys.digest(right))


@given(
    st.lists(
        st.sampled_from([[], [[]], "", "a", b"", b"a", 0, 1, 1.0, True, None, (), ((),), {}, "N", "T"]), max_size=4
    )
)
def test_near_values_are_told_apart(value: list[Any]) -> None:
    """Wrapping, repeating, or shifting a boundary between neighbours gives another key."""
    others = [[value], [0, *value, value], [*value, None], tuple(value), [value, value], {"": value}]

    assert len(others) + 1 == len({keys.digest(other) for other in [value, *others]})


@given(st.dictionaries(hashables, scalars, max_size=8), st.randoms(use_true_random=False))
def test_order_of_insertion_leaves_no_trace(value: dict[Any, Any], random: Any) -> None:
    """A dict, and the set of its keys, have the same key in every order of insertion."""
    items = list(value.items())
    random.shuffle(items)

    assert keys.digest(value) == keys.digest(dict(items))
    assert keys.digest(set(value)) == keys.digest({key for key, _ in items})


@given(
    st.lists(st.text(string.ascii_lowercase, max_size=3), max_size=8),
    st.lists(st.text(string.ascii_lowercase, max_size=3), max_size=8),
)
def test_texts_do_not_run_together(left: list[str], right: list[str]) -> None:
    """Lists of texts with the same letters but other boundaries have different keys."""
    assert (left == right) == (keys.digest(left) == keys.digest(right))


@given(arrays)
def test_layout_of_an_array_leaves_no_trace(array: np.ndarray[Any, Any]) -> None:
    """Fortran order, a view into a larger array, a read-only flag and a reversed copy do not change the key."""
    padded = np.zeros(tuple(side * 2 for side in array.shape), array.dtype)
    every_other = (..., *(slice(None, None, 2) for _ in array.shape))
    padded[every_other] = array
    frozen = array.copy()
    frozen.setflags(write=False)
    views = [
        np.asfortranarray(array),
        padded[every_other],
        frozen,
        array.T.copy().T,
    ]
    same_shape = [view.reshape(array.shape) for view in views]  # asfortranarray makes a 1-d array of a 0-d one

    assert {keys.digest(array)} == {keys.digest(view) for view in same_shape}


@given(arrays, arrays)
def test_arrays_have_one_key_when_dtype_shape_and_bytes_agree(
    left: np.ndarray[Any, Any], right: np.ndarray[Any, Any]
) -> None:
    """Two arrays have one key if and only if dtype, shape and every bit agree."""
    same = (left.dtype, left.shape, left.tobytes()) == (right.dtype, right.shape, right.tobytes())

    assert same == (keys.digest(left) == keys.digest(right))


@given(st.lists(values, max_size=3), st.dictionaries(st.text(min_size=1, max_size=3), values, max_size=3))
def test_calls_are_told_apart(args: list[Any], named: dict[str, Any]) -> None:
    """The key of a call tells positional from named arguments, and a call from a call with one more."""
    call = keys.call_digest(tuple(args), named)

    assert call == keys.call_digest(tuple(copy.deepcopy(args)), dict(reversed(list(named.items()))))
    assert call != keys.call_digest((*args, named), {})
    assert call != keys.call_digest((*args, None), named)
    assert call != keys.call_digest(tuple(args), {**named, "four": None})


@given(st.binary(min_size=16, max_size=16), st.integers(0, 2**40), st.integers(0, 2**40))
def test_occurrences_are_told_apart(digest: bytes, one: int, other: int) -> None:
    """Two occurrences of a call have one key if and only if they are the same occurrence."""
    assert (one == other) == (keys.numbered(digest, one) == keys.numbered(digest, other))
