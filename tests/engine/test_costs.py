"""What results cost: summed for the run, in the database, and told apart from what restoring saved."""

from __future__ import annotations

import asyncio
import math
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from durable_nb import run, step
from durable_nb.errors import ConfigError
from durable_nb.records import Snapshot
from durable_nb.testing import assert_restored

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from durable_nb.store import Store

pytestmark = pytest.mark.usefixtures("store")


def price(answer: dict[str, Any]) -> float:
    """Of an answer that says what it used."""
    return float(answer["tokens"]) * 0.25


def answered(doc: str) -> dict[str, Any]:
    """Stands for a service that is paid by the token."""
    return {"text": doc.upper(), "tokens": len(doc)}


def answered_all(docs: list[str]) -> list[dict[str, Any]]:
    """As many at once."""
    return [answered(doc) for doc in docs]


def priced_but_c(answer: dict[str, Any]) -> float:
    """Knows what all answers cost but one."""
    if answer["text"] == "C":
        raise KeyError("no price")
    return price(answer)


def seen(store: Store, name: str) -> Snapshot:
    """The run as a view of the database shows it."""
    found = store.snapshot(name)
    assert found is not None
    return found


def on_threads(docs: list[str]) -> None:
    """By ``map``."""
    ask = step(name="ask", cost=price)(answered)
    with run("costs"):
        ask.map(docs, workers=4)


def one_by_one(docs: list[str]) -> None:
    """By plain calls."""
    ask = step(name="ask", cost=price)(answered)
    with run("costs"):
        for doc in docs:
            ask(doc)


def in_batches(docs: list[str]) -> None:
    """Of a function that takes many documents."""

    @step(name="ask", batch=4, cost=price)
    def ask(some: list[str]) -> list[dict[str, Any]]:
        return [answered(doc) for doc in some]

    with run("costs"):
        ask.map(docs)


def on_the_loop(docs: list[str]) -> None:
    """Of a coroutine function."""

    @step(name="ask", cost=price)
    async def ask(doc: str) -> dict[str, Any]:
        return answered(doc)

    async def main() -> None:
        with run("costs"):
            await ask.amap(docs)

    asyncio.run(main())


def in_transactions(docs: list[str]) -> None:
    """Of a function whose writes are committed with its result."""

    @step(name="ask", transaction=True, cost=price)
    def ask(doc: str, *, connection: Any) -> dict[str, Any]:
        assert connection is not None
        return answered(doc)

    with run("costs"):
        ask.map(docs, workers=1)


@pytest.mark.parametrize("ways", [on_threads, one_by_one, in_batches, on_the_loop, in_transactions])
def test_what_is_spent_and_what_is_saved(store: Store, ways: Callable[[list[str]], None]) -> None:
    """The first attempt pays for ten documents; the second restores them, and pays for ten others."""
    docs = ["doc " + "x" * n for n in range(20)]
    paid = [0.25 * len(doc) for doc in docs]

    ways(docs[:10])
    first = seen(store, "costs")
    ways(docs)
    second = seen(store, "costs")

    assert (sum(paid[:10]), 0.0) == (first.spent, first.saved_cost)
    assert (sum(paid[10:]), sum(paid[:10])) == (second.spent, second.saved_cost)


def test_costs_go_with_their_run(store: Store) -> None:
    """What is dropped leaves no cost behind."""
    on_threads(["a", "bb"])
    path = store.where
    with sqlite3.connect(path) as conn:
        assert [(0.25,), (0.5,)] == conn.execute("SELECT cost FROM costs ORDER BY cost").fetchall()

    store.forget("costs")

    with sqlite3.connect(path) as conn:
        assert [] == conn.execute("SELECT cost FROM costs").fetchall()


@pytest.mark.parametrize("wrong", [lambda _: 1 / 0, lambda _: "much", lambda _: -1.0, lambda _: math.nan])
def test_a_cost_that_cannot_be_told_loses_nothing(wrong: Callable[[Any], Any]) -> None:
    """The error names the function to mend; the answer, which is paid for, is saved."""
    made: list[str] = []

    def ask(doc: str) -> dict[str, Any]:
        made.append(doc)
        return answered(doc)

    with pytest.raises(ConfigError, match="cost="):
        step(name="ask", cost=wrong)(ask).map(["a"])

    assert "A" == step(name="ask", cost=price)(ask).map(["a"])[0]["text"]
    assert ["a"] == made


@pytest.mark.parametrize("options", [{}, {"executor": "processes"}])
def test_a_cost_in_the_middle_of_a_batch_loses_no_later_answer(store: Store, options: dict[str, Any]) -> None:
    """The whole batch is paid for: all of it is saved, each answer whose cost can be told with that."""
    ask = step(name="ask", version="1", batch=4, cost=priced_but_c)(answered_all)

    with pytest.raises(ConfigError, match="cost=.*on the result of c: .*no price"):
        ask.map(["a", "bb", "c", "dddd"], workers=1, **options)

    with assert_restored(ask, 4):
        assert ["A", "BB", "C", "DDDD"] == [one["text"] for one in ask.map(["a", "bb", "c", "dddd"], workers=1)]
    assert sum(map(price, answered_all(["a", "bb", "dddd"]))) == seen(store, "ask").saved_cost


@pytest.mark.parametrize("options", [{"workers": 1}, {"workers": 4}, {"workers": 1, "executor": "processes"}])
@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_a_cost_that_ends_the_program_loses_nothing(error: type[BaseException], options: dict[str, Any]) -> None:
    """It is raised as it is, and the answer, which is paid for, is saved."""

    def leave(_: Any) -> float:
        raise error

    ask = step(name="ask", version="1", cost=leave)(answered)
    with pytest.raises(error):
        ask.map(["a"], **options)

    with assert_restored(paid := ask.options(cost=None), 1):
        assert "A" == paid.map(["a"])[0]["text"]


def test_a_cost_that_cannot_be_told_rolls_a_transaction_back(store: Store) -> None:
    """The error says so, the call is not paid for once more, and once ``cost`` is mended it is made again."""
    with store._database.writing() as conn:
        conn.exec_driver_sql("CREATE TABLE sink (doc TEXT)")
    made: list[str] = []

    def ask(doc: str, *, connection: Any) -> dict[str, Any]:
        made.append(doc)
        connection.exec_driver_sql("INSERT INTO sink VALUES (?)", (doc,))
        return answered(doc)

    def written() -> int:
        with sqlite3.connect(store.where) as conn:
            return int(conn.execute("SELECT count(*) FROM sink").fetchone()[0])

    with pytest.raises(ConfigError, match=r"cost=.*What the call wrote is rolled back\."):
        step(name="ask", transaction=True, retries=2, cost=lambda _: -1.0)(ask).map(["a"])
    assert 0 == written()
    assert ["a"] == made

    assert "A" == step(name="ask", transaction=True, cost=price)(ask).map(["a"])[0]["text"]
    assert 1 == written()


def test_a_cost_is_a_function() -> None:
    """Anything else is refused at the definition."""
    with pytest.raises(ConfigError, match="cost="):
        step(cost=0.5)(answered)  # type: ignore[call-overload]


def test_costs_are_exported_with_their_run(store: Store, tmp_path: Path) -> None:
    """Who imports a run knows what its results had cost."""
    on_threads(["a", "bb"])
    store.export_run("costs", tmp_path / "costs.run")
    store.forget("costs")
    store.import_run(tmp_path / "costs.run")
    on_threads(["a", "bb"])

    assert (0.0, 0.75) == (seen(store, "costs").spent, seen(store, "costs").saved_cost)
