"""What a store keeps of calls that are to be made again."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from durable_nb.errors import StoreError
from durable_nb.records import Backoff, State
from durable_nb.store import Store, owner_of_this_process, tables
from tests.kernels import wait_until
from tests.store.examples import Counts, begin, key


def test_calls_that_wait_are_found_by_the_next_kernel(store, url, opens):
    """The last word on each call counts; it is there after a death, and gone after an end."""
    run, owner, step = begin(store)
    store.watch(run.id, owner=owner, ledger=Counts())
    for n in (1, 2):
        store.back_off(run.id, (step, key(n)), Backoff(1, 5.0, 2.0))
    store.back_off(run.id, (step, key(1)), Backoff(2, 6.0, 4.0))
    store.back_off(run.id, (step, key(2)), None)
    expected = {(step, key(1)): Backoff(2, 6.0, 4.0)}
    wait_until(lambda: store.backoffs(run.id) == expected, describing="both are written")
    found = opens(url).backoffs(run.id)
    store.finish(run.id, owner=owner, state=State.INTERRUPTED)

    assert expected == found
    assert {} == store.backoffs(run.id)


def test_who_lost_the_run_notes_nothing(store):
    """What a kernel notes that was taken for dead does not reach the calls of the one that took over."""
    run, owner, step = begin(store)
    store.watch(run.id, owner=owner, ledger=Counts())
    with store._database.writing() as conn:
        conn.execute(sa.update(tables.runs).values(owner_token=owner_of_this_process().token))
    store.back_off(run.id, (step, key(1)), Backoff(1, 5.0, 2.0))
    wait_until(lambda: store.lost(run.id), describing="it is told")

    assert {} == store.backoffs(run.id)


def test_a_forgotten_run_leaves_none(store):
    """They go with their run."""
    run, owner, step = begin(store)
    store.watch(run.id, owner=owner, ledger=Counts())
    store.back_off(run.id, (step, key(1)), Backoff(1, 5.0, 2.0))
    wait_until(lambda: store.backoffs(run.id) != {}, describing="it is written")
    store.unwatch(run.id)
    store.forget("embed")

    with store._database.reading() as conn:
        assert 0 == conn.scalar(sa.select(sa.func.count()).select_from(tables.backoffs))


def test_what_nobody_of_us_wrote_is_refused(url, tmp_path):
    """A row of somebody else's making is told as what it is."""
    if not url.startswith("sqlite"):
        pytest.skip("columns have types there")
    store = Store.open(url)
    run, _, step = begin(store)
    with store._database.writing() as conn:
        conn.exec_driver_sql(f"INSERT INTO backoffs VALUES ({run.id}, {step}, x'00', 'many', 'soon', 1)")
    with pytest.raises(StoreError, match=r"Backoff.attempts is 'many'"):
        store.backoffs(run.id)
    store.close()
