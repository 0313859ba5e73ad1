"""One kernel for the tests of this folder that leave nothing behind but runs of their own name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.kernels import Kernel
from tests.notebook.cells import LIVE, LOAD, STEPS

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """One kernel for the tests that leave nothing behind but a run of their own name."""
    folder = tmp_path_factory.mktemp("notebook")
    with Kernel(folder, XDG_STATE_HOME=str(folder / "state")) as one:
        one.ok(LOAD)
        one.ok(STEPS)
        yield one


@pytest.fixture(autouse=True)
def no_run_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a cell did, its run has ended with it."""
    yield
    if "notebook" in request.fixturenames:
        left = request.getfixturevalue("notebook").ok(LIVE).result

        assert left == "[]"
