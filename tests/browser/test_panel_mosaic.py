"""The mosaic of the panel: what is painted, how fast, and how a document is found in it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.lab import chromium, require_chromium, wait_until
from tests.browser.panel import MILLION, PanelPage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import BrowserContext

pytestmark = pytest.mark.browser

SOME = {"total": 240, "restored": 60, "computed": 77, "failed": 3}
SQUARE = 12  # px, the largest


@pytest.fixture(scope="module")
def context() -> Iterator[BrowserContext]:
    """One browser for this module."""
    require_chromium()
    with chromium() as browser:
        yield browser


@pytest.fixture
def panel(context: BrowserContext) -> Iterator[PanelPage]:
    """A page that has logged nothing by the end of the test."""
    page = PanelPage(context)
    yield page
    console = page.console
    page.page.close()

    assert [] == console


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    """Where pictures go: kept when DURABLE_NB_SHOTS names a folder."""
    return type(tmp_path)(os.environ.get("DURABLE_NB_SHOTS", tmp_path))


def opened(panel: PanelPage, figures: dict[str, Any], **more: Any) -> PanelPage:
    """The panel of a run, once its mosaic is painted."""
    panel.open(figures=figures, **more)
    panel.page.wait_for_function("document.querySelector('.dnb-canvas') && panel.pixel(1, 1)[3] > 0")
    return panel


def label(panel: PanelPage) -> str:
    return str(panel.part("canvas").get_attribute("aria-label"))


def caption(panel: PanelPage) -> str:
    return " ".join(panel.part("caption").inner_text().split())


def colours(panel: PanelPage) -> list[tuple[int, ...]]:
    """Of the tones that a theme has for waiting, restored, computed and failed."""
    script = """() => [...document.querySelectorAll('.dnb-tone')].slice(0, 4).map((tone) => {
      const context = document.createElement('canvas').getContext('2d');
      context.fillStyle = getComputedStyle(tone).color;
      context.fillRect(0, 0, 1, 1);
      return [...context.getImageData(0, 0, 1, 1).data];
    })"""
    return [tuple(colour) for colour in panel.run(script)]


def square(panel: PanelPage, column: int, row: int) -> tuple[int, ...]:
    """The colour just inside the corner of a square of SQUARE px."""
    return tuple(panel.run("([x, y]) => panel.pixel(x, y)", [SQUARE * column + 1.5, SQUARE * row + 1.5]))


def test_every_document_has_a_square_of_its_state(panel: PanelPage, shots: Path) -> None:
    """Colours follow the states, a failed square is hollow too, and the counts can be heard."""
    opened(panel, SOME)
    panel.screenshot(shots / "mosaic.png")
    waiting, restored, computed, failed = colours(panel)
    hole = panel.run("([x, y]) => panel.pixel(x, y)[3]", [SQUARE * 23.5, SQUARE * 0.5])

    assert 4 == len({waiting, restored, computed, failed})
    assert restored == square(panel, 0, 0)
    assert failed == square(panel, 23, 0)
    assert 0 == hole
    assert waiting == square(panel, 0, 2)
    assert "Mosaic of 240 documents: 100 waiting, 59 restored, 78 computed, 3 failed" == label(panel)


def test_a_change_paints_its_squares_only(panel: PanelPage) -> None:
    """After a delta of three documents three squares are filled, and the counts that are heard follow."""
    opened(panel, SOME)
    panel.run("""() => {
      window.filled = 0;
      const real = CanvasRenderingContext2D.prototype.fillRect;
      CanvasRenderingContext2D.prototype.fillRect = function (...place) { filled += 1; real.apply(this, place); };
      panel.model.message({mosaic: 2, since: 1}, [panel.delta(2, [[200, 2], [201, 2], [202, 3]])]);
    }""")
    panel.tell(mosaic_version=2)
    wait_until(lambda: "4 failed" in label(panel), describing="the delta is taken in", seconds=5)

    assert 3 == panel.run("() => window.filled")
    assert "Mosaic of 240 documents: 97 waiting, 59 restored, 80 computed, 4 failed" == label(panel)


def test_the_keyboard_names_documents(panel: PanelPage, shots: Path) -> None:
    """Tab reaches the mosaic, arrows go from square to square, f to the next failure, and the notebook hears none of it."""
    opened(panel, SOME, failures=[])
    panel.run("() => { window.heard = []; document.addEventListener('keydown', (event) => heard.push(event.key)); }")
    panel.button("Stop").focus()
    panel.page.keyboard.press("Tab")
    for key in ("ArrowRight", "ArrowRight", "f"):
        panel.page.keyboard.press(key)
    panel.page.get_by_text("10-K/23.txt").wait_for()
    panel.screenshot(shots / "mosaic_cursor.png")
    found, heard = caption(panel), label(panel)
    panel.page.keyboard.press("Escape")

    assert "index 23 · failed 10-K/23.txt 0.4 s · 3 attempts · RateLimitError: 429 Too Many Requests" == found
    assert heard.startswith("index 23 · failed. \u206810-K/23.txt\u2069")
    assert ["Tab"] == panel.run("() => heard")
    assert label(panel).startswith("Mosaic of 240")
    assert not panel.part("caption").is_visible()


MOVED = """([x, y, step]) => {
  const canvas = document.querySelector('canvas');
  for (let column = 0; column < 30; column += 1)
    canvas.dispatchEvent(new PointerEvent('pointermove', {clientX: x + step * column, clientY: y, bubbles: true}));
}"""


def test_the_pointer_names_the_document_it_rests_on(panel: PanelPage) -> None:
    """While the pointer moves nobody is asked; where it rests the label is asked for once, and remembered."""
    opened(panel, SOME)
    box = panel.part("canvas").bounding_box()
    assert box is not None
    panel.run(MOVED, [box["x"] + 4, box["y"] + 4, SQUARE])  # in one go: a busy machine must not make the pointer rest
    panel.page.get_by_text("10-K/29.txt").wait_for()
    panel.page.mouse.move(box["x"] + SQUARE * 29 + 6, box["y"] + 6)
    asked = [content for content in panel.run("() => panel.model.sent") if "document" in content]

    assert [{"document": 29}] == asked
    assert "index 29 · restored 10-K/29.txt 0.4 s" == caption(panel)


def test_a_million_documents_share_squares_and_the_worst_shows(panel: PanelPage, shots: Path) -> None:
    """Every failure among a million is seen, and a square tells what is inside and names its failure."""
    opened(panel, MILLION)
    panel.screenshot(shots / "mosaic_million.png")
    failed = colours(panel)[3]
    reds = panel.run(
        """(failed) => {
      const {canvas, context} = panel.copied();
      const {data} = context.getImageData(0, 0, canvas.width, canvas.height);
      let found = 0;
      for (let at = 0; at < data.length; at += 4) found += failed.every((part, index) => data[at + index] === part);
      return found;
    }""",
        list(failed),
    )
    panel.part("canvas").focus()
    panel.page.keyboard.press("f")
    panel.page.get_by_text("10-K/4494.txt").wait_for()

    assert 57 * 2 * 2 == reds
    assert "39 documents in each square; the worst shows, pale is partly done." == panel.run(
        "() => document.querySelector('.dnb-rule').textContent"
    )
    assert caption(panel).startswith("index 4,485 to 4,523 · 1 failed, 38 restored 10-K/4494.txt")


def test_a_drawing_follows_theme_and_width(panel: PanelPage) -> None:
    """Another theme repaints every square in its colours; another width moves them; the view was drawn detached."""
    opened(panel, SOME)
    light, wide = square(panel, 23, 0), panel.part("canvas").bounding_box()
    panel.theme("dark")
    panel.settled()
    dark, tones = square(panel, 23, 0), colours(panel)
    panel.page.set_viewport_size({"width": 420, "height": 900})
    panel.settled()
    narrow = panel.part("canvas").bounding_box()

    assert light != dark
    assert dark == tones[3]
    assert wide is not None
    assert narrow is not None
    assert narrow["width"] < 400 < wide["width"]
    assert tones[1] == square(panel, 0, 0)


def test_a_run_without_a_total_grows(panel: PanelPage) -> None:
    """Documents that come one after the other get their squares, and those before stay where they are."""
    opened(panel, {"total": None, "restored": 0, "computed": 100, "failed": 0})
    panel.run("""() => {
      const more = Array.from({length: 20}, (_, index) => [100 + index, 2]);
      panel.model.message({mosaic: 2, since: 1}, [panel.delta(2, more)]);
    }""")
    panel.tell(mosaic_version=2)
    wait_until(lambda: "120 documents" in label(panel), describing="the new documents are there", seconds=5)

    assert colours(panel)[2] == square(panel, 119 % 77, 119 // 77)
    assert 0 == square(panel, 120 % 77, 120 // 77)[3]


def test_damaged_bytes_do_not_break_the_panel(context: BrowserContext) -> None:
    """What is no mosaic is said once in the console, and the rest of the panel goes on."""
    panel = PanelPage(context)
    panel.open(figures=SOME)
    panel.run("() => { panel.model.message({mosaic: 2, since: 1}, [new ArrayBuffer(4)]); }")
    panel.tell(computed=78, durable=138, mosaic_version=2)
    wait_until(lambda: panel.console, describing="a warning")
    panel.tell(computed=79, durable=139, mosaic_version=3)

    assert "139 / 240" == panel.shown("progress")
    assert ["warning: durable_nb: mosaic: 4 bytes are no message"] == panel.console
    panel.page.close()


def test_colours_of_the_system_and_rest_are_respected(panel: PanelPage) -> None:
    """With forced colours four states are still four colours; with reduced motion nothing moves."""
    opened(panel, SOME)
    before = panel.run("() => document.getAnimations().length")
    panel.page.emulate_media(forced_colors="active", reduced_motion="reduce")
    panel.settled()
    tones = {square(panel, 0, 0), square(panel, 65, 0), square(panel, 23, 0), square(panel, 0, 2)}

    assert 0 < before
    assert 0 == panel.run("() => document.getAnimations().length")
    assert 4 == len(tones)
    assert set(colours(panel)) == tones
