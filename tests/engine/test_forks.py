"""``run(NAME, fork=OLD)``: the calls of another run are restored, edits are asked about, nothing of that run changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from durable_nb import run, step
from durable_nb.errors import CodeChanged, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from durable_nb.store import Store

pytestmark = pytest.mark.usefixtures("store")
DOCS = [f"doc {n}" for n in range(700)]
executed: list[str] = []


@pytest.fixture(autouse=True)
def nothing_executed() -> None:
    """Each test counts its own calls."""
    executed.clear()


def first() -> Any:
    """The step as it was."""

    @step
    def embed(doc: str) -> str:
        executed.append(doc)
        return doc.upper()

    return embed


def edited() -> Any:
    """The same step with other code."""

    @step
    def embed(doc: str) -> str:
        executed.append(doc)
        return f"{doc}!"

    return embed


@pytest.mark.parametrize(
    "ask",
    [lambda embed, docs: list(embed.map(docs)), lambda embed, docs: [embed(doc) for doc in docs]],
    ids=["map", "plain"],
)
def test_calls_of_the_origin_are_restored(store: Store, ask: Callable[[Any, list[str]], list[str]]) -> None:
    """What the other run has is not computed, and counts as restored; what is new is saved in the fork alone."""
    with run("old"):
        ask(first(), DOCS[:600])
    executed.clear()
    for restored in (600, 700):
        with run("new", fork="old"):
            out = ask(first(), DOCS)

        assert [doc.upper() for doc in DOCS] == out
        found = store.run("new")
        assert found is not None
        assert (700, restored) == (found.done, found.restored)
    old = store.run("old")

    assert DOCS[600:] == executed
    assert old is not None and 600 == old.done
    assert ["old"] == store.origins(found.id)


def test_a_fork_reads_what_a_live_run_has_committed(store: Store) -> None:
    """A run that is being computed now can be forked; both go on by themselves."""
    with run("old"):
        first().map(DOCS[:10])
        store.flush()
        executed.clear()
        with run("new", fork="old"):
            assert [doc.upper() for doc in DOCS[:20]] == list(first().map(DOCS[:20]))

    assert DOCS[10:20] == executed


def test_an_edit_is_asked_about_as_in_the_run_itself(store: Store) -> None:
    """Results of older code of the origin are offered; what is decided holds for the fork, and not for its origin."""
    with run("old"):
        first().map(DOCS[:10])
    executed.clear()
    with pytest.raises(CodeChanged) as asked, run("new", fork="old"):
        edited().map(DOCS[:12])
    assert ("new", 10, []) == (asked.value.run, asked.value.saved, executed)
    with run("new", fork="old", on_change="keep"):
        mixed = list(edited().map(DOCS[:12]))
    with run("other", fork="old", on_change="recompute"):
        anew = list(edited().map(DOCS[:12]))

    assert [*(doc.upper() for doc in DOCS[:10]), "doc 10!", "doc 11!"] == mixed
    assert [f"{doc}!" for doc in DOCS[:12]] == anew
    assert [*DOCS[10:12], *DOCS[:12]] == executed
    with pytest.raises(CodeChanged), run("old"):
        edited().map(DOCS[:10])


def test_what_was_decided_in_the_origin_is_not_asked_again() -> None:
    """Kept results of several versions are kept in a fork too."""
    with run("old"):
        first().map(DOCS[:10])
    with run("old", on_change="keep"):
        edited().map(DOCS[:12])
    executed.clear()
    with run("new", fork="old"):
        out = list(edited().map(DOCS[:13]))

    assert [*(doc.upper() for doc in DOCS[:10]), "doc 10!", "doc 11!", "doc 12!"] == out
    assert [DOCS[12]] == executed


def test_results_of_the_code_come_before_kept_ones(store: Store, tmp_path: Path) -> None:
    """Wherever they are saved: run again, read, and in a copy that was exported, a fork has the same results."""
    with run("old"):
        first().map(DOCS[:3])
    with run("new", fork="old"):
        first().map(DOCS[:6])
    with run("old", on_change="recompute"):
        edited().map(DOCS[:5])
    with run("new", on_change="keep"):
        out = list(edited().map(DOCS[:6]))
    store.export_run("new", tmp_path / "new.run")
    store.import_run(tmp_path / "new.run", name="copy")
    executed.clear()
    with run("copy"):
        copied = list(edited().map(DOCS[:6]))
    with run("new"):
        plain = [edited()(doc) for doc in DOCS[:6]]

    assert [*(f"{doc}!" for doc in DOCS[:5]), "DOC 5"] == out == copied == plain == list(run("new").results("embed"))
    assert [] == executed


def test_equal_calls_keep_their_numbers() -> None:
    """The second of two equal calls is restored as the second."""
    numbers = iter(range(10))

    @step
    def draw(doc: str) -> int:
        return next(numbers)

    with run("old"):
        before = [draw("a"), draw("a"), draw("a")]
    with run("new", fork="old"):
        assert before == [draw("a"), draw("a"), draw("a")]
        assert 3 == draw("a")


def test_what_restoring_saved_is_counted_with_a_cost() -> None:
    """The cost of a call that was computed in the origin counts as saved."""
    priced = step(name="priced", cost=len)(lambda doc: doc)
    with run("old") as live:
        priced.map(["aa", "bbb"])
    with run("new", fork="old") as live:
        priced.map(["aa", "bbb", "c"])

    assert (1.0, 5.0) == (live.progress.spent, live.progress.saved_cost)


def test_a_square_that_was_taken_has_its_document(store: Store) -> None:
    """Whoever points at a restored document of a fork is told what it is."""
    with run("old"):
        first().map(DOCS[:3])
    with run("new", fork="old") as live:
        first().map(DOCS[:4])
    found = [store.document(live.record.id, n) for n in range(4)]

    assert DOCS[:4] == [one.label for one in found if one is not None]


@pytest.mark.parametrize(
    ("origin", "says"),
    [("nowhere", "no run 'nowhere' to fork from"), ("new", "from itself"), ("b ad", "from itself|no run")],
)
def test_a_fork_that_cannot_be_is_said_before_anything_runs(store: Store, origin: str, says: str) -> None:
    """And no run is made."""
    with pytest.raises(ConfigError, match=says), run("new", fork=origin):
        first().map(DOCS)

    assert [] == executed == store.runs()
