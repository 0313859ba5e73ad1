"""What the engine may rely on, on every database."""

from __future__ import annotations

import os
import threading

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from durable_nb.errors import ConfigError, LeaseLost
from durable_nb.records import Failure, Saved, State
from durable_nb.store import Store, owner_of_this_process, tables
from tests.kernels import wait_until
from tests.store.examples import Counts, begin, failure, key, result


def test_saved_results_are_found_by_key(store):
    """A look-up gives exactly the wanted keys that have a result, whole."""
    run, _, step = begin(store)
    for n in range(5):
        store.save(result(run.id, step, n))
    store.flush()

    found = store.look_up(run.id, [step], [key(1), key(3), key(99)])

    assert {key(n): Saved("raw", b"payload %d" % n, 0.5, step, n) for n in (1, 3)} == found


def test_every_byte_comes_back(store):
    """Payloads come back equal, empty, with NULs and of a megabyte alike, and so do odd labels' rows."""
    run, _, step = begin(store)
    payloads = [b"", b"\0", b"\0\xff" * 1000, os.urandom(1 << 20), b"x" * ((1 << 20) + 1), os.urandom(3 << 20)]
    for n, payload in enumerate(payloads):
        store.save(result(run.id, step, n, payload=payload, label="näme\n'\";--"))
    store.flush()

    found = store.look_up(run.id, [step], [key(n) for n in range(len(payloads))])

    assert payloads == [found[key(n)].payload for n in range(len(payloads))]
    assert {"raw"} == {saved.codec for saved in found.values()}


def test_many_keys_need_not_fit_one_statement(store):
    """A look-up of more keys than a statement has parameters finds them all."""
    run, _, step = begin(store)
    for n in range(2_500):
        store.save(result(run.id, step, n))
    store.flush()

    assert 2_500 == len(store.look_up(run.id, [step], [key(n) for n in range(40_000)]))


def test_the_earlier_step_wins(store):
    """Of two versions with a result for a key, the one named first is taken, by all three ways of reading."""
    run, _, new = begin(store)
    old = store.step("embed", fingerprint="zero", parts={}, source="")
    for step, numbers in ((old, (1, 2)), (new, (2, 3))):
        for n in numbers:
            store.save(result(run.id, step, n, payload=b"%d" % step))
    store.flush()

    found = store.look_up(run.id, [new, old], [key(n) for n in range(5)])
    ids = store.known(run.id, [new, old])
    pages = {number: saved for number, _, saved in store.fetch(run.id, [new, old], from_id=0, limit=10)}

    assert {key(1): old, key(2): new, key(3): new} == {each: saved.step_id for each, saved in found.items()}
    assert {each: saved.step_id for each, saved in found.items()} == {e: pages[i].step_id for e, i in ids.items()}


def test_results_are_read_on_from_one(store):
    """From a checkpoint on come the finished calls of one step, in the order they were saved, whole or left where they are."""
    run, owner, step = begin(store)
    other, _, _ = begin(store, "other")
    version = store.step("embed", fingerprint="two", parts={}, source="")
    rows = [result(run.id, step, 9 - n, payload=b"x" * (2 << 20) if n == 4 else b"%d" % n) for n in range(6)]
    rows[2:2] = [failure(run.id, step, 20), result(other.id, step, 21), result(run.id, version, 22)]
    for row in rows:
        store.save(row)
    store.flush()
    first = store.id_of(run.id, step, key(8))

    read = store.following(run.id, step, from_id=first, limit=4)
    left = store.found_following(run.id, step, from_id=first, limit=4)

    assert [key(8), key(7), key(6), key(5)] == [name for _, name, _ in read]
    assert [b"1", b"2", b"3", b"x" * (2 << 20)] == [saved.payload for _, _, saved in read]
    assert {name: saved for _, name, saved in read} == store.look_up(run.id, [step], [key(n) for n in range(5, 9)])
    assert {name: saved for _, name, saved in left} == store.found(run.id, [step], [key(n) for n in range(5, 9)])
    assert [row[:2] for row in read] == [row[:2] for row in left]
    assert store.id_of(run.id, step, key(8)) == read[0][0]
    assert store.id_of(run.id, step, key(99)) is None
    assert [] == store.following(run.id, step, from_id=read[-1][0] + 100, limit=4)


def test_keys_are_told_unless_they_are_many(store):
    """Which calls may have a result, without looking for each: of these versions in this run, if they are not too many."""
    run, _, step = begin(store)
    other, _, _ = begin(store, "other")
    version = store.step("embed", fingerprint="two", parts={}, source="")
    for row in (
        result(run.id, step, 1),
        failure(run.id, step, 2),
        result(other.id, step, 3),
        result(run.id, version, 4),
    ):
        store.save(row)
    store.flush()

    assert {key(1), key(2)} == store.names(run.id, [step], most=2)
    assert {key(1), key(2), key(4)} == store.names(run.id, [version, step], most=3)
    assert store.names(run.id, [step], most=1) is None
    assert set() == store.names(run.id, [step + 100], most=0)


def test_failures_are_not_results(store):
    """A document that gave up is listed with its error, and none of the look-ups takes it for a result."""
    run, _, step = begin(store)
    store.save(failure(run.id, step, 7, attempts=3))
    store.flush()

    assert [Failure(7, "doc 7", "ValueError: 7", 3, "Traceback: …")] == store.failures(run.id)
    assert ({}, {}, []) == (
        store.look_up(run.id, [step], [key(7)]),
        store.known(run.id, [step]),
        store.fetch(run.id, [step], from_id=0, limit=9),
    )


@pytest.mark.parametrize("together", [True, False], ids=["one commit", "two commits"])
def test_a_failure_never_replaces_a_result(store, together):
    """A result is kept when the same call fails later; a failure is replaced by a result."""
    run, _, step = begin(store)
    for row in (result(run.id, step, 1), failure(run.id, step, 1), failure(run.id, step, 2), result(run.id, step, 2)):
        store.save(row)
        if not together:
            store.flush()
    store.flush()

    assert {key(1), key(2)} == set(store.known(run.id, [step]))
    assert [] == store.failures(run.id)


def test_a_failure_of_older_code_is_forgotten_once_tried_again(store):
    """Only the latest outcome of a document counts as its failure, across versions of the step."""
    run, _, old = begin(store)
    new = store.step("embed", fingerprint="two", parts={}, source="")
    other = store.step("clean", fingerprint="one", parts={}, source="")
    for row in (
        failure(run.id, old, 1), result(run.id, new, 1),  # mended
        failure(run.id, old, 2), failure(run.id, new, 2, error="KeyError: again"),  # failed anew
        failure(run.id, old, 3), result(run.id, other, 3),  # another step has the same arguments
    ):  # fmt: skip
        store.save(row)
    store.flush()

    assert [(2, "KeyError: again"), (3, "ValueError: 3")] == [(f.position, f.error) for f in store.failures(run.id)]


def test_failures_are_limited_and_in_order(store):
    """At most ``limit`` failures, the first documents first."""
    run, _, step = begin(store)
    for n in (5, 3, 9, 1):
        store.save(failure(run.id, step, n))
    store.flush()

    assert [1, 3, 5] == [one.position for one in store.failures(run.id, limit=3)]


def test_no_more_failures_are_listed_than_are_counted(store):
    """The newest of them; those of before are of documents that are gone, or not tried again yet."""
    run, _, step = begin(store)
    for n, started in ((5, 30.0), (3, 10.0), (9, 20.0), (1, 20.5)):
        store.save(failure(run.id, step, n, started=started))
    store.flush()

    def listed(counted: int, **page: int) -> list[int]:
        return [one.position for one in store.failures(run.id, counted=counted, **page)]

    assert [[], [5], [1, 5], [1, 5, 9], [1, 3, 5, 9], [1, 3, 5, 9]] == [listed(counted) for counted in range(6)]
    assert [[1, 5], [9]] == [listed(3, limit=2, offset=offset) for offset in (0, 2)]


def test_pages_follow_the_order_of_saving(store):
    """Fetching from the id after the last one walks all results once, in the order they were saved."""
    run, _, step = begin(store)
    for n in (4, 2, 9, 7, 1):
        store.save(result(run.id, step, n))
    store.flush()
    seen, start = [], 0
    while page := store.fetch(run.id, [step], from_id=start, limit=2):
        seen += [one for _, one, _ in page]
        start = page[-1][0] + 1

    assert [key(n) for n in (4, 2, 9, 7, 1)] == seen


def test_runs_do_not_see_each_other(store):
    """The same key in two runs is two calls."""
    first, _, step = begin(store, "first")
    second, _, _ = begin(store, "second")
    store.save(result(first.id, step, 1))
    store.flush()

    assert {} == store.look_up(second.id, [step], [key(1)])
    assert {} == store.known(second.id, [step])


def test_a_step_is_the_same_for_the_same_fingerprint(store):
    """Name and fingerprint name a version; registering it again gives the same id."""
    ids = [store.step(name, fingerprint=print_, parts={}, source="") for name, print_ in ("aa", "aa", "ab", "ba")]

    assert ids[0] == ids[1]
    assert 3 == len(set(ids))


def test_versions_count_results_of_this_run_only(store):
    """Versions with saved results are listed newest first; failures and other runs do not count."""
    run, _, old = begin(store)
    other, _, _ = begin(store, "other")
    new = store.step("embed", fingerprint="two", parts={"global MODEL": "2"}, source="new")
    store.step("embed", fingerprint="three", parts={}, source="")
    for row in (result(run.id, old, 1), result(run.id, old, 2), failure(run.id, old, 3), result(run.id, new, 1)):
        store.save(row)
    store.save(result(other.id, old, 1))
    store.flush()

    versions = store.versions(run.id, "embed")

    assert [(new, 1), (old, 2)] == [(version.id, version.saved) for version in versions]
    assert ({"global MODEL": "2"}, "new") == (versions[0].parts, versions[0].source)


def test_a_choice_can_be_taken_back(store):
    """The last choice about an older version counts, for its run and step only."""
    run, _, step = begin(store)
    store.choose(run.id, step, [100, 101], "keep")
    store.choose(run.id, step, [101], "recompute")

    assert {100: "keep", 101: "recompute"} == store.choices(run.id, step)
    assert {} == store.choices(run.id, step + 1)
    with pytest.raises(ConfigError, match='"keep" or "recompute"'):
        store.choose(run.id, step, [100], "maybe")


def test_a_decision_about_an_edit_is_part_of_the_story(store):
    """Said once, and again when it is another; versions that stand side by side are no edits."""
    run, _, step = begin(store)
    for choice, edited in (("keep", True), ("keep", True), ("recompute", False), ("keep", True), ("recompute", True)):
        store.choose(run.id, step, [100], choice, edited=edited)
    told = [event.detail for event in store.events(run.id) if event.kind == "edited"]
    kept, again = (f"embed: results of older code are {done}" for done in ("kept", "computed again"))

    assert [kept, kept, again] == told


def test_a_run_tells_its_story(store):
    """A run is running, then what it was finished as; attempts, counts, text and history are kept."""
    run, owner, step = begin(store)
    store.watch(run.id, owner=owner, ledger=Counts(total=3))
    for n in range(2):
        store.save(result(run.id, step, n))

    assert (State.RUNNING, 1, owner) == (run.state, run.attempts, run.owner)

    store.finish(run.id, owner=owner, state=State.INTERRUPTED, message="stopped")
    ended = store.run("embed")

    assert (State.INTERRUPTED, 3, 2, None) == (ended.state, ended.total, ended.done, ended.owner)
    assert ("a.ipynb", "cell") == (ended.notebook, ended.source)
    owner = owner_of_this_process()
    again = store.begin("embed", owner=owner)
    store.watch(run.id, owner=owner, ledger=Counts())
    assert (run.id, State.RUNNING, 2, 0, "cell") == (again.id, again.state, again.attempts, again.done, again.source)
    story = [(event.kind, event.detail) for event in store.events(run.id)]
    assert [("started", story[0][1]), ("interrupted", "stopped"), ("restarted", story[2][1])] == story


def test_counts_are_committed_with_their_results(store):
    """What a run says it has done is what the table holds, after every commit."""
    run, owner, step = begin(store)
    ledger = Counts(total=9)
    store.watch(run.id, owner=owner, ledger=ledger)
    for n in range(5):
        store.save_now(result(run.id, step, n)).result(timeout=30)

        assert store.run("embed").done == len(store.known(run.id, [step])) == n + 1


def test_runs_lists_the_latest_first(store):
    """The run started or ended last stands first; an unknown one is None."""
    for name in ("a", "b", "c"):
        begin(store, name)
    store.finish(store.run("a").id, owner=store.run("a").owner, state=State.DONE)

    assert ["a", "c", "b"] == [run.name for run in store.runs()]
    assert store.run("nobody") is None


def test_forget_drops_the_run_and_only_it(store):
    """Forgetting drops a run's checkpoints, large ones too, and leaves those of others."""
    large = os.urandom((1 << 20) + 1)
    kept = os.urandom((1 << 20) + 1)
    owners = {}
    for name, payload in (("a", large), ("b", kept)):
        run, owner, step = begin(store, name)
        owners[name] = (run.id, owner)
        store.save(result(run.id, step, 1, payload=payload))
        store.save(result(run.id, step, 2, payload=kept))
        store.finish(run.id, owner=owner, state=State.DONE)

    assert 2 == store.forget("a")
    with store._database.reading() as conn:
        assert [kept] == list(conn.scalars(sa.select(tables.blobs.c.payload)))
    assert (None, 0) == (store.run("a"), store.forget("a"))
    assert [kept, kept] == [saved.payload for saved in store.look_up(owners["b"][0], [step], [key(1), key(2)]).values()]
    assert [] == store.check()


@pytest.mark.parametrize("name", ["n\0", "n\ud800", "nowhere"])
def test_a_name_that_no_run_can_bear_is_that_of_none(store, name):
    """Whoever asks by it is told so, and not by the driver."""
    begin(store)

    assert (None, None, 0) == (store.run(name), store.snapshot(name), store.forget(name))
    assert ["embed"] == [run.name for run in store.runs()]


def test_ids_are_never_used_again(store):
    """A run begun after a forgotten one has an id of its own, so late rows of the old one cannot enter it."""
    first, owner, step = begin(store)
    store.finish(first.id, owner=owner, state=State.DONE)
    store.forget("embed")
    second, _, again = begin(store)

    assert first.id < second.id
    assert step < again  # the orphan step went with the run


def test_a_step_of_a_live_kernel_is_not_dropped(store):
    """Forgetting one run leaves the versions another live run has registered and not used yet."""
    old, owner, _ = begin(store, "old")
    store.finish(old.id, owner=owner, state=State.DONE)
    live, live_owner, _ = begin(store, "live")
    store.watch(live.id, owner=live_owner, ledger=Counts())
    step = store.step("fresh", fingerprint="x", parts={}, source="")
    store.forget("old")
    store.save(result(live.id, step, 1))
    store.flush()

    assert [] == store.check()


def test_callers_of_one_moment_share_one_commit(store):
    """Many threads that save now wait for few commits, and each finds its result in the database."""
    run, owner, step = begin(store)
    ledger = Counts()
    store.watch(run.id, owner=owner, ledger=ledger)
    gate = threading.Barrier(16)
    missing = []

    def work(n: int) -> None:
        gate.wait()
        for i in range(10):
            store.save_now(result(run.id, step, n * 10 + i)).result(timeout=60)
            if key(n * 10 + i) not in store.look_up(run.id, [step], [key(n * 10 + i)]):
                missing.append((n, i))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [] == missing
    assert 160 == ledger.done
    assert len(ledger.batches) < 160


def test_a_save_is_committed_without_being_asked(store):
    """A result is in the database soon after it was saved, without a flush, and after every pause anew."""
    run, _, step = begin(store)
    for n in range(5):
        store.save(result(run.id, step, n))
        wait_until(lambda n=n: key(n) in store.known(run.id, [step]), describing=f"result {n} is committed", timeout=10)


def test_a_finished_run_has_been_flushed(store):
    """Nothing saved before ``finish`` is missing after it."""
    run, owner, step = begin(store)
    for n in range(100):
        store.save(result(run.id, step, n))
    store.finish(run.id, owner=owner, state=State.DONE)

    assert 100 == len(store.known(run.id, [step]))


def test_finishing_with_a_lost_lease_says_so(store):
    """Only the owner can end a run, and its results are saved even then."""
    run, owner, step = begin(store)
    store.save(result(run.id, step, 1))
    with pytest.raises(LeaseLost, match="embed"):
        store.finish(run.id, owner=owner._replace(token="somebody"), state=State.DONE)

    assert [key(1)] == list(store.known(run.id, [step]))
    assert owner == store.run("embed").owner


def test_a_closed_store_is_reopened_whole(url, opens):
    """Closing flushes, closing again does nothing, and another opening finds everything."""
    first = opens(url)
    run, _, step = begin(first)
    for n in range(700):
        first.save(result(run.id, step, n))
    first.close()
    first.close()

    assert 700 == len(opens(url).known(run.id, [step]))
    assert not [thread for thread in threading.enumerate() if thread.name == "durable-writer"]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(st.booleans(), st.integers(0, 6), st.binary(max_size=40), st.booleans()), min_size=1, max_size=40
    )
)
def test_the_store_is_a_dictionary(store: Store, rows):
    """Whatever is saved in whatever commits, the store holds what a dictionary would, results before failures."""
    run, owner, step = begin(store, os.urandom(8).hex())
    store.watch(run.id, owner=owner, ledger=Counts())
    expected: dict[bytes, bytes] = {}
    for done, n, payload, flush in rows:
        if done:
            expected[key(n)] = payload
        store.save(result(run.id, step, n, payload=payload) if done else failure(run.id, step, n))
        if flush:
            store.flush()
    store.flush()

    assert expected == {
        each: saved.payload for each, saved in store.look_up(run.id, [step], list(map(key, range(7)))).items()
    }
    assert set(expected) == set(store.known(run.id, [step]))
    store.finish(run.id, owner=owner, state=State.DONE)


def test_equal_calls_of_worker_processes_are_numbered(store):
    """Each takes the lowest number that is free in this attempt; one that raised gives its number back."""
    run, owner, _ = begin(store)
    taken = [store.tallies.take(run.id, 1, b"a" * 16) for _ in range(3)]
    store.tallies.give_back(run.id, 1, b"a" * 16, 1)
    store.tallies.give_back(run.id, 1, b"a" * 16, 0)
    again = [store.tallies.take(run.id, 1, b"a" * 16) for _ in range(3)]

    assert [0, 1, 2] == taken
    assert [0, 1, 3] == again
    assert 0 == store.tallies.take(run.id, 1, b"b" * 16)

    store.finish(run.id, owner=owner, state=State.DONE)
    begin(store)

    assert 0 == store.tallies.take(run.id, 1, b"a" * 16)
    assert [] == store.check()


def test_what_a_transaction_of_a_step_committed_outlives_the_server(store):
    """PostgreSQL, killed: with "off" it would lose commits of half a second that were acknowledged."""
    if store._database.is_sqlite:
        pytest.skip("PostgreSQL only")
    with store.transactions.open() as transaction:
        assert "local" == transaction.connection.exec_driver_sql("SHOW synchronous_commit").scalar()
