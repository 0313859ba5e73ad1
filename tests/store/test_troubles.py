"""What a server says: whether a run waits for it, and which results it does not take."""

from __future__ import annotations

from contextlib import contextmanager
from importlib.util import find_spec

import pytest
import sqlalchemy as sa

from durable_nb.errors import StoreError, StoreUnavailable
from durable_nb.store.troubles import explain, may_pass
from durable_nb.testing import frozen_clock
from tests.store.conftest import run_statement
from tests.store.examples import Counts, begin, key, owner_of_this_process, result

pytestmark = pytest.mark.skipif(find_spec("psycopg") is None, reason="needs psycopg")


_TRIGGER = """
CREATE OR REPLACE FUNCTION durable_nb.refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN IF NEW.label = 'doc 4' THEN {what} END IF; RETURN NEW; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON durable_nb.checkpoints FOR EACH ROW EXECUTE FUNCTION durable_nb.refuse()
"""


@pytest.fixture
def server(postgres, request):
    """An empty database; the settings that a test gives it are taken back."""
    run_statement(postgres, "DROP SCHEMA IF EXISTS durable_nb CASCADE")
    yield postgres
    run_statement(postgres, f"ALTER DATABASE {postgres.database} RESET ALL")


@pytest.fixture
def watched(server, opens):
    """A store with a run that waits for it: the store, the id of the run, a step, and what the run was told."""
    store = opens(server.render_as_string(hide_password=False))
    run, owner, step = begin(store)
    ledger = Counts()
    store.watch(run.id, owner=owner, ledger=ledger)
    yield store, run.id, step, ledger
    store.unwatch(run.id)


@contextmanager
def refusing(server, what):
    """A server that does this whenever the result of document 4 comes."""
    run_statement(server, _TRIGGER.format(what=what))
    yield
    run_statement(server, "DROP FUNCTION durable_nb.refuse CASCADE")


def said(state, *, cut=False):
    """An error of the driver with this SQLSTATE."""
    from psycopg import errors

    return sa.exc.OperationalError("", {}, errors.lookup(state)("said by the server"), connection_invalidated=cut)


@pytest.mark.parametrize(
    ("state", "cut", "passes"),
    [
        ("57014", False, False),
        ("55000", False, False),
        ("57P01", True, True),
        ("25P03", True, True),
        ("53200", False, True),
    ],
)
def test_a_run_waits_for_what_may_pass(state, cut, passes):
    """Not for what the server would say again."""
    problem = explain(said(state, cut=cut), "here", 30)

    assert isinstance(problem, StoreUnavailable)
    assert passes is problem.may_pass


def test_what_is_the_fault_of_a_row_is_no_trouble_of_the_database():
    """The size of an index row stays what the driver says: the writer looks for the row."""
    problem = said("54000")

    assert problem is explain(problem, "here", 30)


def save(store, row, beside):
    """A result, alone or in the transaction of a step."""
    if beside == "nothing":
        store.save(row)
        store.flush()
    else:
        with store.transactions.open() as transaction:
            transaction.settle(row)


@pytest.mark.parametrize("beside", ["nothing", "what a step wrote"])
def test_a_limit_of_the_server_ends_none_of_our_statements(server, opens, beside):
    """A large result is saved although the server ends what takes longer than some milliseconds."""
    run_statement(server, f"ALTER DATABASE {server.database} SET statement_timeout = '20ms'")
    store = opens(server.render_as_string(hide_password=False))
    run, _, step = begin(store)
    row = result(run.id, step, 1, payload=b"x" * 30_000_000)
    save(store, row, beside)

    assert 30_000_000 == len(store.look_up(run.id, [step], [key(1)])[key(1)].payload)


@pytest.mark.parametrize("beside", ["nothing", "what a step wrote"])
def test_results_are_found_where_backslashes_in_literals_are_escapes(server, opens, beside):
    """``standard_conforming_strings`` may be off, as for programs of long ago: no key is looked up with others' bytes."""
    run_statement(server, f"ALTER DATABASE {server.database} SET standard_conforming_strings = off")
    store = opens(server.render_as_string(hide_password=False))
    run, _, step = begin(store)
    row = result(run.id, step, 1)
    save(store, row, beside)

    assert row.payload == store.look_up(run.id, [step], [key(1)])[key(1)].payload


def test_calls_are_claimed_where_backslashes_in_literals_are_escapes(server, opens):
    """What a kernel has claimed of a shared run is found by the others."""
    run_statement(server, f"ALTER DATABASE {server.database} SET standard_conforming_strings = off")
    store = opens(server.render_as_string(hide_password=False))
    share = store.join("embed", owner=owner_of_this_process("kernel-1"), notebook="", cell="", source="")

    assert {key(1)} == share.take(1, [key(1)], 10).mine
    assert {key(1)} == share.known(1, [key(1), key(2)])


def test_a_heartbeat_is_read_as_it_was_written(server, opens):
    """A server that shows few digits of a number makes no live kernel of another machine look dead."""
    run_statement(server, f"ALTER DATABASE {server.database} SET extra_float_digits = -10")
    store = opens(server.render_as_string(hide_password=False))
    with frozen_clock(1_700_000_000.25):
        run, _, _ = begin(store)

    assert 1_700_000_000.25 == store.run(run.name).heartbeat


@pytest.mark.parametrize(("state", "passes"), [("25P03", False), ("57014", False), ("57P01", True)])
def test_a_function_is_called_again_for_what_may_pass(state, passes):
    """Not for a limit that its own statements run into each time."""
    assert passes is may_pass(said(state, cut=state != "57014"))


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("PERFORM pg_terminate_backend(pg_backend_pid());", "sent alone 3 times: the server is shutting down"),
        ("RAISE EXCEPTION 'slow' USING ERRCODE = '57014';", "sent alone 3 times: ended a statement that took too long"),
        ("RAISE EXCEPTION 'wide' USING ERRCODE = '54000';", "wide"),
        ("RAISE EXCEPTION 'large' USING ERRCODE = '53200';", "sent alone 3 times: the server is short of memory"),
    ],
    ids=["cuts", "ends", "too wide", "out of memory"],
)
def test_a_row_that_breaks_its_commit_does_not_cost_the_others(server, watched, what, says):
    """It is sent a few times, then row by row: the error names it, the others are saved, and nobody waits ten minutes."""
    store, run, step, ledger = watched
    with refusing(server, what):
        store.save_all([result(run, step, n) for n in range(10)])
        with pytest.raises(StoreError, match=rf"refused the result of doc 4 \(.*{says}.*9 others of the same commit"):
            store.flush()
        store.flush()  # told once

    assert {key(n) for n in range(10) if n != 4} == set(store.known(run, [step]))
    assert 9 == ledger.done
