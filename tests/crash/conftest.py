"""Databases to be mistreated."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.crash.faults import ask
from tests.postgres import NoPostgres, Postgres, throwaway_postgres

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """Address of an empty server; skipped without one, except in CI."""
    try:
        with throwaway_postgres() as url:
            yield url
    except NoPostgres as problem:
        _without(problem)


@pytest.fixture(params=["sqlite", "postgres"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the runs of scripts live, once for each database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'durable.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture(scope="session")
def _server() -> Iterator[Postgres]:
    try:
        server = Postgres()
    except NoPostgres as problem:
        _without(problem)
    yield server
    server.close()


@pytest.fixture
def server(_server: Postgres) -> Iterator[Postgres]:
    """A PostgreSQL of our own that may be stopped and killed, empty."""
    if not _server.answers:
        _server.start()
    ask(_server.url, "DROP SCHEMA IF EXISTS durable_nb CASCADE")
    yield _server


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Address of an empty database, once for each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'durable.db'}"
    server: Postgres = request.getfixturevalue("server")
    return server.url


def _without(problem: NoPostgres) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(str(problem))
    pytest.skip(str(problem))
