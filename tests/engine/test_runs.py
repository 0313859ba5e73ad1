"""Runs around plain calls: run(), @workflow, numbers of equal calls, interrupts, ownership."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from durable_nb import RunBusy, run, step, workflow
from durable_nb.engine import runs
from durable_nb.engine.ends import ending
from durable_nb.engine.session import current as session
from durable_nb.errors import CodeChanged, ConfigError, RunStopped
from durable_nb.records import State

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from durable_nb.store import Store

pytestmark = pytest.mark.usefixtures("store")


def counted() -> tuple[Any, list[Any]]:
    """A step that notes what it is called with."""
    executed: list[Any] = []

    @step
    def embed(text: Any) -> str:
        executed.append(text)
        return f"{text}!"

    return embed, executed


def test_outside_of_a_run_a_step_is_its_function(store: Store) -> None:
    """A plain call without a run computes, and saves nothing."""
    embed, executed = counted()

    assert ["a!", "a!"] == [embed("a"), embed("a")]
    assert ["a", "a"] == executed
    assert [] == store.runs()


def test_plain_calls_in_a_run_are_restored() -> None:
    """The same block, run again, executes nothing and returns the same."""
    embed, executed = counted()
    docs = [f"doc {i}" for i in range(1200)]
    for _ in range(2):
        with run("plain"):
            out = [embed(doc) for doc in docs]

        assert [f"{doc}!" for doc in docs] == out
    assert len(docs) == len(executed)


def test_calls_by_keyword_and_of_several_arguments_are_kept() -> None:
    """Arguments are told apart by value, position and name."""
    executed = []

    @step
    def join(left: str, right: str = "", *, upper: bool = False) -> str:
        executed.append((left, right, upper))
        return (left + right).upper() if upper else left + right

    for _ in range(2):
        with run("joined"):
            out = [join("a", "b"), join("ab"), join("a", right="c"), join("a", "b", upper=True)]

        assert ["ab", "ab", "ac", "AB"] == out
    assert 4 == len(executed)


def test_a_raised_call_does_not_use_up_its_number() -> None:
    """``for attempt in range(3): try`` around a step: what succeeded is restored, whatever failed before it."""
    failures = iter([True, True, False])
    executed = []

    @step
    def flaky(text: str) -> str:
        executed.append(text)
        if next(failures, False):
            raise ConnectionError("try again")
        return text

    def attempts() -> str:
        for _ in range(3):
            try:
                return flaky("a")
            except ConnectionError:
                pass
        raise AssertionError("three attempts failed")

    for _ in range(2):
        with run("attempts"):
            assert "a" == attempts()
    assert 3 == len(executed)


def test_the_users_own_exception_passes_as_it_is() -> None:
    """In a run, a plain call raises what the function raised, so that the user's try/except keeps working."""

    @step
    def bad(text: str) -> str:
        raise KeyError(text)

    with run("bad"), pytest.raises(KeyError, match="x"):
        bad("x")


def test_a_map_that_raised_can_be_tried_again_in_the_same_run() -> None:
    """Retrying a whole map inside one run finds its results instead of making second calls."""
    mended, executed = threading.Event(), []

    @step
    def embed(number: int) -> int:
        executed.append(number)
        if number == 3 and not mended.is_set():
            raise ValueError("bad page")
        return number

    with run("twice"):
        with pytest.raises(Exception, match="bad page"):
            embed.map(range(20))
        mended.set()

        assert list(range(20)) == embed.map(range(20))
    assert 21 == len(executed)


def test_threads_of_the_user_find_the_run() -> None:
    """Calls in a ThreadPoolExecutor, which inherits no context, are kept too."""
    embed, executed = counted()
    docs = [f"doc {i}" for i in range(100)]
    for _ in range(2):
        with run("pool"), ThreadPoolExecutor(4) as pool:
            assert [f"{doc}!" for doc in docs] == list(pool.map(embed, docs))
    assert sorted(docs) == sorted(executed)


def test_async_plain_calls_are_kept() -> None:
    """``await fetch(x)`` under gather is restored like any call."""
    executed = []

    @step
    async def fetch(number: int) -> int:
        executed.append(number)
        await asyncio.sleep(0)
        return number * 2

    async def main() -> list[int]:
        with run("gathered"):
            return await asyncio.gather(*(fetch(number) for number in range(50)))

    for _ in range(2):
        assert list(range(0, 100, 2)) == asyncio.run(main())
    assert 50 == len(executed)


def test_a_workflow_is_a_run_around_its_steps(store: Store) -> None:
    """@workflow names the run after the function; the function runs, its steps are restored."""
    embed, executed = counted()
    entered = []

    @workflow
    def nightly(day: str) -> list[str]:
        entered.append(day)
        return [embed(f"{day} {i}") for i in range(3)]

    assert nightly("mon") == nightly("mon")
    assert 3 == len(executed)
    assert 2 == len(entered)
    assert ["nightly"] == [one.name for one in store.runs()]


def test_an_async_workflow() -> None:
    """@workflow wraps a coroutine function as one."""
    embed, executed = counted()

    @workflow(name="night")
    async def nightly() -> str:
        return embed("a")  # type: ignore[no-any-return]

    assert "a!" == asyncio.run(nightly()) == asyncio.run(nightly())
    assert ["a"] == executed


def test_stop_ends_the_run_at_the_next_call(store: Store) -> None:
    """After stop() running calls end and are saved, the next one raises, and a re-run goes on."""
    executed = []

    @step
    def embed(number: int) -> int:
        executed.append(number)
        if number == 5:
            live = runs.current()
            assert live is not None
            live.stop()
        return number

    with pytest.raises(RunStopped), run("stopped"):
        for number in range(10):
            embed(number)

    assert "interrupted" == store.run("stopped").state
    assert 6 == store.run("stopped").done
    with run("stopped"):
        for number in range(10):
            embed(number) if number != 5 else None
    assert [0, 1, 2, 3, 4, 5, 6, 7, 8, 9] == executed


def test_keyboard_interrupt_in_a_map_saves_what_finished(store: Store) -> None:
    """A KeyboardInterrupt inside an inline call loses that call only."""
    interrupted = []

    @step
    def embed(number: int) -> int:
        if number == 7 and not interrupted:
            interrupted.append(number)
            raise KeyboardInterrupt
        return number

    with pytest.raises(KeyboardInterrupt):
        embed.map(range(20), workers=1)

    assert ("interrupted", 7) == (store.run("embed").state, store.run("embed").done)
    assert list(range(20)) == embed.map(range(20), workers=1)


def test_two_live_runs_of_one_name_are_refused() -> None:
    """The same run cannot be opened twice in one kernel, and the message says that it is this one."""
    with run("once"), pytest.raises(RunBusy, match="this kernel"), run("once"):
        pass


def test_step_in_a_step_is_kept_on_its_own() -> None:
    """A step called by a step is a call of the same run, numbered within the outer call."""
    inner_calls = []

    @step
    def inner(number: int) -> int:
        inner_calls.append(number)
        return number + 1

    @step
    def outer(number: int) -> int:
        return inner(number) * 10

    with run("nested"):
        assert [10, 20] == list(outer.map([0, 1]))
        assert 1 == inner(0)
    assert [0, 0, 1] == sorted(inner_calls)
    with run("nested"):
        assert [10, 20] == list(outer.map([0, 1]))
        assert 1 == inner(0)
    assert [0, 0, 1] == sorted(inner_calls)


@pytest.mark.parametrize("name", ["", "two words", "a'b", "-x", ".hidden", "näme\n", "show", "x" * 201, "a;b"])
def test_an_odd_name_is_refused_with_a_suggestion(name: str) -> None:
    """A name that could not be typed back is refused before the database is touched."""
    with pytest.raises(ConfigError):
        run(name).__enter__()


@pytest.mark.parametrize("name", ["embed-filings", "näme", "2024/q1", "a.b:c@d+e=f", "x" * 200])
def test_names_may_be_letters_digits_and_some_signs(name: str, store: Store) -> None:
    """What people name things after works, in any alphabet."""
    with run(name):
        pass

    assert name == store.runs()[0].name


def test_a_method_can_be_a_step() -> None:
    """@step above a method keys the instance by value like any argument."""
    executed = []

    class Model:
        def __init__(self, factor: int) -> None:
            self.factor = factor

        @step
        def scale(self, number: int) -> int:
            executed.append(number)
            return number * self.factor

    for _ in range(2):
        with run("methods"):
            assert (6, 8) == (Model(2).scale(3), Model(2).scale(4))
    assert [3, 4] == executed


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: step(lambda x: x), "lambda"),
        (lambda: step(len.__class__), "wraps functions"),
        (lambda: step(retries=-1)(len), "retries=-1"),
        (lambda: step(name=5)(len), "name=5 is not possible. Give a text"),
        (lambda: step(name="n\0")(len), "is not possible. Give a text"),
        (lambda: step(name="n\ud800")(len), "is not possible. Give a text"),
        (lambda: step(name="é" * 501)(len), "cannot name a step: it has 1,002 bytes. Use 1,000 at most"),
        (lambda: step(timeout=0)(len), "timeout=0"),
        (lambda: step(retry_on="ValueError")(len), "retry_on"),
    ],
)
def test_what_cannot_be_a_step_is_refused(make: Any, says: str) -> None:
    """A wrong decorator argument is named at the decorator."""
    with pytest.raises(ConfigError, match=says):
        make()


def test_a_generator_function_cannot_be_a_step() -> None:
    """Yielded values cannot be kept; the error says to return a list."""
    with pytest.raises(ConfigError, match="Return a list"):

        @step
        def pages(text: str) -> Any:
            yield text


def test_a_run_remembers_its_cell(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Jupyter id of the cell that began a run is kept with it; a later attempt elsewhere does not erase it."""
    monkeypatch.setattr(session, "cell", "3f2a9c1e")
    with run("embed"):
        pass
    monkeypatch.setattr(session, "cell", "")
    with run("embed") as live:
        shown = live.progress.snapshot().cell

    assert ["3f2a9c1e"] * 3 == [shown, store.run("embed").cell, store.snapshot("embed").cell]


def test_an_interrupt_that_breaks_a_lock_of_python_is_one() -> None:
    """What Condition.wait raises when it is interrupted while it takes its lock again, once in hundreds of times."""
    lock = threading.RLock()
    with pytest.raises(RuntimeError, match="un-acquired lock") as broken:
        try:
            raise KeyboardInterrupt
        finally:
            lock.release()

    assert State.INTERRUPTED is ending(broken.value, 0)[0]
    assert State.FAILED is ending(RuntimeError("cannot release un-acquired lock"), 0)[0]


def test_a_document_that_fails_last_decides_how_a_run_ends(store: Store) -> None:
    """Somebody handled the error of a plain call, and its failure is on its way to the database when the run ends."""

    @step
    def embed(n: int) -> int:
        if n == 3:
            raise ValueError("no")
        return n

    with run("plain"):
        for n in range(4):
            with contextlib.suppress(ValueError):
                embed(n)
    ended = store.run("plain")

    assert ended is not None
    assert (State.FAILED, 3, 1) == (ended.state, ended.done, ended.failed)
    assert "1 document failed" == store.events(ended.id)[-1].detail


def test_a_run_ends_without_a_commit_for_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is pending is committed once before its end is decided; where nothing is, no commit is asked for."""
    embed, _ = counted()
    asked: list[str] = []
    ask = store._writer.next_commit
    monkeypatch.setattr(store._writer, "next_commit", lambda: asked.append("commit") or ask())
    with run("pending"):
        embed("a")
    at_most_once = asked[:]
    with run("saved"):
        embed("a")
        store.flush()
        asked.clear()

    assert len(at_most_once) <= 1
    assert [] == asked


def test_a_run_that_asks_about_edited_code_shows_what_it_has(store: Store) -> None:
    """Nothing was run and nothing dropped: its results are not gone because a question is open."""
    step(lambda n: n, name="embed", version="1").map(range(20))
    edited = step(lambda n: -n, name="embed", version="2")
    with pytest.raises(CodeChanged):
        edited.map(range(20))
    shown = store.snapshot("embed")

    assert shown is not None
    assert ("failed", 20, 20, 0) == (shown.state, shown.total, shown.restored, shown.computed)
    edited.map(range(20), on_change="recompute")
    after = store.snapshot("embed")

    assert after is not None
    assert ("done", 20, 0, 20) == (after.state, after.total, after.restored, after.computed)


def test_one_block_is_not_entered_twice(store: Store) -> None:
    """The second one is refused, as that of another ``run()`` of this name is; the first goes on and keeps what it calls."""
    made: list[int] = []

    @step
    def embed(number: int) -> int:
        made.append(number)
        return number

    block = run("once")
    for _ in range(2):
        with block:
            embed(1)
            with pytest.raises(RunBusy, match='with run\\("once"\\)'), block:
                embed(2)
            embed(3)

    assert [1, 3] == made
    assert (2, "done") == (store.run("once").done, store.run("once").state)


def test_a_workflow_is_a_function() -> None:
    """What gives its results one by one ends after its run, and keeps nothing: refused, as a class is."""

    def several() -> Iterator[int]:
        yield 1

    async def awaited() -> AsyncIterator[int]:
        yield 1

    for wrong in (several, awaited, type("Case", (), {}), 3):
        with pytest.raises(ConfigError, match="generator|wraps functions"):
            workflow(wrong)
