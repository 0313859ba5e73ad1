"""What a call added to a global, and that added to what the global is by now."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_nb.notebook.deltas import add, before_of, delta

ENTRIES = st.dictionaries(st.sampled_from("abcd"), st.integers() | st.text(max_size=3), max_size=4)
VALUES = st.recursive(
    st.integers() | st.text(max_size=3), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner)
)


class Tracker:
    """Counts, as people write it."""

    def __init__(self) -> None:
        self.n, self.seen = 0, list[str]()


@given(VALUES, VALUES)
def test_what_was_added_to_the_same_gives_the_same(before: Any, after: Any) -> None:
    """A delta added to what the global was is what it became."""
    change = delta(before_of(before), after)

    if change:
        assert after == add(copy.deepcopy(before), change)


@given(ENTRIES, ENTRIES)
def test_every_change_of_entries_is_a_delta(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Entries that came, went, or have another plain value can always be told."""
    change = delta(before_of(before), after)

    assert change is not None
    assert after == add(dict(before), change)


@pytest.mark.parametrize(
    ("before", "after", "now", "expected"),
    [
        (2, 3, 10, 11),
        (0.5, 2.0, 1.0, 2.5),
        (["a"], ["a", "b"], ["new", "a"], ["new", "a", "b"]),
        ({"n": 1}, {"n": 2}, {"n": 7}, {"n": 8}),
        ({"a": 1}, {"a": 1, "b": 2}, {}, {"b": 2}),
        ({"a": 1, "b": 2}, {"b": 2}, {"a": 1, "c": 3}, {"c": 3}),
        ({"x": {"tags": []}}, {"x": {"tags": ["t"]}}, {"x": {"tags": ["s"]}}, {"x": {"tags": ["s", "t"]}}),
        (2, 3, "a text by now", "a text by now"),
    ],
)
def test_what_was_added_is_added_to_what_is_there_by_now(before: Any, after: Any, now: Any, expected: Any) -> None:
    """Documents came or went: the call adds what it added then."""
    change = delta(before_of(before), after)

    assert change
    assert expected == add(now, change)


def test_an_object_keeps_its_identity() -> None:
    """The attributes of an own object are filled where they are."""
    tracker, other = Tracker(), Tracker()
    before, seen = before_of(tracker), other.seen
    tracker.n, tracker.seen[:] = 2, ["doc 1"]
    other.n = 5

    change = delta(before, tracker)

    assert change
    assert other is add(other, change)
    assert (7, ["doc 1"]) == (other.n, seen)


@pytest.mark.parametrize(
    ("before", "after"),
    [([2, 1], [1, 2]), ([1, 2], [1]), ("a", "b"), ([1], {"a": 1}), ({"a": [1, 2]}, {"a": [2]}), (True, 5)],
)
def test_what_is_something_else_altogether_has_no_delta(before: Any, after: Any) -> None:
    """Sorted, cut, replaced: nobody can say what that would be for another value."""
    assert delta(before_of(before), after) is None
