"""Edits of a notebook between two runs of a durable cell: what is kept and what is computed again is exact."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.kernels import ROOT, Kernel, lines
from tests.notebook.edits import ASKED, BUILT, DOCS, EMBED, EMBED_2, FIXED, KEPT, LIBRARY, PLAIN, SETUP, Edit, Question

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    """PYTHONPATH of a kernel in which `fakelib` is installed."""
    folder = tmp_path_factory.mktemp("installed") / "site-packages"
    folder.mkdir()
    (folder / "fakelib.py").write_text(LIBRARY)
    return os.pathsep.join((str(ROOT), str(folder)))


@pytest.fixture(scope="module")
def durable(tmp_path_factory: pytest.TempPathFactory, library: str) -> Iterator[Kernel]:
    """One kernel for all edits: each has its own run, and defines all it uses."""
    folder = tmp_path_factory.mktemp("durable")
    with Kernel(folder, PYTHONPATH=library, XDG_STATE_HOME=str(folder)) as one:
        one.ok("%load_ext durable_nb")
        yield one


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, library: str) -> Iterator[Kernel]:
    """One kernel without durable_nb."""
    with Kernel(tmp_path_factory.mktemp("plain"), PYTHONPATH=library) as one:
        yield one


def ran(kernel: Kernel, *cells: str) -> list[str]:
    """What was computed while these cells ran; none of them may fail."""
    before = len(lines(kernel.folder / "executed.log"))
    for cell in filter(None, cells):
        kernel.ok(cell)
    return lines(kernel.folder / "executed.log")[before:]


@pytest.mark.parametrize("edit", KEPT, ids=lambda edit: edit.title)
def test_what_an_edit_computes(durable: Kernel, plain: Kernel, edit: Edit) -> None:
    """Calls with the arguments they had are kept, the others computed, in the order of the cell; the result is that of
    the edited cell run plainly, but for what --on-change keep keeps; a third run computes nothing.
    """
    head, after = f"%%durable kept-{KEPT.index(edit)}", edit.after or edit.before
    first = ran(durable, SETUP, edit.above, f"{head}\n{edit.before}")
    second = ran(durable, edit.changed, f"{head} {edit.options}\n{after}")
    found = durable.ok("out").result
    third = ran(durable, f"{head}\n{after}")
    ran(plain, SETUP, edit.above, edit.changed, after)

    assert first
    assert edit.computed == second
    assert plain.ok(edit.result or "out").result == found
    assert [] == third
    assert found == durable.ok("out").result


@pytest.mark.parametrize("question", ASKED, ids=lambda question: question.title)
def test_an_edit_of_what_is_called_is_asked_about(durable: Kernel, plain: Kernel, question: Question) -> None:
    """The cell stops before its first statement, shows what changed and what to type; recompute computes all of it
    once, and the old code finds its old results without computing anything.
    """
    head, after = f"%%durable asked-{ASKED.index(question)}", question.after or question.before
    first = ran(durable, SETUP, question.above, f"{head}\n{question.before}")
    old = durable.ok("out").result
    durable.ok(question.changed)
    asked = durable.run(f"{head}\nreached = {head!r}\n{after}")
    reached = durable.ok(f"globals().get('reached') == {head!r}").result
    recomputed = ran(durable, f"{head} --on-change recompute\n{after}")
    new = durable.ok("out").result
    again = ran(durable, f"{head}\n{after}")
    back = ran(durable, SETUP, question.above, f"{head} --on-change recompute\n{question.before}")
    expected = ran(plain, SETUP, question.above, question.changed, after)

    assert asked.error.startswith("CodeChanged")
    assert "False" == reached or question.title.startswith("lambda")  # made by the cell: asked about when it is reached
    assert [] == [
        text for text in (*question.shown, "--on-change keep", "--on-change recompute") if text not in asked.error
    ]
    assert first
    assert sorted(expected) == sorted(recomputed)
    assert plain.ok("out").result == new
    assert [] == again
    assert [] == back
    assert old == durable.ok("out").result


def test_a_function_of_the_cell_itself_is_asked_about(durable: Kernel) -> None:
    """What the cell defines exists when its definitions have run: it is asked before the first call of a step."""
    cell = "%%durable own-function\n{}\nout = [embed(d) for d in docs]"
    ran(durable, SETUP, cell.format(EMBED))
    before = len(lines(durable.folder / "executed.log"))
    asked = durable.run(cell.format(EMBED_2))

    assert asked.error.startswith("CodeChanged")
    assert before == len(lines(durable.folder / "executed.log"))
    assert DOCS == ran(durable, cell.format(EMBED_2).replace("own-function", "own-function --on-change recompute"))


def test_another_name_is_another_run(durable: Kernel) -> None:
    """A cell under a new name starts anew; under its old name everything is still there."""
    ran(durable, SETUP)

    assert DOCS == ran(durable, f"%%durable name-one\n{PLAIN}")
    assert DOCS == ran(durable, f"%%durable name-two\n{PLAIN}")
    assert [] == ran(durable, f"%durable name-one\n{PLAIN}")


def test_a_builder_is_fixed_after_four_thousand_documents(durable: Kernel) -> None:
    """Of 4,000 documents the 112 whose cleaned text changed are computed, the others kept."""
    fixed = FIXED.replace('"d3", "D3"', '"d3999", "FIXED"').replace('"d7", "D7"', '"d17", "d-17"')
    cell = f"%%durable four-thousand\n{BUILT}"
    first = ran(durable, SETUP, 'docs = [f"d{i}" for i in range(4000)]', cell)
    second = ran(durable, fixed, cell)

    assert 4000 == len(first)
    assert [
        f"d-17{doc[3:]}" if doc != "d3999" else "FIXED" for doc in first if doc[:3] == "d17" or doc == "d3999"
    ] == second
    assert 112 == len(second)
    assert "True" == durable.ok('out == [f"e({clean(d)}) 2px" for d in docs]').result
