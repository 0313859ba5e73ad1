"""`%durable explain` says of every call of a cell whether it is kept, what names it, or why it runs again."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.kernels import Kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

ABOVE = """
%load_ext durable_nb
import asyncio, functools, time
from concurrent.futures import ThreadPoolExecutor
import pandas as pd

docs, limit = ["a", "b"], 3
df = pd.DataFrame({"text": docs})

def clean(text): return text.strip()
def embed(text): return [len(text), limit]
def pages(text): yield text
async def fetch(url): return url.upper()

class Model:
    def __init__(self, n): self.n = n
    def encode(self, text): return text * self.n

model = Model(2)
"""


class Shape(NamedTuple):
    """A cell, and what is said about it: line, verdict, expression."""

    name: str
    cell: str
    verdicts: list[tuple[int, str, str]]


SHAPES = [
    Shape(
        "loop",
        "vectors = []\nfor doc in docs:\n    vectors.append(embed(clean(doc)))",
        [(4, "run again", "vectors.append(…): a method called for its effect"), (4, "kept", "embed(clean(doc))")],
    ),
    Shape("comprehension", "vectors = [embed(d) for d in docs]", [(2, "kept", "embed(d)")]),
    Shape(
        "pool",
        "with ThreadPoolExecutor(2) as pool:\n    vectors = list(pool.map(embed, docs))",
        [(3, "kept", "embed")],
    ),
    Shape("map", "df['n'] = df.text.map(lambda t: embed(t)[0])", [(2, "kept", "lambda t: embed(t)[0]")]),
    Shape(
        "await",
        "found = await asyncio.gather(*(fetch(d) for d in docs))\nfor d in docs:\n    text = (await fetch(d)).lower()",
        [(2, "kept", "fetch(d)"), (4, "kept", "(await fetch(d)).lower()")],
    ),
    Shape(
        "method",
        "for d in docs:\n    print(model.encode(d), len(d))\n    top = sorted(docs, key=len)",
        [
            (3, "run again", "print(…): a builtin"),
            (3, "kept", "model.encode(d)"),
            (3, "run again", "len(…): a builtin"),
            (4, "run again", "sorted(…): a builtin"),
        ],
    ),
    Shape(
        "defined here",
        "def local(d): return d\nfor d in docs:\n    v = local(d)\n    w = list(pages(d))\n    x = Model(3)",
        [
            (4, "kept", "local(d)"),
            (5, "run again", "list(…): makes an object"),
            (5, "run again", "pages(…): a generator, whose results cannot be kept"),
            (6, "run again", "Model(…): makes an object"),
        ],
    ),
    Shape(
        "never reached",
        "for d in docs:\n    v = embed(d)[0]\n    if not d:\n        never = unknown(d)",
        [(3, "kept", "embed(d)[0]"), (5, "open", "unknown(d)")],
    ),
]
GOLDEN = {
    "loop": """
          1  %%durable loop
          2  vectors = []
          3  for doc in docs:
          4      vectors.append(embed(clean(doc)))
             ↻ run again  vectors.append(…): a method called for its effect
             ✓ kept       embed(clean(doc))
                          named by the values that its arguments are built from: clean, doc
                          asks before it runs if one of these was edited: def:embed, global limit

        When the cell is run again, finished calls of what is kept return at once;
        everything else runs again, as it is written.
        """,
    "method": """
          1  %%durable method
          2  for d in docs:
          3      print(model.encode(d), len(d))
             ↻ run again  print(…): a builtin
             ✓ kept       model.encode(d)
                          named by the values of its arguments (d) and the value of its object
                          asks before it runs if one of these was edited: def:Model.encode
             ↻ run again  len(…): a builtin
          4      top = sorted(docs, key=len)
             ↻ run again  sorted(…): a builtin

        When the cell is run again, finished calls of what is kept return at once;
        everything else runs again, as it is written.
        """,
}
REMARK = re.compile(r"^     [✓↻?] (kept|run again|open) +(.*)$")


@pytest.fixture(scope="module")
def explaining(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """A kernel in which every shape has been run once."""
    folder = tmp_path_factory.mktemp("explain")
    with Kernel(folder, XDG_STATE_HOME=str(folder / "state")) as one:
        one.ok(ABOVE)
        for shape in SHAPES:
            one.ok(f"%%durable {shape.name.replace(' ', '-')}\n{shape.cell}")
        yield one


def remarks(text: str) -> list[tuple[int, str, str]]:
    """What an explanation says: line of the cell, verdict, expression."""
    found, line = [], 0
    for one in text.splitlines():
        line = int(one[:3]) if one[:3].strip().isdigit() else line
        if said := REMARK.match(one):
            found.append((line, said[1], said[2]))
    return found


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_what_is_kept_and_what_runs_again(explaining: Kernel, shape: Shape) -> None:
    """Each call stands under its line with its verdict; the cell is shown as it was typed."""
    text = explaining.ok(f"%durable explain {shape.name.replace(' ', '-')}").result
    shown = [line[5:] for line in text.splitlines() if re.match(r"^ *\d+  ", line)]

    assert shape.verdicts == remarks(text)
    assert shape.cell.splitlines() == shown[1:]


@pytest.mark.parametrize("name", GOLDEN)
def test_the_text(explaining: Kernel, name: str) -> None:
    """The explanation reads exactly so."""
    expected = textwrap.dedent(GOLDEN[name]).strip("\n").rstrip().splitlines()
    got = explaining.ok(f"%durable explain {name}").result.splitlines()

    assert expected == got


@pytest.mark.xfail(strict=True, reason="a builder that runs again anyway is left out of the name, but not here")
def test_a_plain_builder_is_no_part_of_the_name(explaining: Kernel) -> None:
    """Arguments that cost nothing are evaluated first: then their values name the call, and that is said."""
    explaining.ok("%%durable plain-builder\nfor n in range(2):\n    v = embed(str(n))")

    assert "named by the values of its arguments" in explaining.ok("%durable explain").result


def test_a_refused_cell(explaining: Kernel) -> None:
    """A cell in which nothing can be kept is explained too: why nothing is, and what to do."""
    reply = explaining.run("%%durable refused\nfor d in docs:\n    n = len(d)\n    rows = df.head(n)")
    text = explaining.ok("%durable explain").result

    assert reply.error.startswith("ConfigError: nothing in this cell can be kept: ")
    assert [(3, "run again", "len(…): a builtin"), (4, "run again", "df.head(…): of pandas")] == remarks(text)
    assert "Nothing in this cell is kept. Name what is worth keeping with --steps." == text.splitlines()[-1]
    assert text == explaining.ok("%durable explain refused").result


@pytest.mark.parametrize("call", ["one('a')", "many(docs)", "one.map(docs)", "[one(d) for d in docs]", "through(docs)"])
def test_calls_of_a_step_are_kept_by_themselves(explaining: Kernel, call: str) -> None:
    """A cell that only calls steps, in a loop or not, is not said to keep nothing."""
    explaining.ok(
        "import durable_nb\n@durable_nb.step\ndef one(d): return d.upper()\n@durable_nb.step(batch=2)\n"
        "def many(ds): return [d.upper() for d in ds]\ndef through(docs): return one.map(docs)"
    )
    explaining.ok(f"%%durable steps\nv = {call}")

    assert (
        "Calls of a @step, and of its .map, are kept by themselves. Everything else in this cell runs again."
        == explaining.ok("%durable explain").result.splitlines()[-1]
    )


def test_the_last_cell_is_explained(explaining: Kernel) -> None:
    """Without a name it is the last durable cell, and of a run that was repeated its last cell."""
    explaining.ok("%%durable map\nw = [embed(d) for d in docs + ['last']]")
    last, named = explaining.ok("%durable explain").result, explaining.ok("%durable explain map").result

    assert last == named
    assert "  2  w = [embed(d) for d in docs + ['last']]" in last
    # Put back for the tests of the shapes, whatever their order.
    explaining.ok("%%durable map\n" + next(shape.cell for shape in SHAPES if shape.name == "map"))


def test_a_run_that_is_not_known(explaining: Kernel) -> None:
    """The name of a run that this kernel has not run is told, and how to go on."""
    said = explaining.run("%durable explain nope").text

    assert "no durable cell of run 'nope' has been run in this kernel yet. Run it, then %durable explain." in said


def test_before_any_cell(kernel) -> None:
    """In a fresh kernel there is nothing to explain, which is said."""
    fresh = kernel()
    fresh.ok("%load_ext durable_nb")

    assert "no durable cell has been run in this kernel yet." in fresh.run("%durable explain").text


def test_many_parts_are_counted(explaining: Kernel) -> None:
    """Parts of the code that count are listed; the rest is counted."""
    names = [f"part{n}" for n in range(12)]
    explaining.ok("\n".join(f"{name} = {n}" for n, name in enumerate(names)))
    explaining.ok(f"def many(d): return d, {', '.join(names)}\n")
    explaining.ok("%%durable many\nfor d in docs:\n    v = many(d)")
    text = explaining.ok("%durable explain many").result

    assert "global part0, global part1, global part10" in text
    assert " and 5 more" in text
