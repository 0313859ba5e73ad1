"""Databases that somebody crafted: opened by the API, the shell, the server and the panel, nothing of them runs.

Every surface either shows what is there, made harmless, or says in a sentence of ours what is wrong with it.
"""

from __future__ import annotations

import io
import json
import pickle
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from durable_nb import cli, codecs, display, wire
from durable_nb.engine import readings
from durable_nb.engine.session import current as session
from durable_nb.errors import ConfigError, DurableError, StoreError, StoreUnavailable, UntrustedStore
from durable_nb.notebook.history import DiffPage, HistoryPage
from durable_nb.notebook.pages import RunPage, RunTable
from durable_nb.server.answers import Answers
from durable_nb.server.places import Places
from durable_nb.store import Store
from durable_nb.wire import mosaic_full
from tests.matrix import IS_WHOLE, usual
from tests.store.examples import ROOT, begin, failure, key, result

EVIL_TEXT = (
    "<script>alert(1)</script><img src=x onerror=alert(1)> \x1b]0;owned\x07\x1b[31m '; DROP TABLE runs; -- ../../etc"
)
TEXTS = {
    "runs": ("notebook", "source", "cell", "owner_host", "owner_kernel"),
    "steps": ("name", "fingerprint", "source"),
    "checkpoints": ("label", "error"),
    "events": ("kind", "detail"),
}


class Attack:
    """Leaves a trace where it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A database of a stranger with a run: results of all sorts, a failure, a mosaic; the user of the test is another."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "stranger"))
    made = tmp_path / "root" / ".durable_nb" / "durable.db"
    store = Store.open(f"sqlite:///{made}")
    run, owner, step = begin(store)
    for n, value in enumerate((b"bytes", {"a": (1,)}, np.arange(3.0), Attack(tmp_path / "ran"))):
        codec, payload = codecs.encode(value)
        store.save(result(run.id, step, n, codec=codec, payload=payload))
    store.save(failure(run.id, step, 9))
    store.choose(run.id, step, [step], "keep")
    store.control(run.id, "pause")
    store.finish(run.id, owner=owner, state="failed")
    store.close()
    raw = sqlite3.connect(made)
    raw.execute("INSERT INTO mosaics VALUES (1, 1, ?)", (zlib.compress(bytes((1, 2, 2, 3))),))
    raw.execute("INSERT INTO runs (id, name, state) VALUES (7, 'origin', 'done')")
    raw.execute("INSERT INTO forks VALUES (1, 7)")
    raw.execute("INSERT INTO costs VALUES (1, 1, ?, 2.5)", (key(1),))
    raw.execute("INSERT INTO outputs VALUES (1, 1, ?, 1, 1, 1, '', ?)", (key(1), json.dumps([("out", EVIL_TEXT)])))
    raw.commit()
    raw.close()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "me"))
    monkeypatch.chdir(tmp_path / "root")
    return made


def craft(path: Path, *statements: str, values: tuple[Any, ...] = ()) -> None:
    """Change the file without asking anybody."""
    raw = sqlite3.connect(path)
    for statement in statements:
        raw.execute(statement, values)
    raw.commit()
    raw.close()


def by_the_api(path: Path) -> Iterator[Callable[[], Any]]:
    """Everything that can be asked of a store."""
    store = Store.open(f"sqlite:///{path}")
    try:
        yield from (store.runs, store.overview, store.check, store.foreign)
        run = store.run("embed")
        yield lambda: store.snapshot("embed")
        if run is not None:
            for ask in (
                store.contents,
                store.failures,
                store.failure_groups,
                store.events,
                store.mosaic,
                store.controls,
                store.origins,
                store.numbered,
                store.has_printed,
            ):
                yield lambda ask=ask: ask(run.id)
            yield from (lambda n=n: store.document(run.id, n) for n in range(10))
            yield lambda: store.choices(run.id, 1)
            yield lambda: store.known(run.id, [1])
            yield lambda: store.printed(run.id, [(1, key(n)) for n in range(4)], with_text=True)
            yield lambda: store.cost_of(run.id, [(1, key(n)) for n in range(4)])
            yield lambda: list(readings.results("embed", url=str(path)))
            for n in range(4):
                yield lambda n=n: [
                    codecs.outcome(one.codec, one.payload, where=store.where)
                    for one in store.look_up(run.id, [1], [key(n)]).values()
                ]
            yield lambda: [
                codecs.decode(one.codec, one.payload, where=store.where)
                for _, _, one in store.fetch(run.id, [1], from_id=0, limit=99)
            ]
            yield lambda: store.export_run("embed", path.parent / "exported")
    finally:
        store.close()


def by_the_panel(path: Path) -> Iterator[Callable[[], Any]]:
    """What a notebook and the page of a run show."""
    store = Store.read_only(f"sqlite:///{path}")
    try:
        yield lambda: harmless(RunTable(store.runs())._repr_html_())
        run = store.run("embed")
        if run is not None:
            yield lambda: harmless(RunPage(store, run)._repr_html_())
            yield lambda: harmless(display.html(store.snapshot("embed"), states_of(store, run.id)))
            yield lambda: without_controls(repr(RunPage(store, run)))
            for page in (lambda: HistoryPage(store, run), lambda: DiffPage(store, "embed", "origin")):
                yield lambda page=page: harmless(page()._repr_html_())
                yield lambda page=page: without_controls(repr(page()))
            yield lambda: json.dumps(wire.snapshot_json(store.snapshot("embed")), allow_nan=False)
            yield lambda: (mosaic := store.mosaic(run.id)) and mosaic_full(mosaic)
    finally:
        store.close()


def states_of(store: Store, run_id: int) -> bytes:
    """The mosaic of a run, if it has one."""
    mosaic = store.mosaic(run_id)
    return b"" if mosaic is None else mosaic.states


def by_the_server(path: Path) -> Iterator[Callable[[], Any]]:
    """Every answer of the Jupyter server."""
    answers = Answers(Places(path.parents[1], environ={}, known=list))
    try:
        store = Store.identity(f"sqlite:///{path}")
        which = (store, "embed", "a.ipynb")
        for ask in (
            lambda: answers.runs("a.ipynb", None),
            lambda: answers.run(*which),
            lambda: answers.failures(*which, 0, 50),
            lambda: [answers.document(*which, n) for n in range(10)],
            lambda: answers.choose(*which, 1, [1], "keep"),
        ):
            yield lambda ask=ask: json.dumps(ask(), allow_nan=False)
        yield lambda: answers.mosaic(*which, -1)
    finally:
        answers.close()


LOOKS = ("runs", "show embed", "show embed --json", "history embed", "diff embed embed@1")


def by_the_shell(path: Path, *, commands: tuple[str, ...] = (*LOOKS, "check", "doctor", "export embed out.run", "gc")):
    """Every command that looks at a database."""
    for command in commands:
        yield lambda command=command: shell(*command.split(), "--db", str(path))
    session.close()


SURFACES = {surface.__name__: surface for surface in (by_the_api, by_the_panel, by_the_server, by_the_shell)}


def shell(*arguments: str) -> str:
    """What a command prints; it ends well, or with a sentence, and never says what a terminal would obey."""
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(out):
        assert cli.main(arguments) in (0, 1, 2)
    assert "Traceback (most" not in out.getvalue().replace("\nTraceback: …", "")
    without_controls(out.getvalue())
    return out.getvalue()


def without_controls(text: str) -> None:
    """No character in it is an order to the terminal."""
    assert all(one.isprintable() or one == "\n" for one in text), repr(text)


class _Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, list[str]]] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.found.append((tag, [name for name, _ in attrs]))


def harmless(html: str) -> None:
    """No element of it comes from the database, nor an attribute that runs."""
    reader = _Elements()
    reader.feed(html)
    assert not [tag for tag, names in reader.found if tag in ("script", "iframe", "object") or "onerror" in names]
    assert all("src" not in names or tag == "img" for tag, names in reader.found)


def visit(path: Path, surface: str, asked: Any = None) -> list[str]:
    """Ask everything of one surface; the errors, which are all ours."""
    said = []
    asked = asked or SURFACES[surface](path)
    while True:
        try:
            next(asked)()
        except StopIteration:
            return said
        except DurableError as error:
            said.append(str(error))


@pytest.mark.parametrize("surface", SURFACES)
def test_a_pickle_of_a_stranger_is_not_run(path, tmp_path, surface):
    """Everything that needs no pickle is shown, and the pickle touches no file."""
    said = visit(path, surface)

    assert not (tmp_path / "ran").exists()
    assert all("durable-nb trust" in error for error in said)
    assert bool(said) == (surface == "by_the_api")


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("table", TEXTS)
def test_texts_are_only_texts(path, surface, table):
    """HTML, ANSI, SQL and paths in every text of the database are shown as they are, and obeyed by nobody."""
    for column in TEXTS[table]:
        craft(path, f"UPDATE {table} SET {column} = ?", values=(EVIL_TEXT,))

    assert [] == [error for error in visit(path, surface) if "durable-nb trust" not in error]
    assert 2 == len(sqlite3.connect(path).execute("SELECT * FROM runs").fetchall())


@pytest.mark.parametrize("surface", SURFACES)
def test_the_name_of_a_run_is_only_a_name(path, surface):
    """A run whose name is SQL, HTML and a path is listed; as a file name or a statement it is never used."""
    craft(path, "UPDATE runs SET name = ? WHERE id = 1", values=(EVIL_TEXT,))

    visit(path, surface)
    store = Store.open(f"sqlite:///{path}")
    assert {EVIL_TEXT, "origin"} == {run.name for run in store.runs()}
    assert store.export_run(EVIL_TEXT, path.parent / "out.run") == 5
    with pytest.raises(DurableError):
        store.import_run(path.parent / "out.run")
    assert ("safe", 5) == store.import_run(path.parent / "out.run", name="safe")
    assert 5 == store.forget(EVIL_TEXT)
    store.close()


ODD = ("x", b"\xff\x00", float("inf"), 2**62, -5)


def columns() -> list[tuple[str, str]]:
    """Every column of every table."""
    from durable_nb.store.tables import metadata

    return [(table.name, column.name) for table in metadata.sorted_tables for column in table.columns]


@pytest.mark.parametrize(("table", "column"), usual(columns(), *columns()[::3]))
def test_any_type_in_any_column_is_shown_or_said(path, tmp_path, table, column):
    """SQLite takes everything everywhere: no surface fails but with a sentence of ours, and nothing runs.

    Each value of each column is shown to one surface, in turn; with DURABLE_NB_MATRIX=1 to all.
    """
    turn = columns().index((table, column))
    for number, value in enumerate(ODD):
        raw = sqlite3.connect(path)
        before = path.read_bytes()
        try:
            raw.execute(f"UPDATE OR IGNORE {table} SET {column} = ?", (value,))
        except sqlite3.IntegrityError:  # the schema itself says no
            raw.close()
            continue
        raw.commit()
        raw.close()
        for place, (surface, asked) in enumerate(SURFACES.items()):
            if (turn + number) % len(SURFACES) != place and not IS_WHOLE:
                continue
            visit(path, surface, asked(path, commands=LOOKS) if surface == "by_the_shell" else None)
        (path.parent / "exported").unlink(missing_ok=True)
        path.write_bytes(before)

    assert not (tmp_path / "ran").exists()


def test_an_id_of_another_type_gives_no_type_to_the_others(path):
    """Where many ids are asked for at once, bytes that come first (a set puts such a number last) are nobody's type."""
    for column in ("steps SET id", "checkpoints SET step_id", "choices SET step_id"):
        craft(path, f"UPDATE {column} = {2**20 - 1}")
    craft(path, "UPDATE choices SET older_step_id = x'ff00'")

    for surface in SURFACES:
        visit(path, surface)


def test_a_result_that_claims_to_be_elsewhere_is_said(path):
    """The word for "still in the database" is never saved: its payload would be taken for the key of another call."""
    craft(path, "UPDATE checkpoints SET codec = 'stored', payload = x'00'")
    store = Store.open(f"sqlite:///{path}")

    with pytest.raises(StoreError, match="stored"):
        store.look_up(1, [1], [key(0)])


def test_text_that_is_no_text_is_said(path):
    """Bytes that are no UTF-8 under the type of a text end in a sentence."""
    craft(path, "UPDATE checkpoints SET label = CAST(x'ff00fe' AS TEXT)")

    for surface in SURFACES:
        visit(path, surface)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER spy AFTER INSERT ON checkpoints BEGIN DELETE FROM runs; END",
        "CREATE TRIGGER spy AFTER UPDATE ON Meta BEGIN DELETE FROM runs; END",
        """ALTER TABLE meta RENAME TO real; CREATE VIEW meta AS WITH RECURSIVE n(key, value) AS
        (SELECT 'schema', '2' UNION ALL SELECT key, value FROM n) SELECT * FROM n""",
        "ALTER TABLE runs RENAME TO real; CREATE VIEW runs AS SELECT *, load_extension('evil.so') FROM real",
        "DROP TABLE tallies; CREATE VIRTUAL TABLE tallies USING fts5(run_id, step_id, digest)",
    ],
    ids=["trigger", "trigger on meta", "endless view", "view that loads", "virtual table"],
)
def test_what_is_planted_in_the_schema_is_refused(path, statement):
    """Triggers on our tables, and views or virtual tables in their place, are named before anything is read."""
    raw = sqlite3.connect(path)
    raw.executescript(statement)
    raw.close()

    for opens in (Store.open, Store.read_only):
        with pytest.raises(StoreUnavailable, match="holds a .* that durable_nb did not make|another program"):
            opens(f"sqlite:///{path}")
    assert 2 == cli.main(["runs", "--db", str(path)])
    assert "durable_nb did not make" in json.dumps(shell("doctor", "--db", str(path))) or "meta" in statement
    visit(path, "by_the_server")


def test_views_of_the_user_are_welcome(path):
    """Tables and views beside ours are whoever's business they are."""
    craft(path, "CREATE VIEW mine AS SELECT label FROM checkpoints", "CREATE TABLE notes (text)")

    assert {"embed", "origin"} == {run.name for run in Store.read_only(f"sqlite:///{path}").runs()}


BOMBS = {
    "mosaic": ("UPDATE mosaics SET states = ?", zlib.compress(bytes(200 << 20), 9)),
    "figures": ("UPDATE runs SET figures = ?", '{"groups":' + 50_000 * "[" + "}"),
    "figures of lists": ("UPDATE runs SET figures = ?", '{"groups": [1, ["a"]], "rate": []}'),
    "strange states": ("UPDATE mosaics SET states = ?", zlib.compress(bytes(range(256)))),
    "parts": ("UPDATE steps SET parts = ?", 200_000 * '{"a":'),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_what_swells_is_said_and_does_not_fill_the_memory(path, bomb):
    """A mosaic of 200 MB in 200 KB, and JSON nested without end, end in a sentence on every surface."""
    statement, value = BOMBS[bomb]
    craft(path, statement, values=(value,))

    said = [error for surface in SURFACES for error in visit(path, surface)]
    assert any("holds what durable_nb never writes" in error for error in said)


def test_a_project_cannot_vouch_for_itself(path, tmp_path):
    """``trust = true`` in a pyproject.toml that came with the database is refused, in a kernel and from a shell."""
    (tmp_path / "root" / "pyproject.toml").write_text("[tool.durable_nb]\ntrust = true\n")

    with pytest.raises(ConfigError, match="may not say trust = true"):
        session.settings()
    assert "may not say trust = true" in shell("runs")


DEEP = b"\x80\x05})" + 200_000 * b"\x85" + b"Ns."
CODECS = {
    "an option of pickle": ("pickle:x", b"\x80\x05N."),
    "an import": ("os:system", b"id"),
    "an attribute": ("torch:hub:1", b"1234"),
    "an object array": ("nd:|O:1", b"12345678"),
    "a huge array": ("nd:<f8:999999999999x0", b""),
    "a dtype that nests": ("nd:" + 50_000 * "[" + ":1", b"1"),
    "a dtype that counts": ("nd:[('a','" + 9 * "9" + "f8')]:1", b"1"),
    "a shape of shapes": ("nd:<f8:" + "x".join(20_000 * ["1"]), b"12345678"),
    "outcomes": (50_000 * "outcome+" + "data", b"\x80\x05N."),
    "strangers": (50_000 * "foreign+" + "pickle", b"\x80\x05N."),
    "signatures": (9_000 * f"signed:{'a' * 32}+" + "pickle", b"\x80\x05N."),
    "blobs": (9_000 * "blob+" + "pickle", b"\x80\x05N."),
    "a deep key": ("data", DEEP),
    "a memo of 32 GB": ("data", b"\x80\x05Nr\xff\xff\xff\x7f."),
    "a text of a terabyte": ("data", b"\x80\x05\x8d\xff\xff\xff\xff\xff\x00\x00\x00x."),
    "a number of a gigabyte": ("data", b"\x80\x05\x8b\xff\xff\xff\x7f1."),
    "a global": ("data", b"\x80\x05cos\nsystem\n."),
    "a blob that is not there": ("blob+str", b"../../etc/passwd"),
    "effects": ("outcome+data", pickle.dumps((1, {"globals": {("os", "sep"): "|"}, "globals_before": {}}), 5)),
    "NUL": ("pickle\0", b"\x80\x05N."),
    "arrow": ("arrow:Table", b"ARROW1\0\0"),
}


@pytest.mark.parametrize("codec", CODECS)
def test_no_codec_imports_calls_or_fills_the_memory(path, codec):
    """A forged codec or payload is a value, or an error of ours, in a process that may use 1 GB more than it has."""
    name, payload = CODECS[codec]
    craft(path, "DELETE FROM checkpoints WHERE position > 0")
    craft(path, "UPDATE checkpoints SET codec = ?, payload = ?", values=(name, payload))
    code = """
import resource, sys
from tests.store.examples import *
from durable_nb import codecs
from durable_nb.errors import DurableError
import numpy
store = Store.open(sys.argv[1])
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), used + (1 << 30)))
found = store.look_up(1, [1], [key(0)])
for one in found.values():
    try:
        value = codecs.outcome(one.codec, one.payload, where="strange.db")
        print("value", type(value.value).__name__, len(value.effects))
    except DurableError as error:
        print("error", type(error).__name__)
print("end")
store.close()
"""
    done = subprocess.run(
        [sys.executable, "-c", code, f"sqlite:///{path}"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )

    assert (0, "") == (done.returncode, done.stderr)
    assert done.stdout.endswith("end\n")
    harmless_value = {"a huge array": "value ndarray 0"}
    assert done.stdout.startswith((harmless_value.get(codec, "error"), "end")), done.stdout


def test_a_stranger_cannot_pass_for_me(path, tmp_path, monkeypatch):
    """Nor with the id of my database, nor with the mark of my home, nor with signatures of rows that are mine."""
    mine = tmp_path / "mine.db"
    store = Store.open(f"sqlite:///{mine}")
    run, owner, step = begin(store)
    codec, payload = codecs.encode(ValueError("mine"))
    store.save(result(run.id, step, 3, codec=codec, payload=payload))
    store.finish(run.id, owner=owner, state="done")
    store.close()
    raw = sqlite3.connect(path)
    raw.execute("ATTACH ? AS mine", (str(mine),))
    raw.execute("DELETE FROM meta")
    raw.execute("INSERT INTO meta SELECT * FROM mine.meta")
    signed = raw.execute("SELECT codec FROM mine.checkpoints").fetchone()[0]
    raw.execute("UPDATE checkpoints SET codec = ? WHERE codec LIKE '%pickle'", (signed,))
    raw.commit()
    raw.close()
    store = Store.open(f"sqlite:///{path}")
    found = store.look_up(1, [1], [key(3)])[key(3)]

    with pytest.raises(UntrustedStore):
        codecs.decode(found.codec, found.payload, where=store.where)
    store.close()
    assert not (tmp_path / "ran").exists()


def test_a_hostile_export_is_refused(path, tmp_path):
    """A file with a right sum and wrong content is refused in a sentence, whatever stands in it."""
    import hashlib

    store = Store.open(f"sqlite:///{tmp_path / 'here.db'}")
    run = ["run", "x", "done", "", "", 1, 1, 0, 0, 1, 0.0, 0.0, 0.0, "", "", 0.0]
    step = ["step", 1, "embed", "function", "one", "{}", "", 0.0]
    row = ["checkpoint", 1, "00" * 16, "done", 0, "doc", 1, None, 0.0, 0.0, "str", 1]
    lines = [
        ["what"], ["run"], [1], {}, "x", [[]], [*run[:5], "one", *run[6:]], [*run[:1], 5, *run[2:]],
    ]  # fmt: skip
    bodies = [json.dumps(line).encode() + b"\n" for line in lines]
    bodies += [100_000 * b"[" + b"\n", b"\xff\n", b"", json.dumps(step).encode() + b"\n"]
    start = json.dumps(run).encode() + b"\n"
    bodies += [start + start, start + json.dumps(row).encode() + b"\nx"]
    start += json.dumps(step).encode() + b"\n"
    for changes in (
        {-1: -1},
        {-1: 99},
        {-1: "1"},
        {2: "xy"},
        {2: 5},
        {3: "maybe"},
        {10: "blob+str"},
        {5: 3},
        {1: 9},
        {4: []},
    ):
        changed = list(row)
        for place, value in changes.items():
            changed[place] = value
        bodies.append(start + json.dumps(changed).encode() + b"\nx")
    for body in bodies:
        whole = b"durable_nb run 1\n" + body + b'["end"]\n'
        (tmp_path / "evil.run").write_bytes(whole + hashlib.sha256(whole).hexdigest().encode() + b"\n")
        with pytest.raises(StoreError, match="was not imported"):
            store.import_run(tmp_path / "evil.run")

    assert [] == store.runs() == store.check()
    store.close()
