"""Who computes a run: the frozen, the killed, the twins of one instant, the clock that jumps, forks and threads."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from durable_nb import clock
from durable_nb.errors import RunBusy, StoreUnavailable
from durable_nb.store import Store, leases, owner_of_this_process
from durable_nb.testing import frozen_clock
from tests.crash.faults import Work, ask, stored
from tests.kernels import wait_until
from tests.store.examples import Counts, begin, key, python, result

if TYPE_CHECKING:
    from pathlib import Path

# A pid namespace of its own is another machine as far as owners are concerned: only the lease tells of its life.
_ELSEWHERE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
_SHORT_LEASE = "from durable_nb.store import leases; leases.LEASE_S = 1.0"


_OPEN = """
SELECT 1 FROM pg_stat_activity WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid() AND datname = current_database()
"""


def _needs_namespaces() -> None:
    tried = shutil.which("unshare") and subprocess.run([*_ELSEWHERE, "true"], capture_output=True, check=False)
    if not tried or tried.returncode:
        pytest.skip("needs the right to make a pid namespace (unshare --pid)")


def test_a_frozen_owner_is_fenced(url: str, tmp_path: Path) -> None:
    """Frozen for longer than its lease, then taken over from another machine: it wakes up, is told, and changes nothing."""
    _needs_namespaces()
    ours = {
        "prelude": _SHORT_LEASE
        + "\nsquare.function = lambda n: (os.write(log, b'%d\\n' % n), time.sleep(0.02), n * n)[2]"
    }
    frozen = Work(tmp_path, url, documents=100, **ours).at(30)
    _freeze_between_commits(frozen)
    before = len(frozen.executed)
    taker = tmp_path / "taker"
    taker.mkdir()
    wait_until(lambda: _age(url) > 1.2, describing="the lease has run out")
    other = Work(taker, url, documents=100, before=_ELSEWHERE, prelude=_SHORT_LEASE)
    end = other.end()
    rows = ask(url, f"SELECT label, started FROM {_in(url)}checkpoints ORDER BY id")
    frozen.send(signal.SIGCONT)
    woken = frozen.end()

    assert (True, "") == (end["right"], end["error"]), end["error"]
    assert woken["error"].startswith("LeaseLost: run 'square' was taken over by another kernel")
    assert len(frozen.executed) <= before + 2 * frozen.workers
    assert rows == ask(url, f"SELECT label, started FROM {_in(url)}checkpoints ORDER BY id")
    assert sorted(map(str, range(100))) == sorted(stored(url))
    assert [("done",)] == ask(url, f"SELECT state FROM {_in(url)}runs")


def _freeze_between_commits(work: Work) -> None:
    """SIGSTOP at a moment when the database is free: frozen inside of a commit, it keeps it from everybody."""
    while True:
        work.send(signal.SIGSTOP)
        wait_until(lambda: _state(work.process.pid) == "T", describing="it is frozen")
        if work.url.startswith("postgresql"):
            # In the middle of a pipeline the server does not take it for idle, and it holds its locks for ever.
            if any(not ask(work.url, _OPEN) for _ in range(20)):
                return
            work.send(signal.SIGCONT)
            continue
        with closing(sqlite3.connect(work.url.removeprefix("sqlite:///"), timeout=0, isolation_level=None)) as raw:
            try:
                raw.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                work.send(signal.SIGCONT)
            else:
                return


def test_a_process_frozen_in_a_commit(url: str) -> None:
    """A server ends its transaction before those who wait for it give up; of a file they are told that it is locked."""
    code = "import os, signal\nstore = Store.open(sys.argv[1], busy_s=4)\nbegin(store)\n"
    code += "with store._database.writing() as conn:\n"
    code += (
        "    conn.exec_driver_sql('UPDATE runs SET heartbeat = heartbeat')\n    os.kill(os.getpid(), signal.SIGSTOP)\n"
    )
    store = Store.open(url, busy_s=4)
    frozen = python("from durable_nb.store import Store\n" + code, url)
    wait_until(lambda: _state(frozen.pid) == "T", describing="it is frozen")

    try:
        with pytest.raises(StoreUnavailable if url.startswith("sqlite") else RunBusy):
            begin(store)
    finally:
        frozen.kill()
        store.close()


def test_a_result_of_who_lost_the_run_replaces_none(url: str) -> None:
    """Who took the run over has computed a call anew; the value of the first owner, late, stays out, and says so."""
    ours, theirs = Store.open(url, heartbeat_s=1e6), Store.open(url)
    away = owner_of_this_process()._replace(machine="elsewhere")
    run, step = ours.begin("embed", owner=away), ours.step("embed", fingerprint="one", parts={}, source="")
    ours.watch(run.id, owner=away, ledger=Counts())
    ask(url, f"UPDATE {_in(url)}runs SET heartbeat = 0")
    _, owner, _ = begin(theirs)
    theirs.watch(run.id, owner=owner, ledger=Counts())
    theirs.save_now(result(run.id, step, 1, payload=b"theirs")).result()
    ours.save_now(result(run.id, step, 1, payload=b"ours")).result()
    ours.save_now(result(run.id, step, 2, payload=b"ours")).result()
    early = theirs.look_up(run.id, [step], [key(1), key(2)])
    theirs.save_now(result(run.id, step, 2, payload=b"theirs")).result()
    late = theirs.look_up(run.id, [step], [key(2)])

    assert ours.lost(run.id)
    assert {key(1): b"theirs", key(2): b"ours"} == {name: saved.payload for name, saved in early.items()}
    assert b"theirs" == late[key(2)].payload
    theirs.finish(run.id, owner=owner, state="done")
    ours.unwatch(run.id)
    ours.close()
    theirs.close()


def test_of_two_kernels_of_one_instant_one_owns_the_run(url: str, tmp_path: Path) -> None:
    """Started together on the same run, one computes it; the other is told who, and can watch it."""
    Store.open(url).close()
    prelude = "open(f'ready-{os.getpid()}', 'w').close()\nwhile not os.path.exists('go'): pass"
    twins = [Work(tmp_path, url, prelude=prelude) for _ in range(2)]
    wait_until(lambda: len(list(tmp_path.glob("ready-*"))) == 2, describing="both are ready")
    (tmp_path / "go").touch()
    ends = [twin.end() for twin in twins]
    errors = sorted(end["error"] for end in ends)
    other = next(twin.process.pid for twin, end in zip(twins, ends, strict=True) if end["right"])

    assert [False, True] == sorted(end["right"] for end in ends)
    assert errors[1].startswith("RunBusy: run 'square' is being computed by another process")
    assert f"pid {other} " in errors[1]
    assert "%durable attach square" in errors[1]
    assert sorted(map(str, range(200))) == sorted(twins[0].executed)


def test_a_kill_in_the_middle_of_a_take_over(url: str, tmp_path: Path) -> None:
    """Who dies while it takes a run over leaves it as it was: the next one takes it."""
    Work(tmp_path, url).at(50).kill()
    prelude = "import signal, durable_nb.store.leases as leases\nleases.tell = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)"
    taker = Work(tmp_path, url, prelude=prelude)
    taker.process.communicate()
    attempts = ask(url, f"SELECT attempts FROM {_in(url)}runs")

    assert -signal.SIGKILL == taker.process.returncode
    assert [(1,)] == attempts
    assert Work(tmp_path, url).end()["right"]
    assert len(taker.executed) <= 200 + taker.workers


def test_a_clock_that_steps_back_robs_and_blocks_nobody(url: str) -> None:
    """An hour back: a live owner of this machine keeps its run; that of a dead one elsewhere is free after one lease."""
    store = Store.open(url)
    run, owner, _ = begin(store, "here")
    store.watch(run.id, owner=owner, ledger=Counts())
    away = owner_of_this_process()._replace(machine="elsewhere", host="elsewhere")
    store.begin("there", owner=away)
    with frozen_clock(clock.now() - 3600) as frozen:
        with pytest.raises(RunBusy, match="is open in this kernel already"):
            store.begin("here", owner=owner_of_this_process())
        with pytest.raises(RunBusy, match="on elsewhere, last heartbeat 0 s ago"):
            store.begin("there", owner=owner_of_this_process())
        frozen.move(leases.LEASE_S + 1)
        with pytest.raises(RunBusy):
            store.begin("here", owner=owner_of_this_process())
        taken = store.begin("there", owner=owner_of_this_process())

    assert 2 == taken.attempts
    store.unwatch(run.id)
    store.close()


def test_a_fork_leaves_the_run_to_its_parent(url: str, tmp_path: Path) -> None:
    """A child forked in the middle of a run ends as it likes; the parent's run, lease and results are untouched."""
    prelude = """
def fork_soon():
    while len(open("executed.log").read().splitlines()) < 50: time.sleep(0.001)
    child = os.fork()
    if child == 0:
        session.store().runs(); os._exit(0)
    print("child", os.waitpid(child, 0)[1], flush=True)
threading.Thread(target=fork_soon).start()
"""
    work = Work(tmp_path, url, prelude=prelude)
    out, err = work.process.communicate(timeout=120)

    assert "child 0" in out, err
    assert json.loads(out.splitlines()[-1])["right"]
    assert sorted(map(str, range(200))) == sorted(stored(url)) == sorted(work.executed)


def test_threads_of_one_process_share_the_store(url: str, tmp_path: Path) -> None:
    """Many threads, each with a run of its own, save and find their results at once."""
    code = """
import concurrent.futures, sys
from durable_nb import configure, run, step
configure(url=sys.argv[1])
@step
def double(n): return 2 * n
def one(name):
    with run(name):
        return list(double.map(range(100), workers=2))
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    print(all(found == [2 * n for n in range(100)] for found in pool.map(one, [f"run-{n}" for n in range(8)])))
"""
    child = subprocess.run(
        [sys.executable, "-c", code, url], cwd=tmp_path, capture_output=True, text=True, env=_path(), check=False
    )

    assert child.stdout == "True\n", child.stderr
    assert 800 == len(stored(url))


def test_a_run_inside_a_run_of_another_store(url: str, tmp_path: Path) -> None:
    """Each keeps its own calls, whichever database holds it, and both are restored."""
    code = """
import sys
from durable_nb import configure, run, step
from durable_nb.testing import assert_restored
configure(url=sys.argv[1])
@step
def double(n):
    with open("calls", "a") as file: file.write(str(n))
    return 2 * n
for _ in range(2):
    with run("outer"):
        double(1)
        with run("inner", url=sys.argv[2]):
            double(2)
            with run("inmost"):
                double(3)
        double(4)
print(open("calls").read())
"""
    other = f"sqlite:///{tmp_path}/other.db"
    child = subprocess.run(
        [sys.executable, "-c", code, url, other], cwd=tmp_path, capture_output=True, text=True, env=_path(), check=False
    )

    assert child.stdout == "1234\n", child.stderr
    assert 3 == len(stored(url))
    assert 1 == len(stored(other))


def _path() -> dict[str, str]:
    from tests.kernels import ROOT

    return os.environ | {"PYTHONPATH": str(ROOT)}


def _state(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


def _in(url: str) -> str:
    return "durable_nb." if url.startswith("postgresql") else ""


def _age(url: str) -> float:
    return clock.now() - ask(url, f"SELECT heartbeat FROM {_in(url)}runs")[0][0]
