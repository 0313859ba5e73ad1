"""Capsules in a store: one for each run, as private and as foreign as what could run code."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from durable_nb.errors import UntrustedStore
from durable_nb.store import tables
from durable_nb.store.capsules import Capsule
from tests.store.examples import begin

ONE, TWO = Capsule('{"name": "one"}', b"\x00one"), Capsule('{"name": "two"}', b"\x00two")


def saved(store, name="fresh", capsule=ONE) -> int:
    """A run that ended, with a capsule; its id."""
    run, owner, _ = begin(store, name)
    store.save_capsule(run.id, capsule)
    store.finish(run.id, owner=owner, state="done")
    return run.id


def content(found: Capsule | None) -> tuple[str, bytes] | None:
    """A capsule without its time."""
    return None if found is None else found[:2]


def test_the_last_capsule_of_a_run_is_kept(url, opens):
    """A later attempt replaces it, and it goes with its run."""
    store = opens(url)
    run_id = saved(store)
    saved(store, "other", TWO)
    assert ONE[:2] == content(store.capsule(run_id))
    store.save_capsule(run_id, TWO)
    assert TWO[:2] == content(store.capsule(run_id))
    store.save_capsule(run_id, None)
    assert store.capsule(run_id) is None
    store.save_capsule(run_id, TWO)
    store.forget("fresh")

    assert store.capsule(run_id) is None
    assert [] == store.check()
    with store._database.reading() as conn:
        assert 1 == conn.scalar(sa.select(sa.func.count()).select_from(tables.capsules))


@pytest.mark.parametrize("what", ["manifest", "payload", "run_id", "signatures"])
def test_a_capsule_that_was_altered_or_moved_is_foreign(url, opens, what):
    """It is code: one that bears no signature of this user for this run is refused until vouched for."""
    store = opens(url)
    run_id = saved(store)
    other = {"manifest": TWO.manifest, "payload": TWO.payload, "run_id": run_id + 1, "signatures": ""}[what]
    with store._database.writing() as conn:
        conn.execute(sa.update(tables.capsules).values({what: other}))
    there = run_id + 1 if what == "run_id" else run_id

    with pytest.raises(UntrustedStore):
        store.capsule(there)
    assert 1 == store.foreign()
    assert 1 == store.trust()
    assert store.capsule(there) is not None


def test_a_capsule_travels_with_its_run(url, opens, tmp_path):
    """Exported and imported it is whole, and foreign to whoever imports it."""
    store = opens(url)
    saved(store)
    store.export_run("fresh", tmp_path / "fresh.run")
    store.import_run(tmp_path / "fresh.run", name="copy")
    copy = store.run("copy").id

    with pytest.raises(UntrustedStore):
        store.capsule(copy)
    store.trust()
    assert ONE[:2] == content(store.capsule(copy))
