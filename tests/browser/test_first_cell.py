"""The example notebook as a user runs it: JupyterLab, a real model, a killed kernel, the same cells again."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.lab import CHECKOUT, Lab, NotebookPage, chromium, require_chromium, saved_outputs, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

NOTEBOOK, DURABLE = "01_first_cell.ipynb", 4
# Of the live panel, where the word stands in front for who listens, and of the picture that is saved.
_COUNTS = re.compile(r"restored ([\d,]+) computed ([\d,]+)|([\d,]+) restored[^\d]+([\d,]+) computed")


@pytest.fixture
def page(tmp_path: Path) -> Iterator[NotebookPage]:
    """The example notebook, open in a page."""
    require_chromium()
    folder = tmp_path / "notebooks"
    folder.mkdir()
    shutil.copy(CHECKOUT / "notebooks" / NOTEBOOK, folder)
    with Lab(folder, state=tmp_path / "state") as lab, chromium() as context:
        opened = lab.open(context, NOTEBOOK)
        yield opened
        opened.close()


def counts(page: NotebookPage) -> tuple[int, int]:
    """(restored, computed) as the durable cell's panel says."""
    for text in page.outputs(DURABLE):
        if found := _COUNTS.search(" ".join(text.split())):
            restored, computed = (int(number.replace(",", "")) for number in found.groups() if number)
            return restored, computed
    return 0, 0


def run_above(page: NotebookPage) -> None:
    """The cells that define documents, model and step."""
    for index in (1, 2, 3):
        page.run(index, seconds=120)


def keep(page: NotebookPage, name: str) -> None:
    """A screenshot, if somebody wants to look."""
    if folder := os.environ.get("DURABLE_NB_SHOTS"):
        page.screenshot(Path(folder) / f"{name}.png", DURABLE)


def test_kill_the_kernel_and_run_the_cell_again(page: NotebookPage) -> None:
    """The panel moves while the cell runs; after SIGKILL and a re-run it says how many documents were restored, and the
    finished cell holds no widget that could be dead tomorrow."""
    run_above(page)
    page.run(DURABLE, wait=False)
    first = wait_until(lambda: counts(page)[1], describing="the panel shows computed documents", seconds=60)
    second = wait_until(lambda: counts(page)[1] > first and counts(page)[1], describing="the panel moves", seconds=60)
    keep(page, "first_cell_running")
    page.kill_kernel()
    keep(page, "first_cell_killed")
    run_above(page)
    page.run(DURABLE, seconds=120)
    wait_until(lambda: sum(counts(page)) == 2000, describing="the panel has the last of it")
    restored, computed = counts(page)
    keep(page, "first_cell_restored")

    assert restored >= second
    assert restored + computed == 2000
    assert "(2000, 256)" in page.outputs(DURABLE)[-1]
    page.run(7)

    assert f"{restored:,} restored" in " ".join(page.outputs(7)[0].split())
    kinds = [set(output.get("data", ())) for output in saved_outputs(page.save(), DURABLE)]

    assert not any("application/vnd.jupyter.widget-view+json" in kind for kind in kinds)
    assert [] == [line for line in page.console if line.startswith("pageerror") and "Canceled future" not in line]
