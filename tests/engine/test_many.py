"""More results than shall be in memory: they stay in the database, and read like the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from durable_nb import slots, step
from durable_nb.errors import ConfigError
from durable_nb.testing import assert_restored

if TYPE_CHECKING:
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
