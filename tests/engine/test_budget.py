"""How far one document walks: calls into this library's own Python, counted, not timed."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import durable_nb
from durable_nb import run, step

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

pytestmark = pytest.mark.usefixtures("store")

TRIES = 6
OURS = str(Path(durable_nb.__file__).parent)


@step
def shout(text: str) -> str:
    """The smallest useful step."""
    return text.upper()


@step(batch=64)
def shout_all(texts: list[str]) -> list[str]:
    """The same of many."""
    return [text.upper() for text in texts]


def calls_in(work: Callable[[], object]) -> Counter[str]:
    """Calls into durable_nb on this thread while ``work`` runs, by function."""
    seen: Counter[str] = Counter()

    def count(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(OURS):
            seen[f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_name}"] += 1

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return seen


def per_document(work: Callable[[list[str]], object], tag: str) -> tuple[float, Counter[str]]:
    """Calls that one more document costs: 1,000 against 2,000 of them, so that what is paid once a batch drops out.

    The least of several tries: on a busy machine commits are slow, and waiting for one takes calls too.
    """
    found = []
    for attempt in range(TRIES):
        few, many = ([f"{tag} {attempt} {count} {i}" for i in range(count)] for count in (1000, 2000))
        first, second = calls_in(lambda few=few: work(few)), calls_in(lambda many=many: work(many))
        found.append(((second.total() - first.total()) / 1000, second))
    return min(found, key=lambda one: one[0])


def test_a_new_document_takes_at_most_15_calls() -> None:
    """Computing and saving one more document of a map enters our functions at most 15 times."""
    cost, seen = per_document(lambda docs: shout.map(docs, workers=1), "new")

    assert round(cost) <= 15, seen.most_common(20)


def test_a_new_document_of_a_batch_takes_at_most_6_calls() -> None:
    """What is paid for each call of a function is paid for each batch: one more document enters ours at most 6 times."""
    cost, seen = per_document(lambda docs: shout_all.map(docs, workers=1), "batched")

    assert round(cost) <= 6, seen.most_common(20)


def test_a_restored_document_takes_at_most_6_calls() -> None:
    """Restoring one more document of a map enters our functions at most 6 times, its decoding included."""
    for attempt in range(TRIES):
        for count in (1000, 2000):
            shout.map([f"old {attempt} {count} {i}" for i in range(count)], workers=1)

    cost, seen = per_document(lambda docs: list(shout.map(docs, workers=1)), "old")

    assert round(cost) <= 6, seen.most_common(20)


def test_a_plain_call_takes_at_most_28_calls() -> None:
    """A plain call in a run, which cannot share its work with a batch, enters our functions at most 28 times."""

    def work(docs: list[str]) -> None:
        with run("plain"):
            for doc in docs:
                shout(doc)

    cost, seen = per_document(work, "plain")

    assert round(cost) <= 28, seen.most_common(30)
