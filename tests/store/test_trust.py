"""Nobody's pickle runs but the user's own, and those that the user has vouched for."""

from __future__ import annotations

import os
import pickle
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from durable_nb import codecs
from durable_nb.errors import ConfigError, DurableError, StoreError, UntrustedStore
from durable_nb.records import Checkpoint
from durable_nb.store import Store, tables
from tests.store.examples import begin, key, python, result

As = Callable[[str], None]


class Own:
    """A class of the user's: its instances are pickled."""

    def __eq__(self, other: object) -> bool:
        return type(other) is Own

    __hash__ = None  # type: ignore[assignment]


class Attack:
    """Leaves a trace where it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> As:
    """Become another user of this machine."""
    return lambda name: monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home" / name))


def saved(store: Store, n: int, value: object, **changes: object) -> Checkpoint:
    """A result of document ``n``, committed."""
    run, owner, step = begin(store)
    codec, payload = codecs.encode(value)
    row = result(run.id, step, n, codec=codec, payload=payload)._replace(**changes)
    store.save(row)
    store.finish(run.id, owner=owner, state="done")
    return row


def read(store: Store, row: Checkpoint) -> object:
    """The value of a row, found in both ways; they agree, or raise the same."""
    ways = (
        store.look_up(row.run_id, [row.step_id], [row.key]).get(row.key),
        next((s for _, k, s in store.fetch(row.run_id, [row.step_id], from_id=0, limit=99) if k == row.key), None),
    )
    assert ways[0] == ways[1]
    if ways[0] is None:
        return None
    return codecs.decode(ways[0].codec, ways[0].payload, where=store.where)


def change(store: Store, statement: str, *parameters: object) -> None:
    """What somebody does to the database with a tool of their own."""
    with store._database.writing() as conn:
        conn.execute(sa.text(statement), dict(zip("abcdef", parameters, strict=False)))


LARGE = [Own(), os.urandom(3 << 20)]
VALUES = [Own(), {"plain": [1, ("x",)]}, "text", LARGE]


def test_what_i_saved_is_mine(url, opens):
    """Values of every kind come back in the next kernel without a question, small and large."""
    store = opens(url)
    rows = [saved(store, n, value) for n, value in enumerate(VALUES)]
    store.close()

    again = opens(url)
    assert VALUES == [read(again, row) for row in rows]
    assert [] == again.check()


def test_only_what_could_run_code_bears_a_signature(url, opens):
    """Text, bytes and arrays are stored under the plain name of their codec; a pickle is signed once."""
    store = opens(url)
    for n, value in enumerate([Own(), "text", b"bytes", [1.5] * 9]):
        saved(store, n, value)
    with store._database.reading() as conn:
        found = list(conn.scalars(sa.select(tables.checkpoints.c.codec).order_by(tables.checkpoints.c.id)))

    assert ["str", "bytes", "f64"] == found[1:]
    assert found[0].startswith("signed:") and found[0].endswith("+pickle")


def test_a_database_of_somebody_else_is_read_without_unpickling(url, opens, user, tmp_path):
    """Plain values are there, pickles are refused with the command that vouches for them, and nothing runs."""
    user("stranger")
    theirs = opens(url)
    evil, plain = saved(theirs, 1, Attack(tmp_path / "ran")), saved(theirs, 2, {"plain": 1})
    theirs.close()

    user("me")
    mine = opens(url)
    with pytest.raises(UntrustedStore, match="durable-nb trust .*configure\\(trust=True\\)"):
        read(mine, evil)
    assert {"plain": 1} == read(mine, plain)
    assert 1 == mine.foreign()
    assert any(line.startswith("1 results that could run code") for line in mine.check())
    assert not (tmp_path / "ran").exists()


def test_a_row_put_into_my_database_is_not_run(url, opens, tmp_path):
    """Trusting my own database, or one that I vouched for, does not trust what somebody inserts afterwards."""
    store = opens(url)
    row = saved(store, 1, Own())
    store.trust()
    for codec in ("pickle", "cloudpickle", "outcome+pickle", "signed:" + "a" * 32 + "+pickle"):
        change(
            store,
            "UPDATE checkpoints SET payload = :a, codec = :b WHERE id > 0",
            pickle.dumps(Attack(tmp_path / "ran")),
            codec,
        )
        with pytest.raises(UntrustedStore):
            read(store, row)

    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("what", ["payload", "key", "step_id", "run_id", "codec"])
def test_a_signature_is_of_one_payload_in_one_place(url, opens, what):
    """A signed pickle that was altered, or carried to another call, step or run, is foreign there."""
    store = opens(url)
    row = saved(store, 1, Own())
    other = {
        "payload": pickle.dumps([Own()]),
        "key": key(2),
        "step_id": row.step_id + 1,
        "run_id": row.run_id + 1,
        "codec": "cloudpickle",
    }[what]
    if what == "codec":
        change(store, "UPDATE checkpoints SET codec = replace(codec, '+pickle', '+cloudpickle')")
    else:
        change(store, f"UPDATE checkpoints SET {what} = :a", other)
        row = row._replace(**{what: other})

    with pytest.raises(UntrustedStore):
        read(store, row)


def test_a_signature_is_worth_nothing_in_another_database(tmp_path, opens):
    """A row copied from one database of mine to another is foreign, its place being the same."""
    first, second = (opens(f"sqlite:///{tmp_path / name}.db") for name in ("first", "second"))
    row = saved(first, 1, Own())
    saved(second, 1, "nothing")
    with first._database.reading() as conn:
        codec, payload = conn.execute(sa.select(tables.checkpoints.c.codec, tables.checkpoints.c.payload)).one()
    change(second, "UPDATE checkpoints SET codec = :a, payload = :b", codec, payload)

    with pytest.raises(UntrustedStore):
        read(second, row)


@pytest.mark.parametrize("is_empty", [False, True])
def test_a_large_pickle_whose_blob_was_replaced_is_computed_anew(url, opens, tmp_path, is_empty):
    """The row names its blob by the digest: another content under that name, or none, counts as never saved."""
    store = opens(url)
    row = saved(store, 1, LARGE)
    change(store, "UPDATE blobs SET payload = :a", b"" if is_empty else pickle.dumps(Attack(tmp_path / "ran")))

    assert read(store, row) is None
    assert not (tmp_path / "ran").exists()
    assert ["1 blobs that are not what was saved"] == store.check()


def test_two_users_vouch_for_the_same_results(url, opens, user):
    """In a database of a team each vouches for what is there; signatures of others stay, and nothing is copied."""
    user("one")
    store = opens(url)
    rows = [saved(store, n, value) for n, value in enumerate(VALUES)]
    store.close()
    user("two")
    store = opens(url)
    assert 2 == store.trust() and 0 == store.trust() and 0 == store.foreign()
    more = saved(store, 9, Own())
    assert [*VALUES, Own()] == [read(store, row) for row in (*rows, more)]
    store.close()

    user("one")
    store = opens(url)
    assert VALUES == [read(store, row) for row in rows]
    with pytest.raises(UntrustedStore):
        read(store, more)


def test_plain_data_of_a_stranger_is_read_with_care(url, opens, user):
    """Data that would end the process, or fill its memory, is refused in the database of somebody else."""
    user("stranger")
    deep = b"\x80\x05})" + 200_000 * b"\x85" + b"Ns."
    row = saved(opens(url), 1, None, payload=deep)
    user("me")
    store = opens(url)

    with pytest.raises(StoreError, match="nested more than 1000 deep"):
        read(store, row)
    saved_by_me = saved(store, 2, {"mine": (1,)})
    assert {"mine": (1,)} == read(store, saved_by_me)


def test_a_setting_reads_whatever_comes(url, opens, user):
    """``trust=True`` reads what anybody saved, as long as it is set, and signs nothing."""
    user("stranger")
    row = saved(opens(url), 1, Own())
    user("me")

    assert Own() == read(opens(url, trust=True), row)
    with pytest.raises(UntrustedStore):
        read(opens(url), row)


def test_effects_of_a_stranger_are_not_put_into_effect(url, opens, user):
    """What a call did besides returning could set any variable: without trust it is refused, also as plain data."""
    from durable_nb.records import Outcome

    user("stranger")
    row = saved(opens(url), 1, Outcome(1, {"globals": {("os", "sep"): "|"}}))
    assert "outcome+data" == row.codec
    user("me")
    store = opens(url)
    found = store.look_up(row.run_id, [row.step_id], [row.key])[row.key]

    with pytest.raises(UntrustedStore):
        codecs.outcome(found.codec, found.payload, where=store.where)


def test_the_key_is_private_and_the_same_for_all_kernels(tmp_path, user):
    """Of kernels that start at once each signs with the same key, which nobody else may read."""
    user("me")
    code = """
import sys
print("ready", flush=True); sys.stdin.readline()
from durable_nb.store.trust import user_key
print(user_key().hex(), flush=True)
"""
    children = [python(code) for _ in range(4)]
    for child in children:
        assert "ready\n" == child.stdout.readline()
    for child in children:
        child.stdin.write("\n")
        child.stdin.flush()
    found = {child.communicate(timeout=60)[0].strip() for child in children}
    folder = tmp_path / "home" / "me" / "durable_nb"

    assert {(folder / "signing-key").read_bytes().hex()} == found
    assert ["signing-key"] == [path.name for path in folder.iterdir()]
    assert (0o600, 0o700) == tuple(stat.S_IMODE(p.stat().st_mode) for p in (folder / "signing-key", folder))


def test_a_damaged_key_is_said(url, opens, tmp_path, user):
    """A file that holds no key is an error that names it, and is not replaced."""
    user("me")
    path = tmp_path / "home" / "me" / "durable_nb" / "signing-key"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"short")

    with pytest.raises(ConfigError, match="signing-key should hold the 32 bytes"):
        opens(url)
    assert b"short" == path.read_bytes()


def test_without_a_writable_home_a_process_trusts_itself(url, opens, tmp_path, monkeypatch):
    """What it saved it reads; another process does not."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    store = opens(url)
    row = saved(store, 1, Own())
    code = "import sys\nstore = Store.open(sys.argv[1])\nprint(store.foreign())\nstore.close()"

    assert Own() == read(opens(url), row)
    assert 0 == store.foreign()
    assert "1\n" == python(code, url).communicate(timeout=60)[0]


@pytest.mark.parametrize(
    "codec",
    ["foreign+pickle", "blob+blob+pickle", "signed:x+pickle", 9999 * "outcome+", 9999 * "foreign+", "os:system"],
)
def test_a_made_up_codec_is_our_error(url, opens, tmp_path, codec):
    """Whatever stands for a codec, what is behind it is not unpickled and the error is one of ours."""
    store = opens(url)
    row = saved(store, 1, Own())
    change(store, "UPDATE checkpoints SET payload = :a, codec = :b", pickle.dumps(Attack(tmp_path / "ran")), codec)

    with pytest.raises(DurableError):
        if read(store, row) is None:
            raise ConfigError("counts as never saved")
    assert not (tmp_path / "ran").exists()


def test_an_older_database_needs_to_be_vouched_for_once(tmp_path, opens):
    """Pickles saved before rows were signed are foreign, and `trust` makes them the user's own."""
    url = f"sqlite:///{tmp_path / 'durable.db'}"
    store = opens(url)
    row = saved(store, 1, Own())
    raw = sqlite3.connect(tmp_path / "durable.db")
    raw.execute("UPDATE checkpoints SET codec = 'pickle'")
    raw.commit()
    raw.close()
    with pytest.raises(UntrustedStore):
        read(store, row)

    assert 1 == store.trust()
    assert Own() == read(store, row)
