"""What a process without a kernel sees of runs, and what it may ask of them."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from durable_nb import clock
from durable_nb.errors import ConfigError, StoreError, StoreUnavailable
from durable_nb.limits import Gate
from durable_nb.progress import Progress
from durable_nb.records import COMPUTED, GAVE_UP, RESTORED, Document, Group, Mosaic, State
from durable_nb.store import Store, owner_of_this_process
from tests.kernels import wait_until
from tests.store.examples import Counts, begin, failure, python, result

_RUN = """
import sys
from durable_nb.progress import Progress
store = Store.open(sys.argv[1], heartbeat_s=0.05); run, owner, step = begin(store)
progress = Progress(store.snapshot("embed")); store.watch(run.id, owner=owner, ledger=progress)
progress.expect(10)
for n in range(3): store.save(result(run.id, step, n))
store.flush()
print("held", flush=True); sys.stdin.readline()
"""

_BUSY = """
import itertools, sys
store = Store.open(sys.argv[1]); run, owner, step = begin(store)
for n in itertools.count():
    store.save(result(run.id, step, n))
    if n == 1000: print(run.id, flush=True)
"""


@pytest.fixture
def live(store):
    """A run of this process with one step, ten documents wanted, kept by a real ledger."""
    run, owner, step = begin(store)
    about = store.snapshot("embed")
    progress = Progress(about, Gate())
    progress.expect(10)
    store.watch(run.id, owner=owner, ledger=progress)
    yield run, owner, step, progress
    store.unwatch(run.id)


@pytest.fixture
def server(url, store):
    """The same database, as a server opens it."""
    opened = Store.read_only(url)
    yield opened
    opened.close()


def shown(store: Store, run_id: int) -> None:
    """Return when the rows hold the figures of now."""
    before = len(store.events(run_id))
    store.tell(run_id, "beat", "")
    wait_until(lambda: len(store.events(run_id)) > before, describing="the line is written")


def test_a_snapshot_of_the_rows_is_that_of_the_kernel(live, store, server):
    """Whoever reads the database sees what the owner of the run shows, within a heartbeat."""
    run, _, step, progress = live
    progress.workers = 4
    progress.restore([0, 1], 2.5)
    for n in (2, 3, 4):
        store.save(result(run.id, step, n))
    for n in (7, 5, 6):
        store.save(failure(run.id, step, n, error=f"ValueError: {n % 2}\nTraceback: …"))
    store.flush()
    shown(store, run.id)
    mine, theirs = progress.snapshot(), server.snapshot("embed")
    moving = dict.fromkeys(("rate", "eta_s", "elapsed_s", "commit_age_s", "heartbeat_age_s", "mosaic_version"), 0)
    by_position = tuple(sorted(mine.failures))

    assert mine._replace(**moving, failures=by_position) == theirs._replace(**moving)
    assert (2, 3, 3, 2.5, 4) == (theirs.restored, theirs.computed, theirs.failed, theirs.saved_s, theirs.workers)
    assert (Group("ValueError: 1", 2), Group("ValueError: 0", 1)) == theirs.groups
    assert 0 <= theirs.heartbeat_age_s < 5
    assert 0 <= theirs.commit_age_s < 5
    assert ("a.ipynb", 1, run.id, server.id) == (theirs.notebook, theirs.attempts, theirs.run_id, store.id)


def test_a_killed_run_is_interrupted(url, server):
    """After SIGKILL nothing of it looks alive, and what it had saved is there."""
    child = python(_RUN, url)
    assert "held\n" == child.stdout.readline()
    alive = server.snapshot("embed")
    child.send_signal(signal.SIGKILL)
    child.wait()
    dead = server.snapshot("embed")
    child.communicate()

    assert (State.RUNNING, 10, 3, "") == (alive.state, alive.total, alive.computed, alive.message)
    assert (State.INTERRUPTED, 10, 3) == (dead.state, dead.total, dead.computed)
    assert "Its kernel is gone; run the cell again to go on" == dead.message
    assert (0, None, False) == (dead.running, dead.eta_s, dead.paused)
    assert dead.heartbeat_age_s > 0


def test_a_killed_run_has_its_death_in_its_history(url, store):
    """It says when the owner was heard of last, before and after the next attempt has begun."""
    child = python(_RUN, url)
    child.stdout.readline()
    child.send_signal(signal.SIGKILL)
    child.wait()
    heard, run_id = store.run("embed").heartbeat, store.run("embed").id
    waiting = store.events(run_id)
    run, owner, _ = begin(store)
    store.watch(run.id, owner=owner, ledger=Counts())
    child.communicate()
    story = store.events(store.run("embed").id)

    assert story[:2] == waiting
    assert ["started", "interrupted", "taken over"] == [event.kind for event in story]
    assert heard == story[1].at
    assert f"pid {child.pid}" in story[1].detail


def test_an_ended_run_says_how_it_ended(live, store, server):
    """State, last words, rate of the whole run; nothing waits, nobody holds it."""
    run, owner, step, _ = live
    for n in range(10):
        store.save(result(run.id, step, n))
    store.finish(run.id, owner=owner, state=State.INTERRUPTED, message="stopped; run the cell again to go on")
    ended = server.snapshot("embed")

    assert (State.INTERRUPTED, "stopped; run the cell again to go on") == (ended.state, ended.message)
    assert (10, 10, None, 0) == (ended.total, ended.computed, ended.heartbeat_age_s, ended.running)
    assert ended.rate == pytest.approx(10 / ended.elapsed_s)
    assert None is ended.eta_s


def test_the_overview_is_every_run(store, server):
    """All runs with their snapshots, the last one first, without their failures."""
    for name in ("first", "second"):
        run, owner, step = begin(store, name)
        store.watch(run.id, owner=owner, ledger=Counts(total=2))
        store.save(failure(run.id, step, 1))
        store.finish(run.id, owner=owner, state=State.FAILED)
    found = server.overview()

    assert ["second", "first"] == [snapshot.name for _, snapshot in found]
    assert [(State.FAILED, (), ())] * 2 == [(s.state, s.failures, s.groups) for _, s in found]
    assert all(run.name == snapshot.name and run.created <= run.updated for run, snapshot in found)


def test_a_mosaic_is_written_while_it_changes_and_at_the_end(live, store, server):
    """It is there within seconds, grows in version, and the last one is complete."""
    run, owner, step, progress = live
    assert None is server.mosaic(run.id)

    progress.restore([9], 0.0)
    for n in (0, 1):
        store.save(result(run.id, step, n))
    wait_until(
        lambda: store.tell(run.id, "beat", "") or server.mosaic(run.id) is not None, describing="a mosaic is written"
    )
    first = server.mosaic(run.id)
    store.save(failure(run.id, step, 2))
    store.finish(run.id, owner=owner, state=State.FAILED)
    last = server.mosaic(run.id)

    expected = bytearray(10)
    expected[0] = expected[1] = COMPUTED
    expected[9], expected[2] = RESTORED, GAVE_UP
    assert bytes(expected) == last.states
    assert last.version == server.snapshot("embed").mosaic_version > first.version


def test_the_mosaic_of_a_run_that_is_killed_soon_is_there(live, store, server):
    """Who dies in the first second leaves the squares of what was durable, too, but for the last tenth of it."""
    run, _, step, _ = live
    for n in range(3):
        store.save(result(run.id, step, n))
    store.flush()
    expected = bytes((COMPUTED, COMPUTED, COMPUTED)).ljust(10, b"\0")

    def is_drawn() -> bool:
        shown(store, run.id)
        found = server.mosaic(run.id)
        return found is not None and found.states == expected

    wait_until(is_drawn, timeout=1.5, describing="the squares are written")


def test_the_mosaic_of_the_next_attempt_has_a_greater_version(live, store, server):
    """So that a page which knows the old one does not take the new one for it."""
    run, owner, step, _ = live
    store.save(result(run.id, step, 0))
    store.finish(run.id, owner=owner, state=State.DONE)
    before = server.mosaic(run.id)
    owner = owner_of_this_process()
    store.begin("embed", owner=owner)
    progress = Progress(store.snapshot("embed"))
    progress.expect(3)
    store.watch(run.id, owner=owner, ledger=progress)
    store.finish(run.id, owner=owner, state=State.DONE)
    after = server.mosaic(run.id)

    assert Mosaic(after.version, bytes(3)) == after
    assert after.version > before.version + 100


def test_a_document_has_a_name(live, store, server):
    """By its number: what is saved of it, the error and traceback too; None for what has no checkpoint yet."""
    run, _, step, _ = live
    store.save(result(run.id, step, 3, seconds=1.5))
    store.save(failure(run.id, step, 4, attempts=2))
    store.flush()

    assert Document(3, "doc 3", "done", 1.5, 1, "") == server.document(run.id, 3)
    assert Document(4, "doc 4", "failed", 0.5, 2, "ValueError: 4\nTraceback: …") == server.document(run.id, 4)
    assert [None] * 3 == [server.document(run.id, position) for position in (5, 10**30, -(10**30))]


def test_failures_come_in_pages(live, store, server):
    """In the order of the documents, so many from so far on, and grouped by their first line."""
    run, _, step, _ = live
    for n in range(25):
        store.save(failure(run.id, step, n, error=f"ValueError: {n % 3}\nTraceback"))
    store.save(failure(run.id, step, 25, error="no line break"))
    store.flush()
    pages = [[f.position for f in server.failures(run.id, limit=10, offset=offset)] for offset in (0, 10, 20)]

    assert [list(range(10)), list(range(10, 20)), list(range(20, 26))] == pages
    groups = server.failure_groups(run.id)
    assert [("ValueError: 0", 9), ("ValueError: 1", 8), ("ValueError: 2", 8), ("no line break", 1)] == groups
    assert groups[:2] == server.failure_groups(run.id, limit=2)


def test_controls_are_read_in_order_once(live, store, server):
    """Whoever has seen one asks for those after it; ids grow, also when all before were dropped."""
    run, owner, _, _ = live
    first = server.control(run.id, "pause")
    second = server.control(run.id, "workers", "3")

    assert [(first, "pause", ""), (second, "workers", "3")] == [
        (c.id, c.action, c.value) for c in store.controls(run.id)
    ]
    assert ["workers"] == [control.action for control in store.controls(run.id, after=first)]

    store.finish(run.id, owner=owner, state=State.DONE)
    store.begin("embed", owner=owner_of_this_process())
    assert [] == store.controls(run.id)
    assert server.control(run.id, "resume") > second


@pytest.mark.parametrize(("action", "value"), [("dance", ""), ("workers", "0"), ("rate", "fast"), ("pause", "now")])
def test_an_impossible_control_is_refused(live, server, action, value):
    """Before a row is written."""
    with pytest.raises(ConfigError):
        server.control(live[0].id, action, value)

    assert [] == server.controls(live[0].id)


def test_a_control_waits_for_no_long_commit(url, server):
    """A click is written while a kernel commits without a pause."""
    child = python(_BUSY, url)
    run_id, longest = int(child.stdout.readline()), 0.0
    for _ in range(20):
        began = clock.monotonic()
        server.control(run_id, "resume")
        longest = max(longest, clock.monotonic() - began)
    child.kill()
    child.communicate()

    assert longest < 2


def test_looking_creates_nothing(tmp_path):
    """A server that is pointed at nothing, or at a file of something else, says so and leaves no file."""
    with pytest.raises(StoreUnavailable, match="is not there"):
        Store.read_only(f"sqlite:///{tmp_path / 'folder' / 'x.db'}")
    (tmp_path / "empty.db").touch()
    with pytest.raises(StoreUnavailable, match="is empty"):
        Store.read_only(f"sqlite:///{tmp_path / 'empty.db'}")
    (tmp_path / "text.db").write_text("no database at all, but long enough to be read as one" * 50)
    with pytest.raises(StoreError, match="is not an SQLite database"):
        Store.read_only(f"sqlite:///{tmp_path / 'text.db'}")

    assert ["empty.db", "text.db"] == sorted(os.listdir(tmp_path))
    assert 0 == (tmp_path / "empty.db").stat().st_size


def test_looking_starts_no_thread(url, store):
    """Reading, asking and forgetting are done in the thread that calls."""
    begin(store)
    before = threading.active_count()
    server = Store.read_only(url)
    server.overview()
    server.snapshot("embed")
    server.control(1, "pause")

    assert before == threading.active_count()
    server.close()


def test_a_server_may_choose_and_forget(store, server):
    """What a panel offers beside controls works without a kernel."""
    run, owner, step = begin(store)
    old = store.step("embed", fingerprint="zero", parts={}, source="")
    store.save(result(run.id, old, 1))
    store.finish(run.id, owner=owner, state=State.DONE)
    server.choose(run.id, step, [old], "recompute")

    assert {old: "recompute"} == store.choices(run.id, step)
    assert 1 == server.forget("embed")
    assert None is server.snapshot("embed")


def test_forgetting_leaves_nothing(live, store):
    """Controls and mosaics of a forgotten run are gone with it."""
    run, owner, step, _ = live
    store.save(result(run.id, step, 0))
    store.finish(run.id, owner=owner, state=State.DONE)
    store.control(run.id, "pause")
    store.forget("embed")

    assert (None, []) == (store.mosaic(run.id), store.controls(run.id))


def test_an_address_has_one_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """However a path or a server is written, with whatever password; and another database has another."""
    (tmp_path / "link").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    same = [f"sqlite:///{tmp_path}/x.db", "sqlite:///x.db", f"sqlite:///{tmp_path}/link/x.db"]
    there = ["postgresql+psycopg://me:a@h/d", "postgresql://me:b@h:5432/d?connect_timeout=3"]
    found = [{Store.identity(url) for url in urls} for urls in (same, there, ["sqlite:///y.db"])]

    assert [1, 1, 1] == [len(one) for one in found]
    assert 3 == len(set.union(*found))
    assert all(len(one) == 12 for one in set.union(*found))


def test_figures_of_any_size_are_read(store: Store):
    """Documents that are only announced, as by a loop over all numbers, and costs in a small unit."""
    run, owner, _ = begin(store)
    progress = Progress(store.snapshot("embed"))
    store.watch(run.id, owner=owner, ledger=progress)
    progress.expect(10**15)
    progress.spent = progress.saved_cost = 3e15
    store.finish(run.id, owner=owner, state=State.INTERRUPTED)
    store.unwatch(run.id)
    shown = store.snapshot("embed")

    assert (10**15, 3e15, 3e15) == (shown.total, shown.spent, shown.saved_cost)
    assert 10**15 == store.run("embed").total
    assert ["embed"] == [one.name for one in store.runs()]
    store.forget("embed")
    assert [] == store.runs()
