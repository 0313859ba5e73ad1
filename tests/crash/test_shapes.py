"""Every shape of cell, killed with SIGKILL at 40 % and run again in a fresh kernel: as if nothing had happened.

``DURABLE_NB_TEST_PYTHON=/path/to/python`` runs the kernels with another Python that has durable_nb's requirements.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.kernels import ROOT, Kernel, Reply, lines
from tests.notebook.shapes import FAKEAI, SETUP, Shape
from tests.notebook.shapes_basic import BASIC
from tests.notebook.shapes_language import LANGUAGE
from tests.notebook.shapes_more import MORE

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.matrix  # every one in four kernels

PYTHON = os.environ.get("DURABLE_NB_TEST_PYTHON", sys.executable)  # read before the fixture that clears such names
SHOW = "print(__import__('tests.notebook.shapes', fromlist=['shown']).shown({names!r}, globals()))"
MISSING = "print(*__import__('tests.notebook.shapes', fromlist=['missing']).missing({needs!r}))"


class Outcome(NamedTuple):
    """What a cell left."""

    names: str
    """The compared names and their values."""
    executed: int
    said: str


class Notebook:
    """A folder with a kernel, in which a shape is run; what it executes is noted there."""

    def __init__(self, folder: Path, library: Path, **environment: str) -> None:
        path = os.pathsep.join((str(ROOT), str(library)))
        self.log = folder / "executed.log"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "executable", PYTHON)
            self.kernel = Kernel(folder, PYTHONPATH=path, LOG=str(self.log), **environment)

    def move(self, folder: Path) -> None:
        """Forget every name, and go on in that folder."""
        folder.mkdir(exist_ok=True)
        self.log = folder / "executed.log"
        self.kernel.ok("%reset -f")
        self.kernel.ok(f"import os\nos.chdir({str(folder)!r})\nos.environ['LOG'] = {str(self.log)!r}")

    def prepare(self, shape: Shape, base: str) -> None:
        """Run the cells above."""
        self.kernel.ok(f"{SETUP}\nbase = {base!r}")
        if shape.above:
            self.kernel.ok(shape.above)

    def outcome(self, shape: Shape, cell: str) -> Outcome:
        """Run the cell to its end."""
        before = len(lines(self.log))
        reply = self.kernel.ok(cell)
        names = self.kernel.ok(SHOW.format(names=shape.names)).stdout
        return Outcome(names, len(lines(self.log)) - before, reply.stdout)

    def dies(self, cell: str) -> Reply | None:
        """Run the durable cell, which kills this kernel; None once it did, else what it said."""
        message = self.kernel.start(cell)
        try:
            return self.kernel.finish(message)
        except AssertionError:
            if self.kernel.alive:
                raise
            return None


class Fresh:
    """Kernels with durable_nb, each with hashes of its own. One that has resumed a shape is the next one's to be killed:
    it has lived before, as most kernels that die have, and the one that resumes is new, as it must be.
    """

    def __init__(self, folder: Path, library: Path) -> None:
        self._folder, self._library, self._seeds = folder, library, itertools.count(1)
        self._used: list[Notebook] = []

    def new(self) -> Notebook:
        """One that has run nothing."""
        notebook = Notebook(self._folder, self._library, PYTHONHASHSEED=str(next(self._seeds)))
        notebook.kernel.ok("%load_ext durable_nb")
        return notebook

    def used_or_new(self) -> Notebook:
        """One that was given back, if there is one."""
        return self._used.pop() if self._used else self.new()

    def give_back(self, notebook: Notebook) -> None:
        """It may be used once more."""
        self._used.append(notebook)

    def close(self) -> None:
        """Shut down what was not used."""
        for notebook in self._used:
            notebook.kernel.close()


class Pages(BaseHTTPRequestHandler):
    """Serves a page for every path; being asked for it is an execution."""

    library: Path

    def do_GET(self) -> None:
        """A page that says its path."""
        spec = importlib.util.spec_from_file_location("fakeai", self.library / "fakeai" / "__init__.py")
        assert spec is not None
        assert spec.loader is not None
        fakeai = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(fakeai)
        fakeai.work(self.path)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"<p>page {self.path}</p>".encode())

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed libraries with `fakeai` in it."""
    folder = tmp_path_factory.mktemp("installed") / "site-packages"
    (folder / "fakeai").mkdir(parents=True)
    (folder / "fakeai" / "__init__.py").write_text(FAKEAI)
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, library: Path) -> Iterator[Notebook]:
    """A kernel without durable_nb; every shape finds its namespace empty and a folder of its own."""
    notebook = Notebook(tmp_path_factory.mktemp("plain"), library)
    with notebook.kernel:
        yield notebook


@pytest.fixture
def base(library: Path) -> Iterator[str]:
    """Address of a web server outside of the kernels."""
    Pages.library = library
    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory, library: Path) -> Iterator[Fresh]:
    """Kernels with durable_nb."""
    supply = Fresh(tmp_path_factory.mktemp("fresh"), library)
    yield supply
    supply.close()


def marked(shape: Shape, folder: Path) -> str:
    """The cell with its one line; the database is named, because the kernel moves from folder to folder."""
    return f"%%durable shape --db {folder / 'durable.db'} {shape.options}\n{shape.body}"


def killed(shape: Shape, fresh: Fresh, folder: Path, base: str, *, crash_at: int) -> int:
    """Executions of a kernel that dies at the end of the call of that number."""
    notebook = fresh.used_or_new()
    try:
        notebook.move(folder)
        notebook.kernel.ok(f"os.environ['CRASH_AT'] = '{crash_at}'")
        notebook.prepare(shape, base)
        with pytest.MonkeyPatch.context() as patch:  # the web server notes and kills as a kernel would
            patch.setenv("LOG", str(notebook.log))
            patch.setenv("CRASH_AT", str(crash_at))
            patch.setenv("KERNEL", str(notebook.kernel.pid))
            reply = notebook.dies(marked(shape, folder))

        assert reply is None, f"the cell ended before it was killed: {reply and reply.text}"
    finally:
        notebook.kernel.close()
    return len(lines(notebook.log))


def resumed(shape: Shape, fresh: Fresh, folder: Path, base: str) -> tuple[Outcome, Outcome]:
    """The cell in a fresh kernel, and once more in the same one."""
    notebook = fresh.new()
    try:
        notebook.move(folder)
        notebook.prepare(shape, base)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("LOG", str(notebook.log))
            second = notebook.outcome(shape, marked(shape, folder))
            if shape.mutates:
                notebook.prepare(shape, base)
            third = notebook.outcome(shape, marked(shape, folder))
    except BaseException:
        notebook.kernel.close()
        raise
    fresh.give_back(notebook)
    return second, third


@pytest.mark.parametrize("shape", [*BASIC, *MORE, *LANGUAGE], ids=lambda shape: shape.title)
def test_shape(
    shape: Shape, plain: Notebook, fresh: Fresh, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed cell that is run again ends as if uninterrupted, executes what was missing, and then nothing any more."""
    if absent := plain.kernel.ok(MISSING.format(needs=shape.needs)).stdout.strip():
        pytest.skip(f"no {absent}")
    plain.move(tmp_path / "plain")
    plain.prepare(shape, base)
    monkeypatch.setenv("LOG", str(plain.log))
    whole = plain.outcome(shape, shape.body)
    first = killed(shape, fresh, tmp_path / "durable", base, crash_at=whole.executed * 2 // 5)
    second, third = resumed(shape, fresh, tmp_path / "durable", base)
    counts = f"{whole.executed} plain, {first} until killed, {second.executed} resumed, {third.executed} again"

    assert 20 <= whole.executed <= 60, counts
    assert whole.names == second.names, second.said
    assert whole.executed <= first + second.executed <= whole.executed + shape.flying, f"{counts}\n{second.said}"
    assert whole.names == third.names, third.said
    assert 0 == third.executed, f"{counts}\n{third.said}"
