"""What calls printed, in the store: committed, dropped and exported with their results."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from durable_nb.records import Costed
from durable_nb.store import Store, outputs, owner_of_this_process, tables
from durable_nb.store.outputs import Printed
from tests.store.examples import Counts, begin, key, result

if TYPE_CHECKING:
    from pathlib import Path

SAID = '[["out", "one\\n"], ["shown", {"text/html": "<b>1</b>"}]]'


def spoken(run: int, step: int, n: int, **changes: object) -> Costed:
    """Document ``n`` whose call said something."""
    made = Costed(*result(run, step, n, **changes))
    made.printed = Printed(1, 1, n, SAID)
    return made


@pytest.fixture
def run(store: Store) -> tuple[int, int]:
    """A run with results 0 to 9, of which the even ones had said something; its step."""
    made, owner, step = begin(store)
    store.watch(made.id, owner=owner, ledger=Counts())
    for n in range(10):
        store.save(result(made.id, step, n) if n % 2 else spoken(made.id, step, n))
    store.finish(made.id, owner=owner, state="done")
    return made.id, step


def test_what_was_said_is_found_by_call(store, run):
    """Of those calls that said something, with the text if it is asked for."""
    run_id, step = run
    calls = [(step, key(n)) for n in range(5)]

    assert store.has_printed(run_id)
    assert {(step, key(n)): Printed(1, 1, n, SAID) for n in (0, 2, 4)} == store.printed(run_id, calls, with_text=True)
    assert {""} == {one.said for one in store.printed(run_id, calls).values()}


def test_a_silent_run_has_none(store):
    """And nothing is read of it."""
    made, owner, step = begin(store)
    store.save(result(made.id, step, 1))
    store.finish(made.id, owner=owner, state="done")

    assert not store.has_printed(made.id)
    assert {} == store.printed(made.id, [(step, key(1))])


def test_it_is_that_of_the_last_result(store, run):
    """A call that is saved again has what it said then, and the cost."""
    run_id, step = run
    owner = owner_of_this_process()
    store.begin("embed", owner=owner)
    store.watch(run_id, owner=owner, ledger=Counts())
    again = Costed(*result(run_id, step, 0))
    again.printed, again.cost = Printed(7, 0, 0, "[]"), 3.0
    store.save(again)
    store.finish(run_id, owner=owner, state="done")

    assert 7 == store.printed(run_id, [(step, key(0))])[step, key(0)].lines
    assert 3.0 == store.cost_of(run_id, [(step, key(n)) for n in range(10)])


def test_it_goes_with_its_run_and_comes_with_its_file(store, run, tmp_path: Path):
    """Exported with the results; imported it is foreign, since a page runs what was displayed; dropped with the run."""
    run_id, step = run
    store.export_run("embed", tmp_path / "run")
    store.import_run(tmp_path / "run", name="copy")
    copy = store.run("copy").id
    calls = [(step, key(n)) for n in range(10)]
    ours, theirs = (store.printed(one, calls, with_text=True) for one in (run_id, copy))

    assert {True} == {one.is_ours for one in ours.values()}
    assert {False} == {one.is_ours for one in theirs.values()}
    assert ours == {name: one._replace(is_ours=True) for name, one in theirs.items()}
    store.forget("embed")
    store.forget("copy")
    with store._database.reading() as conn:
        assert 0 == conn.scalar(sa.select(sa.func.count()).select_from(tables.outputs))


def test_what_somebody_else_wrote_is_told_apart(store, run, url, opens):
    """An altered text is not ours; a store that trusts all takes it."""
    run_id, step = run
    with store._database.writing() as conn:
        conn.execute(sa.update(tables.outputs).where(tables.outputs.c.logged == 0).values(said='[["out", "evil"]]'))
    calls = [(step, key(0)), (step, key(2))]
    found = [one.printed(run_id, calls, with_text=True) for one in (store, opens(url, trust=True))]

    assert [[False, True], [True, True]] == [[one[call].is_ours for call in calls] for one in found]


def test_it_can_be_vouched_for(store, run, tmp_path: Path, monkeypatch):
    """With the results of an imported run; what was signed before stays so, and what is altered later is foreign again."""
    monkeypatch.setattr(outputs, "_ROWS", 2)
    run_id, step = run
    store.export_run("embed", tmp_path / "run")
    store.import_run(tmp_path / "run", name="copy")
    copy, calls = store.run("copy").id, [(step, key(n)) for n in range(10)]
    with store._database.writing() as conn:
        conn.execute(sa.update(tables.outputs).where(tables.outputs.c.run_id == copy).values(signature="signed:else+"))
        if conn.dialect.name == "sqlite":  # where any column may hold anything
            odd = f"INSERT INTO outputs SELECT run_id, 'odd', hex(key), lines, shown, logged, 1, said FROM outputs WHERE run_id = {copy}"
            conn.exec_driver_sql(odd)
    store.trust()
    with store._database.writing() as conn:
        here = sa.and_(tables.outputs.c.run_id == copy, tables.outputs.c.key == key(2))
        conn.execute(sa.update(tables.outputs).where(here).values(said='[["out", "evil"]]'))
        here = sa.and_(tables.outputs.c.run_id == copy, tables.outputs.c.step_id == step)
        signatures = conn.scalars(sa.select(tables.outputs.c.signature).where(here)).all()
    theirs = store.printed(copy, calls, with_text=True)

    assert store.printed(run_id, calls, with_text=True).keys() == theirs.keys()
    assert {name: name[1] != key(2) for name in theirs} == {name: one.is_ours for name, one in theirs.items()}
    assert len(theirs) > 2 and all(signature.endswith("+signed:else+") for signature in signatures)


def test_a_fork_has_that_of_its_origin(store, run):
    """What a restored call of the origin said is found from the fork."""
    owner = owner_of_this_process()
    new = store.begin("new", owner=owner, fork="embed")
    store.finish(new.id, owner=owner, state="done")
    run_id, step = run

    assert store.has_printed(new.id)
    assert store.printed(run_id, [(step, key(2))]) == store.printed(new.id, [(step, key(2))])


def test_a_transaction_has_it_too(store, run):
    """A result that is settled in a transaction of the user's takes along what its call said."""
    run_id, step = run
    with store.transactions.open() as transaction:
        transaction.settle(spoken(run_id, step, 77))

    assert 77 == store.printed(run_id, [(step, key(77))])[step, key(77)].logged


def test_text_that_a_database_refuses_is_kept(store, run):
    """NUL and lone surrogates stand as JSON writes them, on every database."""
    import json

    run_id, step = run
    owner = owner_of_this_process()
    store.begin("embed", owner=owner)
    store.watch(run_id, owner=owner, ledger=Counts())
    row = spoken(run_id, step, 50)
    row.printed = Printed(0, 0, 0, json.dumps([("out", "\0 \ud800 ü")]))
    store.save(row)
    store.finish(run_id, owner=owner, state="done")
    found = store.printed(run_id, [(step, key(50))], with_text=True)[step, key(50)]

    assert (True, [["out", "\0 \ud800 ü"]]) == (found.is_ours, json.loads(found.said))
