"""What the line magic answers, and what a first line must not be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.notebook.cells import executed, stored

if TYPE_CHECKING:
    from tests.kernels import Kernel, Reply


def unattended(one: Kernel, code: str) -> Reply:
    """Run a cell where nobody can answer a question, as nbclient does."""
    return one.finish(one._client.execute(code, allow_stdin=False))


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("%%durable refused", "the cell is empty"),
        ("%%durable refused\n\n   \n", "the cell is empty"),
        ("%%durable", "the cell is empty"),
        ("%%durable refused\n%%bash\necho refused > executed.log", "cannot wrap %%bash"),
        ("%durable refused\n%%writefile refused.py\nx = 1", "cannot wrap %%writefile"),
        ("%%durable show\nembed('refused')", "'show' is a sub-command"),
        ("%%durable resume\nembed('refused')", "'resume' is a sub-command"),
        ("%%durable two words\nembed('refused')", "a run has one name"),
        ("%%durable 'refused\nembed('refused')", "no closing quotation. Close the quotes"),
        ("%%durable embed(docs)\nembed('refused')", "cannot name a run"),
        ("%%durable refused --on-change maybe\nembed('refused')", "invalid choice: 'maybe'"),
        ("%%durable refused --nope\nembed('refused')", "unrecognized arguments: --nope"),
        (
            "%%durable refused --replay lode\nfor n in '12':\n    embed('refused')",
            "does not stand in this cell. Name what it calls, as it is typed there: embed",
        ),
        ("%%durable refused --db oracle://nowhere\nembed('refused')", "cannot keep results in oracle"),
    ],
)
def test_refused_before_anything_runs(notebook: Kernel, cell: str, says: str) -> None:
    """A first line that cannot be meant says what to type, in one sentence, and nothing of the cell is run."""
    reply = notebook.run(cell)

    assert "error" == reply.status
    assert says in reply.text
    assert "Traceback" not in reply.text
    assert stored(notebook.folder, "refused") is None
    assert [] == executed(notebook, "refused")


WORKERS = """async def work():
    while not queue.empty():
        out.append({call})"""
FILL = "for doc in ('refused 1', 'refused 2'):\n    queue.put_nowait(doc)"


@pytest.mark.parametrize("parts", [[WORKERS, FILL], [FILL, WORKERS]], ids=["functions first", "loop first"])
def test_workers_whose_calls_cannot_be_kept_are_refused(notebook: Kernel, parts: list[str]) -> None:
    """Wherever in the cell they stand; with a step in them they run, and it keeps its calls."""
    notebook.ok("async def plainly(doc):\n    executed(doc)\n    return doc")
    cell = "\n".join(["%%durable refused", "queue, out = asyncio.Queue(), []", *parts, "await work()"])
    reply = notebook.run(cell.replace("{call}", "await plainly(queue.get_nowait())"))

    assert "nothing in this cell can be kept" in reply.text
    assert [] == executed(notebook, "refused")
    kept = cell.replace("{call}", "await aembed(queue.get_nowait())").replace("%%durable refused", "%%durable workers")
    notebook.ok(kept.replace("'refused ", "'kept "))
    assert "['KEPT 1', 'KEPT 2']" == notebook.ok("out").result


def test_runs_are_listed_and_shown(notebook: Kernel) -> None:
    """%durable lists the runs, newest first; %durable show NAME and %durable NAME show one, and its code versions."""
    notebook.ok("%%durable listed-1\nembed('listed 1')")
    notebook.ok("%%durable listed-2\nembed('listed 2')")
    table = notebook.ok("%durable").result
    page = notebook.ok("%durable show listed-2").result

    assert 0 < table.index("listed-2") < table.index("listed-1")
    assert page.startswith("listed-2: done")
    assert "step embed" in page
    assert page == notebook.ok("%durable listed-2").result


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("%durable nowhere", "no run 'nowhere'"),
        ("%durable show nowhere", "no run 'nowhere'"),
        ("%durable show", "needs the name of a run"),
        ("%durable show 'nowhere", "no closing quotation. Close the quotes"),
        ("%durable forget nowhere --yes", "nothing was dropped"),
        ("%durable forget --yes", "needs the name of a run"),
        ("%durable history", "needs the name of a run"),
        ("%durable history nowhere", "no run 'nowhere'"),
        ("%durable diff listed-1", "compares two"),
        ("%durable diff listed-1 nowhere", "no run 'nowhere'"),
        ("%durable diff listed-1@7 listed-1", "no version 7"),
        ("%durable frobnicate listed-1", "no sub-command 'frobnicate'"),
        ("%durable --nope", "unrecognized arguments"),
        ("%durable gc", "durable-nb gc --older 30d --max-size 2GB --db"),
        ("# The filings\n%durable listed-1\nembed('listed 2')", "Move it there"),
        ("import os\n%durable listed-1 --db other.db\n\nembed('listed 2')", "%durable show listed-1"),
    ],
)
def test_a_line_that_cannot_be_meant(notebook: Kernel, line: str, says: str) -> None:
    """The line magic answers a wrong name or word with what there is."""
    notebook.ok("%%durable listed-1\nembed('listed 1')")
    reply = notebook.run(line)

    assert "error" == reply.status
    assert says in reply.text
    assert "Traceback" not in reply.text


def test_the_settings_in_force_are_shown(notebook: Kernel) -> None:
    """%durable config: each by its name, the address of the database whole and without its password."""
    shown = notebook.ok("%durable config").stdout
    elsewhere = notebook.ok("%durable config --db postgresql://me:hunter2@localhost:1/x?password=hunter3").stdout

    assert f"sqlite:///{notebook.folder}/.durable_nb/durable.db" in shown
    assert "on_change    ask" in shown
    assert "postgresql+psycopg://me@localhost:1/x\n" in elsewhere
    assert "hunter" not in elsewhere


@pytest.mark.parametrize("written", ["{base}/my data/a.db", '"{base}/my data/b.db"', "'$base/c.db'", "$base/d.db"])
def test_a_database_is_named_as_in_any_magic(notebook: Kernel, written: str) -> None:
    """On a cell as on a line: in quotes or not, by a variable or its text; one that there is not is no file of that name."""
    if not written.startswith(("'", '"')):
        written = written.replace("my data", "my-data")
    notebook.ok(f"base = {str(notebook.folder)!r} + '/elsewhere'")
    notebook.ok(f"%%durable placed --db {written}\nembed('placed')")

    assert "placed: done" in notebook.ok(f"%durable show placed --db {written}").result
    path = written.strip("'\"").replace("{base}", "elsewhere").replace("$base", "elsewhere")
    assert (notebook.folder / path).is_file()
    wrong = notebook.run("%%durable placed --db {nowhere}/x.db\nembed('placed')")
    assert "no such variable" in wrong.text and not (notebook.folder / "{nowhere}").exists()


def test_help_is_given_as_in_a_shell(notebook: Kernel) -> None:
    """--help shows what %durable? does."""
    assert "%durable forget embed-filings" in notebook.ok("%durable --help").stdout


def test_a_run_is_shown_below_other_code(notebook: Kernel) -> None:
    """A name alone shows its run where nothing but comments follows."""
    notebook.ok("%%durable shown-below\nembed('below')")

    assert "shown-below" in notebook.ok("found = 1\n%durable shown-below\n# as it is now\n").text


def test_forget_asks_first(notebook: Kernel) -> None:
    """%durable forget drops a run after a yes or with --yes; where nobody can answer it says so and drops nothing."""
    notebook.ok("%%durable forgotten\nembed('forgotten')")
    alone = unattended(notebook, "%durable forget forgotten")

    assert "error" == alone.status
    assert "%durable forget forgotten --yes" in alone.text
    assert stored(notebook.folder, "forgotten") is not None
    for answer, kept in (("n", True), ("", True), ("y", False)):
        message = notebook.start("%durable forget forgotten")
        question = notebook._client.get_stdin_msg(timeout=20)["content"]["prompt"]
        notebook._client.input(answer)
        notebook.finish(message)

        assert "1 saved results" in question
        assert kept is (stored(notebook.folder, "forgotten") is not None)
    notebook.ok("%%durable forgotten\nembed('forgotten')")
    reply = notebook.ok("%durable forget forgotten --yes")

    assert "Dropped run 'forgotten': 1 saved results" in reply.stdout
    assert stored(notebook.folder, "forgotten") is None


def test_another_database(notebook: Kernel) -> None:
    """--db with a path keeps the run there, relative to the notebook, and nothing in the database beside it."""
    notebook.ok("%%durable elsewhere --db other/place.db\nembed('elsewhere')")

    assert (notebook.folder / "other" / "place.db").exists()
    assert stored(notebook.folder, "elsewhere") is None
    assert "elsewhere" in notebook.ok("%durable --db other/place.db").result
    assert notebook.ok("%durable show elsewhere --db other/place.db").result.startswith("elsewhere: done")
