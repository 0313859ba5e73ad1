"""What happens to files: full disks, lost rights, deleted, replaced and torn files, locks, memory that runs out."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import subprocess
import tempfile
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from durable_nb.errors import StoreUnavailable
from durable_nb.store import Store
from tests.crash.faults import Work, stored
from tests.kernels import lines, wait_until
from tests.matrix import usual
from tests.store.examples import Counts, begin, result

if TYPE_CHECKING:
    from collections.abc import Iterator

# Documents grow: 40 KB each, so that a small disk is full after some of them.
_IS_LARGE = "square.function = lambda n: (os.write(log, b'%d\\n' % n), time.sleep(0.006), os.urandom(40_000))[2]"


# A first run of one document loads all there is: the interpreter may lie where only root may read.
_AS_NOBODY = """
import difflib, pickletools, tempfile
with tempfile.TemporaryDirectory() as folder:
    configure(url=f"sqlite:///{folder}/first.db")
    square.map([0], workers=2)
    session.close()
configure(url=options["url"])
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Files only."""
    return f"sqlite:///{tmp_path / 'durable.db'}"


@pytest.fixture
def anybodys() -> Iterator[Path]:
    """A folder that every user reaches and may write in: pytest's own are closed to others."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield folder


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """2 MB in memory, mounted at ``folder``; skipped where that is not allowed."""
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "small", folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_is_an_error_that_costs_nothing(tmp_path: Path) -> None:
    """On a disk of 2 MB the cell stops in words; with room again, the same process saves what it had in memory."""
    disk = tmp_path / "disk"
    with small_disk(disk):
        (disk / "ballast").write_bytes(bytes(1_000_000))
        url = f"sqlite:///{disk}/durable.db"
        prelude = (
            _IS_LARGE
            + """
try:
    square.map(range(100), workers=4)
except BaseException as problem:
    print(f"{type(problem).__name__}: {problem}", flush=True)
sys.stdin.readline()
"""
        )
        work = Work(tmp_path, url, documents=15, prelude=prelude, stdin=subprocess.PIPE)
        told = work.process.stdout.readline()
        computed = len(work.executed)
        (disk / "ballast").unlink()
        work.process.stdin.write("go on\n")
        work.process.stdin.flush()
        work.process.communicate()
        with closing(sqlite3.connect(disk / "durable.db")) as raw:
            assert [("ok",)] == raw.execute("PRAGMA integrity_check").fetchall()
        saved = set(stored(url))

    assert told.startswith("StoreUnavailable: ")
    assert "the disk" in told
    assert "kept in memory" in told
    assert computed <= 40
    assert set(work.executed[:computed]) <= saved
    assert len(work.executed) == max(15, computed)


def test_a_quota_is_an_error_in_words(tmp_path: Path, url: str) -> None:
    """A file that may not grow (RLIMIT_FSIZE) stops the cell; without the limit the rest is computed, and no more."""

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))

    first = Work(tmp_path, url, documents=60, prelude=_IS_LARGE, preexec_fn=limited).end()
    kept = set(stored(url))
    again = Work(tmp_path, url, documents=60, prelude=_IS_LARGE)
    again.end()

    assert "StoreUnavailable" in first["error"]
    assert "full" in first["error"]
    assert 60 == len(stored(url))
    assert len(again.executed) - 60 <= len(again.executed[: len(again.executed) - 60])
    assert not kept - set(stored(url))


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_may_not_be_written_is_refused_in_words(anybodys: Path, what: str) -> None:
    """A database, or its folder, that may only be read: the cell says so before anything runs, and what to do."""
    folder = anybodys / "theirs"
    folder.mkdir()
    url = f"sqlite:///{folder}/durable.db"
    Store.open(url).close()
    (folder / "durable.db").chmod(0o444 if what == "file" else 0o666)
    folder.chmod(0o777 if what == "file" else 0o555)
    end = Work(anybodys, url, prelude=_AS_NOBODY).end()
    folder.chmod(0o755)

    assert end["error"].startswith(f"StoreUnavailable: {folder}/durable.db: ")
    assert "DURABLE_NB_URL" in end["error"]
    assert ["0"] == lines(anybodys / "executed.log")  # of the first run, which loads what root alone may read


def test_a_right_lost_in_the_middle_costs_nothing(anybodys: Path) -> None:
    """chmod under a live run: what is open stays open; the next kernel is told, and goes on once the right is back."""
    url, prelude = f"sqlite:///{anybodys}/durable.db", _AS_NOBODY
    (anybodys / "durable.db").touch()
    (anybodys / "durable.db").chmod(0o666)
    work = Work(anybodys, url, prelude=prelude).at(60)
    (anybodys / "durable.db").chmod(0o400)
    first = work.end()
    second = Work(anybodys, url, prelude=prelude).end()
    (anybodys / "durable.db").chmod(0o666)
    third = Work(anybodys, url, documents=210, prelude=prelude).end()

    assert first["right"], first
    assert "may not be written by you" in second["error"] or "cannot be created or written" in second["error"]
    assert third["right"], third
    assert 210 + 3 == len(work.executed)  # and three first runs


def test_a_deleted_file_is_noticed_before_more_is_wasted(tmp_path: Path, url: str) -> None:
    """Whoever deletes the database of a live run is told within a commit; calls do not go on into nowhere."""
    work = Work(tmp_path, url, documents=2000).at(60)
    for path in tmp_path.glob("durable.db*"):
        path.unlink()
    before = len(work.executed)
    end = work.end()

    assert "StoreUnavailable" in end["error"]
    assert "deleted or replaced" in end["error"]
    assert len(work.executed) <= before + 10 * work.workers


def test_a_replaced_file_is_noticed(tmp_path: Path, url: str) -> None:
    """A database that was swapped for another one (a sync, a checkout) gets none of the results of the first."""
    work = Work(tmp_path, url, documents=2000).at(60)
    other = tmp_path / "other.db"
    Store.open(f"sqlite:///{other}").close()
    for path in tmp_path.glob("durable.db-*"):
        path.unlink()
    other.replace(tmp_path / "durable.db")
    end = work.end()

    assert "deleted or replaced" in end["error"]
    assert [] == stored(url)


@pytest.mark.parametrize("suffixes", usual(["-wal", "-shm", "-wal -shm"], "-wal -shm"))
def test_a_removed_log_costs_no_result(tmp_path: Path, url: str, suffixes: str) -> None:
    """-wal or -shm removed under a live run, which is killed later: what it said is durable is in the database."""
    work = Work(tmp_path, url, documents=400).at(80)
    for suffix in suffixes.split():
        (tmp_path / f"durable.db{suffix}").unlink()
    work.at(200).kill()
    kept = stored(url)
    last = Work(tmp_path, url, documents=400)
    end = last.end()
    store = Store.open(url)

    assert len(kept) >= 200 - work.workers - 1
    assert end["right"], end
    assert len(last.executed) <= 400 + work.workers
    assert [] == store.check()
    store.close()


def test_torn_pages_are_found(tmp_path: Path, url: str) -> None:
    """Bytes overwritten in the middle of the file: `check` says so in words, wherever they are."""
    store = Store.open(url)
    run, owner, step = begin(store)
    store.watch(run.id, owner=owner, ledger=Counts())
    for n in range(2000):
        store.save(result(run.id, step, n, payload=os.urandom(500)))
    store.finish(run.id, owner=owner, state="done")
    store.close()
    path = tmp_path / "durable.db"
    whole = path.read_bytes()
    for at in range(8192, len(whole), len(whole) // 6):
        page = at - at % 8192
        path.write_bytes(whole[:page] + b"\xaa" * 4096 + whole[page + 4096 :])
        try:
            torn = Store.open(url)
        except StoreUnavailable as problem:
            assert "is damaged" in str(problem) or "another program" in str(problem), problem
            continue
        try:
            assert torn.check() != []
        except StoreUnavailable as problem:
            assert "is damaged" in str(problem)
        torn.close()


@pytest.mark.parametrize("seconds", usual([5, 40], 5))
def test_a_foreign_lock_is_waited_out(tmp_path: Path, url: str, seconds: int) -> None:
    """Another program holds the write lock: the run waits, says so once that takes long, and computes nothing twice."""
    work = Work(tmp_path, url).at(60)
    raw = sqlite3.connect(tmp_path / "durable.db", isolation_level=None, timeout=60)
    raw.execute("BEGIN IMMEDIATE")
    held = len(work.executed)
    with pytest.raises(subprocess.TimeoutExpired):
        work.process.wait(timeout=seconds)
    during = len(work.executed)
    raw.execute("ROLLBACK")
    raw.close()
    end = work.end()

    assert end["right"], end
    assert during - held <= 2 * work.workers
    assert sorted(map(str, range(200))) == sorted(work.executed) == sorted(stored(url))
    assert any("has it locked" in said for said in work.waits)
    assert work.waits[-1] == ""


def test_cheap_calls_do_not_pile_up_while_the_database_is_away(tmp_path: Path, url: str) -> None:
    """While another program has it locked, calls of microseconds wait too: a kill costs half a second of them, not all."""
    work = Work(tmp_path, url, documents=400_000, workers=1, seconds=0.0).at(2_000)
    before = time.monotonic()
    rate = 5_000 / (time.monotonic() - before) if work.at(7_000) else 0
    raw = sqlite3.connect(tmp_path / "durable.db", isolation_level=None, timeout=60)
    raw.execute("BEGIN IMMEDIATE")
    wait_until(lambda: "the database: another process has it locked" in work.waits, describing="it says that it waits")
    wait_until(lambda: len(work.executed) == _settled(work), describing="calls wait too")
    work.kill()
    raw.execute("ROLLBACK")
    raw.close()
    lost = len(set(work.executed) - set(stored(url)))

    assert lost < rate / 2, f"{lost} results"


def test_who_stops_need_not_wait_for_a_lock(tmp_path: Path, url: str) -> None:
    """■ while another program has the file locked gives control back within about two seconds, and the cell says why."""
    prelude = "from durable_nb.notebook.interrupts import also_on_interrupt\n"
    prelude += "session.observers.append(lambda live: also_on_interrupt(live.stop, live.saving.withholds))\n"
    work = Work(tmp_path, url, prelude=prelude).at(60)
    raw = sqlite3.connect(tmp_path / "durable.db", isolation_level=None, timeout=60)
    raw.execute("BEGIN IMMEDIATE")
    wait_until(lambda: "the database: another process has it locked" in work.waits, describing="it says that it waits")
    began = time.monotonic()
    work.send(signal.SIGINT)
    end = work.end(timeout=30)
    took = time.monotonic() - began
    raw.close()

    assert "StoreUnavailable" in end["error"]
    assert took < 8  # 2 s for the calls, and a second for each of the last tries; the machine may be busy
    assert Work(tmp_path, url).end()["right"]


def _settled(work: Work) -> int:
    before = len(work.executed)
    threading.Event().wait(0.3)
    return before


def test_a_long_reader_holds_nobody_up(tmp_path: Path, url: str) -> None:
    """A program that reads for the whole length of a run delays no commit."""
    Store.open(url).close()
    raw = sqlite3.connect(tmp_path / "durable.db", isolation_level=None)
    raw.execute("BEGIN")
    raw.execute("SELECT count(*) FROM runs").fetchall()
    end = Work(tmp_path, url).end()
    raw.close()

    assert (True, "", []) == (end["right"], end["error"], end["waits"])
    assert 200 == len(stored(url))


def test_memory_that_runs_out_costs_what_was_in_flight(tmp_path: Path, url: str) -> None:
    """Under `ulimit -v` documents hoard until nothing is left: it ends in words or by a kill, and a new kernel goes on."""
    prelude = """
hoard = []
def greedy(n):
    os.write(log, b"%d\\n" % n)
    hoard.append(bytearray(8 << 20))
    time.sleep(0.006)
    return n * n
square.function = greedy
"""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (900 << 20, 900 << 20))

    work = Work(tmp_path, url, documents=300, prelude=prelude, preexec_fn=limited)
    out, err = work.process.communicate(timeout=120)
    saved = len(stored(url))
    computed = len(work.executed)
    again = Work(tmp_path, url, documents=300)
    store = Store.open(url)

    assert "MemoryError" in out + err or work.process.returncode < 0
    assert again.end()["right"]
    assert [] == store.check()
    assert len(again.executed) - computed == 300 - saved
    store.close()
