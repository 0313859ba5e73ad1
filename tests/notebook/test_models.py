"""A model has no value: a call is named by the statement that made the one it was given, wherever the call is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.matrix import usual

if TYPE_CHECKING:
    from pathlib import Path

    from tests.notebook.cells import Start

LIBRARY = """
import threading

class Model:
    def __init__(self, name):
        self._name, self._lock = name, threading.Lock()

    def encode(self, text):
        return [self._name, len(text)]
"""
SETUP = """
import asyncio, sys
from concurrent.futures import ThreadPoolExecutor
sys.path.insert(0, {folder!r})
import fakeai
from durable_nb import run

docs = ["a", "bb"]

def ask(model, doc):
    return model.encode(doc)

async def aask(model, doc):
    await asyncio.sleep(0)
    return model.encode(doc)
"""
POOL = "with ThreadPoolExecutor(2) as pool:\n    "
SHAPES = {
    "comprehension": "out += [ask(model, doc) for doc in docs]",
    "submit": f"{POOL}out += [f.result() for f in [pool.submit(ask, model, doc) for doc in docs]]",
    "pool.map": f"{POOL}out += list(pool.map(ask, [model] * 2, docs))",
    "gather": "out += await asyncio.gather(*(aask(model, doc) for doc in docs))",
    "to_thread": "out += await asyncio.gather(*(asyncio.to_thread(ask, model, doc) for doc in docs))",
}


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """An installed library: its classes are known by its version, not by their code."""
    folder = tmp_path / "site-packages"
    (folder / "fakeai-1.0.dist-info").mkdir(parents=True)
    (folder / "fakeai.py").write_text(LIBRARY)
    (folder / "fakeai-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: fakeai\nVersion: 1.0\n")
    (folder / "fakeai-1.0.dist-info" / "RECORD").write_text("fakeai.py,,\n")
    return folder


@pytest.mark.parametrize("shape", usual(SHAPES, "comprehension", "pool.map"))
def test_the_first_of_two_models_is_edited(kernel: Start, library: Path, shape: str) -> None:
    """Two models of one name: results of the first are computed again once another one stands there, in every shape."""
    assert _asked_twice(kernel, library, SHAPES[shape]) == _RIGHT


def test_a_run_within_the_cell_ends(kernel: Start, library: Path) -> None:
    """Threads of the cell are still asked for the statements before them."""
    shape = f"with run('inner'):\n    pass\n{SHAPES['submit']}"

    assert _asked_twice(kernel, library, shape) == _RIGHT


_RIGHT = [f"[['{name}', 1], ['{name}', 2], ['large', 1], ['large', 2]]" for name in ("small", "tiny")]


def _asked_twice(kernel: Start, library: Path, shape: str) -> list[str | None]:
    """The results of a cell with two models, and those of the cell once its first model was edited."""
    cell = f"%%durable asked\nout = []\nmodel = fakeai.Model({{!r}})\n{shape}\nmodel = fakeai.Model('large')\n{shape}"
    seen = []
    for name in ("small", "tiny"):
        one = kernel()
        one.ok("%load_ext durable_nb")
        one.ok(SETUP.format(folder=str(library)))
        one.ok(cell.format(name))
        seen.append(one.ok("out").result)
        one.close()
    return seen


@pytest.mark.parametrize(
    "cell",
    [
        pytest.param(
            "model.warm()\nout = [ask(model, doc) for doc in docs]",
            id="a method of an argument",
            marks=pytest.mark.matrix,
        ),
        pytest.param("model.warm()\nout = [of_global(doc) for doc in docs]", id="a method of a global"),
        pytest.param(
            "model.warm()\nout = [task(doc) for doc in docs]",
            id="a method of a global of a step",
            marks=pytest.mark.matrix,
        ),
        pytest.param(
            "prefix = 'new'\nout = [tagged(doc) for doc in docs]", id="a global that is set", marks=pytest.mark.matrix
        ),
        pytest.param(
            "prefix = 'new'\nout = [tagged(doc) for doc in docs]\nprefix = 'newer'\nout += [tagged(doc) for doc in docs]",
            id="a global that is set twice",
        ),
    ],
)
def test_what_the_cell_itself_changes_first_is_no_edit(kernel: Start, library: Path, cell: str) -> None:
    """In a fresh kernel the code of the notebook is what it was once the cell has come to where it calls it."""
    library.joinpath("fakeai.py").write_text(LIBRARY + "\n    def warm(self):\n        pass\n")
    seen = []
    for _ in range(2):
        one = kernel()
        one.ok("%load_ext durable_nb")
        one.ok(SETUP.format(folder=str(library)))
        one.ok(
            "from durable_nb import step\nmodel, prefix = fakeai.Model('small'), 'old'\n"
            "def of_global(doc):\n    return ask(model, doc)\ndef tagged(doc):\n    return prefix + doc\n"
            "@step\ndef task(doc):\n    return ask(model, doc)"
        )
        one.ok(f"%%durable asked\n{cell}")
        run = one.ok("from durable_nb.engine.session import current\ncurrent.store().run('asked')[6:8]").result
        seen.append((one.ok("out").result, run))
        one.close()

    calls = cell.count("for doc")
    assert seen[0][0] == seen[1][0]
    assert [f"({2 * calls}, {restored})" for restored in (0, 2 * calls)] == [run for _, run in seen]


def test_a_question_that_the_cell_catches_is_asked(kernel: Start) -> None:
    """A map whose code was edited is no error for an ``except`` of the cell: it would end well, without results."""
    one = kernel()
    one.ok("%load_ext durable_nb\nfrom durable_nb import step\nprefix = 'old'")
    define = "@step\ndef tagged(doc):\n    return prefix, doc, {}"
    cell = (
        "%%durable asked\nprefix = 'new'\ntry:\n    out = list(tagged.map(range(3)))\nexcept Exception:\n    out = None"
    )
    one.ok(define.format(1))
    one.ok(cell)
    one.ok(define.format(2))

    assert one.run(cell).error.startswith("CodeChanged")
    one.ok(cell.replace("asked", "asked --on-change keep"))
    assert "[('new', 0, 1), ('new', 1, 1), ('new', 2, 1)]" == one.ok("out").result
