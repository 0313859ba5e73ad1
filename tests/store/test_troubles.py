"""What a server says: whether a run waits for it, and which results it does not take."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import sqlalchemy as sa

from durable_nb.errors import StoreUnavailable
from durable_nb.store.troubles import explain
from tests.store.conftest import run_statement
from tests.store.examples import begin, key, result

pytestmark = pytest.mark.skipif(find_spec("psycopg") is None, reason="needs psycopg")


@pytest.fixture
def server(postgres, request):
    """An empty database; the settings that a test gives it are taken back."""
    run_statement(postgres, "DROP SCHEMA IF EXISTS durable_nb CASCADE")
    yield postgres
    run_statement(postgres, f"ALTER DATABASE {postgres.database} RESET ALL")


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


def test_a_limit_of_the_server_ends_none_of_our_statements(server, opens):
    """A large result is saved although the server ends what takes longer than some milliseconds."""
    run_statement(server, f"ALTER DATABASE {server.database} SET statement_timeout = '20ms'")
    store = opens(server.render_as_string(hide_password=False))
    run, _, step = begin(store)
    store.save(result(run.id, step, 1, payload=b"x" * 30_000_000))
    store.flush()

    assert 30_000_000 == len(store.look_up(run.id, [step], [key(1)])[key(1)].payload)
