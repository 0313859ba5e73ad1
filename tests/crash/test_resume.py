"""A kernel is killed in the thirteenth cell of a notebook, and the twelve above are not run again."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.kernels import ROOT, lines, wait_until
from tests.notebook.cells import stored

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernels import Kernel
    from tests.notebook.cells import Start

DOCUMENTS = 60
CELLS = [
    "%load_ext durable_nb\ndef ran(n):\n    with open('cells.log', 'a') as log:\n        log.write(f'{n}\\n')",
    "ran(2)\nimport os, random, re, time\nfrom dataclasses import dataclass, field\nfrom pathlib import Path\nimport numpy as np",
    "ran(3)\nRATE, PREFIX = 3, 'page'\nSTARTED = time.time()",
    f"ran(4)\ndocs = [{{'id': n, 'text': f'{{PREFIX}} {{n}}  '}} for n in range({DOCUMENTS})]\nby_id = {{d['id']: d for d in docs}}",
    "ran(5)\nclass Base:\n    rate = RATE\n    def double(self):\n        return 2 * self.rate",
    "ran(6)\n@dataclass\nclass Shelf(Base):\n    name: str\n    books: list = field(default_factory=list)\nshelf = Shelf('a', [1, 2])",
    "ran(7)\nfolder = Path('.')\nWORD = re.compile(r'\\w+')\nWEIGHTS = np.linspace(0, 1, 8)\nrng = np.random.default_rng(4)\nnp.random.seed(7)\nrandom.seed(8)",
    "ran(8)\nTOKEN = os.environ['SERVICE_TOKEN']",
    "ran(9)\nscale = lambda x: x * RATE\ndef counted(f):\n    def inner(doc):\n        with open('executed.log', 'a') as log:\n            log.write(f\"{doc['id']}\\n\")\n        return f(doc)\n    return inner",
    "ran(10)\ndef clean(text, pattern=WORD):  # only words\n    return ' '.join(pattern.findall(text))",
    "ran(11)\n@counted\ndef embed(doc):\n    time.sleep(0.02)\n    assert TOKEN and STARTED\n    return scale(WEIGHTS) * len(clean(doc['text'])) + shelf.double()",
    "ran(12)\nprint(f'{len(docs)} documents')",
]
CELL = """%%durable embed-pages
vectors, norms = [], {}
for doc in docs:
    vector = embed(doc)
    vectors.append(vector)
    norms[doc['id']] = float(np.linalg.norm(vector))
    by_id[doc['id']]['norm'] = norms[doc['id']]
noise = [*rng.normal(size=3), np.random.normal(), random.random()]
matrix = np.stack(vectors)
first = docs[0]
matrix.shape"""
ASSIGNED = "import hashlib, pickle\n[hashlib.sha256(pickle.dumps(x)).hexdigest() for x in (vectors, norms, doc, vector, noise, matrix, first, docs)]"
ENV = {"SERVICE_TOKEN": "tk-very-secret-0123456789"}


def killed(kernel: Start, cells: list[str] = CELLS, cell: str = CELL, at: int = DOCUMENTS * 2 // 5) -> Kernel:
    """A kernel that has run the cells, and was killed in the last one."""
    one = kernel(**ENV)
    for above in cells:
        one.ok(above)
    one.start(cell)
    log = one.folder / "executed.log"
    wait_until(lambda: len(lines(log)) >= at, describing="enough is computed")
    one.kill()
    return one


def shell(folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """``durable-nb`` in a process of its own, to its end."""
    command = [sys.executable, "-m", "durable_nb.cli", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | ENV | env
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def computed_since(one: Kernel, before: int) -> int:
    """How many calls were made since."""
    return len(lines(one.folder / "executed.log")) - before


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a run that nobody interrupts assigns."""
    from tests.kernels import Kernel

    with Kernel(tmp_path_factory.mktemp("whole"), **ENV) as one:
        for cell in (*CELLS, CELL):
            one.ok(cell)
        return one.ok(ASSIGNED).result


def test_a_fresh_kernel_resumes_without_the_cells_above(kernel: Start, expected: str) -> None:
    """%durable resume computes what was missing and in flight, runs no other cell, and every name is as if nobody had
    interrupted it; a further resume computes nothing.
    """
    dead = killed(kernel)
    before, done = len(lines(dead.folder / "executed.log")), stored(dead.folder, "embed-pages")
    assert done is not None
    two = kernel(**ENV)
    two.ok("%load_ext durable_nb")
    reply = two.ok("%durable resume embed-pages")

    assert computed_since(two, before) == DOCUMENTS - done[1]
    assert before - done[1] <= 1
    assert [str(n) for n in range(2, 13)] == lines(two.folder / "cells.log")
    assert "embed-pages: 22 names restored: 7 definitions, 6 imports, 8 values, 1 from the environment." in reply.stdout
    assert f"({DOCUMENTS}, 8)" == reply.result
    assert expected == two.ok(ASSIGNED).result
    assert "True" == two.ok("clean.__globals__ is globals() and by_id[3] is docs[3]").result
    assert "# only words" in two.ok("import inspect\nprint(inspect.getsource(clean))").stdout
    two.ok("%durable resume embed-pages")
    assert computed_since(two, before) == DOCUMENTS - done[1]
    assert ("done", DOCUMENTS, DOCUMENTS, 0) == stored(two.folder, "embed-pages")


def test_what_was_resumed_is_resumed_again(kernel: Start, expected: str) -> None:
    """A kernel that resumed is killed, too: what it was given is known of it as well, opaque or not."""
    killed(kernel, at=10)
    two = kernel(**ENV)
    two.ok("%load_ext durable_nb")
    two.start("%durable resume embed-pages")
    wait_until(lambda: len(lines(two.folder / "executed.log")) >= 40, describing="more is computed")
    two.kill()
    three = kernel(**ENV)
    three.ok("%load_ext durable_nb\n%durable resume embed-pages")

    assert expected == three.ok(ASSIGNED).result
    assert len(lines(three.folder / "executed.log")) <= DOCUMENTS + 2
    assert [str(n) for n in range(2, 13)] == lines(three.folder / "cells.log")


def test_a_shell_resumes_without_a_kernel(kernel: Start, expected: str) -> None:
    """durable-nb resume does the same, from any folder, and a kernel finds everything done afterwards."""
    dead = killed(kernel)
    before, done = len(lines(dead.folder / "executed.log")), stored(dead.folder, "embed-pages")
    assert done is not None
    elsewhere = dead.folder / "elsewhere"
    elsewhere.mkdir()
    said = shell(elsewhere, "resume", "embed-pages", "--db", str(dead.folder / ".durable_nb" / "durable.db"))

    assert 0 == said.returncode, said.stderr
    assert "22 names restored" in said.stderr and "embed-pages: done  60 / 60 (100%)" in said.stderr
    assert f"({DOCUMENTS}, 8)" in said.stdout
    assert computed_since(dead, before) == DOCUMENTS - done[1]
    two = kernel(**ENV)
    two.ok("%load_ext durable_nb\n%durable resume embed-pages")
    assert expected == two.ok(ASSIGNED).result
    assert computed_since(two, before) == DOCUMENTS - done[1]
    assert [str(n) for n in range(2, 13)] == lines(two.folder / "cells.log")


OPAQUE = [
    *CELLS[:7],
    "ran(8)\nTOKEN = 'not from outside'\nimport sqlite3\nWHERE = ':memory:'",
    *CELLS[8:10],
    "ran(11)\nconnection = sqlite3.connect(WHERE, check_same_thread=False)\n@counted\ndef embed(doc, connection=connection):\n    time.sleep(0.02)\n    return np.array(connection.execute('SELECT ?, 3', (doc['id'],)).fetchone())",
    CELLS[11],
]


def test_what_cannot_be_saved_is_named_with_the_one_cell_to_run(kernel: Start) -> None:
    """An object that no bytes bring back: the message shows the cell that made it, and after that cell resume goes on."""
    dead = killed(kernel, OPAQUE)
    before, done = len(lines(dead.folder / "executed.log")), stored(dead.folder, "embed-pages")
    assert done is not None
    two = kernel(**ENV)
    two.ok("%load_ext durable_nb")
    refused = two.run("%durable resume embed-pages")

    assert "CannotResume" in refused.error
    assert "1 cell has to be run" in refused.traceback and "In [11] was:" in refused.traceback
    assert "connection: a sqlite3.Connection cannot be saved" in refused.traceback
    assert "connection = sqlite3.connect(WHERE" in refused.traceback
    assert 1 == refused.traceback.count("] was:")
    assert 0 == computed_since(two, before)
    two.ok(OPAQUE[10])
    again = two.ok("%durable resume embed-pages").stdout
    assert "had been restored before" in again
    assert computed_since(two, before) == DOCUMENTS - done[1]
    assert "[59, 3]" == two.ok("vectors[-1].tolist()").result
    assert [*map(str, range(2, 13)), "11"] == lines(two.folder / "cells.log")


def test_statements_are_executed_again_when_asked(kernel: Start) -> None:
    """From a shell: exit status 2 and what to do; with --make the statement alone is executed, not its cell."""
    dead = killed(kernel, OPAQUE)
    before, done = len(lines(dead.folder / "executed.log")), stored(dead.folder, "embed-pages")
    assert done is not None
    refused = shell(dead.folder, "resume", "embed-pages")
    assert (2, 0) == (refused.returncode, computed_since(dead, before))
    assert "%durable resume embed-pages --make" in refused.stderr
    said = shell(dead.folder, "resume", "embed-pages", "--make")

    assert 0 == said.returncode, said.stderr
    assert "making again: connection" in said.stderr
    assert computed_since(dead, before) == DOCUMENTS - done[1]
    assert [*map(str, range(2, 13))] == lines(dead.folder / "cells.log")


def test_a_name_of_this_kernel_stays(kernel: Start) -> None:
    """What a cell of the fresh kernel has made wins, and is told; an edited function is asked about as ever."""
    killed(kernel)
    two = kernel(**ENV)
    two.ok("%load_ext durable_nb")
    two.ok("import numpy as np\nWEIGHTS = np.ones(8)\nRATE = 3")
    reply = two.run("%durable resume embed-pages")

    assert "kept what this kernel has made already: RATE, np" in reply.stdout
    assert "kept yours, which differ from what was saved: WEIGHTS" in reply.stdout
    assert "CodeChanged" in reply.error
    two.ok("%durable resume embed-pages --on-change recompute")
    assert "True" == two.ok("bool((WEIGHTS == 1).all()) and matrix.shape == (60, 8)").result


def test_default_arguments_are_those_of_the_definition(kernel: Start) -> None:
    """A def whose head read a name that was set again later would come back as another function: its cell is to be run."""
    one = kernel()
    one.ok(
        "%load_ext durable_nb\nK = 1\ndef power(n, k=K):\n    return n ** k\nplain = 2\ndef same(n, k=plain): return n"
    )
    one.ok("K = 2")
    one.ok("%%durable powers\nout = [power(same(n)) for n in range(3)], K")
    one.kill()
    two = kernel()
    two.ok("%load_ext durable_nb")
    refused = two.run("%durable resume powers")
    two.ok("K = 1\ndef power(n, k=K):\n    return n ** k")
    two.ok("K = 2\n%durable resume powers")

    assert "power: names in its default arguments were set again after its def" in refused.error
    assert "same" not in refused.error.partition("In [")[0]
    assert "([0, 1, 2], 2)" == two.ok("out").result


def test_exit_statuses(kernel: Start) -> None:
    """75 while a kernel computes it, 1 when documents fail or the cell raises, 2 for what cannot be, 0 when all is done."""
    one = kernel()
    cells = [
        "%load_ext durable_nb\nimport os, time\nfrom durable_nb import step\n@step\ndef read(doc):\n    with open('executed.log', 'a') as log: log.write(f'{doc}\\n')\n    time.sleep(0.05 if os.path.exists('slow') else 0)\n    if doc == 3 and not os.path.exists('good'): raise ValueError('bad page')\n    return doc",
        "docs = list(range(4000))",
    ]
    (one.folder / "slow").touch()
    for cell in cells:
        one.ok(cell)
    one.start("%%durable read-them\nread.map(docs, workers=1, on_error='collect')")
    wait_until(lambda: len(lines(one.folder / "executed.log")) > 5, describing="it runs")
    busy = shell(one.folder, "resume", "read-them")
    one.kill()
    (one.folder / "slow").unlink()
    failed, unknown = shell(one.folder, "resume", "read-them", "--json"), shell(one.folder, "resume", "nothing")
    (one.folder / "good").touch()
    good = shell(one.folder, "resume", "read-them")

    assert [75, 1, 2, 0] == [busy.returncode, failed.returncode, unknown.returncode, good.returncode], good.stderr
    assert "is being computed by another process" in busy.stderr
    assert {"failed": 1, "status": 1}.items() <= json.loads(failed.stdout.splitlines()[-1]).items()
    assert "there is no run 'nothing'" in unknown.stderr
    assert "3,999 restored, 1 computed, 0 failed" in good.stderr


def test_a_cell_that_awaits(kernel: Start) -> None:
    """From a shell it runs; in a notebook its text is put below, since no running cell can await it."""
    above = [
        "%load_ext durable_nb\nimport asyncio\nasync def fetch(n):\n    with open('executed.log', 'a') as log: log.write(f'{n}\\n')\n    await asyncio.sleep(0.05)\n    return n * n",
        "urls = list(range(30))",
    ]
    cell = "%%durable fetch-them\nout = []\nfor url in urls:\n    out.append(await fetch(url))\nsum(out)"
    dead = killed(kernel, above, cell, at=10)
    two = kernel()
    two.ok("%load_ext durable_nb")
    refused = two.run("%durable resume fetch-them")
    said = shell(dead.folder, "resume", "fetch-them")

    assert "its text stands below: run it" in refused.error
    assert (0, str(sum(n * n for n in range(30)))) == (said.returncode, said.stdout.split()[-1])
    assert len(lines(dead.folder / "executed.log")) <= 31
    assert str(sum(n * n for n in range(30))) == two.ok(cell).result


def test_a_database_of_somebody_else_resumes_nothing(kernel: Start, tmp_path: Path) -> None:
    """What was noted is code: without a signature of this user nothing of it is executed."""
    killed(kernel)
    refused = shell(tmp_path, "resume", "embed-pages", XDG_STATE_HOME=str(tmp_path / "somebody"))
    stranger = kernel(**ENV, XDG_STATE_HOME=str(tmp_path / "somebody"))
    stranger.ok("%load_ext durable_nb")
    reply = stranger.run("%durable resume embed-pages")

    assert 2 == refused.returncode and "durable-nb trust" in refused.stderr
    assert "UntrustedStore" in reply.error
    assert "False" == stranger.ok("'clean' in globals()").result


def test_a_failed_capture_is_told_and_nothing_else(kernel: Start) -> None:
    """The run is as ever; its history and resume say what was wrong."""
    one = kernel()
    one.ok("%load_ext durable_nb\nclass Odd:\n    @property\n    def __dict__(self): raise OSError('odd')\nodd = Odd()")
    one.ok("def twice(n): return 2 * n")
    done = one.ok("%%durable odd\n[twice(n) for n in range(3)], type(odd)")
    told = one.run("%durable resume odd")

    assert "[0, 2, 4]" in done.result
    assert "nothing was saved of what the cell of 'odd' needs (OSError: odd)" in told.error
    assert "not captured  OSError: odd" in one.ok("%durable show odd").result


def test_how_much_data_is_noted_is_a_setting(kernel: Start) -> None:
    """More where somebody wants it; at 0 nothing is, not even what was before."""
    above = ["%load_ext durable_nb\ndocs = [f'{n} ' * 400 for n in range(2000)]\ndef size(doc): return len(doc)"]
    cell = "%%durable sizes\nout = [size(doc) for doc in docs]"
    one = kernel(DURABLE_NB_CAPSULE_MB="20")
    for source in (*above, cell):
        one.ok(source)
    more = shell(one.folder, "resume", "sizes", DURABLE_NB_CAPSULE_MB="20")
    one.ok("from durable_nb import configure\nconfigure(capsule_mb=0.5)\n1")
    one.ok(cell)
    less = shell(one.folder, "resume", "sizes")
    one.ok("configure(capsule_mb=0)")
    one.ok(cell)
    none = shell(one.folder, "resume", "sizes")

    assert [0, 2, 2] == [more.returncode, less.returncode, none.returncode], more.stderr
    assert "docs: too large to be saved (list of 2,000)" in less.stderr and "configure(capsule_mb=…)" in less.stderr
    assert "nothing was saved of what the cell of 'sizes' needs (capsule_mb was 0" in none.stderr
    assert "capsule_mb=-1 (the call) is not possible" in one.run("configure(capsule_mb=-1)").error


def test_a_cell_without_a_name(kernel: Start) -> None:
    """The run that was named after its cell is resumed by that name."""
    above = [
        CELLS[0],
        "def slow(n):\n    with open('executed.log', 'a') as log: log.write('x\\n')\n    time.sleep(0.02)\n    return n\nimport time",
    ]
    dead = killed(kernel, above, "%%durable\nout = [slow(n) for n in range(50)]", at=10)
    with closing(sqlite3.connect(dead.folder / ".durable_nb" / "durable.db")) as conn:
        (name,) = conn.execute("SELECT name FROM runs").fetchone()

    assert 0 == shell(dead.folder, "resume", name).returncode
    assert ("done", 50, 50) == (stored(dead.folder, name) or ())[:2] + (len({*range(50)}),)
