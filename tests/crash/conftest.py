"""A PostgreSQL for runs that are killed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.postgres import NoPostgres, throwaway_postgres

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
        if os.environ.get("CI") == "true":
            pytest.fail(str(problem))
        pytest.skip(str(problem))


@pytest.fixture(params=["sqlite", "postgres"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the runs of scripts live, once for each database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'durable.db'}"
    return str(request.getfixturevalue("postgres_url"))
