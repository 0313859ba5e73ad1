"""What is particular to the file: settings, plans, bad input, kills, and who is trusted."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import traceback
from pathlib import Path

import pytest
import sqlalchemy as sa

from durable_nb.errors import ConfigError, StoreTooNew, StoreUnavailable
from durable_nb.records import Checkpoint
from durable_nb.store import Store, owner_of_this_process, rows, tables
from durable_nb.store.addresses import file_system_of, is_network
from tests.kernels import wait_until
from tests.store.examples import ROOT, begin, failure, key, python, result


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the store of a test is."""
    return tmp_path / "durable.db"


@pytest.fixture
def url(path: Path) -> str:
    """Only SQLite here."""
    return f"sqlite:///{path}"


def _pragma(store: Store, name: str, *, writing: bool) -> object:
    database = store._database
    with database.writing() if writing else database.reading() as conn:
        return conn.exec_driver_sql(f"PRAGMA {name}").scalar()


def test_the_file_is_set_up_for_one_writer_and_many_readers(store, path):
    """WAL, 8 KB pages, NORMAL, waits that can be ended within 1 s, readers that cannot write, a file only its owner can read."""
    wanted = {"journal_mode": "wal", "page_size": 8192, "synchronous": 1, "busy_timeout": 1_000}

    assert wanted == {name: _pragma(store, name, writing=True) for name in wanted}
    assert (1, 0) == tuple(_pragma(store, name, writing=False) for name in ("query_only", "wal_autocheckpoint"))
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    with pytest.raises(StoreUnavailable, match="may not be written"), store._database.reading() as conn:
        conn.exec_driver_sql("DELETE FROM meta")


def test_full_durability_survives_power_loss(url, opens):
    """durability="full" waits for the disk at every commit."""
    assert 2 == _pragma(opens(url, durability="full"), "synchronous", writing=True)


def test_a_new_folder_is_kept_out_of_git(tmp_path, opens):
    """The default folder is made, and ignores itself."""
    opens(f"sqlite:///{tmp_path}/a/.durable_nb/durable.db")

    assert "*\n" == (tmp_path / "a/.durable_nb/.gitignore").read_text()


def test_a_relative_path_is_fixed_when_opened(tmp_path, monkeypatch, opens):
    """Changing the folder later does not move the store."""
    monkeypatch.chdir(tmp_path)
    store = opens("sqlite:///x.db")
    monkeypatch.chdir("/")
    begin(store)

    assert (str(tmp_path / "x.db"), f"sqlite:///{tmp_path}/x.db") == (store.where, store.url)


@pytest.mark.parametrize("numbers", [True, False])
def test_every_python_saves_the_same(store, numbers, monkeypatch):
    """Early versions of 3.12 warn of parameters that are numbered: there keys and payloads are handed over one by one."""
    monkeypatch.setattr(rows, "NUMBERS_PARAMETERS", numbers)
    run, _, step = begin(store)
    payloads = [bytes([n % 256]) * size for n, size in enumerate([0, 1, 40_000, 2 << 20, *range(200)])]
    for n, payload in enumerate(payloads):
        store.save(result(run.id, step, n, payload=payload) if n % 7 else failure(run.id, step, n))
    store.flush()

    found = store.look_up(run.id, [step], [key(n) for n in range(len(payloads))])
    assert {key(n): payload for n, payload in enumerate(payloads) if n % 7} == {
        k: one.payload for k, one in found.items()
    }
    assert -(-len(payloads) // 7) == len(store.failures(run.id))


def plans_of(store, ask):
    """For each statement of ``ask``: its text, and how SQLite searches for what it wants."""
    statements = []

    def note(conn, cursor, statement, parameters, context, executemany):
        statements.append((statement, parameters))

    reader = store._database._open()[1]
    sa.event.listen(reader, "before_cursor_execute", note)
    ask()
    sa.event.remove(reader, "before_cursor_execute", note)
    with store._database.reading() as conn:
        return [
            (text, " | ".join(row[3] for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", parameters)))
            for text, parameters in statements
        ]


def test_a_look_up_uses_the_key_index(store):
    """The bulk look-up searches by run, step and key; the key listing never leaves the index; pages follow the ids."""
    run, _, step = begin(store)

    def ask() -> None:
        store.look_up(run.id, [step], [key(1), key(2)])
        store.known(run.id, [step])
        store.names(run.id, [step], most=5)
        store.fetch(run.id, [step], from_id=1, limit=10)
        store.following(run.id, step, from_id=1, limit=10)
        store.found_following(run.id, step, from_id=1, limit=10)
        store.runs()

    (_, forks), (_, by_key), (keys, known), (_, few), (_, pages), (_, following), (found, left), (listing, runs) = (
        plans_of(store, ask)
    )

    assert "SEARCH forks USING INTEGER PRIMARY KEY (rowid=?)" == forks  # asked once a run
    assert "SEARCH checkpoints USING INDEX checkpoints_key (run_id=? AND step_id=? AND key=?)" == by_key
    assert "SEARCH checkpoints USING COVERING INDEX checkpoints_key (run_id=? AND step_id=?)" in known
    assert "SEARCH checkpoints USING COVERING INDEX checkpoints_key (run_id=? AND step_id=?)" == few
    assert "SEARCH checkpoints USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)" == pages == following == left
    assert "checkpoints" not in runs
    assert "payload" not in keys + found + listing


def test_a_view_uses_an_index(store):
    """What pages ask again and again costs what is shown and not what is saved: failures walk an index of failures."""
    run, _, _ = begin(store)

    def ask() -> None:
        store.failures(run.id)
        store.failure_groups(run.id)
        store.document(run.id, 3)
        store.controls(run.id)

    (_, failures), (_, groups), (_, _), (_, document), (_, failed), (_, controls) = plans_of(store, ask)

    assert "SEARCH checkpoints USING INDEX checkpoints_gave_up (run_id=?)" in failures
    for plan in (failures, groups):
        assert "USING INDEX checkpoints_key (run_id=? AND step_id=? AND key=?)" in plan
        assert "SCAN checkpoints" not in plan
    assert "ORDER BY" not in failures  # in the order of the index
    assert "SEARCH checkpoints USING INDEX checkpoints_position (run_id=? AND position=?)" in document
    assert "SEARCH checkpoints USING INDEX checkpoints_gave_up (run_id=? AND position=?)" in failed
    assert "SEARCH controls USING INDEX ix_controls_run_id (run_id=? AND rowid>?)" == controls


def test_listing_runs_reads_no_payloads(store, path):
    """Runs, versions and failures of a store of megabytes are listed from a few pages."""
    run, _, step = begin(store)
    for n in range(2_000):
        store.save(result(run.id, step, n, payload=os.urandom(2_000)))
    store.flush()
    raw = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    steps = []
    raw.set_progress_handler(lambda: steps.append(1) and None, 1)
    raw.execute("SELECT * FROM runs ORDER BY updated DESC").fetchall()
    raw.close()

    assert len(steps) < 400  # virtual machine instructions: 2,000 rows would take thousands


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("corpus.db", "not a database URL"),
        ("", "not a database URL"),
        ("mysql://u:hush@h/d", "cannot keep results in mysql"),
        ("sqlite://", "would not survive"),
        ("sqlite:///:memory:", "would not survive"),
        ("sqlite:///x.db?mode=ro", "a path and nothing else"),
        ("sqlite://x.db", "would not survive"),
        ("postgresql+asyncpg://u:hush@h/d", "through psycopg"),
        ("postgresql://u:hush@h:port/d", "not a database URL"),
    ],
)
def test_a_bad_address_says_what_to_write(address, says):
    """An address that cannot be a store is refused before anything is made, without its password."""
    with pytest.raises(ConfigError, match=says) as refused:
        Store.open(address)

    assert "sqlite:///" in str(refused.value)
    assert "hush" not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize("options", [{"durability": "maybe"}, {"linger_s": 0}, {"linger_s": -1.0}])
def test_a_bad_setting_is_refused(url, path, options):
    """A setting that makes no sense is refused, and no file is made."""
    with pytest.raises(ConfigError, match=next(iter(options))):
        Store.open(url, **options)

    assert not path.exists()


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    """A path below a file, and a folder, are no place for a store."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="cannot be created.*configure"):
        Store.open(f"sqlite:///{tmp_path}/file/durable.db")
    with pytest.raises(StoreUnavailable, match="is a folder"):
        Store.open(f"sqlite:///{tmp_path}")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs another user to be")
def test_a_folder_of_another_user_is_refused(tmp_path):
    """Who may not write a folder is told which one."""
    (tmp_path / "mine").mkdir(mode=0o700)
    code = "from durable_nb.store.connect import Database\nimport os, sys\nos.setuid(65534)\n"
    code += "try: Store.open(sys.argv[1])\nexcept Exception as problem: print(type(problem).__name__, problem)"
    said, _ = python(code, f"sqlite:///{tmp_path}/mine/durable.db").communicate()

    assert said.startswith(f"StoreUnavailable {tmp_path}/mine/durable.db: cannot be created or written (permission")


def test_a_file_that_is_no_database_is_left_alone(path, url):
    """A text file, and the database of another program, are refused and not changed."""
    path.write_text("a,b\n1,2\n" * 1000)
    before = path.read_bytes()
    with pytest.raises(StoreUnavailable, match="not an SQLite database"):
        Store.open(url)
    assert before == path.read_bytes()

    path.unlink()
    raw = sqlite3.connect(path)
    raw.execute("CREATE TABLE meta (name TEXT)")
    raw.close()
    with pytest.raises(StoreUnavailable, match="another program"):
        Store.open(url)
    raw = sqlite3.connect(path)
    assert [("meta",)] == raw.execute("SELECT name FROM sqlite_master").fetchall()
    raw.close()


def test_a_newer_store_is_refused(path, url, opens):
    """A store that a newer version wrote is refused by number."""
    opens(url).close()
    raw = sqlite3.connect(path)
    raw.execute("UPDATE meta SET value = '7' WHERE key = 'schema'")
    raw.commit()
    raw.close()
    with pytest.raises(StoreTooNew, match=f"schema 7; this one knows {tables.SCHEMA}"):
        Store.open(url)


def test_a_store_locked_too_long_keeps_the_results(path, url, opens):
    """While another program locks the file, saving fails in plain words; afterwards nothing is missing."""
    store = opens(url, busy_s=0.05)
    run, _, step = begin(store)
    raw = sqlite3.connect(path, isolation_level=None)
    raw.execute("BEGIN EXCLUSIVE")
    store.save(result(run.id, step, 1))
    with pytest.raises(StoreUnavailable, match="locked for longer than 0.05 s"):
        store.flush()
    with pytest.raises(StoreUnavailable):  # told again, and taken all the same
        store.save(result(run.id, step, 2))
    with pytest.raises(StoreUnavailable):
        begin(store)
    raw.execute("ROLLBACK")
    raw.close()
    store.flush()
    store.save(result(run.id, step, 3))
    store.flush()

    assert {key(1), key(2), key(3)} == set(store.known(run.id, [step]))


def test_a_full_disk_loses_nothing(url, opens):
    """When the disk is full the save is an error, and the results go to it when there is room again."""
    store = opens(url)
    run, _, step = begin(store)
    with store._database.writing() as conn:
        pages = conn.exec_driver_sql("PRAGMA page_count").scalar()
        conn.exec_driver_sql(f"PRAGMA max_page_count={pages + 3}")
    for n in range(50):
        store._writer._inbox.append(result(run.id, step, n, payload=os.urandom(4_000)))
    waiting = store.save_now(result(run.id, step, 50))
    with pytest.raises(StoreUnavailable, match=r"the disk is full.*kept in memory.*Free some space"):
        waiting.result(timeout=30)
    with pytest.raises(StoreUnavailable, match="the disk is full"):
        store.flush()
    assert {} == store.known(run.id, [step])
    with store._database.writing() as conn:
        conn.exec_driver_sql("PRAGMA max_page_count=1000000")
    begin(store, "next")  # the next cell tries again by itself

    assert 51 == len(store.known(run.id, [step]))


def test_closing_with_unsaved_results_is_an_error(path, url):
    """What could not be saved is never dropped silently, not even at the end; the thread ends all the same."""
    store = Store.open(url, busy_s=0.05)
    run, _, step = begin(store)
    raw = sqlite3.connect(path, isolation_level=None)
    raw.execute("BEGIN EXCLUSIVE")
    store.save(result(run.id, step, 1))
    with pytest.raises(StoreUnavailable, match="locked"):
        store.close()
    raw.close()

    assert not [thread for thread in threading.enumerate() if thread.name == "durable-writer"]
    with pytest.raises(StoreUnavailable, match="was closed"):
        store.save(result(run.id, step, 2))


def test_sigkill_keeps_every_acknowledged_result(tmp_path, opens):
    """Of a process killed in the middle of writing, each result it was told is committed is there."""
    code = """
import itertools, os, sys
store = Store.open(sys.argv[1]); run, owner, step = begin(store)
for n in itertools.count():
    store.save(result(run.id, step, 2 * n, payload=os.urandom(3000)))
    store.save_now(result(run.id, step, 2 * n + 1, payload=os.urandom(3000))).result()
    os.write(1, b"%d\\n" % n)
"""
    for trial, goal in enumerate((1, 40, 150)):
        url = f"sqlite:///{tmp_path}/{trial}.db"
        child = python(code, url)
        while int(child.stdout.readline()) < goal:
            pass
        child.send_signal(signal.SIGKILL)
        acknowledged = [int(line) for line in child.communicate()[0].split() if line] or [goal]
        store = opens(url)
        known = store.known(store.run("embed").id, [1])

        assert {key(n) for n in range(2 * acknowledged[-1] + 2)} <= set(known)
        assert [] == store.check()


def test_a_forked_child_leaves_its_parent_alone(url, opens):
    """A child opens its own connections and thread, saves its own results, and none of its parent's."""
    store = opens(url)
    run, owner, step = begin(store)
    store.save_now(result(run.id, step, 1)).result(timeout=30)
    code = f"""
store = Store.open({url!r}); run, owner, step = begin(store, "parent")
store.save(result(run.id, step, 1)); store.flush()
store._writer._linger_s = 60; store.save(result(run.id, step, 2))  # unsaved when it forks
child = os.fork()
if child == 0:
    assert not store._writer._inbox and store._database._engines is None
    store.save(result(run.id, step, 3)); store.flush(); store.close(); os._exit(0)
assert os.waitpid(child, 0)[1] == 0
store._writer._linger_s = 0.02; store.save(result(run.id, step, 4)); store.flush()
print(sorted(n[-1] for n in store.known(run.id, [step])), store.check())
store.close()
"""
    said, _ = python(code).communicate(timeout=60)

    assert "[1, 2, 3, 4] []\n" == said


def test_check_finds_what_was_tampered_with(path, url):
    """A changed blob, a lost run and an impossible row are each named."""
    store = Store.open(url)
    run, _, step = begin(store)
    store.save(result(run.id, step, 1, payload=os.urandom(2 << 20)))
    store.save(result(run.id + 100, step, 2))
    store.flush()
    raw = sqlite3.connect(path)
    raw.execute("UPDATE blobs SET payload = x'00'")
    raw.execute("UPDATE checkpoints SET state = 'maybe' WHERE run_id > 100")
    raw.commit()
    raw.close()
    found = " ".join(store.check())
    store.close()

    assert "1 checkpoints of a run that does not exist" in found
    assert "1 checkpoints in an unknown state" in found
    assert "1 blobs that are not what was saved" in found


def test_an_interrupted_statement_leaves_nothing_locked(store, path):
    """■ in a write transaction of ours; the database is free for others while the traceback is kept."""

    def interrupt(cursor: sqlite3.Cursor, statement: str, *_: object) -> None:
        cursor.execute(statement)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as kept, store._database.writing() as conn:
        sa.event.listen(conn.engine, "do_execute", interrupt, once=True)
        conn.exec_driver_sql("INSERT INTO meta VALUES ('a', 'b'), ('c', 'd') RETURNING key")  # still has a row to give
    other = sqlite3.connect(path, timeout=0.1, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.close()

    assert kept.tb is not None  # it holds the cursor
    begin(store)


def test_a_connection_that_an_interrupt_has_lost_is_not_waited_for(store):
    """■ in the code of the pool itself, which had just taken it out."""
    begin(store)
    lost = store._database._open()[0].pool._do_get()
    store.begin("other", owner=owner_of_this_process())

    assert ["embed", "other"] == sorted(run.name for run in store.runs())
    lost.close()


def test_closing_empties_the_log(url, path):
    """After closing, the store is one file that can be copied."""
    store = Store.open(url)
    run, _, step = begin(store)
    store.save(result(run.id, step, 1))
    store.flush()
    assert [key(1)] == list(store.known(run.id, [step]))
    store.close()

    assert ["durable.db"] == [file.name for file in path.parent.iterdir()]


def test_compacting_gives_space_back(path, url, opens):
    """After forgetting and compacting the file is small again."""
    store = opens(url)
    for name in ("small", "large"):
        run, owner, step = begin(store, name)
        store.save(result(run.id, step, 1, payload=os.urandom(10_000 if name == "small" else 900_000)))
        store.finish(run.id, owner=owner, state="done")
    store.forget("large")
    store.compact()
    store.close()

    assert path.stat().st_size < 500_000  # 8 KB for each table and index


def test_network_file_systems_are_recognised():
    """The mount that holds a path decides, the longest and last one, blanks included."""
    mounts = (
        "/dev/sda / ext4 rw 0 0\nserver:/h /home nfs4 rw 0 0\ntmpfs /home/me/scratch tmpfs rw 0 0\n"
        "gcs /content/drive\\040x fuse.gcsfuse rw 0 0\n"
    )
    paths = ("/x.db", "/home/me/x.db", "/home/me/scratch/x.db", "/homes/x.db", "/content/drive x/x.db")

    assert ["ext4", "nfs4", "tmpfs", "ext4", "fuse.gcsfuse"] == [file_system_of(path, mounts) for path in paths]
    assert [False, True, False, True, True] == [
        is_network(kind) for kind in ("ext4", "nfs4", "tmpfs", "cifs", "fuse.x")
    ]


def test_a_store_on_the_network_has_no_wal(path, url, opens):
    """Made without WAL, a store stays so wherever it is opened later, and works the same."""
    first = opens(url, journal="DELETE")
    run, _, step = begin(first)
    first.save(result(run.id, step, 1))
    first.close()
    again = opens(url)

    assert "delete" == _pragma(again, "journal_mode", writing=True)
    assert [key(1)] == list(again.known(run.id, [step]))
    assert not path.with_name("durable.db-wal").exists()


def test_another_file_in_the_place_of_a_cut_off_one_is_not_used(path, url, opens):
    """A sync removes the log and then swaps the file: what is opened again in between does not take the other for ours."""
    store = opens(url)
    run, _, step = begin(store)
    other = opens(f"sqlite:///{path.with_name('other.db')}")
    other_run, _, other_step = begin(other)
    other.save(result(other_run.id, other_step, 4))
    other.close()
    store.save(result(run.id, step, 1))
    store.flush()
    path.with_name("durable.db-wal").unlink()
    store.save(result(run.id, step, 2))
    store.flush()  # all connections are closed then
    path.with_name("other.db").replace(path)
    store.save(result(run.id, step, 3))

    for use in (lambda: store.known(run.id, [step]), store.flush, store.close, store.transactions.open().__enter__):
        with pytest.raises(StoreUnavailable, match="deleted or replaced"):
            use()
    assert (other_run.id, other_step) == (run.id, step)
    assert [key(4)] == list(opens(url).known(run.id, [step]))


def test_importing_the_errors_loads_no_sqlalchemy():
    """Only the store knows SQLAlchemy."""
    code = "import sys, durable_nb.errors, durable_nb.records; print('sqlalchemy' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}

    assert (
        "False\n"
        == subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        ).stdout
    )


def test_a_missing_driver_says_what_to_install():
    """PostgreSQL without psycopg is an error with the command that mends it."""
    code = "import sys; sys.modules['psycopg'] = None\ntry: Store.open('postgresql://me:hush@h/d')\n"
    code += "except Exception as problem: print(type(problem).__name__, problem)"

    assert (
        "ConfigError PostgreSQL needs a driver. Run: pip install 'durable-nb[postgres]'\n"
        == python(code).communicate()[0]
    )


def test_the_thread_ends_when_there_is_nothing_to_do(url, opens):
    """A second after the last result the thread is gone, and it comes back when needed."""
    store = opens(url)
    run, _, step = begin(store)
    for n in range(2):
        store.save(result(run.id, step, n))
        wait_until(lambda: store._writer._thread is None, describing="the writing thread has ended", timeout=10)

        assert n + 1 == len(store.known(run.id, [step]))


def test_a_kilobyte_takes_little_more_on_disk(tmp_path, opens):
    """10,000 results of 1 KB take at most 1.5 times their payload on disk."""
    store = opens(f"sqlite:///{tmp_path / 'x.db'}")
    run, _, step = begin(store)
    for n in range(10_000):
        store.save(
            Checkpoint(run.id, step, os.urandom(16), "done", n, "doc", 1, None, 1e9, 0.01, "raw", os.urandom(1024))
        )
    store.close()

    assert (tmp_path / "x.db").stat().st_size <= 1.5 * 1024 * 10_000
