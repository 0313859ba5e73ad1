"""Going on with a run that was cut off: from its panel, and where that cannot begin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser.durable import DURABLE, DurableNotebook, shot, wait_badge
from tests.browser.lab import Lab, NotebookPage

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

PANEL = ".dnb-output[data-shows=panel] .dnb"


def killed(lab: Lab, context: BrowserContext, name: str) -> tuple[NotebookPage, DurableNotebook]:
    """The page of a run of 100 documents whose kernel was killed after 40, and is there again."""
    notebook = DurableNotebook(lab, name, documents=100)
    page = lab.open(context, notebook.path.name)
    notebook.start(page, until=40)
    page.kill_kernel()
    wait_badge(page, "✓ resumable")
    return page, notebook


def test_run_is_resumed_from_its_panel(lab: Lab, context: BrowserContext) -> None:
    """The panel of a dead run has a Resume that says what it will run, runs it, and only what was missing."""
    page, notebook = killed(lab, context, "again")
    resume = page.cell(DURABLE).locator(PANEL).get_by_role("button", name="Resume")
    resume.wait_for()
    says = resume.get_attribute("title") or ""
    shot(page, "lab_panel_resume")
    resume.click()
    wait_badge(page, "^✓ 100 / 100$")

    assert says.startswith("Runs the cells above, unless this kernel has run the cell already")
    assert 100 <= notebook.executed <= 101
    assert not resume.is_visible()
    assert [] == page.errors()
    page.close()


def test_stopped_run_is_resumed_without_the_cells_above(lab: Lab, context: BrowserContext) -> None:
    """After Stop the kernel still has what the cells above made: Resume runs the durable cell alone."""
    notebook = DurableNotebook(lab, "stopped", documents=100)
    page = lab.open(context, notebook.path.name)
    notebook.start(page, until=40)
    page.cell(DURABLE).locator(PANEL).get_by_role("button", name="Stop").click()
    page.wait_done(DURABLE, seconds=10)
    above = [page.cell(index).locator(".jp-InputPrompt").inner_text() for index in range(DURABLE)]
    page.cell(DURABLE).locator(PANEL).get_by_role("button", name="Resume").click()
    wait_badge(page, "^✓ 100 / 100$")

    assert above == [page.cell(index).locator(".jp-InputPrompt").inner_text() for index in range(DURABLE)]
    assert 100 == notebook.executed
    assert [] == page.errors()
    page.close()


def test_banner_comes_when_the_list_of_runs_was_late(lab: Lab, context: BrowserContext) -> None:
    """A kernel that dies before the page has heard of its run, as on a busy machine, is announced when it hears of it."""
    notebook = DurableNotebook(lab, "late", documents=100)
    page = lab.open(context, notebook.path.name)
    page.page.route("**/durable-nb/api/runs?*", lambda route: route.abort())
    notebook.start(page, until=40)
    page.page.locator(PANEL).wait_for()
    page.kill_kernel()
    page.page.unroute("**/durable-nb/api/runs?*")
    page.page.locator(".dnb-banner").get_by_text("The kernel died.").wait_for()

    assert [] == page.errors()
    page.close()


def test_resume_that_cannot_begin_says_why(lab: Lab, context: BrowserContext) -> None:
    """The banner says what Resume runs; when a cell above fails, or the cell ends before its run begins, the banner stays,
    says so, and can be pressed again."""
    page, notebook = killed(lab, context, "hindered")
    banner = page.page.locator(".dnb-banner")
    promise = banner.inner_text()
    resume = banner.get_by_role("button", name="Resume")
    load, cell = (page.source(index) for index in (0, DURABLE))
    page.write(0, "raise OSError('the disk is full')")
    resume.click()
    banner.get_by_text("A cell above stopped with an error. Mend it, then resume.").wait_for()
    shot(page, "lab_resume_hindered")
    page.write(0, load)
    page.write(DURABLE, "%%durable hindered\nvectors = [embed(doc for doc in docs")
    resume.click()
    banner.get_by_text("The cell stopped before the run began: its output says why.").wait_for()
    begun = notebook.executed
    page.write(DURABLE, cell)
    resume.click()
    wait_badge(page, "^✓ 100 / 100$")

    assert "of “hindered” are safe. Resume runs the 2 cells above it, then the cell again." in promise
    assert 40 <= begun < 100
    assert 100 <= notebook.executed <= 101
    banner.wait_for(state="detached")
    assert [] == page.errors()
    page.close()
