"""More results than shall be in memory: they stay in the database, and read like the others."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import sqlalchemy as sa

from durable_nb import run, slots, step
from durable_nb.engine import ahead
from durable_nb.errors import ConfigError
from durable_nb.testing import assert_restored

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable_nb.results import Results
    from durable_nb.store import Store

pytestmark = pytest.mark.usefixtures("store")

DOCS = range(1200)


@step
def embed(number: int) -> Any:
    """Vectors of 512 bytes."""
    if number == 700:
        return np.full(128, -1.0, np.float32)
    return np.full(128, number, np.float32)


def in_memory(results: Results) -> int:
    """How many results are held."""
    return sum(codec != slots.STORED for codec in results._codecs)


@pytest.fixture(autouse=True)
def _little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "KEPT_BYTES", 100_000)


@pytest.mark.parametrize("workers", [1, 8])
def test_results_without_room_stay_in_the_database(workers: int) -> None:
    """Computed and restored ones alike: all can be read, in order, and few are held."""
    first = embed.map(DOCS, workers=workers)
    with assert_restored(embed, len(DOCS)):
        again = embed.map(DOCS, workers=workers)

    wanted = np.stack([embed(number) for number in DOCS])
    for results in (first, again):
        assert in_memory(results) <= 700
        assert (wanted == results.to_numpy()).all()
        assert (wanted == np.stack(list(results))).all()
        assert (results[1199] == wanted[1199]).all()
        assert (np.stack(results[690:710]) == wanted[690:710]).all()
        assert len(DOCS) == len(results.ok) == results.to_pandas().shape[0]


ORDERS: dict[str, Callable[[list[int]], list[int]]] = {
    "as they were": lambda many: many,
    "backwards": lambda many: many[::-1],
    "shuffled": lambda many: random.Random(1).sample(many, len(many)),
    "only some": lambda many: many[100:2500:2],
    "twice": lambda many: many + many,
    "with others between": lambda many: [n for m in many for n in ((m, m + 10_000) if m % 9 == 0 else (m,))],
    "others first": lambda many: [*range(20_000, 21_000), *many],
}


@pytest.mark.parametrize("room", [1_000, 1 << 30])
@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_each_document_has_its_own_result_in_any_order(
    order: Callable[[list[int]], list[int]], room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Documents that are moved, left out, repeated or added: what was saved is restored, the others are computed."""
    monkeypatch.setattr(slots, "KEPT_BYTES", room)
    executed = []

    @step(version="1")
    def square(number: int) -> int:
        executed.append(number)
        return number * number

    square.map(range(3000), workers=4)
    executed.clear()
    wanted = order(list(range(3000)))
    new = list((Counter(wanted) - Counter(range(3000))).elements())
    results = square.map(wanted, workers=1)

    assert [n * n for n in wanted] == list(results)
    assert sorted(new) == sorted(executed)
    assert [str(n) for n in wanted] == results.labels


@pytest.mark.parametrize("room", [1_000, 1 << 30])
def test_of_two_versions_the_one_in_use_wins(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results that are kept from before an edit are restored as they are, beside those that were computed after it."""
    monkeypatch.setattr(slots, "KEPT_BYTES", room)

    def make(factor: int) -> Any:
        @step(name="scale")
        def scale(number: int) -> int:
            return number * factor

        return scale

    old, new = make(2), make(3)
    old.map(range(2000))
    new.map(range(500, 1000), on_change="recompute")
    mixed = [n * (3 if 500 <= n < 1000 or n >= 2000 else 2) for n in range(3000)]

    assert mixed == list(new.map(range(3000), on_change="keep"))
    with assert_restored(new, 3000):
        assert mixed == list(new.map(range(3000)))


@pytest.mark.parametrize(("order", "most"), [("as they were", 1), ("shuffled", 5)])
def test_results_are_read_on_in_the_order_they_were_saved(store: Store, order: str, most: int) -> None:
    """Of many chunks only the first is found by its keys; where that is another order, few guesses are made."""
    docs = ORDERS[order](list(range(10_000)))
    square = step(name="square", version="1")(lambda number: number * number)
    square.map(range(10_000), workers=1)
    by_key, pages = [], []

    def note(_c: Any, _cur: Any, text: str, *_: Any) -> None:
        if "payload" in text or "seconds" in text:
            (by_key if '"key" IN' in text else pages).append(text)

    reader = store._database._open()[1]
    sa.event.listen(reader, "before_cursor_execute", note)
    square.map(docs, workers=1)
    sa.event.remove(reader, "before_cursor_execute", note)

    assert (len(by_key) if order == "as they were" else len(pages)) <= most
    assert 20 <= len(by_key) + len(pages) <= 30


@pytest.mark.parametrize(("few", "fork", "asked"), [(3, False, 1 + 3), (2, False, 12), (3, True, 2 * 12)])
def test_beside_few_results_new_calls_are_not_asked_for(
    store: Store, few: int, fork: bool, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of few results the keys are read at once, and each is restored where it is met; an origin may save more meanwhile."""
    monkeypatch.setattr(ahead, "_FEW", few)
    square = step(name="square", version="1")(lambda number: number * number)
    with run("old"):
        square.map([5000])
    with run("new", **({"fork": "old"} if fork else {})):
        square.map([1200, 2600, 3900])
    by_key: list[str] = []

    def note(_c: Any, _cur: Any, text: str, *_: Any) -> None:
        if '"key" IN' in text:
            by_key.append(text)

    reader = store._database._open()[1]
    sa.event.listen(reader, "before_cursor_execute", note)
    store._writer._linger_s = 60  # or the first results of this map are there before it asks how few there are
    with run("new"):
        squares = square.map(range(6000))
    sa.event.remove(reader, "before_cursor_execute", note)
    found = store.run("new")

    assert [number * number for number in range(6000)] == list(squares)
    assert found is not None
    assert 3 + fork == found.restored
    assert asked == len(by_key)


def test_shapes_that_differ_are_named() -> None:
    """Also where the one that does not fit is in the database."""

    @step
    def ragged(number: int) -> Any:
        return np.zeros(128 if number < 1000 else 127, np.float32)

    results = ragged.map(DOCS)

    with pytest.raises(ConfigError, match="1000 has shape"):
        results.to_numpy()


def test_what_was_dropped_meanwhile_is_said(store: Store) -> None:
    """Who forgets a run takes its results out of the hands of those who have not read them."""
    results = embed.map(DOCS)
    store.forget("embed")

    assert (results[0] == embed(0)).all()
    with pytest.raises(ConfigError, match="dropped"):
        results[1199]


def test_failures_are_held_beside_them() -> None:
    """A failure is no row to read: it stays where it is, and can be tried again."""
    broken = [True]

    @step(version="1")
    def picky(number: int) -> bytes:
        if number == 1100 and broken:
            raise ValueError("no")
        return bytes(1000)

    results = picky.map(DOCS, on_error="collect")
    broken.clear()

    assert [1100] == list(results.errors)
    assert bytes(1000) == results.retry()[1100]
    assert not results.failed
