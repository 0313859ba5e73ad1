"""An ordinary cell with one more line, as a user runs it in JupyterLab: killed, run again, its function edited."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.lab import Lab, NotebookPage, chromium, require_chromium, wait_until, write_notebook
from tests.kernels import lines

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

LOAD = "%load_ext durable_nb\nimport time\ndocs = [f'  Filing  {i} ' for i in range(60)]"
DEFINE = """def clean(doc):
    return " ".join(doc.split()).lower()

def embed(text):
    time.sleep(0.05)
    with open("executed.log", "a") as log:
        log.write(text + "\\n")
    return [len(text), {}]"""
CELL = (
    "%%durable filings\nvectors = []\nfor doc in docs:\n    vectors.append(embed(clean(doc)))\nlen(vectors), vectors[7]"
)
EDITED = DEFINE.format("'new'")


@pytest.fixture
def page(tmp_path: Path) -> Iterator[NotebookPage]:
    """A notebook with an ordinary cell, open in a page."""
    require_chromium()
    folder = tmp_path / "notebooks"
    folder.mkdir()
    write_notebook(folder / "plain.ipynb", [LOAD, DEFINE.format("'old'"), CELL, EDITED, CELL, "%durable explain"])
    with Lab(folder, state=tmp_path / "state") as lab, chromium() as context:
        opened = lab.open(context, "plain.ipynb")
        yield opened
        opened.close()


def keep(page: NotebookPage, name: str, cell: int) -> None:
    """A screenshot, if somebody wants to look."""
    if folder := os.environ.get("DURABLE_NB_SHOTS"):
        page.screenshot(Path(folder) / f"{name}.png", cell)


def test_one_line_survives_a_kill_and_an_edit_is_asked_about(page: NotebookPage, tmp_path: Path) -> None:
    """After SIGKILL the cell runs only what is missing; after an edit nothing runs until a button says what to do."""
    log = tmp_path / "notebooks" / "executed.log"
    page.run(0)
    page.run(1)
    page.run(2, wait=False)
    wait_until(lambda: len(lines(log)) >= 24, describing="24 of 60 documents are embedded", seconds=60)
    page.kill_kernel()
    page.run(0)
    page.run(1)
    page.run(2, seconds=60)
    keep(page, "plain_cell_restored", 2)
    executed = lines(log)

    assert "(60, [8, 'old'])" in page.outputs(2)[-1]
    assert 60 == len(set(executed))
    assert len(executed) <= 61

    page.run(3)
    page.run(4)
    buttons = page.cell(4).get_by_role("button")
    wait_until(lambda: buttons.count() >= 2, describing="the buttons are there")
    keep(page, "plain_cell_asks", 4)
    buttons.filter(has_text="Keep 60 results").click()
    wait_until(lambda: "run the cell again" in page.cell(4).inner_text(), describing="the answer is taken")
    page.run(4)
    keep(page, "plain_cell_kept", 4)

    assert len(executed) == len(lines(log))
    assert "(60, [8, 'old'])" in page.outputs(4)[-1]
    page.run(5)
    keep(page, "plain_cell_explained", 5)

    assert "kept       embed(clean(doc))" in page.outputs(5)[-1]
