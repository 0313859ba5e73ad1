"""The application in the six ways of ``notebooks/comparison``: its cells, its files, and what it needs beside a kernel."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from tests.kernels import ROOT

FOLDER = ROOT / "notebooks" / "comparison"
Edit = tuple[str, str]


class Cell(NamedTuple):
    """A code cell."""

    id: str
    source: str
    is_setup: bool


class Variant(NamedTuple):
    """One way."""

    name: str
    title: str
    workers: int = 1
    """Documents that it has in flight at most."""
    orchestration: str = "for url in urls"
    """The text that says in which order documents are taken."""
    files: tuple[str, ...] = ()
    checkpoints: str = ""
    """Glob of the files in which it keeps what is done."""
    url: str = ""
    """The environment variable that names another database."""
    services: tuple[str, ...] = ()

    @property
    def is_ours(self) -> bool:
        """Whether it asks about edited code."""
        return self.name.startswith("durable")

    @property
    def is_temporal(self) -> bool:
        """Whether what runs is in files, a worker and a server."""
        return bool(self.files)

    def cells(self) -> list[Cell]:
        """Of its notebook, code only."""
        notebook = json.loads((FOLDER / f"{self.name}.ipynb").read_text(encoding="utf-8"))
        return [
            Cell(cell["id"], "".join(cell["source"]), "setup" in cell["metadata"].get("tags", []))
            for cell in notebook["cells"]
            if cell["cell_type"] == "code"
        ]

    def extra(self) -> dict[str, str]:
        """Its files beside the notebook: path → text."""
        return {name: (FOLDER / name).read_text(encoding="utf-8") for name in self.files}


_TEMPORAL = tuple(f"temporal/index_{part}.py" for part in ("activities", "workflows", "worker"))
VARIANTS = (
    Variant("plain", "plain"),
    Variant("dbos_steps", "DBOS 3.4, steps", checkpoints="dbos.sqlite*", url="DBOS_URL"),
    Variant(
        "dbos_queue", "DBOS 3.4, queue", workers=8,
        checkpoints="dbos.sqlite*", url="DBOS_URL",
    ),
    Variant(
        "temporal", "Temporal", files=_TEMPORAL, checkpoints="temporal.db*", services=("temporal server start-dev",)
    ),
    Variant("durable_magic", "durable_nb, `%durable`", checkpoints=".durable_nb/durable.db*", url="DURABLE_NB_URL"),
    Variant(
        "durable_decorator", "durable_nb, `@step`", workers=8, orchestration="map(urls)",
        checkpoints=".durable_nb/durable.db*", url="DURABLE_NB_URL",
    ),
)  # fmt: skip

STEP: Edit = ("model.embed(chunks)", "model.embed(chunks, norm=True)")
"""An edit of the step that changes every vector, and no chunk."""
APPEND: Edit = ('f"{url}#{number}"', 'f"{url}#" + __import__("os").urandom(8).hex()')
"""Chunks without names, as LlamaIndex makes them unless told otherwise: inserting once more adds rows."""


def reordered(variant: Variant) -> Edit:
    """An edit of the orchestration: the same documents in another order."""
    return variant.orchestration, re.sub(r"\burls\b", "sorted(urls, key=len)", variant.orchestration)


def edited(text: str, edits: tuple[Edit, ...]) -> str:
    """The text with each edit made where it applies."""
    for old, new in edits:
        text = text.replace(old, new)
    return text
