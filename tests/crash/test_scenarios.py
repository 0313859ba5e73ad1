"""The scenarios A to T: what users do to notebooks, each in a real kernel, killed with SIGKILL where it says kill."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from tests.kernels import Kernel, lines, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Start = Callable[..., Kernel]

DOCUMENTS = 120
LOAD = "%load_ext durable_nb\nimport time\nfrom durable_nb import step"
# 10 ms a document: longer than the 5 ms from which a call is committed before it returns.
STEP = """
SUFFIX = "!"
def clean(doc):
    return doc.strip()

@step
def embed(doc):
    with open("executed.log", "a") as log:
        log.write(f"{doc}\\n")
    time.sleep(0.01)
    return "vector of " + clean(doc) + SUFFIX
"""
DOCS = f"docs = [f'doc {{i}}' for i in range({DOCUMENTS})]"
CELL = (
    "%%durable embed-docs\nvectors = embed.map(docs, workers=4)\nlist(vectors) == [f'vector of {doc}!' for doc in docs]"
)
WORKERS = 4


def executed(folder: Path) -> list[str]:
    """The documents the step's function was called with, in order, over all kernels."""
    return lines(folder / "executed.log")


def durable(folder: Path) -> set[str]:
    """The documents that are committed, read with nothing but sqlite3."""
    path = folder / ".durable_nb" / "durable.db"
    if not path.exists():
        return set()
    with sqlite3.connect(path) as connection:
        return {label for (label,) in connection.execute("SELECT label FROM checkpoints WHERE state = 'done'")}


def prepare(kernel: Kernel, *, step: str = STEP, docs: str = DOCS) -> Kernel:
    """Run the cells above the durable one."""
    for cell in (LOAD, step, docs):
        kernel.ok(cell)
    return kernel


def killed_at(start: Start, folder: Path, documents: int, *, cell: str = CELL) -> set[str]:
    """Run the durable cell in a kernel and kill it after so many documents; what was durable then."""
    kernel = prepare(start())
    kernel.start(cell)
    wait_until(lambda: len(executed(folder)) >= documents, describing=f"{documents} documents were executed")
    kernel.kill()
    return durable(folder)


def test_a_killed_kernel_costs_what_was_in_flight(kernel: Start, tmp_path: Path) -> None:
    """A: after SIGKILL at 40 % the same cells finish, and nothing that was durable is computed again."""
    before = killed_at(kernel, tmp_path, int(0.4 * DOCUMENTS))
    first = len(executed(tmp_path))

    reply = prepare(kernel()).ok(CELL)

    assert reply.result == "True"
    assert set(executed(tmp_path)[first:]) & before == set()
    assert len(executed(tmp_path)) <= DOCUMENTS + WORKERS
    assert first - len(before) <= WORKERS


def test_b_edited_orchestration_resumes(kernel: Start, tmp_path: Path) -> None:
    """B: the cell around the calls may be rewritten; calls that are still made are restored."""
    before = killed_at(kernel, tmp_path, 50)
    first = len(executed(tmp_path))
    edited = (
        "%%durable embed-docs\nprint('rewritten')\nfound = {}\n"
        "for number, text in enumerate(reversed(docs)):\n    found[text] = embed(text)\n"
        "[found[doc] for doc in docs] == [f'vector of {doc}!' for doc in docs]"
    )

    reply = prepare(kernel()).ok(edited)

    assert reply.result == "True"
    assert set(executed(tmp_path)[first:]) & before == set()


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        pytest.param('"vector of "', '"VECTOR OF "', "embed", marks=pytest.mark.matrix),
        ("doc.strip()", "doc.strip().upper()", "clean"),
        ('SUFFIX = "!"', 'SUFFIX = "?"', "SUFFIX"),
    ],
    ids=["body", "helper", "constant"],
)
def test_c_changed_code_is_told_and_decided_once(kernel: Start, tmp_path: Path, old: str, new: str, named: str) -> None:
    """C: an edited step, helper or constant stops the cell before anything runs; keep and recompute are one word each,
    and the other word takes it back."""
    before = len(killed_at(kernel, tmp_path, 50))
    first = len(executed(tmp_path))
    again = prepare(kernel(), step=STEP.replace(old, new))

    asked = again.run(CELL)

    assert asked.status == "error"
    assert "CodeChanged" in asked.traceback
    assert named in asked.traceback
    assert f"{before}" in asked.traceback
    assert len(executed(tmp_path)) == first

    kept = again.ok(
        CELL.replace("embed-docs", "embed-docs --on-change keep") + "\nsum(v.startswith('v') for v in vectors)"
    )

    assert len(executed(tmp_path)) == first + DOCUMENTS - before
    assert int(kept.result) >= before if named == "embed" else True
    again.ok(CELL)  # decided once: not asked again, nothing computed

    assert len(executed(tmp_path)) == first + DOCUMENTS - before
    again.ok(CELL.replace("embed-docs", "embed-docs --on-change recompute"))

    assert len(executed(tmp_path)) == first + DOCUMENTS
    again.ok(CELL.replace("embed-docs", "embed-docs --on-change keep"))

    assert len(executed(tmp_path)) == first + DOCUMENTS


def test_d_interrupt_stops_soon_and_loses_nothing(kernel: Start, tmp_path: Path) -> None:
    """D: ■ ends the cell within two seconds; what had finished is kept, and the re-run computes the rest once."""
    one = prepare(kernel())
    message = one.start(CELL)
    wait_until(lambda: len(executed(tmp_path)) >= 40, describing="40 documents were executed")
    one.interrupt()
    reply = one.finish(message, timeout=5)

    assert "KeyboardInterrupt" in reply.error
    assert len(durable(tmp_path)) == len(executed(tmp_path))

    assert one.ok(CELL).result == "True"
    assert len(executed(tmp_path)) == DOCUMENTS


def test_e_loading_executes_nothing(kernel: Start, tmp_path: Path) -> None:
    """E: in a fresh kernel, loading the extension over an unfinished run runs and opens nothing."""
    killed_at(kernel, tmp_path, 50)
    first = len(executed(tmp_path))
    one = kernel()

    reply = one.ok(LOAD + "\nimport sys\n'sqlalchemy' in sys.modules")

    assert reply.result == "False"
    assert len(executed(tmp_path)) == first


def test_f_a_name_is_asked_for_or_derived(kernel: Start, tmp_path: Path) -> None:
    """F: a durable cell without a name, and a map without a run, get stable ones: nothing runs twice."""
    one = prepare(kernel())
    cell = "%%durable\nvectors = embed.map(docs)"

    one.ok(cell)
    one.ok(cell)

    assert len(executed(tmp_path)) == DOCUMENTS
    (tmp_path / "executed.log").unlink()
    one.ok("vectors = embed.map(docs)")
    one.ok("vectors = embed.map(docs)")

    assert len(executed(tmp_path)) == DOCUMENTS


def test_g_a_failure_is_a_row_and_is_tried_again(kernel: Start, tmp_path: Path) -> None:
    """G: one document raises; after the cause is gone only that one runs again, whether the code changed or not."""
    fragile = STEP.replace(
        "    time.sleep",
        "    import os\n    if doc == 'doc 7' and not os.path.exists('mended'): raise ValueError('bad page')\n    time.sleep",
    )
    one = prepare(kernel(), step=fragile)

    failed = one.run(CELL)

    assert "StepFailed" in failed.error
    assert "doc 7" in failed.error
    assert "bad page" in failed.error
    assert len(durable(tmp_path)) == DOCUMENTS - 1
    one.kill()
    (tmp_path / "mended").touch()
    two = prepare(kernel(), step=fragile)

    assert two.ok(CELL).result == "True"
    assert executed(tmp_path)[DOCUMENTS:] == ["doc 7"]


def test_g_a_mended_function_keeps_the_others(kernel: Start, tmp_path: Path) -> None:
    """G: the function itself is mended; with --on-change keep only the failed document runs."""
    fragile = STEP.replace("    time.sleep", "    if doc == 'doc 7': raise ValueError('bad page')\n    time.sleep")
    one = prepare(kernel(), step=fragile)
    one.run(CELL)
    one.ok(STEP)

    assert one.ok(CELL.replace("embed-docs", "embed-docs --on-change keep")).result == "True"
    assert executed(tmp_path)[DOCUMENTS:] == ["doc 7"]


def test_h_an_unsaveable_result_costs_one_call(kernel: Start, tmp_path: Path) -> None:
    """H: a result that cannot be saved is named, with what to return instead, before a second call is wasted."""
    one = prepare(kernel(), step=STEP.replace("return ", "return __import__('threading').Lock() or "))

    reply = one.run(CELL)

    assert "Unsaveable" in reply.error
    assert "lock" in reply.error
    assert "doc 0" in reply.error
    assert executed(tmp_path) == ["doc 0"]


def test_k_a_second_kernel_is_told_and_harms_nothing(kernel: Start, tmp_path: Path) -> None:
    """K: while the first kernel lives, a second one is told who holds the run; once it is dead, the second goes on."""
    one = prepare(kernel())
    one.start(CELL.replace("docs,", "docs * 20,"))
    wait_until(lambda: len(executed(tmp_path)) >= 20, describing="20 documents were executed")
    two = prepare(kernel())

    told = two.run(CELL)

    assert "RunBusy" in told.traceback
    assert f"pid {one.pid}" in told.traceback
    assert "heartbeat" in told.traceback
    one.kill()
    first = len(executed(tmp_path))
    before = durable(tmp_path)

    assert two.ok(CELL).result == "True"
    assert set(executed(tmp_path)[first:]) & before == set()


def test_n_a_class_of_a_later_cell_is_needed_only_with_the_value(kernel: Start, tmp_path: Path) -> None:
    """N: results whose class is not defined yet are restored, and read once it is."""
    classy = "class Vector:\n    def __init__(self, doc): self.doc = doc"
    step = STEP.replace('return "vector of " + clean(doc) + SUFFIX', "return Vector(doc)")
    cell = "%%durable embed-docs\nvectors = embed.map(docs, workers=4)\nlen(vectors)"
    one = prepare(kernel(), step=step)
    one.ok(classy)
    one.ok(cell)
    one.kill()
    two = prepare(kernel(), step=step)

    assert two.ok(cell).result == f"{DOCUMENTS}"
    early = two.run("vectors[3]")

    assert "ValueUnavailable" in early.error
    assert "Vector" in early.error
    two.ok(classy)

    assert two.ok("(vectors[3].doc, type(vectors[3]) is Vector)").result == "('doc 3', True)"
    assert len(executed(tmp_path)) == DOCUMENTS


@pytest.mark.parametrize(
    "docs",
    [
        "docs = ['new 1', *(f'doc {i}' for i in range(60)), 'new 2', *(f'doc {i}' for i in range(60, 120))]",
        pytest.param("docs = [f'doc {i}' for i in range(0, 120, 2)]", marks=pytest.mark.matrix),
        pytest.param("docs = [f'doc {i}' for i in reversed(range(120))]", marks=pytest.mark.matrix),
        "import random; docs = [f'doc {i}' for i in range(130)]; random.Random(7).shuffle(docs)",
    ],
    ids=["inserted", "removed", "reversed", "shuffled and grown"],
)
def test_s_every_result_belongs_to_its_own_document(kernel: Start, tmp_path: Path, docs: str) -> None:
    """S: documents inserted, removed or re-ordered before the re-run get their own vectors, and only new ones run."""
    before = killed_at(kernel, tmp_path, 50)
    first = len(executed(tmp_path))

    reply = prepare(kernel(), docs=docs).ok(CELL)

    assert reply.result == "True"
    assert set(executed(tmp_path)[first:]) & before == set()


def test_t_other_arguments_are_other_calls(kernel: Start, tmp_path: Path) -> None:
    """T: under the same name, new arguments are computed and old ones restored."""
    one = prepare(kernel())
    one.ok(CELL)
    one.ok(DOCS.replace("doc {i}", "page {i}"))

    assert one.ok(CELL).result == "True"
    assert len(executed(tmp_path)) == 2 * DOCUMENTS
    one.ok(DOCS)

    assert one.ok(CELL).result == "True"
    assert len(executed(tmp_path)) == 2 * DOCUMENTS
