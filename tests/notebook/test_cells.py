"""A durable cell is an ordinary cell of Jupyter; each promise in a real kernel, shared where nothing is left behind."""

from __future__ import annotations

import ast
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from durable_nb.store import Store
from tests.kernels import lines
from tests.notebook.cells import IN_CELL, LOAD, STEPS, executed, stored

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernels import Kernel
    from tests.notebook.cells import Start


@pytest.mark.parametrize(
    ("name", "body", "docs"),
    [
        ("amap", "list(await aembed.amap(['amap 1', 'amap 2']))", ["AMAP 1", "AMAP 2"]),
        ("amap-sync", "list(await embed.amap(['amap-sync 1', 'amap-sync 2']))", ["AMAP-SYNC 1", "AMAP-SYNC 2"]),
        (
            "await-step",
            "[await aembed('await-step 1'), await aembed('await-step 2')]",
            ["AWAIT-STEP 1", "AWAIT-STEP 2"],
        ),
        ("await-any", "await asyncio.sleep(0)\n[embed('await-any 1')]", ["AWAIT-ANY 1"]),
        (
            "gather",
            "await asyncio.gather(*(aembed(f'gather {n}') for n in range(3)))",
            ["GATHER 0", "GATHER 1", "GATHER 2"],
        ),
        (
            "async-with",
            "async with asyncio.timeout(9):\n    x = await aembed('async-with')\n[x]",
            ["ASYNC-WITH"],
        ),
    ],
)
def test_top_level_await(notebook: Kernel, name: str, body: str, docs: list[str]) -> None:
    """A durable cell may await at its top level; the calls are kept and restored like any others."""
    first = notebook.ok(f"%%durable {name}\n{body}")
    again = notebook.ok(f"%%durable {name}\n{body}")

    assert docs == ast.literal_eval(first.result)
    assert docs == ast.literal_eval(again.result)
    assert docs == [doc.upper() for doc in executed(notebook, name)]
    assert ("done", len(docs), len(docs), 0) == stored(notebook.folder, name)


def test_the_last_expression_is_the_output(notebook: Kernel) -> None:
    """The last expression is shown and is Out[n] and _; a trailing semicolon suppresses it."""
    shown = notebook.ok("%%durable shown\nembed('a')\nembed('b')").result
    kept = notebook.ok("_, Out[max(Out)] == _").result
    hidden = notebook.ok("%%durable shown\nembed('a');").result

    assert "'B'" == shown
    assert "('B', True)" == kept
    assert "" == hidden


@pytest.mark.parametrize("head", ["%%durable {}", "%durable {}", "\n\n%%durable {}", "%%durable\t{} "])
def test_ways_to_mark_a_cell(notebook: Kernel, head: str) -> None:
    """%%durable NAME and %durable NAME as first line mark the cell, however it is spaced."""
    name = f"head-{len(head)}-{head.count('%')}"
    reply = notebook.ok(f"{head.format(name)}\n\nembed('{name}')")

    assert f"'{name.upper()}'" == reply.result
    assert ("done", 1, 0, 0) == stored(notebook.folder, name)


def test_a_traceback_shows_the_line_of_the_cell(notebook: Kernel) -> None:
    """An error is shown at the line where it was typed."""
    reply = notebook.run("%%durable traceback\nembed('a')\n\n1 / 0\nembed('never')")

    assert "ZeroDivisionError: division by zero" == reply.error
    assert "----> 4 1 / 0" in reply.traceback
    assert ("failed", 1, 0, 0) == stored(notebook.folder, "traceback")


def test_a_syntax_error_opens_no_run(notebook: Kernel) -> None:
    """A cell that cannot be compiled is reported at the right line, and no run was begun."""
    reply = notebook.run("%%durable syntax\nembed('syntax')\n\nx = = 3")

    assert reply.error.startswith("SyntaxError")
    assert "line 4" in reply.traceback
    assert "x = = 3" in reply.traceback
    assert stored(notebook.folder, "syntax") is None
    assert [] == executed(notebook, "syntax")


def test_shell_lines_and_line_magics(notebook: Kernel) -> None:
    """``x = !command``, ``!command {name}`` and ``%time`` work between the calls of a durable cell."""
    reply = notebook.ok(
        "%%durable shell\n"
        "what = 'shell lines'\n"
        "words = !echo {what}\n"
        "!echo printed {what}\n"
        "for word in words:\n"
        "    %time vector = embed(word)\n"
        "words, vector"
    )

    assert "(['shell lines'], 'SHELL LINES')" == reply.result
    assert "printed shell lines" in reply.stdout
    assert "Wall time" in reply.stdout


@pytest.mark.parametrize("head", ["%%time\n%%durable {}", "%%durable {}\n%%time", "%%durable {}\n\n%%time"])
def test_time_above_and_below(notebook: Kernel, head: str) -> None:
    """%%time may stand above or below %%durable: the cell is timed, shown and kept."""
    name = f"time-{len(head)}-{head.index('durable')}"
    reply = notebook.ok(f"{head.format(name)}\nembed('{name}')")

    assert f"'{name.upper()}'" == reply.result
    assert "Wall time" in reply.stdout
    assert ("done", 1, 0, 0) == stored(notebook.folder, name)


def test_capture_inside(notebook: Kernel) -> None:
    """%%capture below %%durable captures what the cell prints; the run ends with the cell."""
    notebook.ok("%%durable capture\n%%capture out\nprint('words')\nvector = embed('capture')")

    assert "('words\\n', 'CAPTURE')" == notebook.ok("out.stdout, vector").result
    assert ("done", 1, 0, 0) == stored(notebook.folder, "capture")


def test_threads_of_the_user(notebook: Kernel) -> None:
    """Steps called from a ThreadPoolExecutor belong to the run of the cell, and are restored."""
    cell = (
        "%%durable pool\nfrom concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(4) as pool:\n    vectors = list(pool.map(embed, [f'pool {n}' for n in range(20)]))\n"
        "vectors == [f'POOL {n}' for n in range(20)]"
    )

    assert "True" == notebook.ok(cell).result
    assert "True" == notebook.ok(cell).result
    assert 20 == len(executed(notebook, "pool "))
    assert ("done", 20, 20, 0) == stored(notebook.folder, "pool")


def test_a_cell_run_again_in_the_same_kernel(notebook: Kernel) -> None:
    """The same cell again computes nothing; one more document computes one."""
    cell = "%%durable again\n[embed(f'again {n}') for n in range(COUNT)]"
    for count in ("3", "3", "4"):
        notebook.ok(cell.replace("COUNT", count))

    assert ["again 0", "again 1", "again 2", "again 3"] == executed(notebook, "again ")
    assert ("done", 4, 3, 0) == stored(notebook.folder, "again")


def test_source_of_what_a_durable_cell_defines(notebook: Kernel) -> None:
    """inspect.getsource finds functions and steps that were defined in a durable cell, comments included."""
    notebook.ok(
        "%%durable source\n@step\ndef shorten(doc):\n    # keeps the start\n    return doc[:2]\n\n"
        "def around(doc):\n    return shorten(doc)  # mine\naround('source')"
    )
    source = notebook.ok("print(inspect.getsource(around) + inspect.getsource(shorten))").stdout

    assert "return shorten(doc)  # mine" in source
    assert "@step\ndef shorten(doc):\n    # keeps the start\n" in source


def test_help_teaches(notebook: Kernel) -> None:
    """%%durable? and %durable? show the help, with every form that can be typed."""
    for question in ("%%durable?", "%durable?"):
        reply = notebook._client.execute(question, reply=True, timeout=20)
        text = reply["content"]["payload"][0]["data"]["text/plain"]

        assert "%%durable embed-filings" in text
        assert "%durable forget embed-filings" in text
        assert "--on-change" in text


@pytest.mark.parametrize("inner", ["inner = 1", "", "1 / 0", "%durable", "await asyncio.sleep(0)"])
def test_a_cell_that_runs_a_cell_keeps_its_run(notebook: Kernel, inner: str) -> None:
    """get_ipython().run_cell inside a durable cell, even of an empty or failing cell, does not end its run."""
    name = f"nested-{len(inner)}"
    reply = notebook.ok(f"%%durable {name}\nget_ipython().run_cell({inner!r})\nembed('{name}')\n{IN_CELL}")

    assert f"['{name}']" == reply.result
    assert ("done", 1, 0, 0) == stored(notebook.folder, name)


def test_a_durable_cell_in_a_durable_cell_is_refused(notebook: Kernel) -> None:
    """The inner cell says so and runs nothing; the outer one goes on and its calls are kept."""
    inner = "%%durable inner\nembed('inner')"
    reply = notebook.ok(f"%%durable outer\nget_ipython().run_cell({inner!r})\nembed('outer')")

    assert "run 'outer' cannot run another durable cell" in reply.traceback
    assert [] == executed(notebook, "inner")
    assert stored(notebook.folder, "inner") is None
    assert ("done", 1, 0, 0) == stored(notebook.folder, "outer")


def test_the_magic_called_from_python(notebook: Kernel) -> None:
    """run_cell_magic('durable', …) is the same cell: kept under its own source, and its error is raised."""
    notebook.ok("get_ipython().run_cell_magic('durable', 'called', 'embed(\"called\")')")
    failed = notebook.run("get_ipython().run_cell_magic('durable', 'called-2', 'embed(1 / 0)')\nprint('not reached')")
    with closing(sqlite3.connect(notebook.folder / ".durable_nb" / "durable.db")) as connection:
        (source,) = connection.execute("SELECT source FROM runs WHERE name = 'called'").fetchone()

    assert '%%durable called\nembed("called")' == source
    assert ("done", 1, 0, 0) == stored(notebook.folder, "called")
    assert "ZeroDivisionError: division by zero" == failed.error
    assert "" == failed.stdout


def restarted(kernel: Start, *cells: str) -> Kernel:
    """A fresh kernel in the same folder, with these cells run."""
    one = kernel()
    for cell in (LOAD, STEPS, *cells):
        one.ok(cell)
    return one


def test_a_step_defined_under_time(kernel: Start, tmp_path: Path) -> None:
    """%%time leaves no source, yet the step has the same fingerprint after a restart and a change elsewhere in its cell;
    another body is told."""
    timed = "%%time\n@step\ndef timed(doc):\n    executed(doc)\n    return doc.upper()"
    cell = "%%durable timed\ntimed('timed')"
    one = restarted(kernel, timed)
    one.ok(cell)
    one.kill()
    two = restarted(kernel, timed.replace("%%time", "%%time\n# a comment\nunrelated = 1\n"))

    assert "'TIMED'" == two.ok(cell).result
    assert ["timed"] == lines(tmp_path / "executed.log")
    two.ok(timed.replace("upper", "title"))

    assert "CodeChanged" in two.run(cell).traceback


@pytest.mark.parametrize(
    ("imports", "create", "other", "use"),
    [
        ("import xxhash", "xxhash.xxh64(b'one')", "xxhash.xxh64(b'two')", "model.hexdigest()"),
        (
            "class Model:\n    def __init__(self, name):\n        self.name, self.lock = name, threading.Lock()",
            "Model('small')",
            "Model('large')",
            "model.name",
        ),
    ],
    ids=["third-party", "with a lock"],
)
def test_an_object_without_a_value(
    kernel: Start, tmp_path: Path, imports: str, create: str, other: str, use: str
) -> None:
    """A model or client is known by the statement that created it: made again after a restart it restores, made
    otherwise it is told."""
    define = f"{imports}\nmodel = {create}"
    reader = f"@step\ndef ask(doc):\n    executed(doc)\n    return doc + {use}"
    cell = "%%durable opaque\nask('opaque')"
    one = restarted(kernel, define, reader)
    first = one.ok(cell).result
    one.kill()
    two = restarted(kernel, "# made in another cell now", define, reader)

    assert first == two.ok(cell).result
    assert ["opaque"] == lines(tmp_path / "executed.log")
    two.ok(f"model = {other}")
    asked = two.run(cell)

    assert "CodeChanged" in asked.traceback
    assert "global model" in asked.traceback
    assert ["opaque"] == lines(tmp_path / "executed.log")


def test_a_loop_over_a_step_says_how_many_calls_to_expect(kernel: Start) -> None:
    """While a loop calls a ``@step`` the total is known, as for a function; a run that was cut short claims no 100 %."""
    one = kernel()
    one.ok(LOAD)
    one.ok("@step\ndef embed(n):\n    if n == 7: raise KeyboardInterrupt\n    return n")
    one.run("%%durable counted\n[embed(n) for n in range(20)]")
    shown = one.ok("%durable show counted").result

    assert shown.startswith("counted: interrupted  7 / 20 (35%)")
    one.run("%%durable while-loop\nn = 0\nwhile n < 20:\n    embed(n)\n    n += 1")

    assert one.ok("%durable show while-loop").result.startswith("while-loop: interrupted  7 durable")


def test_a_document_of_a_worker_process_is_not_taken_for_the_first(kernel: Start) -> None:
    """Nobody knows which square of the mosaic a document has that another process computed: no square bears its name."""
    one = kernel()
    one.ok(f"{LOAD}\nfrom concurrent.futures import ProcessPoolExecutor\ndef heavy(doc):\n    return doc.upper()")
    one.ok(
        "%%durable away\nwith ProcessPoolExecutor(2) as pool:\n    out = list(pool.map(heavy, ['a', 'b', 'c']))\nout"
    )
    with closing(Store.read_only(f"sqlite:///{one.folder / '.durable_nb' / 'durable.db'}")) as store:
        run = store.run("away")
        assert run is not None
        named = [store.document(run.id, position) for position in range(3)]

    assert 3 == run.done
    assert [None, None, None] == named


def test_a_result_saved_by_a_worker_is_of_the_class_of_the_notebook(kernel: Start) -> None:
    """After a restart too, where the functions of the notebook reach the workers by value, as joblib, loky and Dask do it."""
    pytest.importorskip("joblib")
    classes = (
        f"{LOAD}\nfrom joblib import Parallel, delayed\nclass Page:\n    def __init__(self, doc): self.doc = doc\n"
        "def embed(doc):\n    open('executed.log', 'a').write(f'{doc}\\n')\n    return [Page(doc)]"
    )
    cell = "%%durable away\npages = Parallel(n_jobs=2)(delayed(embed)(doc) for doc in range(6))\n"
    cell += "[(page.doc, isinstance(page, Page)) for (page,) in pages]"
    one = kernel()
    one.ok(classes)
    computed = one.ok(cell).result
    one.restart()
    one.ok(classes)
    restored = one.ok(cell).result

    assert str([(doc, True) for doc in range(6)]) == computed == restored
    assert 6 == len(lines(one.folder / "executed.log"))
