"""A run in the background, as somebody sees it who goes on working, closes the tab, and looks again from elsewhere."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.browser.durable import DURABLE, DurableNotebook, durable_count, shot, wait_badge
from tests.browser.lab import Lab, chromium, require_chromium, wait_until, write_notebook

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


def test_followed_from_another_notebook(tmp_path: Path) -> None:
    """Its panel moves while other cells answer; the tab is closed, another notebook is opened, and `%durable attach` there
    shows the run moving to its end. The notebook that is opened again shows it too, and has the names.
    """
    require_chromium()
    with Lab(tmp_path / "notebooks", state=tmp_path / "state") as lab, chromium() as context:
        notebook = DurableNotebook(lab, "night", documents=900, seconds=0.03, mark="night --background")
        page = lab.open(context, notebook.path.name)
        for index in range(DURABLE + 1):
            page.run(index)
        assert any("goes on in the background" in text for text in page.outputs(DURABLE))
        before = durable_count(page)
        wait_until(lambda: durable_count(page) > before + 20, describing="the panel moves while no cell runs")
        page.write(0, "'free'")
        page.run(0)
        assert ["'free'"] == page.outputs(0)
        shot(page, "background")
        page.save()
        page.page.close()

        write_notebook(lab.notebooks / "other.ipynb", ["%load_ext durable_nb", "%durable attach night"])
        other = lab.open(context, "other.ipynb")
        other.run(0)
        other.run(1)
        panel = other.cell(1).locator(".dnb .dnb-progress")
        wait_until(panel.count, describing="the panel is there")
        first = panel.inner_text()
        wait_until(lambda: panel.inner_text() != first, describing="the attached panel moves")
        shot(other, "background_attached")
        other.page.get_by_label("Mosaic of 900 documents: 0 waiting").wait_for(timeout=90_000)

        again = lab.open(context, notebook.path.name)
        wait_badge(again, "^✓ 900 / 900$")
        again.write(0, "len(vectors)")
        again.run(0)
        assert ["900"] == again.outputs(0)
        shot(again, "background_done")
        assert 900 == notebook.executed
        assert [] == [*other.errors(), *again.errors()]


@pytest.mark.matrix  # half a minute
def test_detached_run_survives_the_server(tmp_path: Path) -> None:
    """SIGKILL of server and kernel: the run goes on to its end without them; who opens the notebook again sees it done, and
    gets its names.
    """
    require_chromium()
    with Lab(tmp_path / "notebooks", state=tmp_path / "state") as lab, chromium() as context:
        notebook = DurableNotebook(lab, "adrift", documents=300, mark="adrift --detach")
        page = lab.open(context, notebook.path.name)
        for index in range(DURABLE + 1):
            page.run(index)
        before = durable_count(page)
        wait_until(lambda: durable_count(page) > before, describing="the panel of another process moves")
        shot(page, "detached")
        page.save()
        kernel = lab.kernel_pid(notebook.path.name)
        lab.kill_server()
        os.kill(kernel, signal.SIGKILL)
        page.page.close()
        notebook.wait_executed(300)

        lab.start()
        again = lab.open(context, notebook.path.name)
        wait_badge(again, "^✓ 300 / 300$")
        again.write(1, "%durable wait adrift")
        again.write(0, "%load_ext durable_nb")
        again.run(0)
        again.run(1)
        again.write(0, "len(vectors)")
        again.run(0)
        assert ["300"] == again.outputs(0)
        shot(again, "detached_again")
        assert 300 == notebook.executed
