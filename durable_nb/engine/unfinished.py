"""Maps that nobody waits for any more and that are not over yet: the next one of their step ends them."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Protocol

from durable_nb import clock
from durable_nb.executors.threads import GRACE_S

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Unfinished(Protocol):
    is_left: bool

    def leave(self) -> None: ...


# Each has a key of its own, so that any thread, and a garbage collection in the middle, may add and forget without a lock.
_unfinished: weakref.WeakValueDictionary[tuple[str, int], _Unfinished] = weakref.WeakValueDictionary()
"""Streams, and maps whose waiting was cancelled, by the name of their step."""


def unfinished(name: str, one: _Unfinished) -> None:
    """The next map of that name ends this one."""
    _unfinished[name, id(one)] = one


def forget(name: str, one: _Unfinished) -> None:
    """It is over."""
    _unfinished.pop((name, id(one)), None)


def closing_unfinished(name: str, *own: object, is_alone: bool) -> Iterator[float]:
    """Nobody can use what was left (a loop over a stream, an ``amap``), and it is not over yet: make room for the next,
    whose ``own`` parts may have been left meanwhile.

    One that opens a run of its own (``is_alone``) ends one that still reads, too: it holds that run. Until they are over,
    two seconds at most, yields the seconds to sleep before the next look.
    """
    left = _left(name, own, is_alone=is_alone)
    due = clock.monotonic() + GRACE_S
    while any(key in _unfinished for key in left) and clock.monotonic() < due:
        yield 0.01


def _left(name: str, own: tuple[object, ...], *, is_alone: bool) -> list[tuple[str, int]]:
    """Leave what nobody can use, or all there is of that name; where it is found until it is over."""
    left = []
    for reference in _unfinished.valuerefs():
        one = reference() if reference.key[0] == name else None
        if one is not None and one not in own and (is_alone or one.is_left):
            one.leave()
            left.append(reference.key)
    return left
