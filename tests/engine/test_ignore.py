"""What does not count: ``@step(ignore=…)`` and ``labels=False`` keep values out of keys, labels and the database."""

from __future__ import annotations

import sqlite3

import pytest
import sqlalchemy as sa

from durable_nb import configure, run, step
from durable_nb.engine.session import current as session
from durable_nb.errors import ConfigError, StepFailed
from tests.store.conftest import postgres  # noqa: F401

SECRET = "sk-live-0123456789abcdef"
calls: list[object] = []


@pytest.fixture(autouse=True)
def _no_calls():
    calls.clear()


@pytest.fixture
def labels_off(store):
    """Of the store of the session, for one test; settings come back with the store's."""
    configure(labels=False)


def asked(*args, **kwargs):
    """Make a call in the run "asked"."""
    with run("asked"):
        return ask(*args, **kwargs)


@step(ignore=("api_key",))
def ask(question, api_key=None, *, shout=False):
    calls.append(question)
    return question.upper() if shout else question


@pytest.mark.parametrize("again", [lambda: asked("a", "other"), lambda: asked("a", api_key="b"), lambda: asked("a")])
def test_another_value_of_an_ignored_argument_restores_the_call(store, again):
    """By position, by name or left out: it is the same call."""
    asked("a", SECRET)
    again()

    assert ["a"] == calls


@pytest.mark.parametrize("again", [lambda: asked("b", SECRET), lambda: asked("a", SECRET, shout=True)])
def test_other_arguments_count_as_ever(store, again):
    """Only what is named is ignored."""
    asked("a", SECRET)
    again()

    assert 2 == len(calls)


def test_what_has_no_value_may_be_ignored(store):
    """A lock or a client, which could name no call, does not have to; also the receiver of a method, and of ``map``."""
    import threading

    class Client:
        def __init__(self):
            self.lock = threading.Lock()

        @step(ignore="self")
        def embed(self, text):
            calls.append(text)
            return len(text)

    with run("client"):
        Client().embed("one")
    with run("client"):
        Client().embed("one")
    for _ in range(2):
        Client().embed.map(["two", "three"], workers=1)

    assert ["one", "two", "three"] == calls
    assert ["two", "three"] == Client().embed.map(["two", "three"]).labels


@pytest.mark.parametrize(
    ("ignore", "options", "counted"),
    [
        (("rest",), {}, ((1,), {"x": 1, "y": 2})),
        (("options",), {}, ((1, 2, 3), {"x": 1})),
        (("y",), {}, ((1, 2, 3), {"x": 1})),
    ],
)
def test_all_of_a_kind_may_be_ignored(ignore, options, counted):
    """``*rest``, ``**options``, or one name among the latter."""

    def function(a, *rest, x=0, **options): ...

    ignored = step(ignore=ignore)(function).ignored

    assert counted == ignored.without((1, 2, 3), {"x": 1, "y": 2})


def test_an_unknown_parameter_is_refused():
    """At the decorator, with the parameters that there are."""
    with pytest.raises(ConfigError, match="f has no parameter 'apikey' to ignore. Its parameters: text, api_key."):

        @step(ignore=("apikey",))
        def f(text, api_key): ...


def test_a_document_cannot_be_ignored(store):
    """All documents of a map would be one call."""
    with pytest.raises(ConfigError, match="ignores its document"):
        ask.options(ignore=("question",)).map(["a", "b"])


@step(ignore=("api_key",))
def refuse(api_key, question="?"):
    """Raises with the key in its text, as services do."""
    raise ValueError("x" * 270 + f" wrong key: {api_key}")


def _bytes_of(folder) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir() if path.is_file())


def test_an_ignored_text_is_nowhere_in_the_database(store, tmp_path):
    """Neither as a label, nor in an error that says it, nor where a long message is cut, nor in the words of the run's end."""
    asked("a question", SECRET)
    with pytest.raises(ValueError, match=SECRET), run("refused"):
        refuse(SECRET)
    with run("caught"):
        for _ in range(3):
            with pytest.raises(ValueError, match=SECRET):
                refuse(SECRET, "what")
    store.flush()
    found = _bytes_of(tmp_path)

    assert b"a question" in found
    assert b"[ignored]" in found
    assert SECRET[:8].encode() not in found
    assert store.failures(store.run("caught").id)[0].error.endswith("wrong key: [ignor")


def test_nothing_ignored_is_in_a_dump_of_postgresql(postgres, store):  # noqa: F811
    """The same, of every row of every table of ours there."""
    url = postgres.render_as_string(hide_password=False)
    with run("asked", url=url):
        ask("a question", SECRET)
    with pytest.raises(ValueError, match=SECRET), run("refused", url=url):
        refuse(SECRET)
    engine = sa.create_engine(url)
    with engine.connect() as conn:
        tables = sa.inspect(conn).get_table_names(schema="durable_nb")
        dump = "\n".join(
            row[0] for name in tables for row in conn.exec_driver_sql(f"SELECT t::text FROM durable_nb.{name} t")
        )
    engine.dispose()

    assert "a question" in dump
    assert "[ignored]" in dump
    assert SECRET[:8] not in dump
    assert SECRET[:8].encode().hex() not in dump


@pytest.mark.usefixtures("labels_off")
def test_without_labels_documents_have_numbers(store, tmp_path):
    """Of a map and of plain calls, restored ones too, and in what a failure says."""

    @step
    def measure(text):
        if text.endswith("7"):
            raise ValueError("too odd")
        return len(text)

    documents = [f"{SECRET} {n}" for n in range(10)]
    with run("maps"):
        found = measure.map(documents, on_error="collect")
    with run("calls"), pytest.raises(StepFailed, match="#7"):
        measure.map(documents)
    with run("plain"):
        for document in documents[:3]:
            measure(document)
    store.flush()
    labels = [label for (label,) in sqlite3.connect(tmp_path / "durable.db").execute("SELECT label FROM checkpoints")]

    assert SECRET.encode() not in _bytes_of(tmp_path)
    assert [f"#{n}" for n in range(10)] == found.labels
    assert sorted([f"#{n}" for n in (*range(10), *range(10), 0, 1, 2)]) == sorted(labels)


@pytest.mark.parametrize(("how", "expected"), [("0", False), ("false", False), ("1", True), (None, True)])
def test_labels_are_turned_off_by_the_environment(monkeypatch, how, expected):
    """``DURABLE_NB_LABELS=0``, as any setting."""
    if how is not None:
        monkeypatch.setenv("DURABLE_NB_LABELS", how)

    assert expected is session.settings().labels


def test_labels_are_turned_off_by_the_project(tmp_path):
    """``labels = false`` in pyproject.toml; a text there is refused."""
    from durable_nb import config

    (tmp_path / "pyproject.toml").write_text("[tool.durable_nb]\nlabels = false\n")
    off = config.settings({}, folder=tmp_path, environ={})
    (tmp_path / "pyproject.toml").write_text('[tool.durable_nb]\nlabels = "no"\n')

    assert not off.labels
    with pytest.raises(ConfigError, match="labels='no'.*true or false"):
        config.settings({}, folder=tmp_path, environ={})
