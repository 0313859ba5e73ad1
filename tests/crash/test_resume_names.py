"""Names that a fresh kernel cannot have as it finds them: iterators that were advanced, what cells showed, parts of modules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.kernels import Kernel, lines, wait_until
from tests.matrix import usual

if TYPE_CHECKING:
    from tests.notebook.cells import Start

LOAD = "%load_ext durable_nb\nimport csv, itertools, time"
STEP = """def embed(doc):
    with open("executed.log", "a") as log:
        log.write(f"{doc}\\n")
    time.sleep(0.03)
    return str(doc).upper()"""
DOCS = "docs = [f'd{n}' for n in range(20)]"
TABLE = "with open('table.csv', 'w') as file:\n    file.write('name\\n' + '\\n'.join(docs))"


def resumed(kernel: Start, cells: list[str], loop: str, options: str = "") -> tuple[Kernel, str]:
    """A fresh kernel after ``%durable resume`` of a cell that was killed, and what that said or raised."""
    one = kernel()
    for cell in (LOAD, STEP, DOCS, *cells):
        one.ok(cell)
    one.start(f"%%durable pages\n{loop}")
    wait_until(lambda: len(lines(one.folder / "executed.log")) >= 8, describing="some are computed")
    one.kill()
    two = kernel()
    two.ok("%load_ext durable_nb")
    reply = two.run(f"%durable resume pages {options}")
    return two, f"{reply.stdout}{reply.traceback}"


@pytest.mark.parametrize(
    ("cells", "loop"),
    [
        (
            [TABLE, "reader = csv.reader(open('table.csv'))", "header = next(reader)"],
            "out = [embed(row[0]) for row in reader]",
        ),
        (["numbers = itertools.count()", "next(numbers)"], "out = [embed(f'd{next(numbers) - 1}') for _ in range(20)]"),
        (
            [
                "shelf = {}\ndef shelved(f):\n    shelf[f.__name__] = f\n    return f",
                "@shelved\ndef up(doc): return embed(doc)",
            ],
            "out = [shelf['up'](doc) for doc in docs]",
        ),
    ],
    ids=["reader", "count", "registry"],
)
def test_statements_that_changed_a_name_are_executed_again(kernel: Start, cells: list[str], loop: str) -> None:
    """Also ``next``, by which an iterator is another one, and the definitions that fill a registry."""
    two, said = resumed(kernel, cells, loop, "--make")

    assert "True" == two.run("out == [f'D{n}' for n in range(20)]").result, said


def test_the_cells_to_run_are_all_named(kernel: Start) -> None:
    """What another cell did to the object stands below the cell that made it."""
    cells = [TABLE, "reader = csv.reader(open('table.csv'))", "header = next(reader)"]
    _, said = resumed(kernel, cells, "out = [embed(row[0]) for row in reader]")

    assert "In [5] was:\n\n    reader = csv.reader(open('table.csv'))" in said
    assert "and in other cells, afterwards:\n\n    header = next(reader)\n\nRun them, then:" in said


@pytest.mark.parametrize("shown", usual(["_", "_4", "Out[4]"], "_"))
def test_a_cell_that_reads_what_another_showed_is_not_resumed(kernel: Start, shown: str) -> None:
    """In a fresh kernel these are other values, or none: the run would be done with nothing in it."""
    two, said = resumed(kernel, ["list(docs)"], f"out = [embed(doc) for doc in {shown}]")

    assert f"its cell reads {shown.partition('[')[0]}, what another cell showed" in said
    assert "Give that value a name (docs = …)" in said
    assert "interrupted" in two.ok("%durable show pages").text
    assert "False" == two.ok("'out' in globals()").result


def test_a_function_of_that_form_is_a_function(kernel: Start) -> None:
    """As ``_`` of gettext is."""
    two, said = resumed(kernel, ["def _(text): return text.lower()"], "out = [embed(_(doc)) for doc in docs]", "--make")

    assert "True" == two.run("out == [f'D{n}' for n in range(20)]").result, said


def test_a_module_in_a_module_is_imported(kernel: Start) -> None:
    """``import xml.dom.minidom`` binds ``xml``, in which that is not without the import."""
    cell = "import xml.dom.minidom\nimport xml.sax.saxutils as escaping"
    two, said = resumed(kernel, [cell], "out = [xml.dom.minidom.Node.__name__ + embed(doc) for doc in docs]")

    assert "True" == two.run("out == [f'NodeD{n}' for n in range(20)]").result, said


def test_a_database_that_was_named_by_a_variable_is_found(kernel: Start) -> None:
    """Who resumes has found it: the line of the cell, whose variable the fresh kernel has not, does not name it again."""
    one = kernel()
    for cell in (LOAD, STEP, DOCS, "where = 'elsewhere.db'"):
        one.ok(cell)
    one.ok('%%durable pages --db "{where}"\nout = [embed(doc) for doc in docs]')
    one.kill()
    two = kernel()
    two.ok("%load_ext durable_nb")
    two.ok("%durable resume pages --db elsewhere.db")

    assert "True" == two.ok("out == [f'D{n}' for n in range(20)]").result
    assert 20 == len(lines(one.folder / "executed.log"))
    assert "pages" not in two.ok("%durable").result
