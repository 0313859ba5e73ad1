"""Forks in the store: one row, and look-ups of a run go on to another."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from durable_nb.codecs import decode, encode
from durable_nb.errors import ConfigError, StoreError
from durable_nb.records import Costed
from durable_nb.store import Store, leases, owner_of_this_process, tables
from tests.store.examples import Counts, failure, key, python, result
from tests.store.test_upkeep import DAY, Own, filled

if TYPE_CHECKING:
    from pathlib import Path


def forked(store: Store, name: str, origin: str) -> int:
    """A fork that has ended; its id."""
    owner = owner_of_this_process()
    run = store.begin(name, owner=owner, fork=origin)
    store.finish(run.id, owner=owner, state="done")
    return run.id


def texts(found: dict) -> dict[bytes, bytes]:
    """Payloads by key."""
    return {one: saved.payload for one, saved in found.items()}


@pytest.fixture
def family(store: Store) -> tuple[Store, int, int, int, int]:
    """A run with results 0 to 9, a fork of it with results 5 to 14 of its own, and one of that with 14 and 15; the step."""
    step = store.step("embed", fingerprint="one", parts={}, source="")
    ids = []
    for number, (name, origin, documents) in enumerate(
        (("old", "", range(10)), ("new", "old", range(5, 15)), ("newest", "new", range(14, 16)))
    ):
        owner = owner_of_this_process()
        run = store.begin(name, owner=owner, fork=origin)
        for n in documents:
            store.save(result(run.id, step, n, codec="bytes", payload=b"%d of %d" % (n, number)))
        store.finish(run.id, owner=owner, state="done")
        ids.append(run.id)
    return store, *ids, step


def test_a_fork_has_the_results_of_its_origin_where_it_has_none(family):
    """Its own results first, then those of the nearest run; every way of looking says the same."""
    store, old, new, newest, step = family
    keys = [key(n) for n in range(20)]
    own = {n: 0 for n in range(5)} | dict.fromkeys(range(5, 14), 1) | {14: 2, 15: 2}
    expected = {key(n): b"%d of %d" % (n, number) for n, number in own.items()}
    known = store.known(newest, [step])
    rows = [row for first in (0, 16) for row in store.fetch(newest, [step], from_id=first, limit=100)]
    fetched = {one: saved.payload for row_id, one, saved in rows if known[one] == row_id}

    assert expected == texts(store.look_up(newest, [step], keys)) == fetched
    assert expected.keys() == known.keys() == store.found(newest, [step], keys).keys()
    assert (16, 15, 10) == tuple(len(store.known(run, [step])) for run in (newest, new, old))
    assert ["embed"] == [version.name for version in store.versions(newest, "embed")]


def test_what_pickle_needs_is_read_from_the_origin(store):
    """The signature of a row that a fork takes is that of the run that saved it."""
    step = store.step("embed", fingerprint="one", parts={}, source="")
    owner = owner_of_this_process()
    run = store.begin("old", owner=owner)
    codec, payload = encode(Own())
    store.save(result(run.id, step, 1, codec=codec, payload=payload))
    store.finish(run.id, owner=owner, state="done")
    new = forked(store, "new", "old")
    saved = [store.look_up(new, [step], [key(1)])[key(1)], store.fetch(new, [step], from_id=0, limit=9)[0][2]]

    assert [Own(), Own()] == [decode(one.codec, one.payload) for one in saved]


def test_choices_and_costs_of_the_origin_hold_for_a_fork(store):
    """What was decided about an edit is decided; a later choice of the fork replaces it there only. Costs count once."""
    older, step = (store.step("embed", fingerprint=one, parts={}, source="") for one in ("zero", "one"))
    owner = owner_of_this_process()
    run = store.begin("old", owner=owner)
    for n in range(3):
        costed = Costed(*result(run.id, step, n))
        costed.cost = 2.0
        store.watch(run.id, owner=owner, ledger=Counts())
        store.save(costed)
    store.finish(run.id, owner=owner, state="done")
    store.choose(run.id, step, [older], "keep")
    new = forked(store, "new", "old")
    assert {older: "keep"} == store.choices(new, step)
    store.choose(new, step, [older], "recompute")

    assert ({older: "recompute"}, {older: "keep"}) == (store.choices(new, step), store.choices(run.id, step))
    assert 6.0 == store.cost_of(new, [(step, key(n)) for n in range(9)])


@pytest.mark.parametrize(
    ("name", "origin", "says"),
    [
        ("new", "nowhere", "no run 'nowhere' to fork from"),
        ("new", "no\0\ud800", r"no run 'no\\x00\\ud800' to fork from"),
        ("new", "new", "cannot be forked from itself"),
        ("old", "other", "'old' is there already, and was not forked from 'other'"),
        ("fork", "other", "'fork' is there already, and was not forked from 'other'"),
    ],
)
def test_a_fork_that_cannot_be(store, name, origin, says):
    """In words, with nothing made and nothing changed."""
    for one in ("old", "other"):
        filled(store, one, count=1)
    forked(store, "fork", "old")
    before = store.runs()
    with pytest.raises(ConfigError, match=says):
        store.begin(name, owner=owner_of_this_process(), fork=origin)

    assert before == store.runs()


def test_a_fork_is_begun_again_with_and_without_saying_so(store):
    """It stays a fork, and says from what in its history once."""
    old = filled(store, "old")
    new = forked(store, "new", "old")
    assert new == forked(store, "new", "old") == forked(store, "new", "")

    assert (new, old) == store.lineage(new)
    details = [event.detail for event in store.events(new) if "restarted" != event.kind != "done"]
    assert [True] == [detail.endswith(", forked from old") for detail in details]


def test_what_a_fork_takes_cannot_be_dropped(store):
    """Its origin is refused, in words; after the fork was dropped it goes."""
    filled(store, "old")
    forked(store, "new", "old")
    forked(store, "newer", "old")
    with pytest.raises(ConfigError, match=r"'old' cannot be dropped: 'new', 'newer' take its results\. Drop 'new'"):
        store.forget("old")
    assert 0 == store.forget("new") == store.forget("newer")
    assert 20 == store.forget("old")

    assert [] == store.runs()


def test_gc_counts_the_use_of_a_fork_as_use_of_its_origin(url, opens):
    """An old run stays while a fork of it is used, live or not; when both are old, both go, the fork first."""
    from durable_nb.testing import frozen_clock

    store = opens(url)
    with frozen_clock() as clock:
        filled(store, "old")
        filled(store, "alone")
        clock.move(40 * DAY)
        forked(store, "new", "old")
        assert ("alone",) == store.gc(older_s=30 * DAY).runs
        clock.move(40 * DAY)
        owner = owner_of_this_process()
        run = store.begin("new", owner=owner)
        store.watch(run.id, owner=owner, ledger=Counts())
        clock.move(40 * DAY)
        assert () == store.gc(older_s=30 * DAY, max_bytes=1).runs
        store.finish(run.id, owner=owner, state="done")
        clock.move(40 * DAY)

        assert ("new", "old") == store.gc(older_s=30 * DAY, dry_run=True).runs == store.gc(older_s=30 * DAY).runs
    assert [] == store.check()


_DROP = """
import sys
store = Store.open(sys.argv[1])
print("ready", flush=True); sys.stdin.readline()
try:
    print("dropped", store.forget("old"))
except Exception as error:
    print(error)
store.close()
"""


def test_a_run_that_is_being_forked_is_not_dropped(url, opens):
    """Another process that drops it meanwhile waits until the fork is there, and is refused; nothing dangles."""
    store = opens(url)
    filled(store, "old", count=1)
    dropping = python(_DROP, url)
    assert "ready\n" == dropping.stdout.readline()
    with store._database.writing() as conn:
        leases.claim(conn, "new", owner=owner_of_this_process(), fork="old")
        dropping.stdin.write("\n")
        dropping.stdin.flush()
        with pytest.raises(subprocess.TimeoutExpired):
            dropping.wait(1.0)
    said, _ = dropping.communicate(timeout=60)

    assert "'new' takes its results" in said
    assert [] == store.check()


def test_an_exported_fork_is_whole(family, tmp_path: Path, opens):
    """The file holds what it takes from others too, each call once; imported, it is a run by itself."""
    store, old, new, newest, step = family
    owner = owner_of_this_process()
    run = store.begin("newest", owner=owner)
    for n in (3, 90):
        store.save(failure(run.id, step, n))  # 3 has a result in the oldest run
    store.finish(run.id, owner=owner, state="failed")
    unused = store.step("embed", fingerprint="two", parts={}, source="")
    store.choose(newest, unused, [step], "recompute")  # edited, and nothing computed since
    expected = texts(store.look_up(newest, [step], [key(n) for n in range(99)]))

    assert 17 == store.export_run("newest", tmp_path / "run")
    assert ("copy", 17) == store.import_run(tmp_path / "run", name="copy")
    copy = store.run("copy")
    assert expected == texts(store.look_up(copy.id, [step], [key(n) for n in range(99)]))
    assert (copy.id,) == store.lineage(copy.id)
    assert {step: "recompute"} == store.choices(copy.id, unused)
    assert ["doc 90"] == [one.label for one in store.failures(copy.id)]
    for name in ("newest", "new", "old"):
        store.forget(name)
    assert expected == texts(store.look_up(copy.id, [step], [key(n) for n in range(99)]))


@pytest.mark.parametrize("far", [0, 2000])
def test_forks_that_nobody_of_us_writes_are_said(store, opens, url, far):
    """A circle, and a chain without end: a sentence, not a loop."""
    old = filled(store, "old", count=1)
    last = old if far == 0 else old + far
    rows = [{"run_id": one, "origin_id": one + 1} for one in range(old, last)] + [{"run_id": last, "origin_id": old}]
    with store._database.writing() as conn:
        conn.execute(sa.insert(tables.forks), rows)
    with pytest.raises(StoreError, match="is forked from"):
        opens(url).known(old, [1])
    with store._database.writing() as conn:
        conn.execute(sa.delete(tables.forks))
