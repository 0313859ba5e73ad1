"""A JupyterLab and a Chromium for the modules that want nothing special of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser.lab import Lab, chromium, require_chromium

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import BrowserContext


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One server for this module."""
    require_chromium()
    folder = tmp_path_factory.mktemp("lab")
    with Lab(folder / "notebooks", state=folder / "state") as server:
        yield server


@pytest.fixture(scope="module")
def context(lab: Lab) -> Iterator[BrowserContext]:
    """One browser for this module."""
    with chromium() as browser:
        yield browser
