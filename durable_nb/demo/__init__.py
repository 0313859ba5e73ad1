"""``durable-nb demo``: a real kernel embeds real documents, is killed with SIGKILL, and a new one finishes the cell.

Nothing is fetched while it runs: the documents are the docstrings of the Python library and of the installed packages,
the model's weights ship in the wordllama wheel.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from durable_nb import clock
from durable_nb.demo.cells import CELLS, KEEP_VECTORS
from durable_nb.demo.kernel import Kernel, Watch
from durable_nb.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable_nb.records import Run

KILL_AT = 0.4
"""Share of the documents that are durable when the kernel is killed."""


class Outcome(NamedTuple):
    """What the demo found; every field is measured."""

    documents: int
    durable_at_kill: int
    """Committed when the first kernel was dead."""
    restored: int
    """Of those, how many the second kernel did not compute again."""
    recomputed: int
    """Documents whose function ran twice: in flight at the kill."""
    lost: int
    """Durable at the kill, and not restored."""
    wrong: int
    """Vectors that differ in any bit from those of an uninterrupted run."""
    seconds: float


def run(*, documents: int = 2000, keep: bool = False, say: Callable[[str], None]) -> Outcome:
    """Kill a kernel at 40 % of ``documents``, finish in another one, compare with an uninterrupted run.

    Parameters
    ----------
    documents : int
        How many; at least 100, so that there is something to kill in the middle of.
    keep : bool
        Leave notebook and database in a folder, which is told, to be opened in JupyterLab.
    say : callable
        Is given one line of progress at a time.

    Raises
    ------
    ConfigError
        When wordllama is not installed, or there are too few documents.
    """
    _check(documents)
    began = clock.monotonic()
    folder = Path("durable-nb-demo").absolute() if keep else Path(tempfile.mkdtemp(prefix="durable-nb-demo-"))
    if keep and folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(exist_ok=True)
    cells = [cell % {"documents": documents} if "%(documents)d" in cell else cell for cell in CELLS]
    try:
        at_kill = _killed_run(cells, folder, say)
        say(f"first kernel killed with {at_kill.done:,} documents durable; starting a second one, same cells")
        resumed = _whole_run(cells, folder, say)
        say("comparing every vector with an uninterrupted run in a third kernel")
        (folder / "uninterrupted").mkdir()
        _whole_run(cells, folder / "uninterrupted", say)
        outcome = _compared(folder, at_kill, resumed, clock.monotonic() - began)
        if keep:
            _write_notebook(cells, folder / "demo.ipynb")
            say(f"kept: open {folder / 'demo.ipynb'} in JupyterLab; the database is in .durable_nb beside it")
        return outcome
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def table(outcome: Outcome) -> str:
    """The outcome as a small text table."""
    rows = [
        ("documents", f"{outcome.documents:,}"),
        ("durable when the kernel was killed", f"{outcome.durable_at_kill:,}"),
        ("restored by the second kernel", f"{outcome.restored:,}"),
        ("computed again (in flight at the kill)", f"{outcome.recomputed:,}"),
        ("lost", f"{outcome.lost:,}"),
        ("wrong (compared bit by bit)", f"{outcome.wrong:,}"),
        ("seconds, three kernels and all", f"{outcome.seconds:.1f}"),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"  {name:<{width}}  {value:>8}" for name, value in rows)


def _check(documents: int) -> None:
    from importlib.util import find_spec

    missing = [name for name in ("wordllama", "nbformat", "jupyter_client") if find_spec(name) is None]
    if missing:
        raise ConfigError(f"the demo needs {', '.join(missing)}.", "Install it with: pip install 'durable-nb[demo]'")
    if documents < 100:
        raise ConfigError(f"--documents {documents} is too few to be killed in the middle.", "Give 100 or more.")


def _killed_run(cells: list[str], folder: Path, say: Callable[[str], None]) -> Run:
    """Start the cells in a kernel, kill it when enough is durable, and say what was durable then."""
    with Kernel(folder) as kernel:
        for cell in cells[:-1]:
            kernel.execute(cell)
        wanted = int(kernel.execute("len(docs)"))
        kernel.start(cells[-1])
        watch = Watch(folder)
        goal = int(KILL_AT * wanted)
        while (run := watch.look()) is None or run.done < goal:
            kernel.check()
            if run is not None:
                say(f"\rfirst kernel: {run.done:,} of {wanted:,} documents durable, to be killed at {goal:,}")
            clock.sleep(0.005)
        kernel.kill()
        at_kill = watch.look()
        watch.close()
        assert at_kill is not None
        return at_kill


def _whole_run(cells: list[str], folder: Path, say: Callable[[str], None]) -> Run:
    with Kernel(folder) as kernel:
        for cell in cells[:-1]:
            kernel.execute(cell)
        kernel.start(cells[-1])
        watch = Watch(folder)
        while not kernel.finished():
            run = watch.look()
            if run is not None and run.total:
                say(f"\r  {run.done:,} of {run.total:,} documents, {run.restored:,} of them restored")
            clock.sleep(0.05)
        kernel.execute(KEEP_VECTORS)
        run = watch.look()
        watch.close()
        assert run is not None
        return run


def _compared(folder: Path, at_kill: Run, resumed: Run, seconds: float) -> Outcome:
    import numpy as np

    resumed_vectors = np.load(folder / "vectors.npy")
    true_vectors = np.load(folder / "uninterrupted" / "vectors.npy")
    executed = (folder / "executed.log").read_text().splitlines()
    same_shape = resumed_vectors.shape == true_vectors.shape
    # Compared as bytes: a NaN must equal itself here, and -0.0 must not equal 0.0.
    bits = [array.view(f"u{array.dtype.itemsize}") for array in (resumed_vectors, true_vectors)]
    wrong = int((bits[0] != bits[1]).any(axis=1).sum()) if same_shape else len(true_vectors)
    return Outcome(
        documents=len(true_vectors),
        durable_at_kill=at_kill.done,
        restored=resumed.restored,
        recomputed=len(executed) - len(set(executed)),
        lost=max(0, at_kill.done - resumed.restored),
        wrong=wrong,
        seconds=round(seconds, 1),
    )


def _write_notebook(cells: list[str], path: Path) -> None:
    from nbformat import v4, write

    write(v4.new_notebook(cells=[v4.new_code_cell(cell) for cell in cells]), path)  # type: ignore[no-untyped-call]


def as_json(outcome: Outcome) -> str:
    """One object with the fields of ``Outcome``."""
    return json.dumps(outcome._asdict())
