"""Laws of the codecs, searched for counter-examples: what goes in comes out, and damage is always our error."""

from __future__ import annotations

import collections
import datetime as dt
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from durable_nb.codecs import decode, encode, needs_pickle
from durable_nb.errors import DurableError
from durable_nb.layouts import matrix

FLOATS = st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack("<d", struct.pack("<Q", bits))[0])  # every NaN too
TEXT = st.text(st.characters(exclude_categories=()))  # lone surrogates too
ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    FLOATS,
    TEXT,
    st.binary(),
    st.binary().map(bytearray),
    st.builds(complex, FLOATS, FLOATS),
    st.datetimes(timezones=st.just(dt.UTC) | st.none()),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.decimals(allow_nan=True),
    st.uuids(),
    st.lists(FLOATS, min_size=8),
    FLOATS.map(np.float64),
    TEXT.map(np.str_),
    st.integers(-128, 127).map(np.int8),
)
KEYS = st.one_of(st.none(), st.booleans(), st.integers(), TEXT, st.binary(), st.dates(), st.uuids())
SPECS = hnp.scalar_dtypes().filter(lambda dtype: dtype.itemsize > 0)
ARRAYS = hnp.arrays(SPECS | hnp.array_dtypes(SPECS), hnp.array_shapes(min_dims=0, min_side=0, max_side=4))


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Every container of plain values."""
    return st.one_of(
        st.lists(inner),
        st.lists(inner).map(tuple),
        st.dictionaries(KEYS, inner),
        st.dictionaries(KEYS, inner).map(collections.OrderedDict),
        st.sets(KEYS),
        st.frozensets(KEYS),
    )


VALUES = st.recursive(ATOMS, containers, max_leaves=12)


def exactly(value: Any) -> Any:
    """A form that is equal for two values only if types, order and bits are the same all the way down."""
    kind = type(value)
    if kind is float:
        return kind, struct.pack("<d", value)
    if kind is complex:
        return kind, struct.pack("<dd", value.real, value.imag)
    if isinstance(value, dict):
        return kind, [(exactly(key), exactly(part)) for key, part in value.items()]
    if kind in (list, tuple):
        return kind, [exactly(part) for part in value]
    if kind in (set, frozenset):
        return kind, {exactly(part) for part in value}
    if isinstance(value, (np.ndarray, np.number)):
        return kind, value.dtype.str, value.shape, value.tobytes()
    return kind, repr(value)


@settings(deadline=None)
@given(VALUES)
def test_plain_values_come_back_exactly(value: Any) -> None:
    """Whatever is nested of plain values needs no pickle and comes back with its types, order and bits."""
    codec, payload = encode(value)

    assert not needs_pickle(codec)
    assert exactly(value) == exactly(decode(codec, payload, trusted=False))


@settings(deadline=None)
@given(ARRAYS)
def test_arrays_come_back_exactly(array: np.ndarray[Any, Any]) -> None:
    """Every array of plain memory has a layout codec and comes back with its dtype, shape and bits."""
    codec, payload = encode(array)

    assert "nd:" == codec[:3]
    assert exactly(array) == exactly(decode(codec, payload, trusted=False))


@settings(deadline=None)
@given(ARRAYS, st.integers(0, 3))
def test_a_matrix_is_the_stack_of_its_rows(array: np.ndarray[Any, Any], n: int) -> None:
    """Joining payloads gives what stacking the decoded arrays would give."""
    codec, payload = encode(array)

    found = matrix(codec, [payload] * n)

    assert found is not None
    assert ((n, *array.shape), array.tobytes() * n) == (found.shape, found.tobytes())


CODECS = [
    *(
        "str",
        "bytes",
        "f64",
        "data",
        "nd:<f4:3",
        "nd:<M8[s]:",
        "nd:[('a','<i4')]:2",
        "np:<f8",
        "np:str",
        "torch:float32:2",
    ),
    *("arrow:Table", "arrow:Array", "arrow:polars.DataFrame", "arrow:polars.Series", "pickle", "cloudpickle"),
]


@settings(deadline=None)
@given(st.sampled_from(CODECS) | st.text(), st.binary())
def test_junk_is_always_our_error(codec: str, payload: bytes) -> None:
    """Random bytes under any codec are a value or an error of ours, never another exception."""
    try:
        decode(codec, payload, trusted=False)
    except DurableError:
        pass


@settings(deadline=None)
@given(
    st.text("<>=|biufcmMSUVOT0123456789x:[](),'\"-", max_size=20),
    st.binary(max_size=32),
    st.sampled_from(["nd:", "np:"]),
)
def test_junk_layouts_are_always_our_error(spec: str, payload: bytes, kind: str) -> None:
    """A forged dtype or shape describes exactly the bytes that are there, or is an error of ours."""
    try:
        found = decode(kind + spec, payload, trusted=False)
    except DurableError:
        return

    assert len(payload) == found.nbytes or kind == "np:"


def samples() -> dict[str, tuple[str, bytes]]:
    """A real payload of each kind that has structure."""
    made = {"data": encode({"a": [1, 2.5, ("x", b"y", {3})], "when": dt.date(2026, 1, 2), "v": np.arange(3)})}
    columns = {"i": [1, None], "s": ["x", None], "l": [[1.5], None]}
    try:
        import pyarrow as pa

        made["arrow"] = encode(pa.table(columns))
        import polars as pl

        made["polars"] = encode(pl.DataFrame(columns))
    except ImportError:
        pass
    return made


@pytest.mark.parametrize("kind", samples())
@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_payloads_are_a_value_or_our_error(kind: str, data: st.DataObject) -> None:
    """Flipped and missing bytes of a real payload never crash, and never raise anything but our errors."""
    codec, payload = samples()[kind]
    damaged = bytearray(payload)
    for position in data.draw(st.lists(st.integers(0, len(payload) - 1), max_size=4)):
        damaged[position] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(payload)))

    try:
        decode(codec, bytes(damaged[:cut] if cut % 2 else damaged), trusted=kind != "data")
    except DurableError:
        pass
