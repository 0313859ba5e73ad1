"""``%%durable NAME --fork OLD`` in real kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.kernels import lines, wait_until
from tests.notebook.cells import LOAD, STEPS, executed, stored
from tests.notebook.test_cli import asked, shell

if TYPE_CHECKING:
    from tests.kernels import Kernel
    from tests.notebook.cells import Start

PLAIN = """
def clean(doc):
    with open("executed.log", "a") as log:
        log.write(f"clean {doc}\\n")
    return doc.strip()

def parse(doc):
    with open("executed.log", "a") as log:
        log.write(f"{doc}\\n")
    return doc.upper()
"""
CELL = "%%durable {}\nfrom concurrent.futures import ThreadPoolExecutor\nout = [parse(clean(d)) for d in docs]\n"
CELL += (
    "with ThreadPoolExecutor(2) as pool:\n    more = list(pool.map(parse, [d + ' more' for d in docs]))\n(out, more)"
)


def test_an_ordinary_cell_is_forked(notebook: Kernel) -> None:
    """Its calls are restored, in loops and in pools; only new documents are computed, and the page says what it is."""
    notebook.ok(PLAIN + "docs = [f'ordinary {n}' for n in range(5)]")
    first = notebook.ok(CELL.format("ordinary"))
    again = notebook.ok(CELL.format("ordinary-2 --fork ordinary"))

    assert first.result == again.result
    assert ("done", 10, 10, 0) == stored(notebook.folder, "ordinary-2")
    assert (10, 5) == (len(executed(notebook, "ordinary")), len(executed(notebook, "clean ordinary")))
    notebook.ok("docs.append('ordinary 5')")
    notebook.ok(CELL.format("ordinary-2"))
    assert ("done", 12, 10, 0) == stored(notebook.folder, "ordinary-2")
    assert "forked from ordinary: takes results from there" in notebook.ok("%durable show ordinary-2").result
    refused = notebook.run("%durable forget ordinary --yes")
    assert "'ordinary-2' takes its results. Drop 'ordinary-2' first" in refused.text


def test_an_edited_fork_asks(notebook: Kernel) -> None:
    """Results of older code are offered with the diff, and the run that was forked keeps its own."""
    notebook.ok(PLAIN + "docs = [f'edited {n}' for n in range(3)]")
    notebook.ok(CELL.format("edited"))
    notebook.ok(PLAIN.replace("upper", "title"))
    asked = notebook.run(CELL.format("edited-2 --fork edited"))
    assert asked.error.startswith("CodeChanged"), asked.text
    assert 6 == len(executed(notebook, "edited"))
    kept = notebook.ok(CELL.format("edited-2 --fork edited --on-change keep")).result
    anew = notebook.ok(CELL.format("edited-3 --fork edited --on-change recompute")).result
    notebook.ok(PLAIN)

    assert "'EDITED 0'" in kept and "'Edited 0'" in anew
    assert kept == notebook.ok(CELL.format("edited")).result
    assert ("done", 6, 6, 0) == stored(notebook.folder, "edited")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("forked-badly --fork nowhere", "no run 'nowhere' to fork from"),
        ("forked-badly --fork forked-badly", "cannot be forked from itself"),
        ("there --fork forked", "'there' is there already, and was not forked from 'forked'"),
    ],
)
def test_a_fork_that_cannot_be(notebook: Kernel, options: str, says: str) -> None:
    """One sentence, and nothing runs."""
    for name in ("forked", "there"):
        notebook.ok(f"%%durable {name}\nembed('{name}')")
    reply = notebook.run(f"%%durable {options}\nembed('forked-badly')")

    assert says in reply.error
    assert "durable_nb/" not in reply.traceback
    assert stored(notebook.folder, "forked-badly") is None
    assert [] == executed(notebook, "forked-badly")


def test_a_run_that_another_kernel_computes_is_forked_and_both_are_killed(kernel: Start) -> None:
    """The fork takes what is committed; after SIGKILL both go on with what they have."""
    one, two = kernel(), kernel()
    for each in (one, two):
        each.ok(LOAD)
        each.ok(STEPS)
    cell = "for n in range({}):\n    slow(f'page {{n}}')"
    one.start(f"%%durable old\n{cell.format(20)}\ntime.sleep(600)")
    wait_until(lambda: len(lines(one.folder / "executed.log")) >= 12, describing="it has computed some")
    two.start(f"%%durable new --fork old\n{cell.format(60)}")
    wait_until(lambda: (stored(one.folder, "new") or ("", 0))[1] >= 25, describing="the fork is under way")
    old = stored(one.folder, "old")
    assert old is not None and "running" == old[0]
    one.kill()
    two.kill()
    before = len(lines(one.folder / "executed.log"))
    three = kernel()
    three.ok(LOAD)
    three.ok(STEPS)
    three.ok(f"%%durable new\n{cell.format(60)}")
    state = stored(one.folder, "new")
    assert state is not None
    restored = state[2]

    assert ("done", 60, 0) == (state[0], state[1], state[3])
    assert 25 <= restored < 60
    assert 60 - restored == len(lines(one.folder / "executed.log")) - before


def test_history_and_diff_of_a_forked_cell(notebook: Kernel) -> None:
    """The lines say what became of each version and how results differ; what they say to type works."""
    notebook.ok(PLAIN + "docs = [f'compared {n}' for n in range(4)]")
    notebook.ok(CELL.format("compared"))
    notebook.ok(PLAIN.replace("upper", "title"))
    notebook.ok(CELL.format("compared-2 --fork compared --on-change recompute"))
    notebook.ok(PLAIN)
    history = notebook.ok("%durable history compared-2")
    compared = notebook.ok("%durable diff compared compared-2").result
    assert compared == notebook.ok("%durable diff compared compared-2@2").result.replace("compared-2@2", "compared-2")
    read = notebook.ok("from durable_nb import run\nlist(run('compared-2').results(version=1))").result

    assert "done, 1 attempt, forked from compared" in history.result
    assert "step parse, version 1 " in history.result and ", of compared, since " in history.result
    assert "to read them: run('compared-2').results(version=2)" in history.result
    assert "0 equal, 8 different" in compared
    assert "compared 0: 'COMPARED 0' → 'Compared 0'" in compared
    assert "-    return doc.upper()" in compared
    assert read.startswith("['COMPARED 0',\n 'COMPARED 1'")


def test_history_and_diff_from_a_shell(notebook: Kernel) -> None:
    """The same words, and JSON for programs."""
    notebook.ok("%%durable shell-1\nembed('shell')")
    notebook.ok("%%durable shell-2 --fork shell-1\nembed('shell')")

    assert "forked from shell-1" in shell(notebook.folder, "history", "shell-2").stdout
    assert "1 equal, 0 different" in shell(notebook.folder, "diff", "shell-1", "shell-2").stdout
    assert [1] == [one["equal"] for one in asked(notebook.folder, "diff", "shell-1", "shell-2")["steps"]]
    assert ["embed"] == [one["name"] for one in asked(notebook.folder, "history", "shell-2")["versions"]]
    assert "no run 'nowhere'" in shell(notebook.folder, "diff", "shell-1", "nowhere").stderr


def test_worker_processes_of_a_forked_cell(kernel: Start) -> None:
    """A process pool of the cell's own restores what the origin has, and saves in the fork what is new."""
    one: Kernel = kernel()
    one.ok(LOAD)
    one.ok(PLAIN + "from concurrent.futures import ProcessPoolExecutor\nfrom multiprocessing import get_context")
    cell = (
        "%%durable {}\nwith ProcessPoolExecutor(2, get_context('fork')) as pool:\n"
        "    out = list(pool.map(parse, [f'work {{n}}' for n in range({})]))\nlen(out)"
    )
    one.ok(cell.format("old", 6))
    assert "8" == one.ok(cell.format("new --fork old", 8)).result

    assert 8 == len(executed(one, "work"))
    assert ("done", 8, 6, 0) == stored(one.folder, "new")
