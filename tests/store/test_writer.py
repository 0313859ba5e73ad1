"""Group commit: by age of the oldest, nothing lost, nothing hidden."""

from __future__ import annotations

import os
import sys
import threading
import time
from concurrent.futures import CancelledError
from importlib.util import find_spec

import pytest
import sqlalchemy as sa

from durable_nb.errors import StoreError, StoreUnavailable
from durable_nb.store import Store, rows
from durable_nb.store.connect import explain
from tests.kernels import wait_until
from tests.store.examples import Counts, begin, key, python, result


class Restless(Counts):
    """A ledger whose view breaks once."""

    def committed(self, batch):
        super().committed(batch)
        if batch and len(self.batches) == 1:  # an empty one is a heartbeat
            raise RuntimeError("the panel broke")


def test_the_deadline_counts_from_the_oldest(tmp_path, opens):
    """A steady stream is committed while it flows; a window that starts anew with each result would never end."""
    store = opens(f"sqlite:///{tmp_path}/x.db", linger_s=0.05)
    run, owner, step = begin(store)
    ledger = Counts()
    store.watch(run.id, owner=owner, ledger=ledger)
    numbers = iter(range(10**9))
    streaming = time.monotonic() + 0.5
    while time.monotonic() < streaming:
        store.save(result(run.id, step, next(numbers)))
        threading.Event().wait(0.002)  # far less than the window: there is no gap to wait for
    during = len(ledger.batches)
    store.flush()

    assert during >= 2
    assert ledger.done == len(store.known(run.id, [step])) == next(numbers)


def test_a_burst_is_committed_in_groups(store):
    """Thousands of quick results take few commits."""
    run, owner, step = begin(store)
    ledger = Counts()
    store.watch(run.id, owner=owner, ledger=ledger)
    for n in range(5_000):
        store.save(result(run.id, step, n))
    store.flush()

    assert 5_000 == ledger.done
    assert len(ledger.batches) < 500


def test_one_bad_value_does_not_cost_the_others(store):
    """What the database cannot hold is named in the error, and everything else of that commit is saved."""
    run, owner, step = begin(store)
    ledger = Counts()
    store.watch(run.id, owner=owner, ledger=ledger)
    for n in range(10):
        store.save(result(run.id, step, n, attempts=2**70 if n == 4 else 1))
    with pytest.raises(StoreError, match=r"refused the result of doc 4 .*others of the same commit are"):
        store.flush()
    store.flush()  # told once

    assert {key(n) for n in range(10) if n != 4} == set(store.known(run.id, [step]))
    assert 9 == ledger.done == store.run("embed").done


def test_a_commit_made_row_by_row_says_everything_once(store):
    """A line of the history beside a value that the database refuses is written once, and what is counted is saved."""
    run, owner, step = begin(store)
    ledger = Counts()
    store.watch(run.id, owner=owner, ledger=ledger)
    store.save_all([result(run.id, step, n, attempts=2**70 if n == 4 else 1) for n in range(10)])
    store.tell(run.id, "paused", "no further call starts")
    with pytest.raises(StoreError, match="refused the result of doc 4"):
        store.flush()
    store.save(result(run.id, step, 4))
    store.flush()

    assert ["started", "paused"] == [event.kind for event in store.events(run.id)]
    assert 10 == ledger.done == store.run("embed").done == len(store.known(run.id, [step]))


def test_more_than_the_database_takes_of_one_result_is_refused(store, monkeypatch):
    """Before it is sent, with what to do instead; what the database takes and could not give back counts as too much."""
    monkeypatch.setattr(rows, "_MOST", dict.fromkeys(rows._MOST, 1_000_000))
    run, _, step = begin(store)
    store.save_all([result(run.id, step, n, payload=b"x" * (1_000_000 + (n == 4))) for n in range(6)])
    expected = (
        "doc 4 .it takes 1,000,001 bytes, and this database at most 1,000,000 .* 5 others .* Return less, or write it"
    )
    with pytest.raises(StoreError, match=expected):
        store.flush()

    assert {key(n) for n in range(6) if n != 4} == set(store.known(run.id, [step]))


def test_what_is_refused_because_of_its_run_is_kept(store):
    """While not the results but the counts beside them are refused, everything stays for the next commit."""
    run, owner, step = begin(store)
    ledger = Counts(total=2**70)
    store.watch(run.id, owner=owner, ledger=ledger)
    with pytest.raises(Exception):
        store.save_now(result(run.id, step, 1)).result(timeout=30)
    ledger.total = 2
    store.flush()

    assert 1 == ledger.done == store.run("embed").done == len(store.known(run.id, [step]))


def test_a_label_no_database_can_hold_is_still_saved(store):
    """File names with lone surrogates and texts with NUL cost nothing but their odd characters."""
    run, _, step = begin(store)
    store.save(result(run.id, step, 1, label="caf\udce9.txt"))
    store.save(result(run.id, step, 2, state="failed", error="a\0b\udce9", payload=None))
    store.flush()

    assert [key(1)] == list(store.known(run.id, [step]))
    assert 1 == len(store.failures(run.id))


def test_a_broken_view_costs_no_results(store):
    """An error while telling the ledger is raised by the next flush, once, and nothing is written twice."""
    run, owner, step = begin(store)
    ledger = Restless()
    store.watch(run.id, owner=owner, ledger=ledger)
    store.save(result(run.id, step, 1))
    with pytest.raises(RuntimeError, match="the panel broke"):
        store.flush()
    store.save(result(run.id, step, 2))
    store.flush()

    assert [1, 1] == ledger.batches
    assert {key(1), key(2)} == set(store.known(run.id, [step]))


def test_nobody_can_cancel_the_commit_of_others(store):
    """A caller that gives up waiting does not cancel the future it shares."""
    run, _, step = begin(store)
    shared = store.save_now(result(run.id, step, 1))
    cancelled = shared.cancel()
    try:
        shared.result(timeout=30)
    except CancelledError:
        cancelled = True

    assert not cancelled
    assert [key(1)] == list(store.known(run.id, [step]))


def test_memory_is_bounded_while_a_commit_is_slow(tmp_path, opens):
    """A caller that saves faster than the disk takes it is slowed down instead of filling the memory."""
    store = opens(f"sqlite:///{tmp_path}/x.db", busy_s=30)
    run, _, step = begin(store)
    lock = threading.Event()
    most = []

    def hold() -> None:
        with store._database._lock:
            lock.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    payload = os.urandom(1 << 20)

    def produce() -> None:
        for n in range(200):
            store.save(result(run.id, step, n, payload=payload))
            most.append(len(store._writer._inbox))

    producer = threading.Thread(target=produce)
    producer.start()
    wait_until(lambda: len(most) > 60, describing="the producer has run ahead")
    wait_until(lambda: producer.is_alive() and len(most) == _settled(most), describing="the producer is held up")
    ahead = len(most)
    lock.set()
    holder.join()
    producer.join()
    store.flush()

    assert ahead < 150
    assert 200 == len(store.known(run.id, [step]))


class Fatal(Counts):
    """A ledger that runs out of memory, where even an ``except Exception`` does not look."""

    def committed(self, batch):
        raise SystemExit("out of memory")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_the_death_of_the_writing_thread_is_heard(store):
    """Whoever waits for a commit is told when the thread dies, and the next save starts another one."""
    run, owner, step = begin(store)
    store.watch(run.id, owner=owner, ledger=Fatal())
    with pytest.raises(SystemExit, match="out of memory"):
        store.save_now(result(run.id, step, 1)).result(timeout=30)
    store.unwatch(run.id)
    wait_until(lambda: store._writer._error is not None, describing="the thread has said why it died")
    with pytest.raises(SystemExit):
        store.save(result(run.id, step, 2))
    store.flush()

    assert {key(1), key(2)} == set(store.known(run.id, [step]))


def test_a_child_forked_during_a_commit_has_its_own_turns():
    """A child does not inherit the hurry of its parent's commit."""
    code = """
import sys
from durable_nb.store.turns import prompt_turns
before = sys.getswitchinterval()
with prompt_turns:
    child = os.fork()
    if child == 0:
        unchanged = sys.getswitchinterval() == before
        with prompt_turns: pass
        os._exit(0 if unchanged else 1)
    print(os.waitpid(child, 0)[1])
"""

    assert "0\n" == python(code).communicate(timeout=30)[0]


def test_the_switch_interval_is_left_as_it_was(store):
    """Commits ask for the GIL more often only while they run."""
    before = sys.getswitchinterval()
    run, _, step = begin(store)
    for n in range(50):
        store.save_now(result(run.id, step, n)).result(timeout=30)

    wait_until(lambda: sys.getswitchinterval() == before, describing="the switch interval is the user's again")


def test_postgres_sessions_cut_off_cost_nothing(url, opens):
    """When the server drops all connections, results wait and the next commit connects anew."""
    if not url.startswith("postgresql"):
        pytest.skip("PostgreSQL only")
    store = opens(url)
    run, _, step = begin(store)
    store.save_now(result(run.id, step, 1)).result(timeout=30)
    other = opens(url)
    with other._database.writing() as conn:
        conn.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )
    store.save_now(result(run.id, step, 2)).result(timeout=30)

    assert {key(1), key(2)} == set(store.known(run.id, [step]))


@pytest.mark.skipif(find_spec("psycopg") is None, reason="needs psycopg")
def test_postgres_that_is_down_is_named_without_its_password():
    """A server that does not answer is an error with its address and a remedy, and never with the password."""
    with pytest.raises(StoreUnavailable) as refused:
        Store.open("postgresql+psycopg://me:hush@127.0.0.1:1/db?connect_timeout=2")

    assert "postgresql+psycopg://me:***@127.0.0.1:1/db: cannot be reached" in str(refused.value)
    assert "hush" not in str(refused.value) + repr(refused.value)


def test_a_password_in_a_drivers_message_is_hidden():
    """Whatever a driver says, the password of the address is not repeated."""
    said = sa.exc.OperationalError("", {}, Exception("connection to me:hush@host failed"))

    assert "x: cannot be reached or written (connection to me:***@host failed)." in str(explain(said, "x", 30, "hush"))


def _settled(counts: list[int]) -> int:
    before = len(counts)
    threading.Event().wait(0.1)
    return before
