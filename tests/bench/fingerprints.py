"""Which edits of a notebook each library sees: what it keeps, computes anew, and gets wrong; in real kernels.

Every row runs a notebook in one process and the edited notebook in the next (or again in the same kernel), and counts the
calls. What is right is found out, not written down: a plain run of both, without any library, says which calls have
another value after the edit.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from jupyter_client.manager import KernelManager

from tests.bench.edits import EDITS, NOTEBOOK, Edit
from tests.kernels import ROOT, Kernel, lines

LOOP = "out = []\nfor item in ITEMS:\n    out.append(embed(prepared(item)))"
_CALLS = "out = [embed(prepared(item)) for item in ITEMS]"
_RUN = f"with durable_nb.run('filings'):\n    {_CALLS}"
_ANSWERED = ("CodeChanged", f"with durable_nb.run('filings', on_change='recompute'):\n    {_CALLS}")
SHOW = "\nimport json\nprint('OUT', json.dumps(out))"
_DATASET = """where = "src" + hashlib.md5(json.dumps(ITEMS).encode()).hexdigest()
if not os.path.exists(where):
    datasets.Dataset.from_dict({"item": ITEMS}).save_to_disk(where)
out = list(datasets.load_from_disk(where).map(lambda row: {"vector": embed(prepared(row["item"]))})["vector"])"""
_WORKFLOW = """@DBOS.workflow()
def work(items):
    return [embed(prepared(item)) for item in items]
with SetWorkflowID("embed-filings"):
    out = work(ITEMS)"""
_DBOS = """import logging
from dbos import DBOS, SetWorkflowID
logging.disable(logging.WARNING)
DBOS(config={"name": "bench", "system_database_url": "sqlite:///dbos.sqlite"})
DBOS.launch()"""


class Peer(NamedTuple):
    """How a library is used in the notebook."""

    setup: str
    decorator: str
    run: str
    answer: tuple[str, str] | None = None
    """The error with which it asks, and the run cell that answers."""
    is_script: bool = False


PEERS = {
    "plain": Peer("", "", LOOP),
    "durable_nb %%durable": Peer(
        "%load_ext durable_nb", "", f"%%durable filings\n{LOOP}",
        ("CodeChanged", f"%%durable filings --on-change recompute\n{LOOP}"),
    ),
    "durable_nb @step": Peer("%load_ext durable_nb\nimport durable_nb", "@durable_nb.step", _RUN, _ANSWERED),
    "durable_nb @step without the extension": Peer("import durable_nb", "@durable_nb.step", _RUN, _ANSWERED),
    "joblib": Peer("import joblib\nmemory = joblib.Memory('cache', verbose=0)", "@memory.cache", LOOP),
    "HF datasets": Peer("import datasets, hashlib, json, os\ndatasets.disable_progress_bars()", "", _DATASET),
    "marimo": Peer("import marimo as mo", "@mo.persistent_cache(save_path='cache')", LOOP, is_script=True),
    "DBOS": Peer(_DBOS, "@DBOS.step()", _WORKFLOW),
}  # fmt: skip


class Outcome(NamedTuple):
    """What a session of a notebook came to."""

    calls: list[str]
    """The texts that the function was called with, in order."""
    out: list[Any] | None
    asked: bool = False
    error: str = ""


Pair = tuple[Outcome, Outcome]
"""Before and after an edit."""


class PythonKernel(Kernel):
    """A kernel of a given interpreter."""

    def __init__(self, folder: Path, python: str) -> None:
        self.folder = folder
        self._manager = KernelManager()
        self._manager.kernel_spec.argv[0] = python
        ours = ("DURABLE_NB_", "PYTHONHASHSEED")
        env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        env |= {"PYTHONPATH": str(ROOT), "IPYTHONDIR": str(folder / ".ipython"), "XDG_STATE_HOME": str(folder)}
        said = folder.with_name(f"{folder.name}.stderr")
        with said.open("wb") as file:
            self._manager.start_kernel(cwd=str(folder), env=env, stderr=file)
        self._client = self._manager.blocking_client()
        self._client.start_channels()
        try:
            self._client.wait_for_ready(timeout=120)
        except RuntimeError as error:
            raise NotStarted(said.read_text()) from error


class NotStarted(Exception):
    """A kernel ended before it could be asked anything."""


def started(folder: Path, python: str) -> PythonKernel:
    """A kernel; tried again if somebody else on the machine was quicker to take the port that was free."""
    for _ in range(5):
        try:
            return PythonKernel(folder, python)
        except NotStarted as error:
            if "Address already in use" not in str(error):
                raise
    raise NotStarted("five times no free port")


def cells_of(peer: Peer, edit: Edit, *, edited: bool) -> list[str]:
    """The notebook as a session types it."""
    source = NOTEBOOK
    for old, new in (*edit.before, *(edit.changes if edited else ())):
        assert source.count(old) == 1, f"{edit.name}: {old!r} stands {source.count(old)} times in the notebook"
        source = source.replace(old, new)
    source = re.sub(r"( *)@LIBRARY\n", rf"\1{peer.decorator}\n" if peer.decorator else "", source)
    return [peer.setup, *(cell.strip("\n") for cell in re.split(r"(?m)^# %%\n", source)), peer.run + SHOW]


def in_kernel(peer: Peer, cells: list[str], kernel: Kernel) -> Outcome:
    """Run the cells in a kernel; if the library asks, answer that the code matters."""
    log = kernel.folder / "calls.log"
    log.unlink(missing_ok=True)
    asked, reply = False, None
    for cell in cells:
        reply = kernel.run(cell, timeout=120)
        if peer.answer is not None and reply.error.startswith(peer.answer[0]):
            asked, reply = True, kernel.run(peer.answer[1] + SHOW, timeout=120)
        if reply.error:
            return Outcome(lines(log), None, asked, reply.error)
    return Outcome(lines(log), _printed(reply.stdout), asked)


def in_script(cells: list[str], folder: Path, python: str) -> Outcome:
    """Run the cells as marimo does: converted, then a script."""
    log = folder / "calls.log"
    log.unlink(missing_ok=True)
    entries = [
        {"cell_type": "code", "source": cell, "metadata": {}, "outputs": [], "execution_count": None} for cell in cells
    ]
    (folder / "notebook.ipynb").write_text(
        json.dumps({"cells": entries, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    )
    convert = [python, "-m", "marimo", "convert", "notebook.ipynb", "-o", "notebook.py"]
    (folder / "notebook.py").unlink(missing_ok=True)
    converted = subprocess.run(convert, cwd=folder, capture_output=True, text=True, check=False)
    assert converted.returncode == 0, converted.stderr
    ran = subprocess.run([python, "notebook.py"], cwd=folder, capture_output=True, text=True, check=False)
    error = ran.stderr.strip().rpartition("\n")[2] if ran.returncode else ""
    return Outcome(lines(log), None if error else _printed(ran.stdout), error=error)


def _printed(stdout: str) -> list[Any]:
    return json.loads(next(line for line in stdout.splitlines() if line.startswith("OUT "))[4:])


def session(peer: Peer, cells: list[str], folder: Path, python: str) -> Outcome:
    """One process, killed afterwards as a kernel may be."""
    if peer.is_script:
        return in_script(cells, folder, python)
    kernel = started(folder, python)
    try:
        return in_kernel(peer, cells, kernel)
    finally:
        kernel.kill()


class Notebook:
    """The sessions of one library. What the first one leaves behind is made once for all rows that begin alike."""

    def __init__(self, peer: Peer, folder: Path, python: str, newer: str | None) -> None:
        self._peer, self._folder, self._python, self._newer = peer, folder, python, newer
        self._firsts: dict[tuple, tuple[Outcome, Path]] = {}

    def row(self, edit: Edit) -> Pair | None:
        """The session before and the session after an edit; None if the library has no such thing."""
        if edit.is_newer_python and self._newer is None:
            return None
        if edit.is_same_kernel:
            return None if self._peer.is_script else self._in_one_kernel(edit)
        first = self._first(edit)
        python = self._newer if edit.is_newer_python else self._python
        return first, session(self._peer, cells_of(self._peer, edit, edited=True), self._folder, python)

    def _first(self, edit: Edit) -> Outcome:
        """The folder as the first session leaves it, at the same place for every row."""
        self._clear()
        if edit.before not in self._firsts:
            first = session(self._peer, cells_of(self._peer, edit, edited=False), self._folder, self._python)
            kept = self._folder.with_name(f"{self._folder.name}-{len(self._firsts)}")
            shutil.copytree(self._folder, kept)
            self._firsts[edit.before] = first, kept
            return first
        first, kept = self._firsts[edit.before]
        shutil.copytree(kept, self._folder, dirs_exist_ok=True)
        return first

    def _in_one_kernel(self, edit: Edit) -> Pair:
        """Both sessions; in the second only the cells below the setup are run again."""
        self._clear()
        kernel = started(self._folder, self._python)
        try:
            first = in_kernel(self._peer, cells_of(self._peer, edit, edited=False), kernel)
            return first, in_kernel(self._peer, cells_of(self._peer, edit, edited=True)[1:], kernel)
        finally:
            kernel.kill()

    def _clear(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)


def needed(before: Outcome, after: Outcome) -> int:
    """Of two plain sessions: calls of the second whose value the first did not have."""
    had, has = (Counter(zip(plain.calls, map(json.dumps, plain.out or ()), strict=True)) for plain in (before, after))
    return (has - had).total()


def verdict(truth: Outcome, due: int, found: Outcome) -> tuple[bool, str]:
    """Whether it is right (no wrong value, nothing computed for nothing), and what happened."""
    calls, asked = len(found.calls), "asks, then " if found.asked else ""
    if found.error:
        return False, f"error: {found.error[:60]}"
    if found.out != truth.out:
        return False, f"{asked}**wrong values**"
    if calls > due:
        return False, f"{asked}recomputed {calls}, {calls - due} for nothing"
    return not (asked and not due), f"{asked}recomputed {calls}" if calls else "kept"


def measure(
    name: str, edits: Sequence[Edit], folder: Path, options: argparse.Namespace, truth: Sequence[Pair | None] = ()
) -> list[Pair | None]:
    """The sessions of one library in every row; each verdict is told at once, for a run that is cut short."""
    notebook = Notebook(PEERS[name], folder / re.sub(r"\W", "", name), options.python, options.newer)
    found: list[Pair | None] = []
    for number, edit in enumerate(edits):
        pair = notebook.row(edit)
        plain = truth[number] if truth else None
        said = "" if plain is None or pair is None else verdict(plain[1], needed(*plain), pair[1])
        found.append(pair)
        print(f"{name}: {edit.name}: {said}", file=sys.stderr, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="interpreter that has every library")
    parser.add_argument("--newer", help="the same of a newer Python")
    parser.add_argument("--peers", default=",".join(name for name in PEERS if name != "plain"))
    parser.add_argument("--edits", default="", help="only those whose name contains this text")
    options = parser.parse_args()
    edits, names = [edit for edit in EDITS if options.edits in edit.name], options.peers.split(",")
    with tempfile.TemporaryDirectory(prefix="bench-") as name, ThreadPoolExecutor(2) as pool:
        folder = Path(name)
        truth = measure("plain", edits, folder, options)
        found = list(pool.map(lambda peer: measure(peer, edits, folder, options, truth), names))
    print(f"| edit | needed | {' | '.join(names)} |\n|---|---:|{'---|' * len(names)}")
    right: Counter[str] = Counter()
    rows: Counter[str] = Counter()
    for edit, plain, *others in zip(edits, truth, *found, strict=True):
        if plain is None:
            continue
        due, shown = needed(*plain), []
        for peer, pair in zip(names, others, strict=True):
            is_right, text = (True, "–") if pair is None else verdict(plain[1], due, pair[1])
            right[peer] += is_right and pair is not None
            rows[peer] += pair is not None
            shown.append(text if pair is None else f"{'✓' if is_right else '✗'} {text}")
        print(f"| {edit.name} | {due} of {len(plain[1].calls)} | {' | '.join(shown)} |")
    print(f"| **right** | | {' | '.join(f'**{right[peer]} of {rows[peer]}**' for peer in names)} |")
    if any(right[peer] < rows[peer] for peer in names if peer.startswith("durable_nb")):
        sys.exit(1)


if __name__ == "__main__":
    main()
