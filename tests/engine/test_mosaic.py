"""Which document is where in the panel: every call has a number in its run, and a resumed one has it again."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any

import pytest

from durable_nb import run, step
from durable_nb.records import COMPUTED, GAVE_UP, RESTORED
from durable_nb.store import Store

DOCS = [f"doc {n}" for n in range(12)]


class Flaky:
    """Two steps, of which the first fails for some documents until it is mended, and everything stops at one of them."""

    def __init__(self) -> None:
        self.bad: set[str] = set()
        self.stop_at = ""

        @step(version="1")  # it changes while the tests run
        def clean(doc: str) -> str:
            if doc in self.bad:
                raise ValueError("bad page")
            if doc == self.stop_at:
                raise KeyboardInterrupt
            return doc

        @step(version="1")
        async def ask(doc: str) -> str:
            return clean.function(doc)

        self.clean, self.ask = clean, ask

    def maps(self) -> None:
        self.clean.map(DOCS[:6], workers=1, on_error="collect")
        self.clean.map(iter(DOCS[6:]), workers=1, on_error="collect")

    def amap(self) -> None:
        asyncio.run(self.ask.amap(DOCS, workers=3, on_error="collect"))

    def calls(self) -> None:
        for doc in DOCS:
            with contextlib.suppress(ValueError):
                self.clean(doc)

    def tried_again(self) -> None:
        for doc in DOCS:
            for _ in range(2):
                with contextlib.suppress(ValueError):
                    self.clean(doc)
                    break


@pytest.fixture
def flaky() -> Flaky:
    return Flaky()


def squares(store: Store, name: str = "work") -> list[int]:
    found = store.snapshot(name)
    assert found is not None
    assert found.run_id is not None
    mosaic = store.mosaic(found.run_id)
    assert mosaic is not None
    assert found.mosaic_version == mosaic.version
    return list(mosaic.states)


def names(store: Store, name: str = "work") -> list[str | None]:
    found = store.run(name)
    assert found is not None
    documents = [store.document(found.id, position) for position in range(len(DOCS))]
    return [None if document is None else document.label for document in documents]


@pytest.mark.parametrize("shape", ["maps", "amap", "calls", "tried_again"])
def test_every_document_has_its_number(shape: str, flaky: Flaky, store: Store) -> None:
    """Whatever makes the calls: computed, then failed and restored ones, and when all is mended the failed ones computed."""
    work: Callable[[], Any] = getattr(flaky, shape)
    flaky.bad = {DOCS[3], DOCS[7]}
    attempts = []
    for _ in range(3):
        with run("work"):
            work()
        attempts.append(squares(store))
        assert DOCS == names(store)
        flaky.bad.clear() if len(attempts) == 2 else None
    first, second = ([GAVE_UP if n in (3, 7) else other for n in range(12)] for other in (COMPUTED, RESTORED))

    assert [first, second] == attempts[:2]
    assert [COMPUTED if n in (3, 7) else RESTORED for n in range(12)] == attempts[2]


@pytest.mark.parametrize("shape", ["maps", "calls"])
def test_an_interrupted_run_goes_on_in_the_same_squares(shape: str, flaky: Flaky, store: Store) -> None:
    """What was computed before is restored where it was; the rest follows."""
    flaky.stop_at = DOCS[5]
    for _ in range(2):
        with contextlib.suppress(KeyboardInterrupt), run("work"):
            getattr(flaky, shape)()
        flaky.stop_at = ""

    assert [RESTORED] * 5 + [COMPUTED] * 7 == squares(store)
    assert DOCS == names(store)


def test_a_document_nobody_can_name_is_not_named(store: Store) -> None:
    """After a document was put in front of the others, a restored square does not bear the name of its neighbour."""

    @step
    def work(doc: str) -> str:
        return doc

    work.map(DOCS[1:])
    work.map(DOCS)

    assert [COMPUTED] + [RESTORED] * 11 == squares(store)
    assert ["doc 0"] + [None] * 11 == names(store)


def test_a_retry_goes_on_in_the_mosaic_of_its_run(store: Store) -> None:
    """After the end of the run only what failed is computed, in its square, and all of the run is shown."""
    flaky = Flaky()
    flaky.bad = {DOCS[2], DOCS[8]}
    with run("work"):
        first = flaky.clean.map(DOCS[:6], on_error="collect")
        second = flaky.clean.map(DOCS[6:], on_error="collect")
    flaky.bad.clear()
    first.retry()
    half = (squares(store), store.run("work"))
    second.retry()
    whole = (squares(store), store.run("work"))

    assert [RESTORED] * 2 + [COMPUTED] + [RESTORED] * 5 + [0] + [RESTORED] * 3 == half[0]
    assert [RESTORED] * 8 + [COMPUTED] + [RESTORED] * 3 == whole[0]
    assert [(12, 11, 10, 0), (12, 12, 11, 0)] == [
        (one.total, one.done, one.restored, one.failed) for _, one in (half, whole)
    ]


def test_a_retry_while_the_run_goes_on_counts_nothing_twice(store: Store) -> None:
    """Within the run the documents are known already: failed ones become computed."""
    flaky = Flaky()
    flaky.bad = {DOCS[2]}
    with run("work"):
        results = flaky.clean.map(DOCS, on_error="collect")
        flaky.bad.clear()
        results.retry()

    assert [COMPUTED] * 12 == squares(store)
    ended = store.run("work")
    assert (12, 12, 0, 0) == (ended.total, ended.done, ended.restored, ended.failed)


def test_a_retry_after_the_cell_was_run_with_other_documents(store: Store) -> None:
    """Numbers of an older attempt say nothing about a newer one: the retried map is shown alone."""
    flaky = Flaky()
    flaky.bad = {DOCS[2]}
    with run("work"):
        results = flaky.clean.map(DOCS[:4], on_error="collect")
    flaky.bad.clear()
    with run("work"):
        flaky.clean.map(DOCS[3:9])
    results.retry()

    assert [RESTORED, RESTORED, COMPUTED, RESTORED] == squares(store)


def test_calls_of_threads_have_numbers_of_their_own(store: Store) -> None:
    """Plain calls made at the same time share no square."""

    @step
    def work(doc: str) -> str:
        return doc

    with run("work"):
        threads = [threading.Thread(target=lambda n=n: [work(f"{n} {m}") for m in range(50)]) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert [COMPUTED] * 400 == squares(store)
