"""Cells that a resumed run could get wrong, each killed at 40 % and resumed: the same, or announced, or refused."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.kernels import ROOT, Kernel, Reply, lines
from tests.notebook.hazards import ANNOUNCED, OUTSIDE, REFUSED, RESEARCHED, SAME, Hazard
from tests.notebook.hazards_of_arguments import OF_ARGUMENTS
from tests.notebook.hazards_of_attack import OF_ATTACK
from tests.notebook.hazards_of_attack_open import OPEN
from tests.notebook.hazards_of_flow import OF_FLOW
from tests.notebook.hazards_of_state import OF_STATE

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.matrix  # every one in four kernels

FAKEAI = '''
"""A library with a hosted model, as it would be installed."""
import os, threading, time, uuid
__version__ = "1.0"

def work(text):
    """10 ms of work, logged; the kernel dies at the end of the call that is as many-th as CRASH_AT says."""
    with open(os.environ["LOG"], "a") as log:
        log.write(f"{text}\\n")
    with open(os.environ["LOG"]) as log:
        number = sum(1 for _ in log)
    time.sleep(0.01)
    if number >= int(os.environ.get("CRASH_AT", "1000000")):
        os.killpg(int(os.environ["KERNEL"]), 9)

class Response:
    def __init__(self, data):
        self.data, self._lock = data, threading.Lock()

class Row:
    def __init__(self, embedding):
        self.embedding = embedding

class Client:
    def __init__(self):
        self.embeddings, self._lock = self, threading.Lock()

    def create(self, *, input):
        work(input)
        return Response([Row([len(input), sum(map(ord, input)) % 97])])

    def chat(self, prompt):
        work(prompt)
        return f"{prompt} {uuid.uuid4()}"

class Collection:
    """Somewhere else: what is added stays there."""
    def __init__(self, path):
        self._path = path

    def add(self, text):
        time.sleep(0.01)
        with open(self._path, "a") as file:
            file.write(f"{text}\\n")

class Index:
    """In memory."""
    def __init__(self):
        self.items = []

    def add(self, vector):
        self.items.append(vector)

class Generator:
    """Random numbers, as torch.Generator gives them: drawn from a state inside."""
    def __init__(self, seed):
        self._state = seed

    def random(self):
        self._state = self._state * 1103515245 % 2147483648
        return self._state
'''

SETUP = """
import asyncio, itertools, json, os, random, sqlite3, sys, threading, time, warnings
from pathlib import Path
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
import fakeai
os.environ["KERNEL"] = str(os.getpid())
docs = [f"doc {i}" for i in range(20)]
client = fakeai.Client()
def embed(text):
    fakeai.work(text)
    return [len(text), sum(map(ord, text)) % 97]
"""
CAUGHT = "an `except` of the cell caught this"
REFUSALS = ("ConfigError", "Unsaveable", "Unkeyable")


class Outcome(NamedTuple):
    """What a cell left: names of the notebook and files, how many calls were executed, what was said."""

    names: str
    files: dict[str, Any]
    executed: int
    reply: Reply | None
    """None if the kernel died."""

    def __str__(self) -> str:
        text = self.reply.text if self.reply is not None else "the kernel died"
        return f"{self.executed} executed\n{self.names}{self.files}\n{text}"

    @property
    def said(self) -> str:
        """The announcements."""
        text = self.reply.stdout if self.reply is not None else ""
        return "\n".join(line for line in text.splitlines() if line.startswith("durable_nb: "))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed libraries with `fakeai` in it."""
    folder = tmp_path_factory.mktemp("installed") / "site-packages"
    folder.mkdir()
    (folder / "fakeai.py").write_text(FAKEAI)
    return folder


@pytest.fixture(scope="module")
def plain_kernel(tmp_path_factory: pytest.TempPathFactory, library: Path) -> Iterator[Kernel]:
    """A kernel without durable_nb; every cell finds its namespace empty and a folder of its own."""
    folder = tmp_path_factory.mktemp("plain")
    with started(folder, library) as one:
        yield one


def started(folder: Path, library: Path, **environment: str) -> Kernel:
    """A kernel that knows `fakeai`, and writes down what it executes."""
    path = os.pathsep.join((str(ROOT), str(library)))
    return Kernel(folder, PYTHONPATH=path, LOG=str(folder / "executed.log"), **environment)


def plainly(kernel: Kernel, hazard: Hazard, folder: Path) -> Outcome:
    """The cell as it stands, uninterrupted."""
    (folder / "outside").mkdir(parents=True)
    kernel.ok("%reset -f")
    log = folder / "executed.log"
    kernel.ok(f"import os\nos.chdir({str(folder)!r})\nos.environ['LOG'] = {str(log)!r}\nos.environ.pop('SEEN', None)")
    prepare(kernel, hazard)
    reply = kernel.ok(hazard.body)
    return Outcome(names_of(kernel, hazard), files_of(folder), len(lines(log)), reply)


def durably(hazard: Hazard, folder: Path, library: Path, *, crash_at: int) -> Outcome:
    """The cell in a fresh kernel that dies inside the call of that number; 0 for never."""
    (folder / "outside").mkdir(parents=True, exist_ok=True)
    environment = {"CRASH_AT": str(len(lines(folder / "executed.log")) + crash_at)} if crash_at else {}
    kernel = started(folder, library, **environment)
    try:
        kernel.ok("%load_ext durable_nb")
        prepare(kernel, hazard)
        reply = ended(kernel, f"%%durable hazard {hazard.options}\n{hazard.body}")
        names = names_of(kernel, hazard) if reply is not None else ""
    finally:
        kernel.close()
    return Outcome(names, files_of(folder), len(lines(folder / "executed.log")), reply)


def prepare(kernel: Kernel, hazard: Hazard) -> None:
    """The cells above."""
    kernel.ok(SETUP)
    libraries = {"np.": "import numpy as np", "pd.": "import pandas as pd"}
    kernel.ok("\n".join([*(line for name, line in libraries.items() if name in hazard.body), hazard.above]))


def ended(kernel: Kernel, cell: str) -> Reply | None:
    """What the cell said; None if its kernel died."""
    message = kernel.start(cell)
    try:
        return kernel.finish(message, timeout=60)
    except AssertionError:
        if kernel.alive:
            raise
        return None


def names_of(kernel: Kernel, hazard: Hazard) -> str:
    """The compared names, described."""
    if hazard.names == "-":
        return ""
    reply = kernel.ok(
        "import json as _json\nfrom tests.notebook.hazards import described as _described\n"
        f"for _name in {hazard.names.split()}:\n"
        "    print(_name, _json.dumps(_described(globals()[_name]) if _name in globals() else 'undefined'))"
    )
    return reply.stdout


def files_of(folder: Path) -> dict[str, Any]:
    """What lies in ``outside``, a database as its rows."""
    found: dict[str, Any] = {}
    for path in sorted((folder / "outside").iterdir()):
        if path.suffix == ".db":
            with closing(sqlite3.connect(path)) as connection:
                found[path.name] = list(connection.iterdump())
        else:
            found[path.name] = path.read_text()
    return found


def known_to_fail(case: Any) -> Any:
    """A case that is open: run with DURABLE_NB_MATRIX=all, and told as a failure once it passes."""
    wanted = os.environ.get("DURABLE_NB_MATRIX") == "all"
    open_yet = pytest.mark.xfail(reason="open", strict=True)
    return pytest.param(case, marks=open_yet if wanted else pytest.mark.skip(reason="open: DURABLE_NB_MATRIX=all"))


def of_all(hazard: Hazard) -> Any:
    """One of very many: run with DURABLE_NB_MATRIX=all."""
    if os.environ.get("DURABLE_NB_MATRIX") == "all":
        return hazard
    return pytest.param(hazard, marks=pytest.mark.skip(reason="one of very many: DURABLE_NB_MATRIX=all"))


def verdict_of(plain: Outcome, resumed: Outcome) -> str:
    """What became of the cell."""
    assert resumed.reply is not None
    if resumed.reply.status == "error":
        name = resumed.reply.error.partition(":")[0]
        is_refused = name in REFUSALS or (name == "RunStopped" and CAUGHT in resumed.reply.traceback)
        return REFUSED if is_refused else f"error: {resumed.reply.error}"
    if (plain.names, plain.files) == (resumed.names, resumed.files):
        return SAME
    return ANNOUNCED if resumed.said else "silently different"


HAZARDS = [*RESEARCHED, *map(of_all, [*OF_STATE, *OF_ARGUMENTS, *OF_FLOW, *OF_ATTACK])]


@pytest.mark.parametrize("hazard", [*HAZARDS, *map(known_to_fail, OPEN)], ids=lambda hazard: hazard.title)
def test_hazard(hazard: Hazard, plain_kernel: Kernel, library: Path, tmp_path: Path) -> None:
    """A resumed cell ends as the plain one, or says in which way it does not, or is refused with the way out."""
    plain = plainly(plain_kernel, hazard, tmp_path / "plain")
    first = durably(hazard, tmp_path / "durable", library, crash_at=max(2, plain.executed * 2 // 5))
    if first.reply is not None:
        assert hazard.verdict == verdict_of(plain, first) == REFUSED, f"NOT KILLED {first}\n\nplain: {plain}"
        assert hazard.says in first.reply.traceback + first.reply.error
        assert first.executed <= 2
        return
    resumed = durably(hazard, tmp_path / "durable", library, crash_at=0)
    assert resumed.reply is not None
    shown = f"plain: {plain}\n\nresumed: {resumed}"

    assert (SAME if hazard.verdict == OUTSIDE else hazard.verdict) == verdict_of(plain, resumed), shown
    assert hazard.says in resumed.said, shown
    assert resumed.executed <= plain.executed + hazard.extra, shown


def test_naps_are_skipped_after_restored_calls(library: Path, tmp_path: Path) -> None:
    """A rate limit of seconds a call costs nothing for calls that ask nobody."""
    body = (
        "out = []\nbegan = time.monotonic()\nfor d in docs:\n    out.append(embed(d))\n    time.sleep(0.25)\n"
        "elapsed = time.monotonic() - began"
    )
    hazard = Hazard("naps", "-", body)
    with started(tmp_path, library) as kernel:
        kernel.ok("%load_ext durable_nb")
        prepare(kernel, hazard)
        kernel.ok(f"%%durable naps\n{body}")
        first = float(kernel.ok("elapsed").result)
        kernel.ok(f"%%durable naps\n{body}")
        again = float(kernel.ok("elapsed").result)

    assert 5.0 <= first
    assert again <= 2.5
    assert 20 == len(lines(tmp_path / "executed.log"))
