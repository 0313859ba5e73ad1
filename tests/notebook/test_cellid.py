"""A name for a cell without one: found again after everything that happens to notebooks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from durable_nb import config
from durable_nb.notebook import cellid
from durable_nb.notebook.cellid import Cell
from durable_nb.records import Run, State

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernels import Kernel
    from tests.notebook.cells import Start

ID = "3b1f8c52-0f7e-4d57-9b3e-5a4d0f6b7c11"
CELL = Cell("%%durable\nembed('a')", ID)


def run(name: str, notebook: str, cell: str = ID) -> Run:
    """A run in the database, as far as a name is looked for."""
    return Run(1, name, State.DONE, notebook, "", 1, 1, 0, 0, 1, None, 0.0, 0.0, 0.0, cell)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (ID, ID),
        ("5f8c2b1a", "5f8c2b1a"),
        (None, ""),
        ("vscode-notebook-cell:/home/ada/a.ipynb#W0sZmlsZQ%3D%3D", ""),
        ("", ""),
        ("x" * 65, ""),
        ("a b", ""),
    ],
)
def test_only_ids_of_the_notebook_file_count(told: str | None, expected: str) -> None:
    """An address of VS Code, which changes with every session, is no identity; nor is anything nbformat does not allow."""
    info = SimpleNamespace(raw_cell="%%durable\n1", cell_id=told)

    assert Cell("%%durable\n1", expected) == cellid.cell_of(info)


@pytest.mark.parametrize(
    ("path", "stem"),
    [
        ("/home/ada/analysis.ipynb", "analysis"),
        ("", "cell"),
        ("/home/ada/Q3 report (final).ipynb", "Q3-report-final"),
        ("/home/ada/....ipynb", "cell"),
        ("/home/ada/-x.ipynb", "x"),
        ("/home/ada/Größe.ipynb", "Größe"),
        (f"/home/ada/{'x' * 250}.ipynb", "x" * 80),
    ],
)
def test_a_name_is_the_notebooks_and_the_cells(path: str, stem: str) -> None:
    """Whatever a notebook is called, the made name can be typed after %durable show."""
    name = cellid.derived_name(path, CELL)

    assert f"{stem}-{ID}" == name == config.run_name(name)


def test_without_an_id_the_code_names_the_cell() -> None:
    """The same code has the same name whatever stands on the first line and between the lines; other code another one."""
    first = cellid.derived_name("", Cell("%%durable\nembed('a')\nembed('b')", ""))
    same = [
        cellid.derived_name("", Cell(source, ""))
        for source in (
            "%%durable --on-change keep\nembed('a')\nembed('b')",
            "\n%durable\nembed('a')  \n\nembed('b')\n\n",
        )
    ]

    assert [first, first] == same
    assert first != cellid.derived_name("", Cell("%%durable\nembed('a')\nembed('c')", ""))
    assert 8 == len(first.removeprefix("cell-"))


def test_a_renamed_notebook_finds_its_runs(tmp_path: Path) -> None:
    """The run of a cell whose notebook is gone, or is this one, goes on under its old name."""
    notebook = tmp_path / "new.ipynb"
    notebook.touch()
    derived = cellid.derived_name(str(notebook), CELL)
    for recorded in (tmp_path / "old.ipynb", notebook):
        runs = [run("explicit", str(recorded)), run(f"old-{ID}", str(recorded))]

        assert f"old-{ID}" == cellid.known_name(derived, str(notebook), CELL, runs)


def test_a_copied_notebook_has_runs_of_its_own(tmp_path: Path) -> None:
    """While the original is there, the copy's cell, which has the same id, does not write into its run."""
    original, copy = tmp_path / "original.ipynb", tmp_path / "copy.ipynb"
    original.touch()
    copy.touch()
    derived = cellid.derived_name(str(copy), CELL)

    assert derived == cellid.known_name(derived, str(copy), CELL, [run(f"original-{ID}", str(original))])


def test_a_cell_that_once_had_a_name_gets_a_made_one() -> None:
    """A run that somebody named is not continued by a cell whose name was taken away."""
    assert f"a-{ID}" == cellid.known_name(f"a-{ID}", "/gone/a.ipynb", CELL, [run("embed", "/gone/a.ipynb")])


def test_a_cell_without_a_name_is_resumed(kernel: Start) -> None:
    """%%durable and %durable alone keep the results of a cell; a second kernel finds them, and how to name it is told once."""
    from tests.notebook.cells import LOAD, STEPS

    first = kernel()
    first.ok(LOAD)
    first.ok(STEPS)
    said = first.ok("%%durable\n[embed(doc) for doc in 'ab']").stdout
    again = first.ok("%durable\n[embed(doc) for doc in 'ab']").stdout
    first.kill()
    second = kernel()
    second.ok(LOAD)
    second.ok(STEPS)
    said_again = second.ok("%%durable\n[embed(doc) for doc in 'ab']").stdout
    name = said.partition("kept as ")[2].partition(". ")[0]

    assert name.startswith("cell-")
    assert "%%durable NAME" in said and "an edited cell starts anew" in said
    assert "" == again
    assert said == said_again
    assert "2 restored, 0 computed" in second.ok(f"%durable show {name}").result


def test_the_id_that_a_front_end_sends_names_the_cell(kernel: Start) -> None:
    """With a cell id the code may be edited and the notebook renamed; the run is found, and knows its cell."""
    from tests.notebook.cells import LOAD, STEPS

    def cell(one: Kernel, code: str) -> str:
        message = one._client.session.msg("execute_request", {"code": code, "silent": False, "store_history": True})
        message["metadata"] = {"cellId": ID}
        one._client.shell_channel.send(message)
        return one.finish(message["header"]["msg_id"]).stdout

    folder = None
    for stem, code in (("before", "embed('a')"), ("after", "embed('a'), embed('b')")):
        one = kernel()
        folder = folder or one.folder
        (folder / "before.ipynb").unlink(missing_ok=True)
        (folder / f"{stem}.ipynb").touch()
        one.ok(f"import os\nos.environ['JPY_SESSION_NAME'] = {str(folder / f'{stem}.ipynb')!r}")
        one.ok(LOAD)
        one.ok(STEPS)
        said = cell(one, f"%%durable\n{code}")
        shown = one.ok(f"%durable show before-{ID}").result

        assert f"kept as before-{ID}" in said and "starts anew" not in said
        assert "from durable_nb" not in shown
        assert (
            repr(ID)
            == one.ok(
                "from durable_nb.engine.session import current as s\n"
                f"next(run.cell for run in s.store().runs() if run.name == 'before-{ID}')"
            ).result
        )
        one.kill()

    assert "1 restored, 1 computed" in shown
