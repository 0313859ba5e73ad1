"""Results of any version read again, and two runs or versions compared."""

from __future__ import annotations

import json
import math
import pathlib
import sqlite3
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from durable_nb import run, step
from durable_nb.engine import distances
from durable_nb.engine.diffs import diff
from durable_nb.errors import ConfigError, UntrustedStore
from durable_nb.notebook.history import DiffPage, HistoryPage

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable_nb.store import Store

pytestmark = pytest.mark.usefixtures("store")
DOCS = [f"doc {n}" for n in range(1200)]


def versions() -> tuple[Any, Any, Any]:
    """Three edits of one step."""

    @step(name="embed")
    def first(doc: str) -> str:
        return f"{doc} one"

    @step(name="embed")
    def second(doc: str) -> str:
        return f"{doc} two"

    @step(name="embed")
    def third(doc: str) -> str:
        return f"{doc} three"

    return first, second, third


def vectors(make: Callable[[str], Any]) -> Any:
    """A step of vectors."""
    return step(name="vector", version=str(make))(make)


@pytest.fixture
def edited(store: Store) -> None:
    """A run with 10 results of its first version, 3 of its second, of which the first are kept, and all 5 of a third."""
    one, two, three = versions()
    with run("edited"):
        one.map(DOCS[:10])
    with run("edited", on_change="keep"):
        two.map(DOCS[:13])
    with run("edited", on_change="recompute"):
        three.map(DOCS[:5])


@pytest.mark.parametrize(
    ("version", "word", "documents"), [(1, "one", range(10)), (2, "two", range(10, 13)), (3, "three", range(5))]
)
@pytest.mark.usefixtures("edited")
def test_results_of_any_version_are_read_again(version: int, word: str, documents: range) -> None:
    """By the number of the version, in the order of the documents, by label."""
    found = run("edited").results(version=version)

    assert [(DOCS[n], f"{DOCS[n]} {word}") for n in documents] == list(zip(found.labels, found, strict=True))
    assert list(found) == list(run("edited").results("embed", version=version).to_pandas()["value"])


def test_what_a_run_has_now_holds_what_was_kept() -> None:
    """Without a version: those of the last code, and where it has none those that were kept."""
    one, two, _ = versions()
    with run("mixed"):
        one.map(DOCS[:700])
    with run("mixed", on_change="keep"):
        two.map(DOCS)
    found = run("mixed").results()

    assert [f"{doc} {'one' if n < 700 else 'two'}" for n, doc in enumerate(DOCS)] == list(found)


def test_results_of_a_fork_hold_what_it_takes() -> None:
    """All that it has, its own and those of its origin."""
    one, *_ = versions()
    with run("old"):
        one.map(DOCS[:5])
    with run("new", fork="old"):
        one.map(DOCS[:9])

    assert [f"{doc} one" for doc in DOCS[:9]] == list(run("new").results(version=1)) == list(run("new").results())


def test_a_matrix_of_a_version_is_read_a_part_at_a_time() -> None:
    """to_numpy() of saved vectors has their dtype and shape."""
    with run("vectors"):
        vectors(lambda doc: np.full(8, len(doc), "float32")).map(DOCS)
    found = run("vectors").results().to_numpy()

    assert ((1200, 8), "float32") == (found.shape, found.dtype)


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda: run("nowhere").results(), "no run 'nowhere'"),
        (lambda: run("edited").results(version=4), "no version 4.*history edited"),
        (lambda: run("edited").results(version=0), "no version 0"),
        (lambda: run("edited").results(version="1"), "version='1' is no number of a version"),
        (lambda: run("edited").results(version=1.0), "version=1.0 is no number of a version"),
        (lambda: run("edited\0").results(), r"no run 'edited\\x00'"),
        (lambda: run("edited").results("parse"), "no results of a step 'parse'.*'embed'"),
        (lambda: run("two").results(), "'two' has 2 steps.*'embed', 'parse'"),
    ],
)
@pytest.mark.usefixtures("edited")
def test_what_cannot_be_read_is_said(ask: Callable[[], Any], says: str) -> None:
    """With what there is."""
    with run("two"):
        versions()[0].map(DOCS[:1])
        step(name="parse")(lambda doc: doc).map(DOCS[:1])
    with pytest.raises(ConfigError, match=says):
        ask()


def test_results_of_somebody_else_are_not_unpickled(store: Store) -> None:
    """They are listed, and refused when the value is asked for; a comparison counts what it may not read."""
    with run("pickles"):
        step(name="path")(lambda doc: pathlib.PurePosixPath(doc)).map(DOCS[:3])
    with run("others"):
        step(name="path", version="2")(lambda doc: pathlib.PurePosixPath(doc, "x")).map(DOCS[:3])
    store.flush()
    with sqlite3.connect(store.where) as conn:
        conn.execute("UPDATE checkpoints SET codec = 'pickle' WHERE codec LIKE 'signed%'")
    found = run("pickles").results()

    assert DOCS[:3] == found.labels
    with pytest.raises(UntrustedStore):
        found[0]
    (one,) = diff(store, "pickles", "others").steps
    assert (0, 0, 3) == (one.equal, one.different, one.unread)
    assert "vouch" in repr(DiffPage(store, "pickles", "others"))
    assert 6 == store.trust()
    (one,) = diff(store, "pickles", "others").steps
    assert (0, 3, 0) == (one.equal, one.different, one.unread)


def test_two_runs_are_compared_document_by_document(store: Store) -> None:
    """Equal, different, only in one; examples by label, with both values; the edit of the code."""
    one, two, _ = versions()
    with run("a"):
        one.map(DOCS[:600])
    with run("b"):
        two.map(DOCS[550:1200])
    (found,) = diff(store, "a", "b").steps
    page = repr(DiffPage(store, "a", "b"))

    assert (0, 50, (550, 600), (600, 650)) == (found.equal, found.different, found.only, found.results)
    assert ("doc 550", "'doc 550 one' → 'doc 550 two'") == found.examples[0]
    assert DOCS[:10] == list(found.missing[0])
    assert '-        return f"{doc} one"' in found.code.replace("    return", "        return")
    for said in ("a → b", "0 equal, 50 different, 550 only in a, 600 only in b", "only in b: doc 600, ", "doc 550: "):
        assert said in page
    json.dumps(DiffPage(store, "a", "b").as_dict())


def test_a_fork_is_compared_without_reading_what_it_takes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """One row is equal to itself; only what both have computed is read."""
    one, two, _ = versions()
    with run("old"):
        one.map(DOCS)
    with run("new", fork="old", on_change="keep"):
        two.map([*DOCS, "more"])
    read: list[int] = []
    look_up = store.look_up
    monkeypatch.setattr(store, "look_up", lambda *asked: read.append(len(asked[2])) or look_up(*asked))
    (found,) = diff(store, "old", "new").steps

    assert (1200, 0, (0, 1), (1, 2)) == (found.equal, found.different, found.only, found.versions)
    assert 0 == sum(read)


@pytest.mark.usefixtures("edited")
def test_two_versions_of_a_run_are_compared(store: Store) -> None:
    """NAME@1 and NAME@3; a run that is called so comes first."""
    (found,) = diff(store, "edited@1", "edited@3").steps

    assert (5, (5, 0), (1, 3)) == (found.different, found.only, found.versions)
    with run("edited@1"):
        versions()[0].map(DOCS[:2])
    (found,) = diff(store, "edited@1", "edited@3").steps
    assert (2, (0, 3)) == (found.different, found.only)


def test_how_far_vectors_are_apart(store: Store) -> None:
    """Cosine and relative difference, mean and worst, with the farthest documents first."""
    rng = np.random.default_rng(0)
    base = {doc: rng.normal(size=32).astype("float32") for doc in DOCS}
    other = {
        doc: vector + (rng.normal(size=32) * 0.01 * (n % 3)).astype("float32")
        for n, (doc, vector) in enumerate(base.items())
    }
    other["doc 7"] = -base["doc 7"]
    with run("a"):
        vectors(lambda doc: base[doc]).map(DOCS)
    with run("b"):
        vectors(lambda doc: other[doc]).map(DOCS)
    (found,) = diff(store, "a", "b").steps
    moved = [doc for doc in DOCS if not np.array_equal(base[doc], other[doc])]
    left, right = (np.stack([side[doc] for doc in moved]).astype("float64") for side in (base, other))
    lengths = np.linalg.norm(left, axis=1), np.linalg.norm(right, axis=1)
    cosine = (left * right).sum(axis=1) / lengths[0] / lengths[1]
    relative = np.linalg.norm(left - right, axis=1) / np.maximum(*lengths)

    assert (len(moved), 1200 - len(moved)) == (found.different, found.equal)
    assert found.far is not None
    expected = (len(moved), cosine.mean(), cosine.min(), relative.mean(), relative.max(), 0)
    assert expected == pytest.approx(tuple(found.far))
    assert ("doc 7", "cosine -1.0000, relative difference 2") == found.examples[0]
    assert 10 == len(found.examples)


def test_numbers_that_cannot_be_compared_are_no_difference_of_zero(store: Store) -> None:
    """What was not a number before, and what is too far away for a number."""
    one, other = [math.nan, 1e308, math.inf], [1.0, -1e308, 2.0]
    with run("a"):
        vectors(lambda n: one[n]).map(range(3))
    with run("b"):
        vectors(lambda n: other[n]).map(range(3))
    (found,) = diff(store, "a", "b").steps

    assert found.far is not None
    assert (3, None, None) == (found.far.vectors, found.far.relative, found.far.most_relative)
    assert {"0": "not a number on one side", "1": "too large to compare", "2": "not a number on one side"} == dict(
        found.examples
    )
    assert "3 that differ are numbers: no two of them can be compared" in repr(DiffPage(store, "a", "b"))


@pytest.mark.parametrize(
    ("one", "other", "is_equal"),
    [
        (1.0, 1.5, False),
        ([1.0, 2.0], [1.0, 2.0], True),
        ([1.0] * 9, [1.0] * 8, False),
        ({"b": 1, "a": 2}, {"a": 2, "b": 1}, True),
        (np.zeros(3), np.zeros(3, "float32"), False),
        (np.array([np.nan, 1.0]), np.array([np.nan, 1.0]), True),
        (np.array([np.nan, 1.0]), np.array([0.0, 1.0]), False),
        (True, False, False),
        ("text", b"text", False),
        (None, 1, False),
        ([], [1.0], False),
    ],
)
def test_values_of_any_kind_are_compared(store: Store, one: Any, other: Any, is_equal: bool) -> None:
    """Whatever they are, they are equal or different, and the page can be shown."""
    for name, value in (("a", one), ("b", other)):
        with run(name):
            step(name="value", version=name)(lambda doc, value=value: value).map(["doc"])
    (found,) = diff(store, "a", "b").steps
    page = DiffPage(store, "a", "b")

    assert (int(is_equal), int(not is_equal)) == (found.equal, found.different)
    assert "step value" in repr(page) and "step value" in page._repr_html_()


def test_documents_with_other_arguments_are_paired_by_label(store: Store) -> None:
    """The cleaning changed, so the calls have other names: what bears the same label once on each side is one document."""
    ask = step(name="ask", cost=lambda answer: float(len(answer)))(lambda doc: doc["text"].upper())
    documents = [{"id": f"d{n}", "text": f"text {n}"} for n in range(5)]
    with run("a"):
        ask.map(documents)
    with run("b"):
        ask.map([{**document, "text": f"{document['text']}!"} for document in documents[1:]])
    (found,) = diff(store, "a", "b").steps

    assert (4, 4, (1, 0)) == (found.by_label, found.different, found.only)
    assert ("d1", "'TEXT 1' → 'TEXT 1!'") == found.examples[0]
    assert (30.0, 28.0) == tuple(spent.cost for spent in found.spent)


def test_steps_that_only_one_side_has(store: Store) -> None:
    """Are shown as such."""
    with run("a"):
        step(name="parse")(lambda doc: doc).map(DOCS[:3])
    with run("b"):
        step(name="embed")(lambda doc: doc).map(DOCS[:3])
    page = repr(DiffPage(store, "a", "b"))

    assert "step embed: no results → version 1" in page
    assert "step parse: version 1 → no results" in page


@pytest.mark.usefixtures("edited")
def test_the_history_says_what_became_of_each_version(store: Store) -> None:
    """Versions with their numbers and counts, which are kept, what happened, and how to read them."""
    found = store.run("edited")
    assert found is not None
    page = HistoryPage(store, found)
    text = repr(page)

    assert "edited: done, 3 attempts" in text
    for said in (
        "step embed, version 1 ", ": 10 results, since ", "version 2 ", ": 3 results", "version 3 ", "in use last",
        "changed: def:", "to read them: run('edited').results(version=3)", "%durable diff edited@2 edited@3",
        "edited  embed: results of older code are kept", "restarted",
    ):  # fmt: skip
        assert said in text
    assert ["computed again", "computed again", "in use last"] == [
        one["standing"] for one in page.as_dict()["versions"]
    ]
    assert "<li>step embed, version 2" in page._repr_html_()
    json.dumps(page.as_dict())


def test_a_page_obeys_nobody(store: Store) -> None:
    """Labels and values of others neither move the cursor of a terminal nor stand in HTML as they are."""
    for name, value in (("a", "x"), ("b", "<script>\x1b[2J")):
        with run(name):
            step(name="value", version=name)(lambda doc, value=value: value).map(["<b>\x1b[31m"])
    page = DiffPage(store, "a", "b")

    assert "\x1b" not in repr(page)
    assert "<script>" not in page._repr_html_() and "<b>\x1b" not in page._repr_html_()


def test_nothing_is_measured_of_what_are_no_numbers() -> None:
    """Texts, booleans, empty and ragged lists are no vectors."""
    assert [None] * 5 == [distances.vector_of(value) for value in ("a", True, [], [[1], [2, 3]], ["a"])]
