"""A run as somebody finds it again: after the server died, in a re-opened notebook, in Notebook 7."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.browser.durable import DURABLE, SHOTS, DurableNotebook, badge, shot, wait_badge
from tests.browser.lab import (
    Lab,
    NotebookPage,
    chromium,
    require_chromium,
    saved_outputs,
    wait_until,
    write_notebook,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import BrowserContext, Locator

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

PANEL = ".dnb-output[data-shows=panel] .dnb"
PICTURE = ".dnb-output[data-shows=picture]"


@pytest.fixture(scope="module")
def context() -> Iterator[BrowserContext]:
    """One browser for this module."""
    require_chromium()
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A server for what needs none of its own."""
    folder = tmp_path_factory.mktemp("lab")
    with Lab(folder / "notebooks", state=folder / "state") as server:
        yield server


def cut_off(page: NotebookPage, notebook: DurableNotebook, *, after: int) -> None:
    """Run the notebook, save it in mid-run, and leave its kernel dead."""
    notebook.start(page, until=after)
    page.page.wait_for_selector(PANEL)
    page.save()


def test_killed_server_is_resumed_where_the_run_was(tmp_path: Path, context: BrowserContext) -> None:
    """Server and kernel are killed and the server starts again: badge and panel tell the truth in the page that stayed
    open, and Resume starts a kernel and computes only what was missing."""
    with Lab(tmp_path / "notebooks", state=tmp_path / "state") as lab:
        notebook = DurableNotebook(lab, "outage", documents=200)
        page = lab.open(context, notebook.path.name)
        cut_off(page, notebook, after=60)
        # Lab says in a dialogue that the server is gone, sooner or later.
        said: list[str] = []

        def close(box: Locator) -> None:
            said.append(box.inner_text())
            box.locator("button").last.click()

        page.page.add_locator_handler(page.page.locator(".jp-Dialog"), close)
        lab.kill()
        lab.start()
        wait_badge(page, "✓ resumable")
        shot(page, "lab_outage")
        begun = notebook.executed
        page.cell(DURABLE).get_by_role("button", name="Resume").first.click()
        wait_badge(page, "^✓ 200 / 200$", seconds=60)
        page.page.get_by_label("Mosaic of 200 documents: 0 waiting").wait_for()
        shot(page, "lab_outage_resumed")

        page.cell(DURABLE).locator(".jp-InputPrompt").click()  # whatever stands in the way would be closed first

        assert not any("Error Starting Kernel" in text for text in said)
        assert 60 <= begun < 200
        assert notebook.executed <= 201
        assert "done" in page.cell(DURABLE).locator(PANEL).inner_text()
        assert [] == page.errors()
        page.page.close()


@pytest.mark.matrix  # half a minute
def test_cut_off_notebook_is_true_whoever_opens_it(lab: Lab, tmp_path: Path, context: BrowserContext) -> None:
    """The file of a run that was cut off, opened by its owner, by somebody who does not trust it, and without our lab
    extension: each sees a readable panel or picture of what became of it, nobody an error alone, and nothing runs. What is neither trusted nor drawn by us still has the
    picture of all documents."""
    notebook = DurableNotebook(lab, "reopened", documents=400)
    page = lab.open(context, notebook.path.name)
    cut_off(page, notebook, after=150)
    lab.kill_kernel(notebook.path.name)
    page.page.close()
    begun = notebook.executed
    page = lab.open(context, notebook.path.name)
    seen = {"trusted": look(page, "trusted")}
    wait_until(lambda: "interrupted" in saved_text(page), describing="the saved picture says interrupted")
    page.close()
    shutil.copytree(lab.state, tmp_path / "without")  # and with it the trust
    for who, disabled in (("untrusted", []), ("without", ["durable-nb"]), ("neither", ["durable-nb"])):
        with Lab(lab.notebooks, state=tmp_path / who, disabled=disabled) as other:
            page = other.open(context, notebook.path.name)
            seen[who] = look(page, who)
            if disabled:
                assert page.cell(DURABLE).locator("img").evaluate("(image) => image.naturalWidth > 0")
            page.close()

    assert {"trusted", "untrusted", "without", "neither"} == {
        who for who, text in seen.items() if "interrupted" in text
    }
    assert begun == notebook.executed


def look(page: NotebookPage, who: str) -> str:
    """What somebody sees of the durable cell's output, once it is drawn."""
    if who in ("trusted", "untrusted"):
        page.page.wait_for_selector(PANEL)
        wait_badge(page, "✓ resumable")
    wait_until(lambda: "computed" in "".join(page.outputs(DURABLE)), describing=f"{who}: there is something to read")
    shot(page, f"lab_reopened_{who}")

    assert [] == page.errors()
    return "\n".join(page.outputs(DURABLE))


def saved_text(page: NotebookPage) -> str:
    """The picture of the durable cell as it stands in the file."""
    return "".join(saved_outputs(page.save(), DURABLE)[0]["data"]["text/html"])


EVIL = "<img src=x onerror=alert(1)> \x1b[31mred \u202eelive " + "very long " * 30
_EVIL = """%load_ext durable_nb
from durable_nb import step
docs = [{evil!r} + str(n) for n in range(30)]

@step
def embed(doc):
    if doc.endswith("7"):
        raise ValueError(doc)
    return [len(doc)]"""


def test_hostile_words_are_text_in_the_page_and_in_what_is_saved(
    lab: Lab, tmp_path: Path, context: BrowserContext
) -> None:
    """Labels and errors of HTML, terminal colours, other directions and any length are read, not obeyed: in the panel, in
    the picture of a notebook nobody trusts, and in nbconvert's HTML, which is opened without a network."""
    path = lab.notebooks / "hostile.ipynb"
    cell = "%%durable hostile\nvectors = embed.map(docs, workers=1, on_error='collect')"
    write_notebook(path, [_EVIL.format(evil=EVIL), cell])
    page = lab.open(context, path.name)
    page.page.on("dialog", lambda dialog: page.console.append(f"pageerror: {dialog.message}"))
    page.run(0)
    page.run(1)
    panel = page.cell(1).locator(PANEL)
    panel.get_by_role("button", name="3 failed").click()
    panel.locator("summary").first.click()
    shot(page, "lab_hostile", 1)
    wait_until(lambda: len(saved_outputs(page.save(), 1)) > 0, describing="the notebook is saved")
    seen = {"panel": (panel.inner_text(), page.page.locator("img[src=x]").count())}
    page.close()
    with Lab(lab.notebooks, state=tmp_path / "nobody", disabled=["durable-nb"]) as other:
        page = other.open(context, path.name)
        wait_until(lambda: page.outputs(1), describing="the picture is drawn")
        page.cell(1).locator("summary").click()
        shot(page, "lab_hostile_untrusted", 1)
        seen["untrusted"] = (page.outputs(1)[0], page.page.locator("img[src=x]").count())
        page.close()
    exported = export(path)
    blank = context.new_page()
    blank.route("http*://**", lambda route: route.abort())
    blank.goto(exported.as_uri())
    output = blank.locator(".jp-OutputArea-output").first
    output.locator("summary").click()
    SHOTS.mkdir(parents=True, exist_ok=True)
    output.screenshot(path=str(SHOTS / "nbconvert.png"))
    seen["nbconvert"] = (output.inner_text(), blank.locator("img[src=x]").count())

    assert output.locator("img").evaluate("(image) => image.naturalWidth > 0")
    for who, (text, images) in seen.items():
        assert "<img src=x onerror=alert(1)>" in text, who
        assert "27 / 30" in text, who
        assert "\x1b" not in text, who
        assert 0 == images, who
    blank.close()


def export(notebook: Path) -> Path:
    """What nbconvert makes of a notebook."""
    command = [sys.executable, "-m", "nbconvert", "--to", "html", notebook.name]
    subprocess.run(command, check=True, capture_output=True, cwd=notebook.parent)
    return notebook.with_suffix(".html")


def test_forgotten_run_leaves_its_picture(lab: Lab, context: BrowserContext) -> None:
    """Where the database no longer has the run, the output is what was saved, and the badge says that it has not run."""
    notebook = DurableNotebook(lab, "forgotten", documents=20, seconds=0.001)
    page = lab.open(context, notebook.path.name)
    notebook.start(page)
    page.wait_done(DURABLE)
    wait_badge(page, "^✓ 20 / 20$")
    page.save()
    page.page.evaluate("() => { window.jupyterapp.commands.execute('durable-nb:forget-run'); }")
    page.page.locator(".jp-Dialog").get_by_role("button", name="Forget").click()
    wait_badge(page, "not run yet")
    page.page.reload()
    page.wait_ready()
    page.page.wait_for_selector(PICTURE)
    wait_badge(page, "not run yet")
    shot(page, "lab_forgotten")

    assert "20 / 20" in "\n".join(page.outputs(DURABLE))
    assert [] == page.errors()
    page.close()


def test_settings_switch_the_parts_off(lab: Lab, context: BrowserContext) -> None:
    """Lab's settings editor knows the settings, and without badge and sidebar there is neither."""
    notebook = DurableNotebook(lab, "quiet", documents=5, seconds=0.001)
    page = lab.open(context, notebook.path.name)
    wait_badge(page, "not run yet")
    page.page.evaluate(
        "values => window.jupyterapp.serviceManager.settings.save('durable-nb:plugin', JSON.stringify(values))",
        {"badge": False, "sidebar": False},
    )
    page.page.reload()
    page.wait_ready()
    notebook.start(page)
    page.page.wait_for_selector(PANEL)
    known = lab.api("settings/durable-nb:plugin", root="lab/api")
    page.page.evaluate("() => window.jupyterapp.serviceManager.settings.save('durable-nb:plugin', '{}')")

    assert "" == badge(page)
    assert 0 == page.page.locator("#durable-nb-runs").count()
    assert 300 == known["schema"]["properties"]["pollInterval"]["default"]
    page.close()


def test_notebook_7_shows_panel_badge_and_banner(tmp_path: Path, context: BrowserContext) -> None:
    """The same extension works in Notebook 7, which has no sidebar."""
    with Lab(tmp_path / "notebooks", state=tmp_path / "state", app="notebook") as lab:
        notebook = DurableNotebook(lab, "seven", documents=200)
        page = lab.open(context, notebook.path.name)
        cut_off(page, notebook, after=60)
        shot(page, "notebook7_running")
        page.kill_kernel()
        page.page.locator(".dnb-banner").get_by_role("button", name="Resume").click()
        wait_badge(page, "^✓ 200 / 200$")
        shot(page, "notebook7_done")

        assert 200 <= notebook.executed <= 201
        assert "done" in page.cell(DURABLE).locator(PANEL).inner_text()
        assert [] == page.errors()
        page.close()
