"""The progress panel in a real JupyterLab: moving, pressed, finished, dead and re-opened."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.lab import Lab, NotebookPage, chromium, require_chromium, saved_outputs, wait_until, write_notebook

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import BrowserContext

pytestmark = pytest.mark.browser

WIDGET = "application/vnd.jupyter.widget-view+json"
PRELUDE = """
import threading, time
from durable_nb.notebook.widget import Panel, Publisher
from durable_nb.records import Failure, Snapshot, State

first = Snapshot("embed-filings", State.RUNNING, 10_000, 1_200, 0, 0, 8, 312.4, 19.2, 0.0, 180.0, 0.1)
lost = Failure(17, "10-K/<b>ACME</b>.txt", "RateLimitError: 429", 3, "Traceback: line 3")
stopped, retried, begun = threading.Event(), threading.Event(), time.monotonic()

ends = []  # what the run comes to, once it has ended

def take():
    if ends:
        return ends[0]
    passed = time.monotonic() - begun
    return first._replace(computed=min(8_000, int(passed * 400)), elapsed_s=passed)

def work(seconds, **end):  # the main thread is busy in Python, as in a cell that computes
    panel = Panel(take(), on_stop=stopped.set, on_retry=retried.set)
    panel.show()
    publisher = Publisher(panel, take)
    publisher.start()
    until = time.monotonic() + seconds
    while not stopped.is_set() and time.monotonic() < until:
        sum(range(10_000))
    ends.append(take()._replace(**end))
    publisher.stop()
"""
RUN_UNTIL_STOPPED = "work(60, state=State.INTERRUPTED)"
FINISH = "work(1, state=State.DONE, computed=8_800)\nprint('next output')"
FAIL = "work(1, state=State.FAILED, computed=8_799, failed=1, failures=(lost,))"
CELLS = [PRELUDE, RUN_UNTIL_STOPPED, FINISH, FAIL, "print(retried.wait(10))"]
VIEW = ".dnb"
BAR = ".dnb [role=progressbar]"


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


@pytest.fixture
def notebook(lab: Lab, context: BrowserContext, request: pytest.FixtureRequest) -> Iterator[NotebookPage]:
    """A fresh notebook of CELLS whose first cell has run."""
    name = f"{request.node.name}.ipynb"
    write_notebook(lab.notebooks / name, CELLS)
    page = lab.open(context, name)
    page.run(0)
    yield page
    page.close()


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    """Where pictures go: kept when DURABLE_NB_SHOTS names a folder."""
    return Path(os.environ.get("DURABLE_NB_SHOTS", tmp_path))


def durable(notebook: NotebookPage, index: int) -> int:
    words = notebook.cell(index).locator(".dnb-progress").inner_text()
    return int(words.partition(" ")[0].replace(",", ""))


def test_panel_moves_and_stops_while_the_cell_is_busy(notebook: NotebookPage, shots: Path) -> None:
    """The figures follow a busy main thread; Stop reaches it at once; the picture is hidden behind the live view."""
    notebook.run(1, wait=False)
    notebook.cell(1).locator(VIEW).wait_for()
    before = durable(notebook, 1)
    wait_until(lambda: durable(notebook, 1) > before + 100, describing="the panel moves")
    visible = notebook.outputs(1)
    notebook.screenshot(shots / "panel_running.png", 1)
    notebook.cell(1).get_by_role("button", name="Stop").click()
    notebook.wait_done(1, seconds=20)

    assert 1 == len(visible)
    assert "As of" not in visible[0]
    assert "interrupted" in notebook.outputs(1)[0]
    assert [] == [line for line in notebook.console if "pageerror" in line]


def test_finished_output_is_a_picture_without_widget(notebook: NotebookPage, shots: Path) -> None:
    """Nothing in the saved cell needs a kernel, and what the cell printed after the panel is still to be seen."""
    notebook.run(2)
    wait_until(lambda: len(notebook.outputs(2)) == 2, describing="picture and print")
    notebook.screenshot(shots / "panel_done.png", 2)
    saved = saved_outputs(notebook.save(), 2)

    assert "10,000 / 10,000 (100%)" in notebook.outputs(2)[0]
    assert "next output" == notebook.outputs(2)[1]
    assert not any(WIDGET in output.get("data", {}) for output in saved)


def test_failures_can_be_read_and_retried(notebook: NotebookPage, shots: Path) -> None:
    """After a failure the view stays: the document and its error can be opened, and Retry failed calls back."""
    notebook.run(3)
    cell = notebook.cell(3)
    cell.locator(".dnb-failures > summary").click()
    rows = cell.locator(".dnb-failures tbody tr").all_inner_texts()
    notebook.screenshot(shots / "panel_failed.png", 3)
    cell.get_by_role("button", name="Retry failed").click()
    notebook.run(4)

    assert 1 == len(rows)
    assert "10-K/<b>ACME</b>.txt" in rows[0]
    assert "RateLimitError: 429" in rows[0]
    assert ["True"] == notebook.outputs(4)
    assert "Retry requested." in cell.locator(".dnb-note").inner_text()


def test_panel_of_a_killed_kernel_says_so(notebook: NotebookPage, shots: Path) -> None:
    """After SIGKILL the view does not go on claiming to run, and offers nothing that cannot work."""
    notebook.run(1, wait=False)
    cell = notebook.cell(1)
    cell.locator(VIEW).wait_for()
    notebook.kill_kernel()
    cell.get_by_text("kernel gone").wait_for()
    notebook.screenshot(shots / "panel_gone.png", 1)

    assert "Run the cell again" in cell.locator(".dnb-note").inner_text()
    assert cell.get_by_role("button", name="Stop").is_disabled()


def test_reopened_notebook_shows_the_picture(lab: Lab, context: BrowserContext, notebook: NotebookPage) -> None:
    """With the model gone, the saved picture is seen instead of "model not found"."""
    notebook.run(3)
    notebook.save()
    notebook.close()
    again = lab.open(context, notebook.notebook)
    again.page.get_by_text("model not found").wait_for(state="attached")
    outputs = again.outputs(3)
    again.page.close()

    assert 1 == len(outputs)
    assert "9,999 / 10,000 (99%)" in outputs[0]


def test_untrusted_notebook_shows_the_whole_picture(
    lab: Lab, context: BrowserContext, notebook: NotebookPage, tmp_path: Path, shots: Path
) -> None:
    """What JupyterLab's sanitizer leaves of the picture still has the figures, the bar and the failures."""
    notebook.run(3)
    notebook.save()
    with Lab(lab.notebooks, state=tmp_path / "somebody-else") as other:
        page = other.open(context, notebook.notebook)
        wait_until(lambda: page.outputs(3), describing="the picture is drawn")
        page.cell(3).locator("details summary").click()
        page.screenshot(shots / "panel_untrusted.png", 3)
        outputs, bars = page.outputs(3), page.cell(3).locator("progress").count()
        page.page.close()

    assert 1 == len(outputs)
    assert "9,999 / 10,000 (99%)" in outputs[0]
    assert "10-K/<b>ACME</b>.txt" in outputs[0]
    assert 1 == bars


def test_panel_is_readable_in_both_themes(notebook: NotebookPage, shots: Path) -> None:
    """Text stands out from the ground by the 4.5 : 1 of WCAG AA in every part of the panel, in light and in dark."""
    notebook.run(3)
    notebook.cell(3).locator(VIEW).wait_for()
    parts = [".dnb-chip", ".dnb-name", ".dnb-progress", ".dnb-times", ".dnb-count b", ".dnb-button", ".dnb summary"]
    ratios = {}
    for theme in ("Light", "Dark"):
        notebook.theme(f"JupyterLab {theme}")
        notebook.screenshot(shots / f"panel_{theme.lower()}.png", 3)
        for part in parts:
            ratios[theme, part] = notebook.cell(3).locator(part).first.evaluate(CONTRAST)

    assert {} == {where: ratio for where, ratio in ratios.items() if ratio < 4.5}


CONTRAST = """(element) => {
  const pixel = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const light = (paints) => {
    for (const paint of paints) { pixel.fillStyle = paint; pixel.fillRect(0, 0, 1, 1); }
    const parts = [...pixel.getImageData(0, 0, 1, 1).data].slice(0, 3).map(c => c / 255)
      .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const grounds = [];
  for (let at = element; at; at = at.parentElement) grounds.unshift(getComputedStyle(at).backgroundColor);
  const [a, b] = [light(grounds), light([...grounds, getComputedStyle(element).color])].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
}"""
