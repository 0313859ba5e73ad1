"""``async for document, result in step.stream(…)``: of async steps on the running loop, of others on threads beside it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from durable_nb import StepFailed, run, step
from durable_nb.engine import arrivals
from durable_nb.engine.session import current as session
from durable_nb.errors import ConfigError, RunStopped, StepTimeout
from durable_nb.testing import assert_restored
from tests.kernels import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from durable_nb.store import Store

pytestmark = pytest.mark.usefixtures("store")

_READ_AHEAD = arrivals._AHEAD + 128
"""Results that wait, calls that run, and those that were restored together."""

made: list[Any] = []


@pytest.fixture(autouse=True)
def _nothing_made() -> None:
    made.clear()


@step
async def fetch(number: int) -> int:
    """Stands for a client of a service."""
    await asyncio.sleep(0)
    made.append(number)
    return number * number


@step
def compute(number: int) -> int:
    """The same without a loop."""
    made.append(number)
    return number * number


@step(batch=8)
async def fetch_many(numbers: list[int]) -> list[int]:
    """A service that takes lists."""
    made.extend(numbers)
    return [number * number for number in numbers]


every_kind = pytest.mark.parametrize("squares", [fetch, compute, fetch_many], ids=["awaited", "threads", "batches"])


async def numbers_async(count: int) -> AsyncIterator[int]:
    """Items of which nobody knows how many there are."""
    for number in range(count):
        await asyncio.sleep(0)
        yield number


async def read(stream: Any) -> dict[Any, Any]:
    """All of a stream."""
    return {document: result async for document, result in stream}


@every_kind
@pytest.mark.parametrize("items", [range(700), numbers_async], ids=["list", "async iterator"])
def test_each_result_comes_with_its_document(squares: Any, items: Any) -> None:
    """Whatever computes, whatever they come from; the second time all are restored."""
    again = items(700) if items is numbers_async else items
    first = asyncio.run(read(squares.stream(items(700) if items is numbers_async else items)))
    with assert_restored(squares, 700):
        second = asyncio.run(read(squares.stream(again)))

    assert {number: number * number for number in range(700)} == first == second


@every_kind
def test_options_are_those_of_every_stream(squares: Any) -> None:
    """A key stands for the document, the highest priority comes first, and a limit leaves the others out."""
    stream = squares.stream(range(50), key=lambda number: f"n{number}", priority=lambda number: number, limit=3)

    assert {"n47": 47**2, "n48": 48**2, "n49": 49**2} == asyncio.run(read(stream))


@every_kind
def test_a_slow_reader_is_waited_for(squares: Any) -> None:
    """Neither calls nor restored results pile up in front of it, and the loop goes on meanwhile."""
    asyncio.run(read(squares.stream(range(1_000))))
    made.clear()
    stream = squares.stream(range(5_000))

    async def look() -> tuple[int, int]:
        with contextlib.suppress(StopAsyncIteration):
            for _ in range(1_100):
                await anext(stream)
            await asyncio.sleep(0.3)
        return len(made), len(stream._arrivals._arrived)

    computed, waiting = asyncio.run(look())

    assert computed <= 100 + _READ_AHEAD
    assert waiting <= _READ_AHEAD


@every_kind
def test_a_loop_that_is_left_loses_nothing_that_was_read(store: Store, squares: Any) -> None:
    """The run ends as interrupted, no further call is made, and the next one computes the rest."""

    async def some() -> list[int]:
        found = []
        async with squares.stream(range(2_000), workers=2) as stream:
            async for _, result in stream:
                found.append(result)
                if len(found) == 40:
                    break
        return found

    found = asyncio.run(some())
    computed = len(made)

    assert 40 == len(found)
    assert computed <= 40 + _READ_AHEAD
    assert "interrupted" == store.runs()[0].state

    assert 2_000 == len(asyncio.run(read(squares.stream(range(2_000)))))
    assert 2_000 == len(made) == len(set(made))


@pytest.mark.parametrize("squares", [fetch, compute], ids=["awaited", "threads"])
def test_a_break_alone_ends_it_too(squares: Any) -> None:
    """What nobody holds any more is heard of, and the next map of the step has its run."""

    async def break_and_go_on() -> dict[Any, Any]:
        async for _ in squares.stream(range(2_000), workers=2):
            break
        return await read(squares.stream(range(2_000)))

    assert 2_000 == len(asyncio.run(break_and_go_on()))
    assert 2_000 == len(set(made))
    assert len(made) <= 2_000 + 2


def test_a_map_ends_a_stream_that_is_read_no_further() -> None:
    """It holds the run: the map that follows, of an async step as well, takes it over."""
    stream = fetch.stream(range(1_000))

    async def read_some() -> tuple[int, int]:
        _, first = await anext(stream)
        return first, len(await fetch.amap(range(1_000)))

    assert (0, 1_000) == asyncio.run(read_some())
    assert 1_000 == len(made)


def test_failures_come_at_the_end_or_in_place() -> None:
    """As in any stream: the others are finished first."""

    @step
    async def odd(number: int) -> int:
        if number == 3:
            raise ValueError(number)
        return number

    found = []

    async def loop() -> None:
        async for _, result in odd.stream(range(10)):
            found.append(result)

    with pytest.raises(StepFailed, match="ValueError: 3"):
        asyncio.run(loop())
    collected = asyncio.run(read(odd.stream(range(10), on_error="collect")))

    assert [0, 1, 2, 4, 5, 6, 7, 8, 9] == sorted(found)
    assert isinstance(collected.pop(3), StepFailed)
    assert {number: number for number in range(10) if number != 3} == collected


@pytest.mark.parametrize("is_async", [True, False])
def test_who_is_cancelled_has_control_back_and_what_is_finished_is_saved(store: Store, is_async: bool) -> None:
    """As ■ does in a notebook: calls on the loop are cancelled, those on threads are waited for a moment."""

    @step(name="slow")
    async def slow_async(number: int) -> int:
        await asyncio.sleep(0 if number < 5 else 60)
        return number

    @step(name="slow")
    def slow(number: int) -> int:
        time.sleep(0 if number < 5 else 1)
        return number

    async def cancelled() -> float:
        found, came = [], asyncio.Event()

        async def loop() -> None:
            async for _, result in (slow_async if is_async else slow).stream(range(40), workers=8):
                found.append(result)
                if len(found) == 5:
                    came.set()

        task = asyncio.create_task(loop())
        await came.wait()
        task.cancel()
        began = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await task
        return time.monotonic() - began

    assert asyncio.run(cancelled()) < 2
    assert store.runs()[0].done >= 5
    assert "interrupted" == store.runs()[0].state


@pytest.mark.parametrize("squares", [fetch, compute], ids=["awaited", "threads"])
def test_who_reads_on_after_a_timeout_is_told_that_it_was_stopped(squares: Any) -> None:
    """Not that the reader is cancelled, which it is not; another stream goes on."""

    async def read_on() -> int:
        stream = squares.stream(range(1_000), workers=2)
        await anext(stream)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await read(stream)
        with pytest.raises(RunStopped, match="run the cell again to go on"):
            await read(stream)
        return len(await read(squares.stream(range(1_000))))

    assert 1_000 == asyncio.run(read_on())
    assert 1_000 == len(set(made))


def test_it_belongs_to_the_run_around_it(store: Store) -> None:
    """As every map does: two streams in one run are two steps of it."""

    async def both() -> None:
        with run("both"):
            await read(fetch.stream(range(10)))
            await read(compute.stream(range(10)))

    asyncio.run(both())

    assert ["both"] == [one.name for one in store.runs()]
    assert 20 == store.runs()[0].done


def test_what_the_items_raise_comes_when_all_before_it_was_read() -> None:
    """An async iterator that breaks off loses nothing of what it gave."""

    async def breaking() -> AsyncIterator[int]:
        async for number in numbers_async(50):
            yield number
        raise ConnectionError("gone")

    found = []

    async def loop() -> None:
        async for _, result in fetch.stream(breaking()):
            found.append(result)

    with pytest.raises(ConnectionError, match="gone"):
        asyncio.run(loop())
    assert [number * number for number in range(50)] == sorted(found)


def test_a_loop_that_awaits_nothing_is_told_how_to() -> None:
    """An async step, or items that have to be awaited, in a plain ``for``."""
    with pytest.raises(ConfigError, match=r"async for document, result in fetch\.stream"):
        list(fetch.stream([1]))
    with pytest.raises(ConfigError, match=r"async for document, result in compute\.stream"):
        next(compute.stream(numbers_async(3)))


def test_nothing_happens_before_the_first_document_is_asked_for(store: Store) -> None:
    """A stream that is made, or opened and left, computes nothing and leaves no run."""

    async def open_and_leave() -> None:
        async with fetch.stream(range(10)):
            pass
        await fetch.stream(range(10)).aclose()

    asyncio.run(open_and_leave())

    assert [] == made
    assert [] == list(store.runs())


def test_attempts_and_deadlines_are_those_of_the_step() -> None:
    """A call beyond its deadline fails as everywhere."""

    @step(timeout=0.05)
    async def stuck(number: int) -> int:
        await asyncio.sleep(number)
        return number

    found = asyncio.run(read(stuck.stream([0, 60], on_error="collect")))

    assert 0 == found[0]
    assert isinstance(found[60].__cause__, StepTimeout)


@pytest.mark.parametrize("squares", [fetch, compute], ids=["awaited", "threads"])
def test_a_stream_that_is_ended_in_a_task_ends_no_loop(squares: Any) -> None:
    """What a task raises that another map has ended is an exception like any other: its loop, and a kernel, live on."""

    async def both() -> list[Any]:
        first = asyncio.create_task(read(squares.stream(range(5_000))))
        await asyncio.sleep(0.05)
        second = await squares.amap(range(10))
        (ended,) = await asyncio.gather(first, return_exceptions=True)
        return [type(ended), len(second)]

    assert [RunStopped, 10] == asyncio.run(both())


@pytest.mark.parametrize("squares", [fetch, compute], ids=["awaited", "threads"])
def test_stop_ends_a_map_in_a_task_and_no_loop(squares: Any) -> None:
    """The button, or a shell, ends the run of a task of the user's."""

    async def stopped() -> list[Any]:
        tasks = [asyncio.create_task(squares.amap(range(100_000)))]
        while not made:  # noqa: ASYNC110 - it is another thread that makes them
            await asyncio.sleep(0.01)
        session.live[0].stop()
        return [type(error) for error in await asyncio.gather(*tasks, return_exceptions=True)]

    assert [RunStopped] == asyncio.run(stopped())


def test_a_stream_is_the_items_of_another_map() -> None:
    """With whichever loop its own calls need."""
    add = step(lambda pair: sum(pair), name="add")

    @step
    async def add_async(pair: tuple[int, int]) -> int:
        return sum(pair)

    async def of_async() -> list[list[int]]:
        ours = [await add.amap(fetch.stream(range(50))), await add_async.amap(fetch.stream(range(50)))]
        plain = await add_async.amap(compute.stream(range(50)))
        return [sorted(one) for one in (*ours, plain)]

    expected = [number + number * number for number in range(50)]

    assert expected == sorted(add.map(compute.stream(range(50))))
    assert expected == sorted(result for _, result in add.stream(compute.stream(range(50))))
    assert [expected] * 3 == asyncio.run(of_async())


@pytest.mark.parametrize("squares", [fetch, compute], ids=["awaited", "threads"])
def test_a_run_around_a_stream_that_is_read_no_further_is_interrupted(store: Store, squares: Any) -> None:
    """Not done: not all of its documents are."""

    async def hold() -> None:
        with run("held"):
            stream = squares.stream(range(5_000), workers=2)
            await anext(stream)

    asyncio.run(hold())

    assert "interrupted" == store.run("held").state


def test_a_stream_that_is_closed_without_awaiting_ends_as_stopped() -> None:
    """A plain ``close`` cannot wait for calls on the loop, and who reads on is told that not all came."""

    async def close() -> int:
        read_so_far = 0
        stream = fetch.stream(range(1_000), workers=2)
        with pytest.raises(RunStopped):
            async for _ in stream:
                read_so_far += 1
                if read_so_far == 10:
                    stream.close()
        return read_so_far

    assert 10 <= asyncio.run(close()) < 1_000


def test_what_was_left_in_the_middle_of_a_long_call_keeps_nobody_out() -> None:
    """A call on the loop is cancelled a second later, and the next loop over that step begins."""

    @step
    async def slow(number: int) -> int:
        await asyncio.sleep(0 if number < 1 else 60)
        return number

    async def again() -> list[int]:
        async for _ in slow.stream(range(10), workers=4):
            break
        return [result async for _, result in slow.stream([0])]

    assert [0] == asyncio.run(again())


def test_threads_that_all_tasks_share_hold_nothing_up() -> None:
    """Maps beside the loop, whose items wait for those threads, and ends of streams, have threads of their own."""

    async def items() -> AsyncIterator[int]:
        for number in range(5):
            await asyncio.to_thread(time.sleep, 0)
            yield number

    async def busy() -> list[int]:
        steps = [step(lambda number: number, name=f"same {n}") for n in range(40)]
        with run("many"):
            many = await asyncio.wait_for(asyncio.gather(*[one.amap(items(), workers=1) for one in steps]), 60)
        event = threading.Event()
        blocked = [asyncio.create_task(asyncio.to_thread(event.wait)) for _ in range(64)]
        async with asyncio.timeout(30):
            stream = compute.stream(range(1_000))
            await anext(stream)
            await stream.aclose()
            await fetch.amap(range(3))
        event.set()
        await asyncio.gather(*blocked)
        return [len(one) for one in many]

    assert [5] * 40 == asyncio.run(busy())


@pytest.mark.parametrize("squares", [fetch, compute], ids=["awaited", "threads"])
@pytest.mark.parametrize("items", [range(1_000), numbers_async], ids=["list", "async iterator"])
def test_a_loop_that_ends_interrupts_the_stream_that_it_read(store: Store, squares: Any, items: Any) -> None:
    """Nothing has failed; the stream is still in somebody's hands."""
    stream = squares.stream(items(100_000) if items is numbers_async else items)

    async def some() -> None:
        for _ in range(5):
            await anext(stream)

    asyncio.run(some())
    stream.close()
    name = "fetch" if squares is fetch else "compute"
    wait_until(lambda: store.run(name).owner is None, describing="the run is over")

    assert ("interrupted", 0) == (store.run(name).state, store.run(name).failed)


def test_the_next_stream_waits_for_one_that_is_left_while_its_run_is_opened() -> None:
    """Cancelled twice, as by a timeout in a group of tasks that fails: nobody waits until it is over."""

    async def left() -> dict[Any, Any]:
        task = asyncio.create_task(read(compute.stream(range(10))))
        for _ in range(2):
            await asyncio.sleep(0)
            task.cancel()
        await asyncio.wait([task])
        return await read(compute.stream(range(10)))

    for _ in range(5):
        assert {n: n * n for n in range(10)} == asyncio.run(left())


def test_the_next_map_ends_a_stream_whose_run_is_being_opened(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not take it for a run of somebody else."""
    opening, snapshot = threading.Event(), type(store).snapshot

    def slow(self: Store, name: str) -> Any:
        if not opening.is_set():
            opening.set()
            time.sleep(0.2)
        return snapshot(self, name)

    async def both() -> list[Any]:
        first = asyncio.create_task(read(compute.stream(range(5_000))))
        await asyncio.to_thread(opening.wait, 10)
        second = await compute.amap(range(10))
        (ended,) = await asyncio.gather(first, return_exceptions=True)
        return [type(ended), list(second)]

    monkeypatch.setattr(type(store), "snapshot", slow)

    assert [RunStopped, [n * n for n in range(10)]] == asyncio.run(both())


def test_a_stream_is_read_on_in_another_loop() -> None:
    """What computes on threads does not end with the loop of its reader; nobody waits for news from that."""
    stream = compute.stream(range(300), workers=1)

    async def some(count: int) -> list[Any]:
        async with asyncio.timeout(20):
            return [await anext(stream) for _ in range(count)]

    found = [next(stream), *asyncio.run(some(3)), *asyncio.run(some(290)), *stream]

    assert {n: n * n for n in range(300)} == dict(found)


def test_an_async_step_computes_on_the_loop_that_has_read_first() -> None:
    """Another one is told so; closing it there ends it."""
    stream = fetch.stream(range(300))

    async def first() -> Any:
        return await anext(stream)

    assert (0, 0) == asyncio.run(first())
    with pytest.raises(ConfigError, match="begun on another loop"):
        asyncio.run(first())
    asyncio.run(stream.aclose())

    assert {n: n * n for n in range(300)} == asyncio.run(read(fetch.stream(range(300))))


@pytest.mark.parametrize("how", ["stream", "amap"])
def test_a_document_whose_inner_task_was_cancelled_has_failed(store: Store, how: str) -> None:
    """Nobody has cancelled the map: the other documents are computed, and it is named."""

    @step(version="1")
    async def ask(number: int) -> int:
        if number == 7:
            inner = asyncio.create_task(asyncio.sleep(10))
            inner.cancel()
            await inner
        return number * number

    async def asked() -> dict[Any, Any]:
        if how == "stream":
            return await read(ask.stream(range(50), on_error="collect"))
        results = await ask.amap(range(50), on_error="collect")
        return dict(enumerate(results))

    found = asyncio.run(asked())

    assert {n: n * n for n in range(50) if n != 7} == {n: value for n, value in found.items() if n != 7}
    assert "what it awaited was cancelled" in str(found[7])
    assert ("failed", 49, 1) == (store.run("ask").state, store.run("ask").done, store.run("ask").failed)


@pytest.mark.parametrize("waits_for", ["pace", "attempt"])
def test_no_call_begins_once_the_loop_was_left(waits_for: str) -> None:
    """Those that wait for the pace of a service, or for their next attempt, do so no longer."""
    begun: list[int] = []
    options: dict[str, Any] = {"rate_limit": "20/s"} if waits_for == "pace" else {"retries": 5}

    @step(version="1", **options)
    async def ask(number: int) -> int:
        begun.append(number)
        await asyncio.sleep(0)
        if waits_for == "attempt" and number > 4:
            raise ConnectionError(number)
        return number

    async def left() -> int:
        count = 0
        async with ask.stream(range(200), workers=32) as stream:
            async for _ in stream:
                count += 1
                if count == 5:
                    break
            await asyncio.sleep(0)
            before = len(begun)
        await asyncio.sleep(1.2)
        return len(begun) - before

    assert 0 == asyncio.run(left())


def test_a_stream_that_is_closed_twice_is_waited_for_once() -> None:
    """■ in the loop closes it, and the block around it does so again."""
    let_go, begun = threading.Event(), threading.Event()

    @step(version="1")
    def waiting(number: int) -> int:
        begun.set()
        let_go.wait(20)
        return number

    began = time.monotonic()
    with waiting.stream(range(5), workers=1) as stream:
        threading.Thread(target=next, args=(stream,), daemon=True).start()
        begun.wait(20)
        began = time.monotonic()
        stream.close()
    took = time.monotonic() - began
    let_go.set()

    assert 1.4 < took < 2.9
