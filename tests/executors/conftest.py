"""Each engine is started once for all tests on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.executors.engines import ENGINES, Engine, cluster, need

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """The engine that the parameter names, with its cluster running."""
    need(request.param)
    with cluster(request.param) as at:
        yield Engine(request.param, ENGINES[request.param], at)
