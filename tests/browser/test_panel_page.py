"""The panel module alone: its states, its buttons, its words, and who can read them."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.lab import chromium, require_chromium, wait_until
from tests.browser.panel import FIXTURE, PanelPage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import BrowserContext

pytestmark = pytest.mark.browser

EVIL = "<img src=x onerror=alert(1)> \u202elive\u202c \x1b[31mred\x1b[0m \x00nul " + "very long " * 200
HISTORY = [
    {"at": 1795442400.0, "kind": "started", "detail": "kernel 3f2a"},
    {"at": 1795442590.0, "kind": "killed", "detail": "1,200 durable"},
    {"at": 1795442660.0, "kind": "resumed", "detail": ""},
]
VERSIONS = [
    {"id": 2, "name": "embed", "fingerprint": "9d1c04b2aa", "saved": 2800, "current": True},
    {"id": 1, "name": "embed", "fingerprint": "3f2a77e19b", "saved": 1200, "current": False},
]
CONTEXT = {"history": HISTORY, "versions": VERSIONS}
RATE, TIMEOUT = "RateLimitError: 429", "TimeoutError: 60 s"


def failure(position: int, error: str = RATE, traceback: str = "Traceback: line 3") -> dict[str, Any]:
    label = f"10-K/{position}.txt"
    return {"position": position, "label": label, "error": error, "attempts": 3, "traceback": traceback}


FAILED = {
    "state": "failed",
    "failed": 1288,
    "groups": [{"error": RATE, "count": 1203}, {"error": TIMEOUT, "count": 80}],
}


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


STATES: list[tuple[str, dict[str, Any], str, list[str]]] = [
    ("running", {}, "running", ["Pause", "Stop"]),
    ("pausing", {"paused": True}, "pausing", ["Resume", "Stop"]),
    ("paused", {"paused": True, "running": 0}, "paused", ["Resume", "Stop"]),
    ("failed", FAILED, "failed", ["Retry failed"]),
    ("interrupted", {"state": "interrupted"}, "interrupted", ["Resume"]),
    ("done", {"state": "done", "computed": 8800}, "done", []),
    ("cancelled", {"state": "cancelled"}, "cancelled", ["Resume"]),
    ("stopped by an error", {"state": "failed", "message": "KeyError: 'x'"}, "failed", ["Resume"]),
    ("of a newer version", {"state": "queued\x1b[2J <b>"}, "queued <b>", []),
    ("silent", {"heartbeat_age_s": 44.0}, "no news", ["Pause", "Stop"]),
]


@pytest.mark.parametrize(("name", "figures", "word", "buttons"), STATES, ids=[state[0] for state in STATES])
def test_every_state_has_its_word_and_its_buttons(
    panel: PanelPage, shots: Path, name: str, figures: dict[str, Any], word: str, buttons: list[str]
) -> None:
    """The chip says how it stands, and only what can be asked for now is offered."""
    panel.open(figures=figures, failures=[failure(17)] if name == "failed" else [], context=CONTEXT)
    panel.screenshot(shots / f"page_{name}.png")

    assert word == panel.shown("chip")
    assert buttons == panel.page.locator(".dnb-buttons button:visible").all_inner_texts()


def test_a_source_offers_what_it_can_do(panel: PanelPage) -> None:
    """No button and no control appears for what the source has no action for."""
    panel.open(actions=["stop"], context=CONTEXT)
    offered = panel.page.locator(".dnb button:visible").all_inner_texts()

    assert ["Stop", "2 attempts", "2 versions of the code, 1,200 older"] == offered


@pytest.mark.parametrize("theme", ["light", "dark", "dark-high-contrast"])
def test_axe_finds_nothing(panel: PanelPage, theme: str) -> None:
    """With everything open, no rule of axe-core is broken in any state, in the themes of JupyterLab."""
    panel.theme(theme)
    found: dict[str, list[str]] = {}
    for name, figures, _word, _buttons in STATES:
        panel.open(figures=figures, failures=[failure(17), failure(19, TIMEOUT, "")], context=CONTEXT)
        for toggle in panel.page.locator(".dnb-toggle:visible").all():
            toggle.click()
        panel.page.locator("summary").first.click()
        found[name] = panel.violations()

    assert {} == {name: broken for name, broken in found.items() if broken}


def test_figures_go_on_between_two_messages(panel: PanelPage) -> None:
    """The figures stand in columns that do not move, and the bar tells a screen reader how far the run is."""
    panel.open(figures={"eta_s": 60, "saved_s": 180})
    bar = panel.page.get_by_role("progressbar")

    assert ["1,200", "2,800", "0", "312/s"] == [panel.figure(n) for n in ("restored", "computed", "failed", "rate")]
    assert "3 min" == panel.figure("time saved")
    assert ("40", "4,000 of 10,000 durable, 0 failed") == tuple(
        bar.get_attribute(f"aria-{name}") for name in ("valuenow", "valuetext")
    )
    wait_until(lambda: panel.figure("time left") == "58 s", describing="time passes without news", seconds=5)


def test_costs_are_shown_where_there_are_any(panel: PanelPage, shots: Path) -> None:
    """What was spent and what restoring saved stand beside the times, and nothing stands there for a run without costs."""
    panel.open(figures={"spent": 8.4, "saved_cost": 0.0123, "saved_s": 180})
    panel.screenshot(shots / "page_costs.png")

    assert ("8.40", "0.012") == (panel.figure("spent"), panel.figure("cost saved"))

    panel.open(figures={"spent": 0, "saved_cost": 0})

    assert 0 == panel.page.get_by_text("spent").count()


def test_a_click_is_answered_until_its_effect_shows(panel: PanelPage) -> None:
    """Requested, then what it waits for, then taken, then nothing; the focus goes to the button in its place."""
    panel.open()
    panel.button("Pause").click()
    said = [panel.shown("note")]
    panel.page.get_by_text("applies when the kernel is free").wait_for()
    panel.take("pause")
    said.append(panel.shown("note"))
    panel.button("Pause").click(force=True)  # once more is once too often
    panel.tell(paused=True, running=0)

    assert ["Pause requested.", "Pausing: calls that are running may end, and are kept."] == said
    assert [{"action": "pause", "value": ""}] == panel.sent()
    assert "" == panel.part("note").inner_text()
    assert "Resume" == panel.run("() => document.activeElement.textContent")


def test_a_refusal_is_shown_in_its_own_words(panel: PanelPage) -> None:
    """What the kernel answers instead is what the reader reads, and the button can be pressed again."""
    panel.open()
    panel.run("""() => {
      panel.model.answer = ({action}) => panel.model.message({ack: action, error: 'The run is over.'});
    }""")
    panel.button("Stop").click()
    panel.page.get_by_text("The run is over.").first.wait_for()

    assert panel.button("Stop").is_enabled()


def test_limits_are_checked_before_they_are_sent(panel: PanelPage) -> None:
    """A number that cannot be kept is named and not sent; what changed is sent; what is typed is not overwritten."""
    panel.open(figures={"limit_workers": 8})
    panel.disclose("8 at a time")
    workers, rate = panel.page.get_by_label("at a time"), panel.page.get_by_label("a minute")
    rate.fill("fast")
    rate.press("Enter")
    wrong = panel.shown("wrong")
    rate.fill("600")
    panel.tell(limit_workers=4)
    typed = rate.input_value()
    rate.press("Enter")

    assert "A number above 0, or empty for no limit." == wrong
    assert ("4", "600") == (workers.input_value(), typed)
    assert [{"action": "rate", "value": "600"}] == panel.sent()


def test_older_results_are_computed_again_by_version(panel: PanelPage) -> None:
    """Each older version with results has its button; the one in use has none."""
    panel.open(figures={"state": "done"}, context=CONTEXT)
    panel.disclose("2 versions")
    panel.page.get_by_role("button", name=re.compile("^Recompute 1,200 results of embed")).click()

    assert [{"action": "recompute", "value": "1"}] == panel.sent()


def test_results_are_forgotten_from_the_history(panel: PanelPage) -> None:
    """What drops results is not beside the buttons of every day, but where the attempts are."""
    panel.open(figures={"state": "done"}, context=CONTEXT)
    offered = panel.page.locator(".dnb-head button:visible").count()
    panel.disclose("2 attempts")
    panel.page.get_by_role("button", name="Forget…").click()

    assert 0 == offered
    assert [{"action": "forget", "value": ""}] == panel.sent()


def test_failures_stand_below_their_error_and_stay_open(panel: PanelPage) -> None:
    """The most frequent error comes first, what is not listed is counted, and news close no open traceback."""
    failures = [failure(position) for position in range(48)] + [failure(50, TIMEOUT, "")]
    panel.open(figures=FAILED, failures=failures)
    panel.disclose("1,288 failed, at least 2 kinds of error")
    panel.page.locator("summary").nth(1).click()
    rows = panel.page.locator(".dnb-failures tbody tr")
    groups = panel.page.locator(".dnb-failures .dnb-group").all_inner_texts()
    more = panel.page.locator(".dnb-failures .dnb-rest:visible").all_inner_texts()
    panel.run("(failures) => panel.model.set({failures})", [failure(49), *failures])

    assert [f"1,203 × {RATE}", f"80 × {TIMEOUT}"] == groups
    assert ["and 1,155 more", "and 79 more", "and 5 documents with other errors"] == more
    assert 50 + 2 + 2 == rows.count()
    assert ["Traceback: line 3"] == panel.page.locator("details[open] pre").all_inner_texts()
    assert "10-K/1.txt" == panel.run("() => document.activeElement.textContent")


def test_words_of_others_are_only_text(panel: PanelPage, shots: Path) -> None:
    """HTML, terminal colours, controls and directions in names, errors and history change nothing but their own text."""
    lost = {"position": 1, "label": EVIL, "error": EVIL, "attempts": 1, "traceback": EVIL}
    evil = {"history": [{"at": 1e9, "kind": EVIL, "detail": EVIL}]}
    evil["versions"] = [{"id": 1, "name": EVIL, "fingerprint": EVIL, "saved": 3, "current": False}]
    panel.open(figures={"name": EVIL, "failed": 1, "message": EVIL}, failures=[lost], context=evil)
    for name in ("1 failed", "2 attempts", "1 version"):
        panel.disclose(name)
    panel.page.locator("summary").click()
    panel.screenshot(shots / "page_hostile.png")
    whole = panel.page.locator(".dnb").inner_text()

    assert 0 == panel.page.locator(".dnb img").count()
    assert "<img src=x onerror=alert(1)>" in whole
    assert not re.search(r"[\x00\x1b]", whole)
    assert "isolate" == panel.part("name").evaluate("(name) => getComputedStyle(name).unicodeBidi")
    assert panel.run("() => document.documentElement.scrollWidth <= innerWidth")
    assert [] == panel.violations()


def test_screen_readers_hear_changes_of_state_only(panel: PanelPage) -> None:
    """Ticks and counts are silent; a new state is said once."""
    panel.open()
    panel.run("""() => {
      window.heard = [];
      const status = document.querySelector('.dnb [role=status]');
      new MutationObserver(() => window.heard.push(status.textContent)).observe(status, {childList: true});
    }""")
    for computed in range(2801, 2820):
        panel.tell(computed=computed, durable=1200 + computed)
    panel.tell(state="done", computed=8800, durable=10_000)
    panel.tell(state="done", rate=1.0)

    assert ["embed-filings: done, 10,000 of 10,000 durable, 0 failed"] == panel.run("() => window.heard")


def test_a_dead_kernel_is_not_said_to_run(panel: PanelPage) -> None:
    """After the kernel ended nothing counts on, nothing is offered that cannot work, and the note says what to do."""
    panel.open()
    panel.run("() => panel.model.kernel('autorestarting')")

    assert "kernel gone" == panel.shown("chip")
    assert "Run the cell again" in panel.shown("note")
    assert panel.button("Stop").is_disabled()


def test_an_older_kernel_is_still_shown(panel: PanelPage) -> None:
    """Without the newer fields, context and mosaic the head, the bar and the failures are there."""
    new = ["run_id", "store", "notebook", "cell", "attempts", "paused", "workers", "limit_workers", "per_minute"]
    new += ["heartbeat_age_s", "waiting_for", "groups", "mosaic_version"]
    figures = {name: value for name, value in FIXTURE.items() if name not in new}
    panel.open_raw({"figures": figures, "failures": figures.pop("failures"), "actions": ["stop"]})

    assert "running" == panel.shown("chip")
    assert ["Stop", "2 failed, 2 kinds of error"] == panel.page.locator(".dnb button:visible").all_inner_texts()
    assert not panel.part("mosaic").is_visible()


@pytest.mark.parametrize("width", [420, 280])
def test_nothing_is_cut_off_in_a_narrow_page(panel: PanelPage, shots: Path, width: int) -> None:
    """With everything open in a narrow column, nothing sticks out and no figure is cut off."""
    panel.page.set_viewport_size({"width": width, "height": 900})
    figures = {"eta_s": 330, "elapsed_s": 3700, "saved_s": 9000, "total": 1_000_000, "failed": 1}
    panel.open(figures=figures, failures=[failure(17)], context=CONTEXT)
    for toggle in panel.page.locator(".dnb-toggle").all():
        toggle.click()
    panel.screenshot(shots / f"page_{width}.png")
    cut = "(all) => all.filter((e) => e.scrollWidth > e.clientWidth).map((e) => e.textContent)"

    assert panel.run("() => document.documentElement.scrollWidth <= innerWidth")
    assert [] == panel.page.locator(".dnb-figure dd, .dnb-strip, .dnb-buttons").evaluate_all(cut)


def test_a_closed_view_lets_go_of_everything(panel: PanelPage) -> None:
    """After the view is closed, no callback, element or timer of it is left."""
    panel.run(
        "() => { window.timers = 0; const real = setInterval; "
        "window.setInterval = (...a) => { timers += 1; return real(...a); }; "
        "const end = clearInterval; window.clearInterval = (id) => { timers -= 1; end(id); }; }"
    )
    panel.open(context=CONTEXT)
    panel.button("Pause").click()
    panel.run("() => panel.close()")

    assert [0, 0, 0] == panel.run("() => [panel.model.held, timers, document.querySelectorAll('.dnb').length]")
