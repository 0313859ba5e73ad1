"""Items that come one after the other, results that are used as they arrive, and a part of the items first."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import itertools
import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from durable_nb import StepFailed, run, step
from durable_nb.engine import ends, refills, selection, streams, unfinished
from durable_nb.errors import ConfigError, LeaseLost, RunBusy, RunStopped, StoreUnavailable
from durable_nb.testing import assert_restored
from tests.kernels import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from durable_nb.store import Store

pytestmark = pytest.mark.usefixtures("store")


executed: list[str] = []


@step
def embed(text: str) -> str:
    """Stands for a model."""
    executed.append(text)
    return text.upper()


@pytest.fixture(autouse=True)
def _nothing_executed() -> None:
    executed.clear()


@pytest.mark.parametrize("workers", [1, 8])
def test_a_stream_gives_each_result_with_its_document(workers: int) -> None:
    """Every document comes once, with its own result; the second time all are restored."""
    docs = [f"doc {i}" for i in range(700)]

    first = dict(embed.stream(docs, workers=workers))
    with assert_restored(embed, len(docs)):
        again = dict(embed.stream(docs, workers=workers))

    assert {doc: doc.upper() for doc in docs} == first == again


def test_a_key_stands_for_the_document() -> None:
    """With ``key`` a result comes with the key, not with a document that may be large."""
    docs = [{"id": i, "text": f"doc {i}"} for i in range(5)]

    @step
    def shout(doc: dict[str, Any]) -> str:
        return str(doc["text"]).upper()

    assert {i: f"DOC {i}" for i in range(5)} == dict(shout.stream(docs, key=lambda doc: doc["id"]))


@pytest.mark.parametrize("options", [{}, {"limit": 80}, {"priority": len}, {"workers": 1}])
@pytest.mark.parametrize("given", [list, iter])
def test_a_key_is_asked_once_of_each_document(given: Callable[[list[str]], Any], options: dict[str, Any]) -> None:
    """It may take long, or count: what names the call is what comes with its result, computed or restored."""
    docs = [f"doc {i:03}" for i in range(700)]
    expected = [f"DOC {i:03}" for i in range(options.get("limit", 700))]

    for _ in range(2):
        numbers = itertools.count()
        read = dict(embed.stream(given(docs), key=lambda _, numbers=numbers: next(numbers), **options))

        assert expected == [read[number] for number in range(len(expected))]
        assert len(expected) == next(numbers)
    assert len(expected) == len(executed)


def test_the_first_result_does_not_wait_for_the_last() -> None:
    """A result is handed on as soon as it is there: while another call still runs."""
    gate = threading.Event()

    @step
    def slow(number: int) -> int:
        if number == 2:
            gate.wait(20)
        return number

    seen = []
    for number, _ in slow.stream(range(4), workers=2):
        seen.append(number)
        if len(seen) == 3:
            gate.set()

    assert [0, 1, 2, 3] == sorted(seen)
    assert 2 == seen[-1]


def test_a_stream_that_several_threads_begin_to_read_is_one_map(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them takes some of the documents, and each document is computed once."""
    both = threading.Barrier(2)
    read: list[tuple[str, str]] = []

    def together() -> contextvars.Context:
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(0.5)  # for the other thread, which comes as far only if nothing holds it back
        return contextvars.copy_context()

    monkeypatch.setattr(streams, "copy_context", together)
    docs = [f"doc {i}" for i in range(50)]
    stream = embed.stream(docs, workers=2)
    readers = [threading.Thread(target=lambda: read.extend(stream)) for _ in range(2)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()

    assert sorted((doc, doc.upper()) for doc in docs) == sorted(read)
    assert sorted(docs) == sorted(executed)


class Left:
    """Something that nobody waits for any more."""

    is_left = True

    def leave(self) -> None:
        """Told once more that it is; it is over then."""
        self.is_over = True
        unfinished.forget("embed", self)


def test_what_was_left_is_ended_though_another_one_of_its_name_was_forgotten() -> None:
    """Several streams of a step may have been left, and each is known by itself."""
    first, second = Left(), Left()
    unfinished.unfinished("embed", first)
    unfinished.unfinished("embed", second)
    unfinished.forget("embed", second)
    list(unfinished.closing_unfinished("embed", is_alone=False))

    assert first.is_over


def test_a_stream_is_not_far_ahead_of_its_reader() -> None:
    """Who reads slowly is waited for: neither items nor results pile up."""
    given = 0

    def endless() -> Iterator[str]:
        nonlocal given
        while True:
            given += 1
            yield f"doc {given}"

    stream = embed.stream(endless(), workers=4)
    for _ in range(10):
        next(stream)
    time.sleep(0.3)
    stream.close()

    assert given < 400


def test_a_stream_that_is_left_keeps_what_is_finished(store: Store) -> None:
    """Leaving the loop ends the run as interrupted; the next one restores what was computed."""
    docs = [f"doc {i}" for i in range(2000)]
    stream = embed.stream(docs, workers=2)
    for count, _ in enumerate(stream):
        if count == 20:
            break
    stream.close()
    left = store.snapshot("embed")
    assert left is not None
    done = left.restored + left.computed

    assert "interrupted" == left.state
    assert 20 <= done < 2000
    assert {doc: doc.upper() for doc in docs} == dict(embed.stream(docs))
    assert 2000 == len(executed)


def test_a_stream_that_is_forgotten_makes_room_for_the_next() -> None:
    """After ``break`` nobody can close the stream: the next one of the step does."""
    kept = [embed.stream([f"doc {i}" for i in range(2000)], workers=2)]
    next(kept[0])

    assert 3 == len(dict(embed.stream(["a", "b", "c"])))
    with pytest.raises(RunStopped):
        list(kept[0])


def test_a_stream_that_is_closed_unread_runs_nothing() -> None:
    """It has nothing to give then."""
    stream = embed.stream(["a"])
    stream.close()

    assert [] == list(stream)
    assert [] == executed


def test_a_loop_that_is_left_ends_the_map(store: Store) -> None:
    """``break`` is enough: nobody holds the stream any more, and the run is over before anything else uses it."""
    for _ in embed.stream([f"doc {i}" for i in range(2000)], workers=2):
        break

    wait_until(lambda: store.snapshot("embed").state == "interrupted", describing="the run is over")  # type: ignore[union-attr]
    assert len(executed) < 1000


def test_failures_come_last_or_as_they_are() -> None:
    """``raise`` gives all others first; ``collect`` hands the failure over in place of a result."""

    @step
    def picky(number: int) -> int:
        if number == 3:
            raise ValueError("three")
        return number

    seen = []
    with pytest.raises(StepFailed, match="three"):
        seen += [number for number, _ in iterated(picky.stream(range(6)), seen)]
    collected = dict(picky.stream(range(6), on_error="collect"))

    assert [0, 1, 2, 4, 5] == sorted(seen)
    assert isinstance(collected.pop(3), StepFailed)
    assert {n: n for n in (0, 1, 2, 4, 5)} == collected


def iterated(stream: Iterator[tuple[int, int]], seen: list[int]) -> Iterator[tuple[int, int]]:
    """Notes what comes before the error."""
    for number, value in stream:
        seen.append(number)
        yield number, value


def test_a_stream_inside_a_run_belongs_to_it(store: Store) -> None:
    """Its documents are those of the run around it, and a stream that is left does not end that run."""
    with run("filings"):
        for _ in embed.stream(["a", "b", "c"]):
            break
        embed.map(["d"])
    found = store.snapshot("filings")

    assert found is not None
    assert ("done", True) == (found.state, found.computed >= 2)
    assert store.snapshot("embed") is None


def test_a_stream_that_is_left_inside_a_run_uses_up_no_number() -> None:
    """The same documents, asked for again, are found."""
    computed: list[int] = []

    @step
    def double(n: int) -> int:
        computed.append(n)
        return 2 * n

    with run("numbers"):
        with double.stream(range(20), workers=1) as stream:
            next(stream)
        found = double.map(range(20))

    assert [2 * n for n in range(20)] == list(found)
    assert list(range(20)) == sorted(computed)


def test_a_loop_that_is_left_inside_a_run_uses_up_no_number() -> None:
    """Its calls end first: so the next map of the step, in the line after ``break``, finds them."""
    computed: list[int] = []

    @step
    def slow(n: int) -> int:
        time.sleep(0.05)
        computed.append(n)
        return n

    with run("numbers"):
        for _ in slow.stream(range(20), workers=2):
            break
        found = slow.map(range(20))

    assert list(range(20)) == list(found) == sorted(computed)


def test_a_stream_that_is_closed_before_its_last_result_is_read_uses_up_no_number() -> None:
    """Also if all of them are there: how far it was ahead is nobody's business."""
    computed: list[int] = []

    @step
    def double(n: int) -> int:
        computed.append(n)
        return 2 * n

    with run("numbers"):
        with double.stream(range(20)) as stream:
            next(stream)
            wait_until(lambda: stream._arrivals.is_over, describing="the map is over")
        found = double.map(range(20))

    assert [2 * n for n in range(20)] == list(found)
    assert list(range(20)) == sorted(computed)


@pytest.mark.parametrize("is_async", [False, True])
def test_items_may_come_from_an_async_iterator(is_async: bool) -> None:
    """``amap`` takes items as they come, for both kinds of functions."""

    async def pages() -> AsyncIterator[str]:
        for number in range(150):
            await asyncio.sleep(0)
            yield f"page {number}"

    @step
    async def read(page: str) -> str:
        await asyncio.sleep(0)
        return page.upper()

    reading: Any = read if is_async else embed
    found = asyncio.run(reading.amap(pages(), workers=4))

    assert [f"PAGE {number}" for number in range(150)] == found


def test_an_async_iterator_works_in_batches() -> None:
    """Documents of an async iterator are put together to batches as any others are."""
    sizes = []

    @step(batch=8)
    async def read(pages: list[int]) -> list[int]:
        sizes.append(len(pages))
        return [page * page for page in pages]

    async def pages() -> AsyncIterator[int]:
        for number in range(20):
            yield number

    assert [number * number for number in range(20)] == asyncio.run(read.amap(pages()))
    assert 20 == sum(sizes)
    assert max(sizes) == 8


def test_map_says_what_to_do_with_an_async_iterator() -> None:
    """A function that is not awaited cannot wait for items."""

    async def pages() -> AsyncIterator[str]:
        yield "page"

    with pytest.raises(ConfigError, match="amap"):
        embed.map(pages())  # type: ignore[arg-type]


def test_items_may_come_from_a_cursor() -> None:
    """Rows of a database cursor, of unknown number."""
    rows = sqlite3.connect(":memory:").execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION SELECT i + 1 FROM n LIMIT 300) SELECT i FROM n"
    )

    @step
    def double(row: tuple[int]) -> int:
        return 2 * row[0]

    assert [2 * i for i in range(1, 301)] == double.map(rows)

    with pytest.raises(sqlite3.ProgrammingError) as caught:
        list(double.stream(sqlite3.connect(":memory:").execute("SELECT 301")))
    assert ["These items are read on another thread. Pass list(cursor), or use .map(cursor)."] == caught.value.__notes__


@pytest.mark.parametrize("error", [TypeError("object has no len()"), NotImplementedError()], ids=repr)
def test_items_may_not_know_their_number(error: Exception) -> None:
    """A ``__len__`` that raises is as good as none: a tqdm around a generator, a data set that is read as it goes."""

    class DataSet:
        def __iter__(self) -> Iterator[str]:
            return iter(["a", "b", "c"])

        def __len__(self) -> int:
            raise error

    assert ["A", "B", "C"] == embed.map(DataSet())
    assert ["A", "B", "C"] == embed.map(DataSet(), limit=3)
    tqdm = pytest.importorskip("tqdm").tqdm
    assert ["A", "B", "C"] == embed.map(tqdm((text for text in "abc"), disable=True))


def breaking(error: BaseException, many: int = 50) -> Iterator[str]:
    """Pages that come until the connection breaks."""
    for number in range(many):
        yield f"page {number}"
    raise error


async def breaking_async(error: BaseException) -> AsyncIterator[str]:
    """The same, awaited."""
    for page in breaking(error):
        yield page


class Rows:
    """The same, with a length."""

    def __len__(self) -> int:
        return 1000

    def __iter__(self) -> Iterator[str]:
        return breaking(ConnectionError("page 600"), 600)


def shouted(texts: list[str]) -> list[str]:
    """What `embed` does, of many."""
    executed.extend(texts)
    return [text.upper() for text in texts]


async def shouted_async(text: str) -> str:
    """What `embed` does, awaited."""
    executed.append(text)
    return text.upper()


many, awaited = step(batch=8)(shouted), step(shouted_async)
GIVEN: dict[str, tuple[int, Callable[[], Any]]] = {
    "one by one": (50, lambda: embed.map(breaking(ConnectionError()), workers=1)),
    "on threads": (50, lambda: embed.map(breaking(ConnectionError()), workers=8)),
    "in batches": (50, lambda: many.map(breaking(ConnectionError()))),
    "with a length": (600, lambda: embed.map(Rows())),
    "with a limit": (50, lambda: embed.map(breaking(ConnectionError()), limit=70)),
    "by priority": (50, lambda: embed.map(breaking(ConnectionError()), priority=len)),
    "streamed": (50, lambda: list(embed.stream(breaking(ConnectionError())))),
    "awaited": (50, lambda: asyncio.run(awaited.amap(breaking_async(ConnectionError())))),
    "awaited, of a generator": (50, lambda: asyncio.run(awaited.amap(breaking(ConnectionError())))),
    "awaited, on threads": (50, lambda: asyncio.run(embed.amap(breaking_async(ConnectionError())))),
    "awaited, in batches": (50, lambda: asyncio.run(many.amap(breaking_async(ConnectionError())))),
}


@pytest.mark.parametrize(("given", "work"), GIVEN.values(), ids=GIVEN)
def test_what_a_source_gave_before_it_broke_is_saved(given: int, work: Callable[[], Any]) -> None:
    """All items that were handed over are computed before the error is raised, so that the next time none of them is."""
    for _ in range(2):
        with pytest.raises(ConnectionError):
            work()

        assert [f"page {number}" for number in range(given)] == sorted(executed, key=lambda page: int(page[5:]))


def test_a_stream_hands_over_what_its_source_gave() -> None:
    """The error comes after the last result."""
    seen = []

    with pytest.raises(ConnectionError):
        for page, _ in embed.stream(breaking(ConnectionError())):
            seen.append(page)

    assert 50 == len(set(seen))


@pytest.mark.parametrize("error", [StepFailed("cut", "page 50", 1, "no"), ConfigError("no")], ids=repr)
@pytest.mark.parametrize("is_async", [False, True])
def test_errors_of_ours_in_a_source_end_it_like_any_other(error: Exception, is_async: bool) -> None:
    """What a step before this one gave until it failed is computed and saved first."""
    with pytest.raises(type(error)):
        if is_async:
            asyncio.run(awaited.amap(breaking_async(error)))
        else:
            embed.map(breaking(error))

    assert 50 == len(set(executed))


def test_a_step_whose_results_are_streamed_into_another_loses_none_by_failing() -> None:
    """The one that takes them computes all there are, then raises what the first one raised."""

    @step
    def cut(number: int) -> str:
        if number == 7:
            raise ValueError("seven")
        return f"page {number}"

    with pytest.raises(StepFailed, match="seven"):
        embed.map(page for _, page in cut.stream(range(20), workers=1))

    assert 19 == len(executed)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), LeaseLost("run"), StoreUnavailable("a.db")], ids=repr)
def test_an_interrupt_in_a_source_is_heard_at_once(error: BaseException) -> None:
    """What waits is not computed then; nor if nothing can be saved any more."""
    with pytest.raises(type(error)):
        embed.map(breaking(error), workers=1)

    assert 31 == len(executed)


def windows() -> Iterator[list[int]]:
    """Two numbers at a time, always in the same list, as a reader that saves allocations gives them."""
    row = [0, 0]
    for number in range(5):
        row[:] = number, 10 * number
        yield row


async def windows_async() -> AsyncIterator[list[int]]:
    """The same, awaited."""
    for row in windows():
        yield row


def numbers_then_windows() -> Iterator[Any]:
    """The same after lists of their own; where the second window comes, the first may wait for others to go with."""
    yield from ([number, number] for number in range(100, 108))
    yield from windows()


summed: list[list[int]] = []


@step
def total(row: list[int]) -> int:
    """Its value shows what was in the list."""
    summed.append(list(row))
    return sum(row)


@step(batch=3)
def totals(rows: list[list[int]]) -> list[int]:
    """The same of many."""
    return [total.function(row) for row in rows]


@step
async def total_async(row: list[int]) -> int:
    """The same, awaited."""
    return total.function(row)


REFILLED: dict[str, tuple[Any, Callable[[Any, Any], Any]]] = {
    "one by one": (total, lambda step, _: step.map(windows(), workers=1)),
    "on threads": (total, lambda step, _: step.map(windows(), workers=8)),
    "in batches": (totals, lambda step, _: step.map(windows())),
    "in processes": (total, lambda step, _: step.map(windows(), executor="processes", workers=2)),
    "by priority": (total, lambda step, _: step.map(windows(), priority=sum)),
    "with a limit": (total, lambda step, _: step.map(windows(), limit=4)),
    "with both": (total, lambda step, _: step.map(windows(), limit=4, priority=sum)),
    "streamed": (total, lambda step, _: list(step.stream(windows()))),
    "with a bar": (total, lambda step, bar: step.map(bar(windows(), total=5, disable=True))),
    "awaited": (total_async, lambda step, _: asyncio.run(step.amap(windows_async()))),
    "awaited, of a generator": (total_async, lambda step, _: asyncio.run(step.amap(windows()))),
    "awaited, on threads": (total, lambda step, _: asyncio.run(step.amap(windows_async()))),
    "awaited, with a limit": (total, lambda step, _: asyncio.run(step.amap(windows_async(), limit=4))),
    "later, one by one": (total, lambda step, _: step.map(numbers_then_windows(), workers=1)),
    "later, in batches": (totals, lambda step, _: step.map(numbers_then_windows())),
    "later, by priority": (total, lambda step, _: step.map(numbers_then_windows(), priority=sum)),
}


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize(("reading", "work"), REFILLED.values(), ids=REFILLED)
def test_a_list_that_is_refilled_is_taken_as_it_came(
    reading: Any, work: Callable[[Any, Any], Any], known: bool
) -> None:
    """Each call is given what was in it then, as in a loop, and what it gives is kept under that name."""
    bar = pytest.importorskip("tqdm").tqdm
    again = (lambda rows: asyncio.run(reading.amap(rows))) if reading is total_async else reading.map
    if known:  # a run that goes on, whose results can be saved
        again([[1, 1]])

    found = [value[1] if isinstance(value, tuple) else value for value in work(reading, bar)]
    sums = [11 * number for number in range(5)]
    assert len(found) == len(set(found))
    assert set(found) - {2 * number for number in range(100, 108)} in ({*sums}, {*sums[:4]}, {*sums[1:]})
    assert sums == list(again([[number, 10 * number] for number in range(5)]))


def test_items_may_be_the_same_where_nothing_can_be_put_into_them() -> None:
    """A list of the same list, a constant, the same text or ``repeat``."""
    row, texts = [1, 2], itertools.repeat("a", 3)

    assert [3, 3, 3] == total.map([row] * 3) == total.map(itertools.repeat(row, 3)) == total.map((row, row, row))
    assert [3, 3] == total.map([row, row, row], limit=2) == total.map({"a": row, "b": row}.values())
    assert ["A", "A", "A"] == embed.map(text for text in texts)


def twice(items: Any) -> Iterator[Any]:
    """Each item again at once, the very same object."""
    return (item for item in items for _ in range(2))


async def twice_async(items: Any) -> AsyncIterator[Any]:
    """The same, awaited."""
    for item in twice(items):
        yield item


AGAIN: dict[str, Callable[[list[Any]], Any]] = {
    "one by one": lambda rows: total.map(twice(rows), workers=1),
    "on threads": lambda rows: total.map(twice(rows), workers=8),
    "in batches": lambda rows: totals.map(twice(rows)),
    "by priority": lambda rows: total.map(twice(rows), priority=sum),
    "with a limit": lambda rows: total.map(twice(rows), limit=4),
    "with a key": lambda rows: total.map(twice(rows), key=sum),
    "awaited": lambda rows: asyncio.run(total_async.amap(twice_async(rows))),
    "awaited, on threads": lambda rows: asyncio.run(total.amap(twice_async(rows))),
    "awaited, with a limit": lambda rows: asyncio.run(total_async.amap(twice_async(rows), limit=4)),
}


@pytest.mark.parametrize("work", AGAIN.values(), ids=AGAIN)
def test_an_item_that_comes_again_as_it_was_is_computed_again(work: Callable[[list[Any]], Any]) -> None:
    """An iterator may give the same list twice if it is unchanged."""
    assert [3, 3, 7, 7] == list(work([[1, 2], [3, 4]]))


def test_nested_items_are_taken_as_they_came() -> None:
    """A conversation that is the same still is computed again; one that was changed inside is another one."""
    chat = [{"role": "user", "content": "a joke"}]

    def edited() -> Iterator[Any]:
        yield chat
        chat[0]["content"] = "a poem"
        yield chat

    @step
    def answer(messages: list[dict[str, str]]) -> str:
        return messages[0]["content"]

    assert ["a joke"] * 3 == list(answer.map(chat for _ in range(3)))
    assert ["a joke", "a poem"] == list(answer.map(edited()))


def test_a_list_is_not_refilled_while_it_is_computed() -> None:
    """A call of a list that came twice as it was does not see what its iterator puts into it afterwards."""
    refilled, begun = threading.Event(), itertools.count()

    def equal_at_first() -> Iterator[list[int]]:
        row = [0, 0]
        for _ in range(4):
            yield row
        row[:] = 1, 1
        refilled.set()
        yield row

    @step(version="1")
    def late(row: list[int]) -> int:
        if next(begun):
            refilled.wait(20)
        return sum(row)

    assert [0, 0, 0, 0, 2] == list(late.map(equal_at_first(), workers=8))


class Sized:
    """A data set that knows its length, and makes its items on the way."""

    def __init__(self, items: Callable[[], Iterator[Any]], length: int) -> None:
        self._items, self._length = items, length

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Any]:
        return self._items()


def two_buffers() -> Iterator[list[int]]:
    """In turn."""
    buffers = [[0, 0], [0, 0]]
    for number in range(40):
        buffers[number % 2][:] = number, 0
        yield buffers[number % 2]


def of_an_array(view: Callable[[Any], Any]) -> Iterator[Any]:
    """What a reader shows of its buffer."""
    np = pytest.importorskip("numpy")
    buffer = np.zeros(2, int)
    for number in range(40):
        buffer[0] = number
        yield view(buffer)


OTHERWISE: dict[str, Callable[[], Any]] = {
    "two in turn": two_buffers,
    "of a known length": lambda: Sized(two_buffers, 40),
    "views of an array": lambda: of_an_array(lambda buffer: buffer[:]),
    "arrays in tuples": lambda: of_an_array(lambda buffer: (buffer, 0)),
    "numbered": lambda: enumerate(row for row in two_buffers()),
    "bytearrays": lambda: of_an_array(lambda buffer: bytearray([buffer[0], 0])),
}


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("items", OTHERWISE.values(), ids=OTHERWISE)
def test_whatever_is_refilled_is_taken_as_it_came(items: Callable[[], Any], workers: int) -> None:
    """Also where the same object does not come twice in a row."""

    @step
    def first(item: Any) -> int:
        while isinstance(item, tuple):
            item = next(one for one in item if not isinstance(one, int))
        return int(item[0])

    assert [first.function(item) for item in items()] == list(first.map(items(), workers=workers))


class Document:
    """Of which only its own code knows how to copy it."""

    text = ""


def one_document() -> Iterator[Document]:
    """Again and again."""
    document = Document()
    for number in range(20):
        document.text = f"text {number}"
        yield document


def two_documents() -> Iterator[Document]:
    """In turn."""
    documents = [Document(), Document()]
    for number in range(20):
        documents[number % 2].text = f"text {number}"
        yield documents[number % 2]


def emptied() -> Iterator[Document]:
    """As ``iterparse`` is read, where elements are cleared once they have been dealt with."""
    for number in range(20):
        document = Document()
        document.text = f"text {number}"
        yield document
        document.text = ""


@pytest.mark.parametrize("how", ["one by one", "on threads", "in batches", "with a limit", "streamed", "awaited"])
@pytest.mark.parametrize(
    "items", [one_document, two_documents, emptied, lambda: Sized(emptied, 20)], ids=["one", "two", "emptied", "sized"]
)
def test_an_object_that_its_iterator_changes_is_refused(items: Callable[[], Any], how: str) -> None:
    """It says what to do, and keeps no value under the name of what was in it before."""

    def upper(document: Document) -> str:
        return document.text.upper()

    read = step(name="read")(upper)
    read_all = step(name="read-all", batch=3)(lambda documents: [upper(document) for document in documents])
    reading = read_all if how == "in batches" else read
    ways: dict[str, Callable[[Any], Any]] = {
        "one by one": lambda found: reading.map(found, workers=1),
        "with a limit": lambda found: reading.map(found, limit=10),
        "streamed": lambda found: list(reading.stream(found)),
        "awaited": lambda found: asyncio.run(reading.amap(found)),
    }

    with pytest.raises(ConfigError, match="the iterator has changed a Document after .* Yield another one each time"):
        ways.get(how, reading.map)(items())

    made = []
    for number in range(20):
        made.append(Document())
        made[-1].text = f"text {number}"
    assert [f"TEXT {number}" for number in range(20)] == list(reading.map(made))


@pytest.mark.parametrize("how", ["on threads", "in batches", "awaited"])
def test_an_object_is_not_changed_while_it_is_computed(how: str) -> None:
    """What a call gave whose document its iterator has changed meanwhile is not kept."""
    changed = threading.Event()

    def items() -> Iterator[Document]:
        made = [Document() for _ in range(3)]
        for number, document in enumerate(made):
            document.text = f"text {number}"
            yield document
        made[1].text = "other"
        changed.set()
        yield Document()

    def read(document: Document) -> str:
        if document.text == "text 1":
            changed.wait(20)
        return document.text

    async def read_async(document: Document) -> str:
        if document.text == "text 1":
            await asyncio.to_thread(changed.wait, 20)
        return document.text

    async def items_async() -> AsyncIterator[Document]:
        for document in items():
            yield document

    reading = {
        "on threads": step(version="1")(read),
        "in batches": step(name="read", version="1", batch=1)(lambda documents: [read(one) for one in documents]),
        "awaited": step(name="read", version="1")(read_async),
    }[how]

    def work(found: Any) -> Any:
        return asyncio.run(reading.amap(found)) if how == "awaited" else reading.map(found)

    with pytest.raises(ConfigError, match="the iterator has changed a Document"):
        work(items_async() if how == "awaited" else items())
    again = Document()
    again.text = "text 1"
    changed.set()
    assert ["text 1"] == list(work([again]))


@pytest.mark.parametrize("workers", [1, 4])
def test_a_step_may_change_the_objects_of_an_iterator(workers: int) -> None:
    """That is seen at the first one, while the iterator waits; nothing is refused then."""

    @step
    def shout(document: Document) -> str:
        document.text += "!"
        return document.text

    def items() -> Iterator[Document]:
        for number in range(30):
            document = Document()
            document.text = str(number)
            yield document

    assert [f"{number}!" for number in range(30)] == list(shout.map(items(), workers=workers))
    assert [f"{number}!" for number in range(30)] == list(shout.map(items(), workers=workers))


def test_of_a_data_set_that_changes_its_items_the_first_ones_may_be_known() -> None:
    """Those that are not what they were have no part in what is looked up, nor in the numbers of calls."""
    kept, made = [Document() for _ in range(3)], list[str]()

    def items() -> Iterator[Document]:
        for number, document in enumerate(kept):
            document.text = f"text {number}"
            yield document
        kept[1].text = "other"

    @step(version="1")
    def read(document: Document) -> str:
        made.append(document.text)
        return document.text

    with run("known"):
        list(items())
        kept[1].text = "text 1"
        assert ["text 0", "text 1", "text 2"] == list(read.map(kept))
    with run("known"):
        with pytest.raises(ConfigError, match="the iterator has changed a Document"):
            list(read.stream(Sized(items, 3)))
        kept[1].text = "text 1"
        assert ["text 0", "text 1", "text 2"] == list(read.map(kept))
    assert ["text 0", "text 1", "text 2"] == sorted(made)


def test_rows_and_numbers_of_libraries_are_not_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are taken as they are, or copied: to name each of them several times would cost more than many a step."""
    np, pd = pytest.importorskip("numpy"), pytest.importorskip("pandas")
    looked_into: list[object] = []
    monkeypatch.setattr(refills.keys, "digest", looked_into.append)
    table = pd.DataFrame({"n": [1, 2], "at": pd.to_datetime(["2020-01-01", "2020-01-02"])})
    for items in (
        table.itertuples(),
        table.iterrows(),
        table.groupby("n"),
        iter([np.float32(1), np.datetime64("2020-01-01")]),
    ):
        list(selection.Source(item for item in items))

    assert [] == looked_into


def test_objects_of_their_own_are_taken_as_they_come() -> None:
    """Each is another one, and read once more where it comes twice as it was."""

    @step
    def read(document: Document) -> str:
        return document.text

    same = Document()
    same.text = "text"

    assert [""] * 30 == list(read.map(Document() for _ in range(30)))
    assert ["text"] * 30 == list(read.map((same for _ in range(30)), workers=1))


def test_what_nobody_can_compare_is_refused_when_it_comes_again() -> None:
    """A list without a value may have been changed, whatever its calls are named by."""
    locks = [threading.Lock()]

    @step
    def count(found: list[Any]) -> int:
        return len(found)

    with pytest.raises(
        ConfigError, match="the iterator has changed a list after it had yielded it, or yields it again"
    ):
        count.map((locks for _ in range(2)), key=len)


def test_items_are_not_named_twice_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts, numbers and tuples of an iterator are taken as they come, and plain documents until one comes again."""
    looked_into: list[object] = []
    monkeypatch.setattr(refills.keys, "digest", looked_into.append)
    items = ["a", "a", b"a", 1, ("a", 1), {"a": 1}, ["a"]]

    assert items == list(selection.Source(item for item in items))
    assert [] == looked_into


def test_an_item_that_was_waited_for_is_handed_on_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a source that is slower than its items are patient, none waits for the next one to come."""
    now = [0.0]
    monkeypatch.setattr(selection.clock, "monotonic", lambda: now[0])
    asked = []

    def slow() -> Iterator[int]:
        for number in range(5):
            asked.append(number)
            now[0] += 1.0
            yield number

    for number, some in enumerate(selection.gathered(selection.Source(slow()), most=64)):
        assert ([number], number) == (some, asked[-1])
    assert 5 == len(asked)


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("limit", [None, 4])
def test_an_async_iterator_may_wait_for_the_result_of_what_it_gave(is_async: bool, limit: int | None) -> None:
    """Its items do not wait for one that comes only after them."""
    pages = [f"page {number}" for number in range(4)]

    async def work() -> Any:
        loop, read = asyncio.get_running_loop(), {page: asyncio.Event() for page in pages}

        async def links() -> AsyncIterator[str]:
            for page in pages:
                yield page
                await read[page].wait()

        def note(page: str) -> str:
            loop.call_soon_threadsafe(read[page].set)
            return page.upper()

        async def note_async(page: str) -> str:
            return note(page)

        noting: Any = step(name="note", version="1")(note_async if is_async else note)
        return await asyncio.wait_for(noting.amap(links(), limit=limit), 20)

    assert [page.upper() for page in pages] == asyncio.run(work())


def test_fast_items_of_an_async_iterator_come_together() -> None:
    """They are looked up many at a time, and it is not read on while nobody asks."""
    given = 0

    async def fast() -> AsyncIterator[int]:
        nonlocal given
        for number in range(200):
            given += 1
            yield number

    async def sizes() -> list[int]:
        found = []
        async for some in selection.gathered_async(selection.Source(fast()), most=64):
            found.append(len(some))
            await asyncio.sleep(0)
            assert sum(found) == given
        return found

    assert [1, 2, 4, 8, 16, 32, 64, 64, 9] == asyncio.run(sizes())


def test_nothing_reads_on_after_a_map_is_cancelled() -> None:
    """The task that reads an async iterator ends with the map, and the iterator with it."""

    async def work() -> tuple[bool, int]:
        closed, asked = asyncio.Event(), asyncio.Event()

        async def pages() -> AsyncIterator[str]:
            try:
                yield "page"
                asked.set()
                await asyncio.Event().wait()
            finally:
                closed.set()

        task = asyncio.ensure_future(awaited.amap(pages()))
        await asked.wait()
        task.cancel()
        await asyncio.wait([task])
        await asyncio.wait_for(closed.wait(), 20)
        await asyncio.sleep(0)
        return task.cancelled(), len(asyncio.all_tasks())

    assert (True, 1) == asyncio.run(work())


@pytest.mark.parametrize("kind", [{}, {"batch": 4}], ids=["one by one", "in batches"])
def test_a_map_that_is_cancelled_makes_room_for_the_next(kind: dict[str, Any]) -> None:
    """Its calls run on in their threads until they have ended; the next map of the name waits for that, not the loop."""
    started, computed = threading.Semaphore(0), []

    def slow(page: Any) -> Any:
        started.release()
        time.sleep(0.5)
        computed.append(page)
        return page

    async def work() -> Any:
        slowly = step(name="slow", version="1", **kind)(slow)
        for _ in range(2):
            task = asyncio.ensure_future(slowly.amap(range(40), workers=2))
            assert await asyncio.to_thread(started.acquire, True, 10)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        return await slowly.amap(range(4), workers=4)

    assert list(range(4)) == asyncio.run(work())
    assert len(computed) < 20


def test_two_maps_of_a_name_at_once_are_still_refused() -> None:
    """The one that runs is wanted, and goes on."""
    started, go_on = threading.Event(), threading.Event()

    @step
    def slow(page: str) -> str:
        started.set()
        assert go_on.wait(20)
        return page

    async def work() -> Any:
        first = asyncio.ensure_future(slow.amap(["a"]))
        await asyncio.to_thread(started.wait, 20)
        with pytest.raises(RunBusy):
            await slow.amap(["b"])
        go_on.set()
        return await first

    assert ["a"] == asyncio.run(work())


def test_a_part_first_then_the_rest() -> None:
    """``limit`` tries the first documents; without it the others follow and these are restored."""
    docs = [f"doc {i}" for i in range(50)]

    assert [f"DOC {i}" for i in range(20)] == embed.map(docs, limit=20)
    assert 20 == len(executed)
    assert [doc.upper() for doc in docs] == embed.map(docs)
    assert docs == sorted(executed, key=docs.index)
    assert 3 == len(embed.map((doc for doc in docs), limit=3))
    assert 4 == len(dict(embed.stream(docs, limit=4)))


def test_what_matters_most_runs_first() -> None:
    """Documents of a higher priority are computed first, and are what ``limit`` takes; the results keep their order."""
    order: list[int] = []

    @step
    def score(number: int) -> int:
        order.append(number)
        return number

    assert list(range(10)) == score.map(range(10), workers=1, priority=lambda number: number % 5)
    assert [4, 9, 3, 8, 2, 7, 1, 6, 0, 5] == order
    assert [13, 14, 19] == score.map(range(10, 20), workers=1, limit=3, priority=lambda number: number % 5)


@pytest.mark.parametrize("bad", [0, -1, True, "20", 2.5])
def test_a_limit_is_a_number_from_1(bad: Any) -> None:
    """Anything else is refused before anything runs."""
    with pytest.raises(ConfigError, match="limit"):
        embed.map(["a"], limit=bad)


def test_rows_of_a_frame_are_documents() -> None:
    """A column, ``itertuples`` and ``iterrows`` each give one document a row, restored the second time."""
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"text": ["a", "b", "c"], "year": [1, 2, 3]})

    @step
    def of_tuple(row: Any) -> str:
        return str(row.text * row.year)

    @step
    def of_row(pair: Any) -> str:
        return str(pair[1].text * pair[1].year)

    for _ in range(2):
        assert ["A", "B", "C"] == embed.map(frame["text"])
        assert ["a", "bb", "ccc"] == of_tuple.map(frame.itertuples()) == of_row.map(frame.iterrows())
    assert 3 == len(executed)


computed: list[int] = []


@step
def tenfold(n: int) -> int:
    """Slow enough that several are under way."""
    computed.append(n)
    time.sleep(0.002)
    return 10 * n


@step
def by_stream(n: int) -> int:
    """Reads a stream of the other step inside of itself."""
    return sum(value for _, value in tenfold.stream([100 * n + i for i in range(10)]))


def test_streams_inside_of_mapped_steps_leave_each_other_alone() -> None:
    """Each belongs to the run of the map around it, and none of them ends it."""
    expected = [sum(10 * (100 * n + i) for i in range(10)) for n in range(6)]

    assert expected == list(by_stream.map(range(6), workers=4))

    with run("around"):
        assert expected == list(by_stream.map(range(6), workers=4))


def test_a_map_of_a_step_leaves_a_stream_of_another_ones_alone() -> None:
    """A loop over a stream may call what maps the same step inside of itself."""
    computed.clear()
    read = []
    for n, value in tenfold.stream(range(1000, 1030), workers=1):
        if not read:
            by_stream.map([1], workers=1)
        read.append((n, value))

    assert [(n, 10 * n) for n in range(1000, 1030)] == read


def _loop() -> list[int]:
    for _ in tenfold.stream([1, 2, 3]):
        time.sleep(0.2)  # the others arrive meanwhile
        break
    return list(tenfold.map([1, 2, 3]))


def _block() -> list[int]:
    with tenfold.stream([1, 2, 3]) as stream:
        next(stream)
        time.sleep(0.2)
    return list(tenfold.map([1, 2, 3]))


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("way", [_loop, _block])
def test_a_stream_that_is_left_uses_up_no_number_however_far_it_was_ahead(
    way: Callable[[], list[int]], inside: bool
) -> None:
    """In a run, and inside of a step."""
    computed.clear()
    outer = step(name="outer", version="1")(lambda _: way())

    with run("left"):
        assert [10, 20, 30] == (outer(0) if inside else way())

    assert [1, 2, 3] == sorted(computed)


def test_a_stream_that_nobody_reads_on_ends_with_its_run(store: Store) -> None:
    """Kept in a variable: nothing is computed or saved once the block has ended, which is said of the run."""
    computed.clear()

    with run("kept"):
        stream = tenfold.stream(range(200), workers=1)
        next(stream)
    made = len(computed)
    time.sleep(0.05)

    assert made == len(computed) < 200
    snapshot = store.snapshot("kept")
    assert snapshot is not None
    assert ("interrupted", made) == (snapshot.state, snapshot.computed)
    with run("kept"):
        assert [10 * n for n in range(200)] == list(tenfold.map(range(200)))
    assert list(range(200)) == sorted(computed)
    del stream


def test_a_map_in_a_thread_ends_with_its_run(store: Store) -> None:
    """It is told so, and what it has not computed is not forgotten."""
    computed.clear()
    told = []

    def work() -> None:
        try:
            tenfold.map(range(200), workers=1)
        except RunStopped as error:
            told.append(error)

    with run("threaded"):
        thread = threading.Thread(target=work)
        thread.start()
        wait_until(lambda: len(computed) > 3, describing="calls are made")
    thread.join()

    assert 1 == len(told)
    snapshot = store.snapshot("threaded")
    assert snapshot is not None
    assert ("interrupted", len(computed)) == (snapshot.state, snapshot.computed)


def test_an_interrupt_while_a_run_ends_its_work_is_heard(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for a long call in a thread may press ■: the run has ended then, and can be begun again."""
    let_go = threading.Event()

    @step(version="1")
    def waiting(n: int) -> int:
        let_go.wait(20)
        return n

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    stream = waiting.stream(range(5), workers=1)
    live = run("long")
    with pytest.raises(KeyboardInterrupt), live:  # noqa: PT012 - the block has to end
        context = contextvars.copy_context()
        reader = threading.Thread(target=context.run, args=(lambda: next(stream, None),))
        reader.start()
        wait_until(lambda: stream._arrivals._batch is not None, describing="the map is under way")
        monkeypatch.setattr(ends.clock, "sleep", interrupt)
    monkeypatch.undo()
    let_go.set()
    reader.join()

    snapshot = store.snapshot("long")
    assert snapshot is not None
    assert "interrupted" == snapshot.state
    with run("long"):
        assert list(range(5)) == list(waiting.map(range(5)))


def test_a_map_among_the_items_of_another_is_tried_again() -> None:
    """What a generator maps inside of the run of the map around it is found when it maps it once more."""
    computed.clear()
    broken = [True]

    @step(version="1")
    def inner(n: int) -> int:
        computed.append(n)
        if n == 3 and broken[0]:
            raise ValueError(n)
        return 10 * n

    def items() -> Iterator[int]:
        try:
            yield from inner.map(range(5))
        except StepFailed:
            broken[0] = False
            yield from inner.map(range(5))

    assert [0, 10, 20, 30, 40] == list(step(name="outer", version="1")(lambda n: n).map(items()))
    assert [0, 1, 2, 3, 3, 4] == sorted(computed)


@pytest.mark.parametrize("way", ["map", "stream"])
def test_an_attempt_after_a_timeout_finds_what_the_one_before_it_has_made(way: str) -> None:
    """Also of a map that was under way: else no attempt would get further than the first."""
    computed.clear()

    @step(version="1")
    def inner(n: int) -> int:
        computed.append(n)
        time.sleep(0.1)
        return 10 * n

    @step(timeout=0.55, retries=4, version="1")
    def outer(_: int) -> int:
        if way == "map":
            return sum(inner.map(range(10), workers=1))
        return sum(value for _, value in inner.stream(range(10), workers=1))

    with run("timed"):
        assert [450] == list(outer.map([0]))

    assert set(range(10)) == set(computed)
    assert len(computed) <= 16
