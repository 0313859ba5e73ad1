"""Notebooks run without a browser: what is saved in them reads well everywhere."""

from __future__ import annotations

import re
import sqlite3
from typing import TYPE_CHECKING

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_notebook

from tests.kernels import ROOT, wait_until

if TYPE_CHECKING:
    from pathlib import Path

STEP = """%load_ext durable_nb
from durable_nb import step
@step
def embed(doc):
    if doc == "bad":
        raise ValueError("bad page")
    return doc.upper()"""
WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.fixture
def run_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs a notebook as nbclient and papermill do: nobody there, kernel in the test's folder."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / ".ipython"))
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)

    def run(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
        client = NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}})
        return client.execute()

    return run


def cells(*sources: str) -> nbformat.NotebookNode:
    """A notebook with these cells below one that defines the step ``embed``."""
    return new_notebook(cells=[new_code_cell(source) for source in (STEP, *sources)])


def words(markup: str) -> str:
    """What is left of HTML or Markdown for a reader: no tags, no styles, one space between words."""
    markup = re.sub(r"<(style|script)\b.*?</\1>", " ", markup, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>|&nbsp;|&#\d+;|●", " ", markup).split())


def test_the_saved_output_of_a_finished_cell(run_all) -> None:
    """A finished run leaves a true picture as HTML and as text, and no widget that could be dead tomorrow."""
    done = run_all(
        cells("%%durable saved\nlist(embed.map(['a', 'b']))", "%%durable saved\nlist(embed.map(['a', 'c']))")
    )
    first, second = (cell.outputs for cell in done.cells[1:])

    for outputs, counts in ((first, "0 restored, 2 computed, 0 failed"), (second, "1 restored, 1 computed, 0 failed")):
        assert [WIDGET] not in [[kind for kind in output.data if kind == WIDGET] for output in outputs]
        assert outputs[0].data["text/plain"].startswith("saved: done  2 / 2 (100%)")
        assert counts in outputs[0].data["text/plain"]
        assert f"done saved 2 / 2 (100%) {counts.replace(',', '')}" in words(outputs[0].data["text/html"])
        assert "" == "".join(words(output.data.get("text/html", "")) for output in outputs[1:])
    assert "['A', 'C']" == second[-1].data["text/plain"]


def test_the_saved_output_of_a_failed_cell(run_all) -> None:
    """A document that fails stops Run All; the picture names it, as HTML and as text."""
    notebook = cells("%%durable failing\nembed.map(['a', 'bad', 'c'])", "print('not reached')")
    with pytest.raises(CellExecutionError, match="StepFailed"):
        run_all(notebook)
    picture = notebook.cells[1].outputs[0].data

    assert "failing: failed  2 / 3 (66%)" in picture["text/plain"]
    assert "failed: bad: ValueError: bad page (1 attempt)" in picture["text/plain"]
    assert "bad ValueError: bad page 1" in words(picture["text/html"])
    assert [] == notebook.cells[2].outputs


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("%%durable a b\nembed('a')", "one name"),
        ("%durable show", "the name"),
    ],
)
def test_a_refusal_stops_run_all(run_all, line: str, says: str) -> None:
    """A first line that cannot be meant ends Run All, with the sentence in the saved output."""
    notebook = cells(line, "print('not reached')")
    with pytest.raises(CellExecutionError):
        run_all(notebook)
    saved = " ".join(str(output.get("evalue") or output.get("text")) for output in notebook.cells[1].outputs)

    assert says in saved
    assert [] == notebook.cells[2].outputs


def test_a_run_is_resumed_by_a_notebook_that_nobody_watches(run_all, kernel, tmp_path: Path) -> None:
    """As papermill runs it, which is nbclient: the cells of the killed one are not there; what is missing stops it."""
    one = kernel()
    for source in (STEP, "docs = ['a', 'b', 'c']"):
        one.ok(source)
    one.start(
        "%%durable unwatched\nout = list(embed.map(docs, workers=1))\nimport os, signal\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    wait_until(lambda: not one.alive, describing="it has killed itself")
    with sqlite3.connect(tmp_path / ".durable_nb" / "durable.db") as conn:
        saved = conn.execute("SELECT manifest FROM capsules").fetchone()[0]
    assert "os.kill" in saved
    resumed = new_notebook(
        cells=[
            new_code_cell(source)
            for source in ("%load_ext durable_nb\nimport os\nos.kill = print", "%durable resume unwatched", "out")
        ]
    )
    done = run_all(resumed)

    assert "['A', 'B', 'C']" == done.cells[2].outputs[0].data["text/plain"]
    assert "unwatched: done  3 / 3 (100%)" in str(done.cells[1].outputs)
    assert "3 restored, 0 computed" in str(done.cells[1].outputs)
    assert "unfinished unwatched: 3 of 3 durable, its kernel died" in str(done.cells[0].outputs)
    assert WIDGET not in str(done.cells[0].outputs)


@pytest.mark.parametrize("kind", ["HTMLExporter", "MarkdownExporter"])
def test_an_exported_notebook_reads_well(run_all, kind: str) -> None:
    """nbconvert to HTML and to Markdown shows the picture of each run, and the tables of %durable; nothing waits for a widget."""
    import nbconvert

    done = run_all(
        cells("%%durable exported\nembed.map(['a', 'b']);", "%durable", "%durable show exported", "embed.map(['z']);")
    )
    exported, _ = getattr(nbconvert, kind)().from_notebook_node(done)
    text = words(exported)

    # Once as the panel of the cell, once on the page of %durable show.
    assert 2 == text.count("done exported 2 / 2 (100%) 0 restored 2 computed 0 failed")
    assert 1 == text.count("run state durable failed attempts updated notebook exported done 2 / 2")
    assert "step embed , code" in text
    assert "done embed 1 / 1 (100%)" in text
    assert "Loading widget" not in text
    assert f'<script type="{WIDGET}">' not in exported
