"""``priority=``: in which order documents are computed."""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING, Any

from durable_nb.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from durable_nb.records import Call

_CHUNK = 500


def by_priority(chunks: Iterable[Sequence[Call]], priority: Callable[[Any], Any]) -> Iterator[Sequence[Call]]:
    """Calls of a higher priority first; all of them are looked up before the first is made."""
    calls = [call for chunk in chunks for call in chunk]
    order = ordered([priority(call.args[-1]) for call in calls], lambda place: calls[place].label)
    calls = [calls[place] for place in order]
    return (calls[start : start + _CHUNK] for start in range(0, len(calls), _CHUNK))


def ordered(ranks: Sequence[Any], name_of: Callable[[int], str]) -> list[int]:
    """The places of what a ``priority`` gave, that of the highest first and equal ones as they were.

    Raises
    ------
    ConfigError
        One of them cannot be compared with the others; ``name_of`` its place is the document.
    """
    try:
        order = sorted(range(len(ranks)), key=ranks.__getitem__, reverse=True)
        is_sorted = all(map(_has_order, ranks))
    except Exception:  # a comparison of theirs; it is told for which document
        is_sorted = False
    if is_sorted:
        return order
    place = _odd_one(ranks)
    rank = ranks[place]
    given = repr(rank) if rank is None or isinstance(rank, float) else f"a {type(rank).__name__}"
    raise ConfigError(
        f"priority= gave {given} for {name_of(place)}, which cannot be compared with what it gave for the others.",
        "Let it return a number for each item.",
    )


def _has_order(rank: Any) -> bool:
    """Not None, and not nan, which is in no order with anything, so that a sorted list of them is not sorted."""
    return rank is not None and bool(rank == rank)  # noqa: PLR0124 - it is what nan is known by


def _odd_one(ranks: Sequence[Any]) -> int:
    """The place of the first that does not go with those before it."""
    before: list[Any] = []
    for place, rank in enumerate(ranks):
        try:
            if not _has_order(rank):
                return place
            bisect.insort(before, rank)
        except Exception:  # of its comparison
            return place
    return 0
