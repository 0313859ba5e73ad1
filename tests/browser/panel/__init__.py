"""The built panel alone in a Chromium, with a model that the test plays: every state at once, without a kernel.

::

    with chromium() as context:
        page = PanelPage(context)
        page.open(figures={"state": "done"})
        page.shown("chip")  # "done"
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.browser.lab import CHECKOUT

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Locator, Page, Route

_HERE = Path(__file__).parent
_STATIC = CHECKOUT / "durable_nb" / "notebook" / "static"
_THEMES = Path(sys.prefix) / "share" / "jupyter" / "lab" / "themes" / "@jupyterlab"
_AXE = CHECKOUT / "extension" / "node_modules" / "axe-core" / "axe.min.js"
_SITE = "http://panel.test"
_TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html"}
ACTIONS = ["pause", "resume", "stop", "retry", "workers", "rate", "recompute", "forget"]
FIXTURE: dict[str, Any] = json.loads((CHECKOUT / "tests" / "fixtures" / "snapshot.json").read_text(encoding="utf-8"))
LIVE = FIXTURE | {"failed": 0, "groups": [], "waiting_for": "", "limit_workers": None, "per_minute": None}
"""The figures of a run that goes well."""
MILLION = {"total": 1_000_000, "restored": 300_000, "computed": 212_345, "failed": 57}


class PanelPage:
    """One page with one panel; ``console`` is what it logged."""

    def __init__(self, context: BrowserContext) -> None:
        self.console: list[str] = []
        self.page = context.new_page()
        self.page.on("console", lambda message: self.console.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.console.append(f"pageerror: {error}"))
        self.page.route(f"{_SITE}/**", _serve)
        self.page.goto(f"{_SITE}/page.html")
        self.page.wait_for_function("window.ready")

    def open(self, *, mosaic: dict[str, int] | None = None, **traits: Any) -> None:
        """Show a run; ``figures`` are changes of LIVE, ``mosaic`` its counts when they are not those of the figures."""
        figures = LIVE | traits.pop("figures", {})
        figures["durable"] = figures["restored"] + figures["computed"]
        figures.pop("failures", None)
        whole = {"actions": ACTIONS} | traits | {"figures": figures}
        self.run("([traits, counts]) => panel.openRun(traits, counts ?? traits.figures)", [whole, mosaic])

    def open_raw(self, traits: dict[str, Any]) -> None:
        """Show a run of a kernel that answers nothing and has exactly these traits."""
        self.run("(traits) => panel.open(traits)", traits)

    def tell(self, **figures: Any) -> None:
        """News from the kernel: changes of the figures."""
        self.run("(changes) => panel.model.set({figures: {...panel.model.get('figures'), ...changes}})", figures)

    def take(self, action: str) -> None:
        """The kernel has taken note of a click."""
        self.run("(ack) => panel.model.message({ack})", action)

    def sent(self) -> list[dict[str, Any]]:
        """What the page sent to the kernel, but for its questions."""
        return [content for content in self.run("() => panel.model.sent") if "action" in content]

    def theme(self, name: str) -> None:
        """``light``, ``dark`` or ``dark-high-contrast``."""
        self.run("(name) => panel.theme(name)", name)

    def part(self, name: str) -> Locator:
        """An element by the rest of its class."""
        return self.page.locator(f".dnb-{name}")

    def shown(self, name: str) -> str:
        """The text of an element by the rest of its class."""
        return self.part(name).inner_text()

    def figure(self, name: str) -> str:
        """The value of a figure below the bar."""
        return self.page.locator(".dnb-figure", has_text=name).locator("dd").inner_text()

    def button(self, name: str) -> Locator:
        """A button by its words."""
        return self.page.get_by_role("button", name=name, exact=True)

    def disclose(self, name: str) -> None:
        """Press the disclosure whose words begin so."""
        self.page.locator(".dnb-toggle", has_text=name).click()

    def run(self, script: str, argument: Any = None) -> Any:
        """What a function returns in the page."""
        return self.page.evaluate(script, argument)

    def settled(self) -> None:
        """Return after the next two frames."""
        self.run("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def violations(self) -> list[str]:
        """What axe-core finds on the page."""
        return violations(self.page, "main")

    def screenshot(self, path: Path) -> None:
        """A picture of the panel with some of the page around it."""
        self.settled()
        self.page.locator("main").screenshot(path=str(path))


def violations(page: Page, within: str) -> list[str]:
    """What axe-core finds below a selector, as ``rule: element``."""
    if not page.evaluate("() => 'axe' in window"):
        page.add_script_tag(path=str(_AXE))
    found = page.evaluate("(within) => axe.run(within).then((report) => report.violations)", within)
    return [f"{rule['id']}: {node['html']}" for rule in found for node in rule["nodes"]]


def _serve(route: Route) -> None:
    folder, _, name = route.request.url.removeprefix(f"{_SITE}/").rpartition("/")
    where = {"": _HERE, "static": _STATIC}.get(folder)
    path = where / name if where else _THEMES / f"theme-{name.removesuffix('.css')}-extension" / "index.css"
    if not path.is_file():
        route.fulfill(status=404)
        return
    route.fulfill(body=path.read_bytes(), content_type=_TYPES[path.suffix])
