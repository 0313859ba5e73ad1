"""Versions of the code behind a run, as each database counts them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable_nb.records import LINK, Costed
from durable_nb.store import owner_of_this_process
from tests.store.examples import Counts, failure, key, result

if TYPE_CHECKING:
    from durable_nb.store import Store


def made(store: Store, name: str, fork: str = "") -> int:
    """A run of two versions of one step and one of another; its id."""
    owner = owner_of_this_process()
    run = store.begin(name, owner=owner, fork=fork)
    store.watch(run.id, owner=owner, ledger=Counts())
    for count, (step, code) in enumerate((("embed", "one"), ("parse", "one"), ("embed", f"two of {name}")), 1):
        version = store.step(step, fingerprint=code, parts={"def": code}, source=code)
        for n in range(count * 2):
            costed = Costed(*result(run.id, version, n, started=1e9 + count, position=9 - n))
            costed.cost = 1.5
            store.save(costed)
        store.save(failure(run.id, version, 90))
    link = store.step("arguments", fingerprint=LINK, parts={}, source="", kind=LINK)
    store.save(result(run.id, link, 1))
    store.finish(run.id, owner=owner, state="done")
    return run.id


def told(store: Store, run: int) -> list[tuple[str, int, int, int, float, float, str]]:
    """What is said of each version."""
    return [
        (one.version.name, one.number, one.version.saved, one.failed, one.cost, one.first - 1e9, one.run)
        for one in store.numbered(run)
    ]


def test_versions_are_numbered_within_their_step(store):
    """In the order of their first results, with what is saved of each; links are no results."""
    run = made(store, "old")

    expected = [
        ("embed", 1, 2, 1, 3.0, 1.0, "old"),
        ("embed", 2, 6, 1, 9.0, 3.0, "old"),
        ("parse", 1, 4, 1, 6.0, 2.0, "old"),
    ]
    assert expected == told(store, run)


def test_a_fork_counts_what_it_takes_as_that_of_its_origin(store):
    """Versions that only the origin has bear its name."""
    made(store, "old")
    new = made(store, "new", fork="old")

    assert [("embed", 1, "new"), ("embed", 2, "old"), ("embed", 3, "new"), ("parse", 1, "new")] == [
        (step, number, run) for step, number, *_, run in told(store, new)
    ]


def test_what_results_took(store):
    """Seconds and cost of the versions that are asked for."""
    run = made(store, "old")
    embed = [one.version.id for one in store.numbered(run) if one.version.name == "embed"]

    assert (4.0, 12.0) == tuple(store.spent(run, embed))
    assert (0.0, 0.0) == tuple(store.spent(run, []))


def test_documents_come_in_their_order(store):
    """By their number in the run."""
    run = made(store, "old")
    known = store.known(run, [store.numbered(run)[1].version.id])

    assert [(key(n), f"doc {n}", 9 - n) for n in range(5, -1, -1)] == store.labelled(known.values())
