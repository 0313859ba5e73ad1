"""What a call did besides returning a value is done again when it is restored, and what cannot be is told at once."""

from __future__ import annotations

import array
import collections
import io
import itertools
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durable_nb import codecs, keys
from durable_nb.notebook.contents import put_value
from durable_nb.notebook.effects import NotRestorable, Watch, places, repeat
from durable_nb.notebook.exposed import Exposed
from durable_nb.sources import fingerprint

pytestmark = pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")
COUNTER = itertools.count()
Change = Callable[..., Any]


class Record:
    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)

    def add(self, name: str, value: Any) -> None:
        setattr(self, name, value)


class Slotted:
    __slots__ = ("text",)


class Rows(list):
    pass


def seen(
    function: Change, *args: Any, alone: bool = True, bound: tuple[Any, ...] = ()
) -> tuple[dict[str, Any], list[str]]:
    """What a call did, as it comes out of the store, and what is not repeated."""
    known = fingerprint(function)
    watch = Watch(places(bound, args, {}), known, Exposed.of(known))
    function(*bound, *args)
    found, left_out = watch.effects(alone=alone)
    codec, payload = codecs.encode(found)
    return codecs.decode(codec, payload, trusted=True, where="memory"), left_out


def restored(make: Callable[[], Any], change: Change) -> tuple[Any, Any]:
    """A value that was changed, and an equal one for which that was repeated."""
    expected, got = make(), make()
    found, left_out = seen(change, expected)

    assert [] == left_out
    assert "arguments" in found
    repeat(found, {0: got}, {})
    return expected, got


def check_restored(make: Callable[[], Any], change: Change) -> None:
    """Both are equal, in value and in what a digest may not see: order, labels, attributes."""
    expected, got = restored(make, change)
    shown: Callable[[Any], Any] = repr if not isinstance(expected, Record) else vars

    assert keys.digest(expected) == keys.digest(got)
    assert type(expected) is Record or shown(expected) == shown(got)
    assert getattr(expected, "attrs", None) == getattr(got, "attrs", None)


CHANGES: dict[str, tuple[Callable[[], Any], Change]] = {
    "list grows": (lambda: [1], lambda x: x.append(2)),
    "list is emptied": (lambda: [1], lambda x: x.clear()),
    "list in a list": (lambda: [[1], [2]], lambda x: x[1].append(3)),
    "dict in a list": (lambda: [{"n": 1}], lambda x: x[0].update(vector=[1.0])),
    "list in a tuple": (lambda: ([1], 2), lambda x: x[0].append(2)),
    "dict": (lambda: {"a": 1}, lambda x: x.update(b=2, a=3)),
    "dict loses a key": (lambda: {"a": 1, "b": 2}, lambda x: x.pop("a")),
    "dict in a dict": (lambda: {"a": {"b": [1]}}, lambda x: x["a"]["b"].append(2)),
    "defaultdict": (lambda: collections.defaultdict(list), lambda x: x["a"].append(1)),
    "Counter": (lambda: collections.Counter("aab"), lambda x: x.update("bc")),
    "OrderedDict": (lambda: collections.OrderedDict(a=1, b=2), lambda x: x.move_to_end("a")),
    "set": (lambda: {1, 2}, lambda x: (x.add(3), x.discard(1))),
    "deque": (lambda: collections.deque([1, 2], maxlen=2), lambda x: x.append(3)),
    "ndarray": (lambda: np.arange(4.0), lambda x: x.sort() or x.__setitem__(0, 9)),
    "ndarray of no dimension": (lambda: np.array(1.0), lambda x: x.fill(2)),
    "view": (lambda: np.arange(6).reshape(2, 3)[:, 1:], lambda x: x.fill(7)),
    "objects in an ndarray": (lambda: np.array([[1], None], dtype=object), lambda x: x[0].append(2)),
    "structured ndarray": (lambda: np.zeros(2, dtype=[("a", int)]), lambda x: x["a"].fill(3)),
    "DataFrame cell": (lambda: pd.DataFrame({"a": [1, 2]}), lambda x: x.loc.__setitem__((0, "a"), 5)),
    "DataFrame column": (lambda: pd.DataFrame({"a": [1, 2]}), lambda x: x.__setitem__("b", ["x", "y"])),
    "DataFrame dtype": (lambda: pd.DataFrame({"a": [1, 2]}), lambda x: x.__setitem__("a", ["x", "y"])),
    "DataFrame loses rows": (lambda: pd.DataFrame({"a": [1, 2, 3]}), lambda x: x.drop(index=1, inplace=True)),
    "DataFrame grows": (lambda: pd.DataFrame({"a": [1, 2]}), lambda x: x.loc.__setitem__(2, 9)),
    "DataFrame loses a column": (lambda: pd.DataFrame({"a": [1], "b": [2]}), lambda x: x.pop("a")),
    "DataFrame is sorted": (lambda: pd.DataFrame({"a": [2, 1]}), lambda x: x.sort_values("a", inplace=True)),
    "DataFrame index": (lambda: pd.DataFrame({"a": [1]}), lambda x: x.set_index("a", inplace=True)),
    "Series cell": (lambda: pd.Series([1, 2]), lambda x: x.iloc.__setitem__(0, 9)),
    "instance": (lambda: Record(a=1, b=2), lambda x: (x.add("c", 3), delattr(x, "a"))),
    "instance in an instance": (lambda: Record(a=Record(b=[1])), lambda x: x.a.b.append(2)),
    "own list": (lambda: Rows([1]), lambda x: x.append(2)),
    "bytearray": (lambda: bytearray(b"a"), lambda x: x.extend(b"b")),
    "DataFrame column in front": (lambda: pd.DataFrame({"a": [1]}), lambda x: x.insert(0, "z", [0])),
    "DataFrame column is renamed": (
        lambda: pd.DataFrame({"a": [1], "b": [2]}),
        lambda x: x.rename(columns={"a": "q"}, inplace=True),
    ),
    "DataFrame attributes": (lambda: pd.DataFrame({"a": [1]}), lambda x: x.attrs.update(k=1)),
    "Series grows": (lambda: pd.Series([1, 2]), lambda x: x.loc.__setitem__(2, 3)),
    "Series loses rows": (lambda: pd.Series([1, 2, 3]), lambda x: x.drop(1, inplace=True)),
    "Series is sorted": (lambda: pd.Series([2, 1]), lambda x: x.sort_values(inplace=True)),
    "Series name": (lambda: pd.Series([1, 2]), lambda x: setattr(x, "name", "n")),
    "attribute of an own list": (lambda: Rows([1]), lambda x: setattr(x, "unit", "m")),
}


@pytest.mark.parametrize("name", CHANGES)
def test_an_argument_that_was_changed_is_changed_again(name: str) -> None:
    """After a restored call an argument is what it is after a call."""
    check_restored(*CHANGES[name])


plain = st.recursive(
    st.integers(0, 9) | st.text("ab", max_size=2) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3) | st.tuples(inner),
    max_leaves=6,
)  # fmt: skip


@given(st.lists(plain, max_size=4), st.lists(plain, max_size=4), st.sampled_from(["list", "dict", "instance"]))
@settings(max_examples=100, deadline=None)
def test_any_plain_value_is_put_back(before: list[Any], after: list[Any], kind: str) -> None:
    """Whatever a container held and holds, the restored one is equal, and is the object that it was."""
    make = {"list": list, "dict": lambda items: dict(enumerate(items)), "instance": lambda items: Record(items=items)}
    value, became = make[kind](before), make[kind](after)
    inside = value if kind == "dict" else vars(value) if kind == "instance" else None
    found, _ = seen(lambda x: put_value(x, became), make[kind](before))
    repeat(found, {0: value}, {})

    assert keys.digest(make[kind](after)) == keys.digest(value)
    assert inside is None or list(inside) == list(became if kind == "dict" else vars(became))


def test_what_is_inside_stays_the_same_object() -> None:
    """Other names for what is inside of an argument see the change too."""
    shared = [1]
    value = {"a": [shared, shared], "b": Record(rows=shared), "c": {"d": np.zeros(2)}}
    parts = value["a"], value["b"], value["c"]["d"]

    def change(x: Any) -> None:
        x["a"][0].append(2)
        x["c"]["d"][0] = 5

    other = [1]
    found, _ = seen(change, {"a": [other, other], "b": Record(rows=other), "c": {"d": np.zeros(2)}})
    repeat(found, {0: value}, {})

    assert [1, 2] == shared
    assert all(one is other for one, other in zip(parts, (value["a"], value["b"], value["c"]["d"]), strict=True))
    assert shared is value["a"][0] is value["b"].rows


@pytest.mark.parametrize(
    "change",
    [
        lambda records, other: records.reverse(),
        lambda records, other: records.pop(0),
        lambda records, other: records.sort(key=lambda one: -one["n"]),
        lambda records, other: records.append(other),
    ],
)
def test_items_that_move_stay_the_same_objects(change: Change) -> None:
    """A list that is sorted, taken from or given another argument holds the same records as after the call."""

    def make() -> Any:
        return [{"n": 1}, {"n": 2}], {"n": 3}

    def order(records: list[Any], known: list[Any]) -> list[int]:
        return [next((place for place, one in enumerate(known) if one is record), -1) for record in records]

    expected, got = make(), make()
    all_of, all_again = [*expected[0], expected[1]], [*got[0], got[1]]
    found, _ = seen(change, *expected)
    repeat(found, places((), got, {}), {})

    assert order(expected[0], all_of) == order(got[0], all_again)
    assert all_of == all_again


def test_the_receiver_and_keywords_are_arguments_too() -> None:
    """The object of a method stands before its first argument; keywords stand under their names."""
    record, rows = Record(), [1]
    found, _ = seen(Record.add, "rows", [2], bound=(record,))
    again = Record()
    repeat(found, {-1: again, 0: "rows", 1: [2]}, {})

    assert {-1: record, 0: rows, "n": 3} == places((record,), (rows,), {"n": 3})
    assert {"rows": [2]} == vars(again)


@pytest.mark.parametrize(
    ("make", "change"),
    [
        (Slotted, lambda x: setattr(x, "text", "a")),
        (lambda: np.arange(4.0), lambda x: x.resize(6, refcheck=False)),
        (lambda: array.array("i"), lambda x: x.append(1)),
        (lambda: np.ma.array([1, 2]), lambda x: x.__setitem__(0, 3)),
        (lambda: pl.DataFrame({"a": [1]}), lambda x: x.insert_column(0, pl.Series("b", [2]))),
        (lambda: types.SimpleNamespace(), lambda x: setattr(x, "n", 1)),
        (lambda: collections.UserDict(), lambda x: x.update(n=1)),
        (lambda: collections.ChainMap(), lambda x: x.update(n=1)),
    ],
)
def test_what_cannot_be_changed_again_raises(make: Callable[[], Any], change: Change) -> None:
    """A change that nobody can repeat is told after the first call, with the place and the object."""
    value = make()
    with pytest.raises(NotRestorable) as raised:
        seen(change, value)

    assert (0, value) == (raised.value.place, raised.value.value) or raised.value.value is value


def test_what_is_not_changed_leaves_nothing() -> None:
    """A call without effects saves none, whatever it is given."""
    given = [
        "a",
        1,
        (1, 2),
        [1],
        {"a": 1},
        {1},
        np.arange(3),
        pd.DataFrame({"a": [1]}),
        Record(a=1),
        io.StringIO(),
        len,
    ]

    assert ({}, []) == seen(lambda *args: [repr(one) for one in args], *given)
