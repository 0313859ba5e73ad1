"""What is called is looked up once: a property may give another client every time."""

from __future__ import annotations

import functools
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from durable_nb.notebook.reads import Reads, glimpsed


class Pool:
    """Counts who reads it."""

    def __init__(self) -> None:
        self.asked, self.plain = 0, "plain"

    @property
    def client(self) -> int:
        self.asked += 1
        return self.asked

    @functools.cached_property
    def kept(self) -> int:
        return 5

    def method(self) -> str:
        return "method"


class Lazy:
    """Makes what it is asked for."""

    asked = 0

    def __getattr__(self, name: str) -> int:
        type(self).asked += 1
        return 1


@pytest.mark.parametrize(
    ("thing", "attribute", "expected"),
    [
        (Pool(), "plain", "plain"),
        (Pool(), "kept", 5),
        (Pool(), "client", None),
        (Pool(), "gone", None),
        (Lazy(), "anything", None),
        (threading, "local", threading.local),
        (SimpleNamespace(a=3), "a", 3),
        ((3).__class__(4), "real", 4),
    ],
)
def test_a_look_ahead_runs_nothing_of_the_user(thing: Any, attribute: str, expected: Any) -> None:
    """Before a cell runs, nobody has read its properties."""
    before = getattr(thing, "asked", 0)

    assert expected == glimpsed(thing, attribute, None)
    assert before == getattr(thing, "asked", 0)


def test_a_method_is_found() -> None:
    """Methods are no properties."""
    pool = Pool()

    assert pool.method == glimpsed(pool, "method", None)


def test_each_thread_takes_what_it_has_read() -> None:
    """Two threads in one expression do not get each other's client; nothing is kept once it is taken."""
    reads, found = Reads(), []
    reads.read(0, "mine")

    def other() -> None:
        reads.read(0, "theirs")
        found.append(reads.taken(0))

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()

    assert ["theirs", "mine"] == [*found, reads.taken(0)]
    with pytest.raises(KeyError):
        reads.taken(0)
