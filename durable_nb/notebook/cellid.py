"""Which notebook, cell and kernel is this: JupyterLab, VS Code, nbclient, terminal; and a name for a cell without one."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from IPython.core.interactiveshell import ExecutionInfo, InteractiveShell

    from durable_nb.records import Run

_MOST_LETTERS = 80


class Cell(NamedTuple):
    """A cell that is being executed."""

    source: str
    """As it was typed."""
    id: str
    """In the notebook's file; '' where the front end sends none (nbclient, papermill, a terminal)."""


def notebook_path(shell: InteractiveShell) -> str:
    """Absolute path of the notebook, or '' where nobody tells (nbclient, papermill, a terminal).

    For display and for the place of the database only, never for identity: after a rename the variable that
    jupyter_server sets is stale until the kernel restarts (ipykernel#1078).
    """
    told = str(shell.user_ns.get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME", ""))
    return told if Path(told).is_absolute() else ""


def kernel_id(shell: InteractiveShell) -> str:
    """Id of the Jupyter kernel, as its connection file is named; '' in a terminal."""
    kernel = getattr(shell, "kernel", None)
    config = getattr(getattr(kernel, "parent", None), "connection_file", "") or ""
    found = re.search(r"kernel-(.+)\.json$", str(config))
    return found[1] if found else ""


def cell_of(info: ExecutionInfo) -> Cell:
    """The cell that is about to be executed.

    VS Code sends the address of an editor in the place of an id, which another session does not have again: that is none.
    """
    told = str(getattr(info, "cell_id", None) or "")
    return Cell(str(info.raw_cell), told if re.fullmatch(r"[\w-]{1,64}", told, re.ASCII) else "")


def derived_name(notebook: str, cell: Cell) -> str:
    """A name for a cell without one: the notebook's, and the cell's id, else eight digits of its code."""
    stem = re.sub(r"[^\w.-]+", "-", Path(notebook).stem if notebook else "").strip("-.")[:_MOST_LETTERS].strip("-.")
    return f"{stem or 'cell'}-{cell.id or _digest(cell.source)}"


def known_name(derived: str, notebook: str, cell: Cell, runs: Iterable[Run]) -> str:
    """The name under which a cell without one, but with an id, has kept its runs.

    That is ``derived``, unless the notebook was renamed since: then a run of the same cell, in this notebook or in one
    that is gone, goes on. A copy of a notebook has the same cells, and runs of its own, because the other still exists.
    """
    others = []
    for run in runs:
        if run.name == derived:
            return derived
        if run.cell == cell.id and run.name.endswith(f"-{cell.id}"):
            others.append(run)
    before = (run.name for run in others if run.notebook == notebook or not os.path.exists(run.notebook))
    return next(before, derived)


def _digest(source: str) -> str:
    """Of the code below the first line; blank lines and blanks at the end of a line do not matter."""
    lines = (line.rstrip() for line in source.lstrip().splitlines()[1:])
    return hashlib.sha256("\n".join(filter(None, lines)).encode("utf-8", "surrogatepass")).hexdigest()[:8]
