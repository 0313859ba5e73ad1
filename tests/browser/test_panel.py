"""The progress panel in a real JupyterLab: moving, pressed, finished, dead and re-opened."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import ipykernel
import pytest

from tests.browser.lab import Lab, NotebookPage, saved_outputs, wait_until, write_notebook
from tests.browser.panel import violations

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import BrowserContext

pytestmark = pytest.mark.browser

WIDGET = "application/vnd.jupyter.widget-view+json"
PRELUDE = """
import threading, time
from durable_nb.notebook.widget import Panel, Publisher
from durable_nb.records import Failure, Mosaic, Snapshot, State

first = Snapshot("embed-filings", State.RUNNING, 10_000, 1_200, 0, 0, 8, 312.4, 19.2, 0.0, 180.0, 0.1)
lost = Failure(17, "10-K/<b>ACME</b>.txt", "RateLimitError: 429", 3, "Traceback: line 3")
stopped = threading.Event()

class Feed:  # what a run would tell of itself
    def __init__(self):
        self.begun, self.end = time.monotonic(), {}
        self.actions = {"stop": lambda _value: stopped.set()}

    def snapshot(self):
        passed = time.monotonic() - self.begun
        computed = min(8_000, int(passed * 400))
        told = first._replace(computed=computed, elapsed_s=passed, mosaic_version=computed + 1)
        return told._replace(**self.end)

    def mosaic(self):
        told = self.snapshot()
        states = bytearray(told.total)
        states[: told.durable] = bytes([1]) * told.restored + bytes([2]) * told.computed
        return Mosaic(told.mosaic_version, bytes(states))

    def context(self):
        return {"history": [{"at": time.time(), "kind": "started", "detail": ""}], "versions": []}

    def document(self, position):
        return {"position": position, "label": f"{position}.txt", "state": "done", "seconds": 1.0, "attempts": 1, "error": ""}

def work(seconds, meanwhile={}, **end):  # the main thread is busy in Python, as in a cell that computes
    feed, panel = Feed(), Panel(served=False)
    feed.end = meanwhile
    panel.show(feed)
    publisher = Publisher(panel, feed.snapshot)
    publisher.start()
    until = time.monotonic() + seconds
    try:
        while not stopped.is_set() and time.monotonic() < until:
            sum(range(10_000))
    finally:  # Stop, or ■
        feed.end = {"computed": feed.snapshot().computed} | end
        publisher.stop()
"""
RUN_UNTIL_STOPPED = "stopped.clear()\nwork(60, state=State.INTERRUPTED)"
FINISH = "stopped.clear()\nwork(1, state=State.DONE, computed=8_800)\nprint('next output')"
FAIL = "stopped.clear()\nwork(1, state=State.FAILED, computed=8_799, failed=1, failures=(lost,))"
FAILING = "stopped.clear()\nwork(60, dict(failed=1, failures=(lost,)), state=State.INTERRUPTED)"
CELLS = [PRELUDE, RUN_UNTIL_STOPPED, FINISH, FAIL, FAILING]
DEAF = ipykernel.version_info[0] < 7  # hears nothing of a page before the cell ends
VIEW = ".dnb"
BAR = ".dnb [role=progressbar]"


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


def stop(notebook: NotebookPage, index: int) -> None:
    """Stop a busy cell in its panel; where the kernel does not hear of it, the panel says what to do."""
    notebook.cell(index).get_by_role("button", name="Stop").click()
    if DEAF:
        notebook.cell(index).get_by_text("applies when the kernel is free, or use the ■ button.").wait_for()
        notebook.command("notebook:interrupt-kernel")
    notebook.wait_done(index, seconds=20)


def test_panel_moves_and_stops_while_the_cell_is_busy(notebook: NotebookPage, shots: Path) -> None:
    """The figures follow a busy main thread; Stop reaches it at once; the picture is hidden behind the live view."""
    notebook.run(1, wait=False)
    notebook.cell(1).locator(VIEW).wait_for()
    before = durable(notebook, 1)
    wait_until(lambda: durable(notebook, 1) > before + 100, describing="the panel moves")
    visible = notebook.outputs(1)
    notebook.screenshot(shots / "panel_running.png", 1)
    stop(notebook, 1)

    assert 1 == len(visible)
    assert "As of" not in visible[0]
    assert "interrupted" in notebook.outputs(1)[0]
    assert [] == [line for line in notebook.console if "pageerror" in line]


def test_mosaic_follows_over_the_comm(notebook: NotebookPage, shots: Path) -> None:
    """All states arrive once, changes after them; arrows point at a document, and the notebook stays in its cell."""
    notebook.run(1, wait=False)
    canvas = notebook.cell(1).locator(".dnb-canvas")
    wait_until(lambda: "10,000 documents" in (canvas.get_attribute("aria-label") or ""), describing="the mosaic")
    before = canvas.get_attribute("aria-label")
    wait_until(lambda: canvas.get_attribute("aria-label") != before, describing="its changes")
    canvas.focus()
    for key in ("Home", "ArrowDown", "ArrowRight"):
        notebook.page.keyboard.press(key)
    notebook.cell(1).locator(".dnb-caption .dnb-place").get_by_text("restored").wait_for()
    if not DEAF:
        notebook.cell(1).locator(".dnb-caption .dnb-label").get_by_text(".txt").wait_for()
    notebook.screenshot(shots / "panel_mosaic.png", 1)
    active = notebook.page.evaluate("() => window.jupyterapp.shell.currentWidget.content.activeCellIndex")
    stop(notebook, 1)

    assert 1 == active


def test_finished_output_is_a_picture_without_widget(notebook: NotebookPage, shots: Path) -> None:
    """Nothing in the saved cell needs a kernel, and what the cell printed after the panel is still to be seen."""
    notebook.run(2)
    wait_until(lambda: len(notebook.outputs(2)) == 2, describing="picture and print")
    notebook.screenshot(shots / "panel_done.png", 2)
    saved = saved_outputs(notebook.save(), 2)

    assert "10,000 / 10,000 (100%)" in notebook.outputs(2)[0]
    assert "next output" == notebook.outputs(2)[1]
    assert not any(WIDGET in output.get("data", {}) for output in saved)


def test_failures_can_be_read_while_the_run_goes_on(notebook: NotebookPage, shots: Path) -> None:
    """The error, the document below it and its traceback can be opened, and stay open while the figures move."""
    notebook.run(4, wait=False)
    cell = notebook.cell(4)
    cell.get_by_role("button", name="1 failed").click()
    cell.locator(".dnb-failures summary").click()
    before = cell.locator(".dnb-figure", has_text="elapsed").inner_text()
    wait_until(
        lambda: cell.locator(".dnb-figure", has_text="elapsed").inner_text() != before, describing="the figures move"
    )
    rows = cell.locator(".dnb-failures tbody tr").all_inner_texts()
    notebook.screenshot(shots / "panel_failed.png", 4)
    stop(notebook, 4)

    assert 2 == len(rows)
    assert "1 × RateLimitError: 429" in rows[0]
    assert "10-K/<b>ACME</b>.txt" in rows[1]
    assert "Traceback: line 3" in rows[1]


def test_panel_of_a_killed_kernel_says_so(notebook: NotebookPage, shots: Path) -> None:
    """After SIGKILL the view does not go on claiming to run, and offers nothing that cannot work."""
    notebook.run(1, wait=False)
    cell = notebook.cell(1)
    cell.locator(VIEW).wait_for()
    notebook.kill_kernel()
    cell.locator(".dnb-chip", has_text="kernel gone").wait_for()
    notebook.screenshot(shots / "panel_gone.png", 1)

    assert "Run the cell again" in cell.locator(".dnb-note").inner_text()
    assert cell.get_by_role("button", name="Stop").is_disabled()


def test_notebook_saved_in_mid_run_shows_the_picture(lab: Lab, context: BrowserContext, notebook: NotebookPage) -> None:
    """With the model gone, the saved picture is seen instead of "model not found"."""
    notebook.run(1, wait=False)
    notebook.cell(1).locator(VIEW).wait_for()
    notebook.save()
    notebook.close()
    again = lab.open(context, notebook.notebook)
    again.page.get_by_text("model not found").wait_for(state="attached")
    outputs = again.outputs(1)
    again.page.close()

    assert 1 == len(outputs)
    assert "1,200 restored" in outputs[0]


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


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_axe_finds_nothing_in_the_lab(notebook: NotebookPage, shots: Path, theme: str) -> None:
    """In the themes of JupyterLab, among its own style sheets, no rule of axe-core is broken by a running panel."""
    notebook.theme(f"JupyterLab {theme}")
    notebook.run(4, wait=False)
    cell = notebook.cell(4)
    cell.get_by_role("button", name="1 failed").click()
    cell.get_by_role("button", name="1 attempt").click()
    notebook.screenshot(shots / f"panel_{theme.lower()}.png", 4)
    found = violations(notebook.page, ".dnb")
    stop(notebook, 4)

    assert [] == found
