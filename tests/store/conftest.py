"""Stores to test: the same contract on SQLite and PostgreSQL."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import sqlalchemy as sa

from durable_nb.store import Store
from tests.postgres import NoPostgres, throwaway_postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[sa.URL]:
    """A database of our own on a PostgreSQL server; skipped without one, except in CI."""
    try:
        if find_spec("psycopg") is None:
            raise NoPostgres("no driver: pip install 'durable-nb[postgres]'")
        with throwaway_postgres() as url:
            yield from _own_database(sa.make_url(url))
    except NoPostgres as problem:
        if os.environ.get("CI") == "true":
            pytest.fail(str(problem))
        pytest.skip(str(problem))


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Address of an empty store, once for each database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'durable.db'}"
    address: sa.URL = request.getfixturevalue("postgres")
    run_statement(address, "DROP SCHEMA IF EXISTS durable_nb CASCADE")
    return address.render_as_string(hide_password=False)


@pytest.fixture
def opens() -> Iterator[Callable[..., Store]]:
    """`Store.open` whose stores are closed after the test."""
    opened: list[Store] = []

    def open_one(address: str, **options: object) -> Store:
        opened.append(Store.open(address, **options))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """An empty store, found sound after the test."""
    opened = Store.open(url)
    yield opened
    opened.flush()

    assert opened.check() == []

    opened.close()


def _own_database(server: sa.URL) -> Iterator[sa.URL]:
    name = f"durable_nb_test_{os.getpid()}"  # the tests drop schemas: never in a database that was there before
    run_statement(server, f"CREATE DATABASE {name}")
    yield server.set(database=name)
    run_statement(server, f"DROP DATABASE {name} WITH (FORCE)")


def run_statement(address: sa.URL, statement: str) -> None:
    engine = sa.create_engine(address, isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool)
    with engine.connect() as conn:
        conn.exec_driver_sql(statement)
