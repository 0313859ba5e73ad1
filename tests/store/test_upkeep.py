"""Looking after a database: space is given back, a run travels as one file, what is intact of a damaged file is saved."""

from __future__ import annotations

import os
import random
import sqlite3
import stat
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from durable_nb import codecs
from durable_nb.errors import ConfigError, StoreError, StoreUnavailable
from durable_nb.store import Store, tables, transfer
from durable_nb.testing import frozen_clock
from tests.matrix import usual
from tests.store.examples import Counts, begin, failure, key, result

DAY = 86400.0


class Own:
    """Pickled, so foreign to others."""

    def __eq__(self, other: object) -> bool:
        return type(other) is Own

    __hash__ = None  # type: ignore[assignment]


def filled(store: Store, name: str, *, count: int = 20, size: int = 4000, parent: int | None = None) -> int:
    """A run that ended, with results of random bytes; its id."""
    run, owner, step = begin(store, name)
    for n in range(count):
        store.save(result(run.id, step, n, codec="bytes", payload=os.urandom(size)))
    store.finish(run.id, owner=owner, state="done")
    if parent is not None:
        with store._database.writing() as conn:
            conn.execute(sa.update(tables.runs).where(tables.runs.c.id == run.id).values(parent=parent))
    return run.id


def test_gc_drops_what_nobody_used_for_long(url, opens):
    """Runs older than the limit go, a dry run only says which, and a younger one stays whole."""
    store = opens(url)
    with frozen_clock() as time:
        filled(store, "old")
        time.move(40 * DAY)
        young = filled(store, "young")
        said = store.gc(older_s=30 * DAY, dry_run=True)
        assert (("old",), 2) == (said.runs, len(store.runs()))
        done = store.gc(older_s=30 * DAY)

    assert (("old",), ["young"]) == (done.runs, [run.name for run in store.runs()])
    assert 20 == len(store.known(young, [version.id for version in store.contents(young)]))
    assert [] == store.check()


def test_gc_never_drops_what_a_live_run_needs(url, opens):
    """A run that is live, and one that was begun inside of it, stay however old and large they are."""
    store = opens(url)
    with frozen_clock() as time:
        live, owner, step = begin(store, "live")
        store.watch(live.id, owner=owner, ledger=Counts())
        store.save(result(live.id, step, 1))
        filled(store, "inner", parent=live.id)
        filled(store, "innermost", parent=store.run("inner").id)
        filled(store, "other")
        time.move(400 * DAY)
        swept = store.gc(older_s=DAY, max_bytes=1)

        assert ("other",) == swept.runs
        assert {"live", "inner", "innermost"} == {run.name for run in store.runs()}
        store.unwatch(live.id)


def test_gc_gives_the_space_back(tmp_path, opens):
    """The file is as large as asked afterwards, and what is said of its size is true, log included."""
    path = tmp_path / "durable.db"
    store = opens(f"sqlite:///{path}")
    with frozen_clock() as time:
        for n in range(10):
            filled(store, f"run-{n}", count=50, size=20_000)
            time.move(60)
        before = sum(file.stat().st_size for file in tmp_path.iterdir() if file.suffix != ".db-shm")
        said = store.gc(max_bytes=4_000_000, dry_run=True)
        swept = store.gc(max_bytes=4_000_000)
    after = sum(file.stat().st_size for file in tmp_path.iterdir() if not file.name.endswith("-shm"))

    assert swept.before >= 10_000_000 and abs(swept.before - before) < 100_000
    assert swept.after == after <= 4_000_000
    assert said.runs == swept.runs == tuple(f"run-{n}" for n in range(len(swept.runs)))
    assert abs(said.after - swept.after) < 0.1 * swept.before + 4_000_000
    assert 3 <= 10 - len(swept.runs)


def test_gc_counts_large_results_where_they_lie(url, opens):
    """Payloads that are kept apart count for the run that refers to them."""
    store = opens(url)
    with frozen_clock() as time:
        filled(store, "large", count=2, size=3 << 20)
        time.move(60)
        filled(store, "small", count=2, size=100)
        swept = store.gc(max_bytes=2 << 20)

    assert ("large",) == swept.runs


VALUES = [Own(), {"plain": (1,)}, "text", b"bytes", np.arange(6.0), os.urandom(2 << 20), [Own(), os.urandom(2 << 20)]]


@pytest.fixture
def exported(url: str, opens, tmp_path: Path) -> Path:
    """A run with values of every kind, a failure and a choice, as a file."""
    store = opens(url)
    run, owner, step = begin(store)
    older = store.step("embed", fingerprint="zero", parts={}, source="def embed(): older")
    for n, value in enumerate(VALUES):
        codec, payload = codecs.encode(value)
        store.save(result(run.id, step, n, codec=codec, payload=payload))
    store.save(failure(run.id, older, 99))
    store.choose(run.id, step, [older], "keep", edited=True)
    store.finish(run.id, owner=owner, state="done")
    with store._database.writing() as conn:
        conn.execute(
            sa.insert(tables.mosaics).values(run_id=run.id, version=3, states=b"x\x9cc\x02\x00\x00\x02\x00\x02")
        )
    count = store.export_run("embed", tmp_path / "embed.run")
    store.close()
    assert len(VALUES) + 1 == count
    return tmp_path / "embed.run"


def values_of(store: Store, name: str) -> list[object]:
    """All that can be read of a run, in order."""
    run = store.run(name)
    steps = [version.id for version in store.contents(run.id)]
    rows = store.fetch(run.id, steps, from_id=0, limit=1000)
    return [codecs.decode(saved.codec, saved.payload, where=store.where) for _, _, saved in rows]


def test_a_run_travels_as_one_file(exported, tmp_path, opens, monkeypatch):
    """Elsewhere it has its results, failures, choices and history; its pickles are foreign until trusted."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "colleague"))
    store = opens(f"sqlite:///{tmp_path / 'elsewhere.db'}")

    assert ("embed", len(VALUES) + 1) == store.import_run(exported)
    assert 2 == store.foreign() == store.trust()
    assert repr(VALUES[1:5]) == repr(values_of(store, "embed")[1:5])
    assert VALUES[5:] == values_of(store, "embed")[5:]
    run = store.run("embed")
    assert ["doc 99"] == [one.label for one in store.failures(run.id)]
    assert ["started", "edited", "done"] == [event.kind for event in store.events(run.id)]
    (choice,) = {frozenset(store.choices(run.id, version.id).items()) for version in store.contents(run.id)}
    assert ["keep"] == [text for _, text in choice]
    assert 0o600 == stat.S_IMODE(exported.stat().st_mode)
    assert [] == store.check()


@pytest.mark.parametrize("meanwhile", ["goes on", "is forgotten"])
def test_an_export_is_of_one_moment(url, opens, tmp_path, monkeypatch, meanwhile):
    """What happens to the run while it is written does not matter: the file can be imported, and is as the run was."""
    store, reader = opens(url), opens(url)
    run, owner, step = begin(store)
    store.save_all([result(run.id, step, n) for n in range(600)])
    store.finish(run.id, owner=owner, state="done")
    whole = transfer.wholes.results

    def results(*args):
        for n, row in enumerate(whole(*args)):
            if n == 100 and meanwhile == "goes on":
                second = store.step("second", fingerprint="1", parts={}, source="")
                store.save_now(result(run.id, second, 1)).result()
            elif n == 100:
                store.forget("embed")
            yield row

    monkeypatch.setattr(transfer.wholes, "results", results)

    assert 600 == reader.export_run("embed", tmp_path / "one.run")
    assert ("again", 600) == reader.import_run(tmp_path / "one.run", name="again")


def test_an_export_of_a_run_that_is_gone_says_so(store, tmp_path, monkeypatch):
    """Somebody forgets it before the first row is read: that is said, and no file is left."""
    filled(store, "short")
    whole = Store.run
    monkeypatch.setattr(Store, "run", lambda self, name: (whole(self, name), self.forget(name))[0])
    with pytest.raises(ConfigError, match="was forgotten just now"):
        store.export_run("short", tmp_path / "gone.run")

    assert [] == list(tmp_path.glob("*.run*"))


def test_an_import_changes_nothing_that_is_there(exported, url, opens, tmp_path):
    """A name that is taken is refused; under another name the run stands beside the first one. No file is overwritten."""
    store = opens(url)
    with pytest.raises(StoreError, match="run 'embed' already: give it another name with --as"):
        store.import_run(exported)
    assert ("copy", len(VALUES) + 1) == store.import_run(exported, name="copy")
    assert 2 == store.foreign()
    with pytest.raises(ConfigError, match="sub-command"):
        store.import_run(exported, name="show")
    with pytest.raises(ConfigError, match="file exists"):
        store.export_run("embed", exported)

    assert {"embed", "copy"} == {run.name for run in store.runs()}
    assert ["embed.run"] == [path.name for path in tmp_path.glob("*.run*")]


@pytest.mark.parametrize("harm", ["cut", "flip", "longer", "empty", "other", "version"])
def test_a_file_that_is_not_as_it_was_written_is_refused(exported, tmp_path, opens, harm):
    """One byte is enough, wherever; nothing of the file is imported then."""
    whole = exported.read_bytes()
    random.seed(1)
    spots = [random.randrange(len(whole)) for _ in range(20)]
    changed = {
        "cut": [whole[:spot] for spot in spots],
        "flip": [whole[:spot] + bytes([whole[spot] ^ 1]) + whole[spot + 1 :] for spot in spots],
        "longer": [whole + b"\n", whole + whole],
        "empty": [b""],
        "other": [b"SQLite format 3\0" + whole],
        "version": [whole.replace(b"durable_nb run 1", b"durable_nb run 2", 1)],
    }[harm]
    store = opens(f"sqlite:///{tmp_path / 'elsewhere.db'}")
    for content in changed:
        (tmp_path / "changed").write_bytes(content)
        with pytest.raises(StoreError, match="was not imported: .* Nothing was changed"):
            store.import_run(tmp_path / "changed")

    assert [] == store.runs()


def torn(path: Path, *, pages: int, seed: int) -> list[int]:
    """Overwrite whole pages in the middle of a file; their numbers."""
    random.seed(seed)
    with path.open("r+b") as file:
        size = file.seek(0, 2) // 8192
        chosen = random.sample(range(size // 4, 3 * size // 4), pages)
        for page in chosen:
            file.seek(page * 8192)
            file.write(random.randbytes(8192))
    return chosen


@pytest.mark.parametrize("seed", usual(range(5), 0, 3))
def test_what_is_intact_of_a_torn_file_is_saved(tmp_path, opens, seed):
    """Five of some 1,000 pages overwritten: the damage is found, and all rows that are not on them are in the new file."""
    path, new = tmp_path / "durable.db", tmp_path / "new.db"
    store = opens(f"sqlite:///{path}")
    run, owner, step = begin(store)
    payloads = {key(n): codecs.encode([Own(), n])[1] if n % 10 == 0 else b"%d" % n * 300 for n in range(6000)}
    for n in range(6000):
        kind = "pickle" if n % 10 == 0 else "bytes"
        store.save(result(run.id, step, n, codec=kind, payload=payloads[key(n)]))
    store.finish(run.id, owner=owner, state="done")
    store.close()
    torn(path, pages=5, seed=seed)
    damaged = opens(f"sqlite:///{path}")
    assert "check --repair" in damaged.check()[-1]
    damaged.close()

    saved = Store.repair(f"sqlite:///{path}", f"sqlite:///{new}")
    print(saved)

    store = opens(f"sqlite:///{new}")
    found = store.fetch(run.id, [step], from_id=0, limit=10_000)
    assert saved.results == len(found) >= 5900
    assert all(payloads[name] == one.payload for _, name, one in found)
    assert [] == store.check() and 0 == store.foreign()
    assert [Own(), 0] == codecs.decode(found[0][2].codec, found[0][2].payload)
    assert 0o600 == stat.S_IMODE(new.stat().st_mode)


def test_results_outlive_their_run_and_step(tmp_path, opens):
    """Where the rows of a run and its step are lost, stand-ins hold the results."""
    path, new = tmp_path / "durable.db", tmp_path / "new.db"
    store = opens(f"sqlite:///{path}")
    run = filled(store, "embed", count=5)
    store.close()
    raw = sqlite3.connect(path)
    raw.execute("DELETE FROM runs")
    raw.execute("DELETE FROM steps")
    raw.commit()
    raw.close()

    Store.repair(f"sqlite:///{path}", f"sqlite:///{new}")

    store = opens(f"sqlite:///{new}")
    assert [f"salvaged-{run}"] == [one.name for one in store.runs()]
    assert [5] == [version.saved for version in store.contents(run)]
    assert [] == store.check()


def test_a_repair_touches_nothing_that_is_there(tmp_path, opens):
    """The damaged file stays as it is, a new one that exists is refused, and a useless one leaves nothing behind."""
    path, new = tmp_path / "durable.db", tmp_path / "new.db"
    filled(opens(f"sqlite:///{path}"), "embed")
    with pytest.raises(ConfigError, match="there already"):
        Store.repair(f"sqlite:///{path}", f"sqlite:///{path}")
    (tmp_path / "junk.db").write_bytes(os.urandom(20_000))
    with pytest.raises(StoreUnavailable, match="first page is damaged"):
        Store.repair(f"sqlite:///{tmp_path / 'junk.db'}", f"sqlite:///{new}")

    assert not new.exists()
