"""What the browser tests of the lab extension share: a notebook with a durable cell, and what can be seen of its run."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.browser.lab import CHECKOUT, wait_until, write_notebook

if TYPE_CHECKING:
    from tests.browser.lab import Lab, NotebookPage

MIME = "application/vnd.durable-nb.run.v1+json"
WIDGET = "application/vnd.jupyter.widget-view+json"
SHOTS = Path(os.environ.get("DURABLE_NB_SHOTS") or CHECKOUT / "build" / "shots")
DURABLE = 2  # which cell

_LOAD = """%load_ext durable_nb
import os, time
from durable_nb import step
docs = [f"filing {{n}}" for n in range({documents})]"""
# A pure-Python loop in the main thread: nothing else of the kernel gets a turn unless the run lets it.
_DEFINE = """@step
def embed(doc):
    with open({log!r}, "a") as log:
        log.write(doc + "\\n")
    end = time.perf_counter() + {seconds}
    while time.perf_counter() < end:
        pass
    if doc.endswith("7") and os.path.exists({broken!r}):
        raise ValueError("no answer")
    return [len(doc)]"""
_CELL = "%%durable {mark}\nvectors = [embed(doc) for doc in docs]\nlen(vectors)"
_COLLECT = "%%durable {mark}\nvectors = embed.map(docs, workers=1, on_error='collect')\nlen(vectors)"


class DurableNotebook:
    """A notebook whose third cell is a durable run, of the notebook's name unless ``mark`` says otherwise.

    When ``broken``, documents that end in 7 fail until ``mend`` is called.
    """

    def __init__(
        self,
        lab: Lab,
        name: str,
        *,
        documents: int,
        seconds: float = 0.02,
        mark: str | None = None,
        broken: bool = False,
    ) -> None:
        self.name, self.documents = name, documents
        self.path = lab.notebooks / f"{name}.ipynb"
        self.log, self._broken = lab.notebooks / f"{name}.log", lab.notebooks / f"{name}.broken"
        if broken:
            self._broken.touch()
        define = _DEFINE.format(log=str(self.log), seconds=seconds, broken=str(self._broken))
        cell = (_COLLECT if broken else _CELL).format(mark=name if mark is None else mark)
        write_notebook(self.path, [_LOAD.format(documents=documents), define, cell])

    def mend(self) -> None:
        """No document fails any more."""
        self._broken.unlink()

    @property
    def executed(self) -> int:
        """How many calls were begun, over all attempts."""
        return len(self.log.read_text().splitlines()) if self.log.exists() else 0

    def start(self, page: NotebookPage, *, until: int = 1) -> None:
        """Run the cells, and return while the durable one is busy: when ``until`` documents were begun."""
        for index in range(DURABLE):
            page.run(index)
        page.run(DURABLE, wait=False)
        self.wait_executed(until)

    def wait_executed(self, least: int) -> None:
        """Return when so many calls were begun."""
        wait_until(lambda: self.executed >= least, describing=f"{least} calls of {self.name} were begun")

    def run_seen_by(self, lab: Lab) -> dict[str, Any]:
        """The summary that the server's list has of the run."""
        stores = lab.api(f"api/runs?notebook={self.path.name}", root="durable-nb")["stores"]
        return next(run for store in stores for run in store["runs"] if run["name"] == self.name)


def badge(page: NotebookPage, index: int = DURABLE) -> str:
    """What the badge of a cell says, "" without one."""
    found = page.cell(index).locator(".dnb-badge-text")
    return found.inner_text() if found.count() else ""


def wait_badge(page: NotebookPage, pattern: str, *, seconds: float = 30.0) -> str:
    """The badge, once it says something like ``pattern``."""
    describing = f"the badge says {pattern}"
    return str(
        wait_until(lambda: re.search(pattern, badge(page)) and badge(page), describing=describing, seconds=seconds)
    )


def durable_count(page: NotebookPage) -> int:
    """Documents that are durable, as the panel in the output says."""
    found = page.cell(DURABLE).locator(".dnb .dnb-progress")
    number = re.match(r"[\d,]+", found.inner_text()) if found.count() else None
    return int(number[0].replace(",", "")) if number else -1


def shot(page: NotebookPage, name: str, index: int | None = None) -> None:
    """A picture for people, in a folder that git ignores or in ``DURABLE_NB_SHOTS``."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(SHOTS / f"{name}.png", index)
