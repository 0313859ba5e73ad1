"""Who may compute a run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
import sqlalchemy as sa

from durable_nb import clock
from durable_nb.errors import LeaseLost, RunBusy
from durable_nb.records import State
from durable_nb.store import is_alive, owner_of_this_process, tables
from durable_nb.store.leases import LEASE_S, born
from durable_nb.testing import frozen_clock
from tests.kernels import wait_until
from tests.store.examples import Counts, begin, failure, key, python, result

_HOLD = """
import sys
store = Store.open(sys.argv[1]); run, owner, step = begin(store); store.watch(run.id, owner=owner, ledger=Counts())
print("held", flush=True); sys.stdin.readline()
"""
_RACE = """
import sys
store = Store.open(sys.argv[1]); print("ready", flush=True); sys.stdin.readline()
try: begin(store)
except Exception as problem: print(type(problem).__name__, flush=True)
else: print("won", flush=True); sys.stdin.readline()
"""


def _hold(url: str) -> subprocess.Popen[str]:
    child = python(_HOLD, url)
    assert child.stdout.readline() == "held\n"
    return child


def _end(*children: subprocess.Popen[str]) -> None:
    for child in children:
        child.kill()
        child.communicate()


def test_a_live_run_is_refused_with_its_owner(url, opens):
    """Beginning a run that another process computes says who that is, and changes nothing."""
    child = _hold(url)
    store = opens(url)
    with pytest.raises(RunBusy) as refused:
        begin(store)
    before = store.run("embed")
    _end(child)

    assert (child.pid, "kernel-1") == (refused.value.pid, refused.value.kernel)
    assert (State.RUNNING, 1, child.pid) == (before.state, before.attempts, before.owner.pid)


def test_the_run_of_a_killed_process_is_taken_over_at_once(url, opens):
    """After SIGKILL the run counts as interrupted and the next one may go on, without waiting for the lease."""
    child = _hold(url)
    store = opens(url)
    child.send_signal(signal.SIGKILL)
    child.wait()

    assert State.INTERRUPTED is store.run("embed").state
    run, owner, _ = begin(store)
    store.watch(run.id, owner=owner, ledger=Counts())

    assert (State.RUNNING, 2) == (store.run("embed").state, store.run("embed").attempts)
    assert "taken over" in [event.kind for event in store.events(store.run("embed").id)]
    child.communicate()


def test_a_zombie_is_dead(url, opens):
    """A killed process that nobody has waited for yet does not hold its run."""
    child = _hold(url)
    store = opens(url)
    os.kill(child.pid, signal.SIGKILL)
    wait_until(lambda: _state(child.pid) == "Z", describing="the child is a zombie")

    assert State.INTERRUPTED is store.run("embed").state
    _end(child)


def test_a_stopped_process_keeps_its_run(url, opens):
    """A process that only sleeps (SIGSTOP, laptop lid) on this machine is never robbed, however old its heartbeat."""
    child = _hold(url)
    store = opens(url)
    child.send_signal(signal.SIGSTOP)
    with frozen_clock(clock.now() + 3600), pytest.raises(RunBusy, match="heartbeat 3[56]"):
        begin(store)
    _end(child)


def test_of_many_who_want_a_dead_run_one_gets_it(url, opens):
    """Processes that race for the run of a dead one: exactly one wins, the others are told so."""
    dead = _hold(url)
    _end(dead)
    racers = [python(_RACE, url) for _ in range(5)]
    assert ["ready\n"] * 5 == [racer.stdout.readline() for racer in racers]
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    outcomes = sorted(racer.stdout.readline().strip() for racer in racers)
    _end(*racers)

    assert ["RunBusy"] * 4 + ["won"] == outcomes
    assert 2 == opens(url).run("embed").attempts


def test_many_kernels_may_create_the_store_at_once(url):
    """Processes that open the same empty place at the same moment all get the one store."""
    code = "import sys; print('ready', flush=True); sys.stdin.readline(); store = Store.open(sys.argv[1])\n"
    code += "print(begin(store, sys.argv[2])[0].name, store.check(), flush=True)"
    children = [python(code, url, f"run-{n}") for n in range(4)]
    for child in children:
        child.stdout.readline()
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    said = [child.communicate(timeout=60)[0] for child in children]

    assert [f"run-{n} []\n" for n in range(4)] == said


def test_an_owner_of_another_machine_is_alive_for_its_lease():
    """Where a pid cannot be checked, a heartbeat is believed for 30 s."""
    owner = owner_of_this_process()._replace(machine="elsewhere")

    assert is_alive(owner, clock.now() - LEASE_S + 5)
    assert not is_alive(owner, clock.now() - LEASE_S - 1)


def test_a_reused_pid_is_not_the_owner():
    """A process with the pid of a dead owner and another start time is somebody else."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = owner_of_this_process()._replace(pid=child.pid, born=born(child.pid))
    old = clock.now() - 3600

    assert is_alive(owner, old)
    assert not is_alive(owner._replace(born="1"), old)
    child.kill()
    child.communicate()
    assert not is_alive(owner, clock.now())


def test_every_claim_has_its_own_token():
    """Two claims of one process can be told apart."""
    first, second = owner_of_this_process("k"), owner_of_this_process("k")

    assert first.token != second.token
    assert first[1:] == second[1:]


def test_heartbeats_renew_the_lease(url, opens):
    """A watched run without results says regularly that it is alive, and stops when it is no longer watched."""
    store = opens(url, heartbeat_s=0.02)
    run, owner, _ = begin(store)
    store.watch(run.id, owner=owner, ledger=Counts(total=4))
    wait_until(lambda: store.run("embed").heartbeat > run.heartbeat, describing="a heartbeat is written")

    assert 4 == store.run("embed").total

    store.unwatch(run.id)
    wait_until(lambda: store._writer._thread is None, describing="the thread has ended for want of work")


def test_a_run_taken_over_is_known_to_be_lost(url, opens):
    """Who was away too long still saves its results, learns that it lost the run, and does not touch its new owner."""
    ours, theirs = opens(url, heartbeat_s=1e6), opens(url)  # a beat would renew the lease that is to run out
    away = owner_of_this_process()._replace(machine="elsewhere")
    run, step = ours.begin("embed", owner=away), ours.step("embed", fingerprint="one", parts={}, source="")
    ours.watch(run.id, owner=away, ledger=Counts())
    with pytest.raises(RunBusy):
        begin(theirs)
    with ours._database.writing() as conn:  # as if nothing had been heard of it for so long
        conn.execute(sa.update(tables.runs).values(heartbeat=clock.now() - 2 * LEASE_S))
    _, new_owner, _ = begin(theirs)
    ours.save(result(run.id, step, 1))
    ours.save(failure(run.id, step, 2))
    ours.flush()

    assert ours.lost(run.id)
    assert [key(1)] == list(theirs.known(run.id, [step]))
    assert new_owner == theirs.run("embed").owner
    assert "lease lost" in [event.kind for event in theirs.events(run.id)]
    with pytest.raises(LeaseLost):
        ours.finish(run.id, owner=away, state=State.DONE)
    theirs.finish(run.id, owner=new_owner, state=State.DONE)


def test_a_live_run_is_not_forgotten(url, opens):
    """Dropping a run that a process computes is refused."""
    child = _hold(url)
    store = opens(url)
    with pytest.raises(RunBusy):
        store.forget("embed")
    _end(child)

    assert 0 == store.forget("embed")
    assert store.run("embed") is None


def test_a_claim_nobody_watches_is_free(url, opens):
    """A run this process began and lost sight of (a cell that died half-way) can be begun again at once."""
    store = opens(url)
    run, owner, _ = begin(store)
    store.watch(run.id, owner=owner, ledger=Counts())
    with pytest.raises(RunBusy, match="embed"):
        begin(store)
    store.unwatch(run.id)

    assert 2 == begin(store)[0].attempts


def test_an_end_that_is_interrupted_leaves_the_run_to_whoever_wants_it(url, opens, monkeypatch):
    """■ once more, while a locked database keeps the last transaction waiting: it can be finished, or begun again."""
    store = opens(url)
    run, owner, _ = begin(store)
    store.watch(run.id, owner=owner, ledger=Counts())

    def interrupted(*_args: object, **_options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(store._database, "change", interrupted)
        store.finish(run.id, owner=owner, state=State.DONE)
    with pytest.raises(RunBusy):
        begin(store)
    store.unwatch(run.id)

    assert 2 == begin(store)[0].attempts


def test_names_no_database_can_hold_cost_only_their_odd_characters(url, opens):
    """A notebook, a history and last words that name a file with bytes that are no text, or have a NUL."""
    store, odd = opens(url), "caf\udce9\0.txt"
    owner = owner_of_this_process()
    run = store.begin("embed", owner=owner, notebook=odd, source=odd)
    step = store.step("read", fingerprint="f", parts={}, source=odd)
    store.watch(run.id, owner=owner, ledger=Counts())
    store.tell(run.id, "set aside", f"read on {odd}")
    store.save(result(run.id, step, 1))
    store.finish(run.id, owner=owner, state=State.FAILED, message=f"ValueError: {odd}")

    assert State.FAILED is store.run("embed").state
    assert {r"caf\udce9\0.txt"} == {text.rpartition(" ")[2] for text in (
        store.run("embed").notebook, *(event.detail for event in store.events(run.id)[1:]))}  # fmt: skip


def _state(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]
