"""Versions of the code behind a run, as each database counts them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.event import listen

from durable_nb.records import LINK, Costed
from durable_nb.store import overlaps, owner_of_this_process
from durable_nb.testing import temporary_store
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


def test_a_call_that_several_runs_have_counts_once(store):
    """The result of the nearest run, and a failure only where none of them has a result; those that took it are unchanged."""
    step = store.step("embed", fingerprint="one", parts={}, source="")
    owner, ids, origin = owner_of_this_process(), [], ""
    for name, cost, done, failed in (
        ("old", 1.0, range(5), (5, 6)), ("new", 10.0, (3, 4, 5), (2, 6, 7)), ("newest", 100.0, (4,), (7,)),
    ):  # fmt: skip
        run = store.begin(name, owner=owner, fork=origin)
        store.watch(run.id, owner=owner, ledger=Counts())
        for n in done:
            costed = Costed(*result(run.id, step, n))
            costed.cost = cost
            store.save(costed)
        store.save_all([failure(run.id, step, n) for n in failed])
        store.finish(run.id, owner=owner, state="done")
        ids.append(run.id)
        origin = name
    numbered = [store.numbered(run)[0] for run in ids]

    assert [(5, 2, 5.0), (6, 2, 33.0), (6, 2, 123.0)] == [(one.version.saved, one.failed, one.cost) for one in numbered]
    assert (
        [5, 6, 6]
        == [store.versions(run, "embed")[0].saved for run in ids]
        == [len(store.known(run, [step])) for run in ids]
    )
    assert [(2.5, 5.0), (3.0, 33.0), (3.0, 123.0)] == [tuple(store.spent(run, [step])) for run in ids]


def test_a_fork_is_counted_without_going_through_what_is_behind_it(tmp_path):
    """SQLite begins with the rows of the fork, and with failures: behind a fork may be a million results."""
    with temporary_store(tmp_path) as store, store._database.reading() as conn:
        asked: list[tuple[str, tuple[int, ...]]] = []
        listen(conn, "before_cursor_execute", lambda _c, _u, text, values, *_: asked.append((text, values)))
        for place in (0, 1):
            overlaps._of_run(conn, [2, 1], place, 1)
        plans = [" ".join(row[3] for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values))
                 for text, values in asked[:2]]  # fmt: skip

    assert "SEARCH mine USING INDEX checkpoints_failed" in plans[0]
    assert plans[1].index("SEARCH other") < plans[1].index(
        "SEARCH mine USING INDEX checkpoints_key (run_id=? AND step_id=? AND"
    )
