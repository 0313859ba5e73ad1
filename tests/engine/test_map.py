"""What map promises: order, restoring, failures, bad input."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from durable_nb import CodeChanged, StepFailed, configure, run, step
from durable_nb.errors import ConfigError, StepTimeout, Unkeyable, Unsaveable
from durable_nb.notebook.pages import RunPage
from durable_nb.testing import assert_restored, frozen_clock

if TYPE_CHECKING:
    from durable_nb.store import Store

pytestmark = pytest.mark.usefixtures("store")


def test_results_come_in_the_order_of_the_items() -> None:
    """Whatever order the workers end in, result i belongs to item i."""
    gate = threading.Event()

    @step
    def embed(number: int) -> int:
        if number == 3:
            gate.wait()
        if number == 60:
            gate.set()
        return number * number

    assert [number * number for number in range(100)] == embed.map(range(100), workers=4)


@pytest.mark.parametrize("workers", [1, 8])
def test_a_second_map_computes_nothing(workers: int) -> None:
    """Known results are restored, on threads and inline."""

    @step
    def embed(text: str) -> str:
        return text.upper()

    docs = [f"doc {i}" for i in range(1500)]
    first = embed.map(docs, workers=workers)

    with assert_restored(embed, len(docs)):
        again = embed.map(docs, workers=workers)

    assert list(first) == list(again)


def test_one_worker_runs_in_the_callers_thread() -> None:
    """workers=1 is inline: no thread is started for the calls."""

    @step
    def where(_: int) -> str:
        return threading.current_thread().name

    assert {threading.current_thread().name} == set(where.map(range(5), workers=1))


def test_equal_items_stay_separate_calls() -> None:
    """Twenty equal items are twenty executions and twenty results, restored one by one."""
    drawn: list[int] = []

    @step
    def draw(_: str) -> int:
        drawn.append(len(drawn))
        return drawn[-1]

    first = list(draw.map(["joke"] * 20, workers=1))

    assert list(range(20)) == first
    assert first == list(draw.map(["joke"] * 20, workers=1))
    assert 20 == len(drawn)


def test_a_generator_is_consumed_on_this_thread_and_not_far_ahead() -> None:
    """An iterator is read by the calling thread, and no more than a few chunks before the workers."""
    readers, ahead, done = set(), [], Counter[str]()

    def documents() -> Any:
        for number in range(1000):
            readers.add(threading.current_thread().name)
            ahead.append(number - done["calls"])
            yield number

    @step
    def embed(number: int) -> int:
        done["calls"] += 1
        return number

    assert list(range(1000)) == embed.map(documents(), workers=2)
    assert {threading.current_thread().name} == readers
    assert max(ahead) < 300


def test_a_generator_that_raises_keeps_what_came_before() -> None:
    """If the items themselves fail, their error is raised, and finished results are saved."""

    @step
    def embed(number: int) -> int:
        return number

    def broken() -> Any:
        yield from range(200)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        embed.map(broken())

    with assert_restored(embed, 128):
        embed.map(range(128))


def test_no_items_is_a_finished_run(store: Store) -> None:
    """An empty iterable gives empty results and a run that is done."""

    @step
    def embed(text: str) -> str:
        return text

    assert [] == list(embed.map([]))
    assert (0,) == embed.map(iter([])).to_numpy().shape
    assert "done" == store.run("embed").state


@pytest.mark.parametrize(
    ("items", "options", "says"),
    [
        ("one text", {}, "single text"),
        (b"bytes", {}, "single text"),
        ({"a": 1}, {}, "dict"),
        (7, {}, "cannot be looped over"),
        (["a"], {"workers": 0}, "workers=0"),
        (["a"], {"workers": 1.5}, "workers=1.5"),
        (["a"], {"workers": True}, "workers=True"),
        (["a"], {"on_error": "ignore"}, "on_error"),
        (["a"], {"on_change": "perhaps"}, "on_change"),
    ],
)
def test_bad_input_is_refused_before_anything_runs(items: Any, options: dict[str, Any], says: str) -> None:
    """A wrong argument is named, and no call is made."""
    executed = []

    @step
    def embed(text: str) -> str:
        executed.append(text)
        return text

    with pytest.raises(ConfigError, match=says):
        embed.map(items, **options)

    assert [] == executed


def test_a_dataframe_as_items_is_refused() -> None:
    """Looping over a DataFrame gives column names, which nobody means."""
    pandas, pyarrow = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")

    @step
    def embed(text: str) -> str:
        return text

    with pytest.raises(ConfigError, match="DataFrame"):
        embed.map(pandas.DataFrame({"text": ["a"]}))
    for table in (pyarrow.table({"text": ["a"]}), pyarrow.record_batch({"text": ["a"]})):  # and these columns
        with pytest.raises(ConfigError, match="an Arrow table.*to_pylist"):
            embed.map(table)


def test_an_unkeyable_argument_is_named_and_nothing_is_lost() -> None:
    """A lock cannot name a call: the error says so; a key makes it possible."""

    @step
    def embed(item: Any) -> int:
        return 1

    with pytest.raises(Unkeyable, match="lock"):
        embed.map([threading.Lock()])

    assert [1] == list(embed.map([threading.Lock()], key=lambda _: "the lock"))


def test_key_names_the_documents() -> None:
    """With key=, an item whose content changed keeps its result."""

    @step
    def embed(doc: dict[str, Any]) -> str:
        return str(doc["text"])

    embed.map([{"id": 1, "text": "old"}], key=lambda doc: doc["id"])

    assert ["old"] == list(embed.map([{"id": 1, "text": "new"}], key=lambda doc: doc["id"]))


def test_raise_finishes_the_others_first(store: Store) -> None:
    """One bad document: everything else is saved, then StepFailed names it, its cause and how many more."""

    @step
    def embed(number: int) -> int:
        if number in (3, 5):
            raise ValueError(f"bad page {number}")
        return number

    with pytest.raises(StepFailed, match="bad page 3.*1 more failed") as caught:
        embed.map(range(100))

    assert isinstance(caught.value.__cause__, ValueError)
    assert (98, 2) == (store.run("embed").done, store.run("embed").failed)
    assert ["bad page 3", "bad page 5"] == [f.error.partition(": ")[2] for f in store.failures(store.run("embed").id)]


def test_collect_keeps_the_error_in_its_slot_and_retry_fills_it(store: Store) -> None:
    """on_error="collect" returns; .failed lists the documents; .retry() tries only those."""
    mended, executed = threading.Event(), []

    @step
    def embed(number: int) -> int:
        executed.append(number)
        if number == 3 and not mended.is_set():
            raise ValueError("bad page")
        return number

    results = embed.map(range(50), on_error="collect")

    assert isinstance(results[3], StepFailed)
    assert [(3, "3", "ValueError: bad page", 1)] == [tuple(failure)[:4] for failure in results.failed]
    mended.set()

    assert list(range(50)) == results.retry()
    assert [] == results.failed
    assert 51 == len(executed)
    assert (50, 0) == (store.run("embed").done, store.run("embed").failed)


def test_failures_of_documents_taken_out_are_not_listed(store: Store) -> None:
    """The list has as many as are counted; for a document that is back and has not been tried again, none either."""

    @step
    def embed(number: int) -> int:
        if number % 3 == 0:
            raise ValueError("bad page")
        return number

    def listed() -> list[list[str]]:
        saved, shown = store.run("embed"), store.snapshot("embed")
        page = RunPage(store, saved).as_dict()["failures"]
        assert saved.failed == shown.failed
        return [[one.label for one in shown.failures], [one["label"] for one in page]]

    embed.map(range(10), on_error="collect")
    assert [["0", "3", "6", "9"]] * 2 == listed()
    embed.map([1, 2, 3, 4], on_error="collect")
    assert [["3"]] * 2 == listed()
    embed.map([1, 2], on_error="collect")
    assert [[], []] == listed()


def test_an_error_that_cannot_say_itself_is_noted_by_its_type(store: Store) -> None:
    """Its document has failed as any other; what its ``__str__`` raises takes its place nowhere."""

    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("mute")

    @step
    def embed(_: int) -> int:
        raise Mute

    results = embed.map([7], on_error="collect")

    assert ["Mute"] == [failure.error for failure in results.failed]
    assert ["Mute"] == [failure.error for failure in store.failures(store.run("embed").id)]


class Closed(Exception):
    """Lets nobody look inside."""

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        raise RuntimeError("closed")


class Asking(Exception):
    """Looks elsewhere for what it has not, and fails."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"no {name}")


@pytest.mark.parametrize("kind", [Closed, Asking])
@pytest.mark.parametrize("options", [{}, {"rate_limit": "1000/s"}, {"ignore": "secret"}], ids=repr)
def test_an_error_whose_attributes_raise_is_the_one_that_is_recorded(
    kind: type[Exception], options: dict[str, Any], store: Store
) -> None:
    """And the one that ``retry_on`` knows."""
    calls = []

    @step(retries=1, retry_on=kind, **options)
    def embed(text: str, secret: str = "hidden") -> str:
        calls.append(secret)
        raise kind(f"on {text}")

    with frozen_clock():
        results = embed.map(["a"], on_error="collect")

    assert [f"{kind.__name__}: on a"] == [failure.error for failure in results.failed]
    assert [f"{kind.__name__}: on a"] == [failure.error for failure in store.failures(store.run("embed").id)]
    assert 2 == len(calls)


def test_a_failed_call_is_tried_again_by_the_next_run() -> None:
    """A recorded failure is never returned as a result."""
    mended = threading.Event()

    @step
    def embed(number: int) -> int:
        if number == 3 and not mended.is_set():
            raise ValueError("bad page")
        return number

    embed.map(range(10), on_error="collect")
    mended.set()

    assert list(range(10)) == embed.map(range(10))


def test_retries_back_off_with_jitter() -> None:
    """retries=3 makes up to four attempts, waiting at most 0.5, 1 and 2 s between them."""
    attempts = []

    with frozen_clock() as clock:

        @step(retries=3)
        def flaky(number: int) -> int:
            attempts.append(number)
            if len(attempts) < 4:
                raise ConnectionError("try again")
            return number

        assert [7] == list(flaky.map([7], workers=1))

    assert 4 == len(attempts)
    assert all(0 <= wait <= longest for wait, longest in zip(clock.waits, (0.5, 1, 2), strict=True))


def test_retry_on_limits_what_is_tried_again() -> None:
    """An error that is not in retry_on fails at once."""
    attempts = []

    @step(retries=5, retry_on=ConnectionError)
    def flaky(number: int) -> int:
        attempts.append(number)
        raise ValueError("no use")

    with pytest.raises(StepFailed):
        flaky.map([1])

    assert [1] == attempts


def test_a_timeout_fails_the_attempt_and_is_retried() -> None:
    """A call that hangs is given up after its timeout, and tried again."""
    hang, attempts = threading.Event(), []

    @step(timeout=0.05, retries=1)
    def slow(number: int) -> int:
        attempts.append(number)
        if len(attempts) == 1:
            hang.wait(10)
        return number

    assert [5] == list(slow.map([5]))
    hang.set()

    assert [5, 5] == attempts


def test_a_timeout_names_step_and_document() -> None:
    """The last attempt's timeout is a StepTimeout in the slot of its document."""
    hang = threading.Event()

    @step(timeout=0.02)
    def slow(text: str) -> str:
        hang.wait(10)
        return text

    results = slow.map(["page 7"], on_error="collect")
    hang.set()

    assert isinstance(results[0].__cause__, StepTimeout)
    assert "slow" in str(results[0])
    assert "page 7" in str(results[0])


def test_an_unsaveable_result_wastes_no_second_call() -> None:
    """The first result that cannot be saved ends the map, named with its document."""
    executed = []

    @step
    def embed(number: int) -> Any:
        executed.append(number)
        return threading.Lock()

    with pytest.raises(Unsaveable, match=r"embed returned for 0 a .*lock"):
        embed.map(range(100), workers=8)

    assert [0] == executed


def test_an_edited_step_asks_and_either_answer_can_be_taken_back() -> None:
    """CodeChanged before anything runs; keep restores, recompute computes, keep again restores."""

    def make(factor: int) -> Any:
        @step(name="scale")
        def scale(number: int) -> int:
            return number * factor

        return scale

    old, new = make(2), make(3)
    old.map(range(10))

    with pytest.raises(CodeChanged, match="factor"):
        new.map(range(12))

    assert [*range(0, 20, 2), 30, 33] == new.map(range(12), on_change="keep")
    assert [*range(0, 20, 2), 30, 33] == new.map(range(12))
    assert list(range(0, 36, 3)) == new.map(range(12), on_change="recompute")
    assert list(range(0, 20, 2)) == old.map(range(10), on_change="recompute")


def test_configure_answers_for_all_later_runs() -> None:
    """configure(on_change="recompute") is asked by nobody."""
    configure(on_change="recompute")

    def make(factor: int) -> Any:
        @step(name="scale")
        def scale(number: int) -> int:
            return number * factor

        return scale

    make(2).map(range(3))

    assert [0, 3, 6] == make(3).map(range(3))


def test_version_stands_for_the_code() -> None:
    """With the same version= an edited step keeps its results without a question."""
    old = step(lambda number: number, name="count", version="1")
    new = step(lambda number: -number, name="count", version="1")
    old.map([1, 2])

    assert [1, 2] == new.map([1, 2])


def test_a_global_changed_between_plain_calls_is_seen() -> None:
    """Two plain calls around an assignment to a global that the step reads are two versions of the step."""
    globals()["SCALE"] = 2

    @step
    def scale(number: int) -> int:
        return number * SCALE  # type: ignore[name-defined] # noqa: F821

    with run("scaled", on_change="recompute"):
        first = scale(1)
        globals()["SCALE"] = 5
        second = scale(1)

    assert (2, 5) == (first, second)


def test_amap_runs_on_the_running_loop_with_so_many_at_a_time() -> None:
    """An async step is awaited on the caller's loop, at most ``workers`` calls at once, and restored the next time."""
    now, most, threads = 0, 0, set()

    @step
    async def fetch(number: int) -> int:
        nonlocal now, most
        now += 1
        most = max(most, now)
        threads.add(threading.current_thread().name)
        await asyncio.sleep(0)
        now -= 1
        return number + 1

    first = asyncio.run(fetch.amap(range(200), workers=5))

    assert list(range(1, 201)) == first
    assert 1 < most <= 5
    assert {threading.current_thread().name} == threads
    with assert_restored(fetch, 200):
        asyncio.run(fetch.amap(range(200), workers=5))


def test_amap_takes_a_step_that_is_not_async() -> None:
    """``await embed.amap`` leaves the loop free while threads work."""
    ticks = 0

    @step
    def embed(number: int) -> int:
        return number

    async def main() -> Any:
        nonlocal ticks
        task = asyncio.ensure_future(embed.amap(range(500)))
        while not task.done():
            ticks += 1
            await asyncio.sleep(0)
        return await task

    assert list(range(500)) == asyncio.run(main())
    assert ticks > 1


def test_amap_collects_and_raises_like_map() -> None:
    """Failures of an async step: the others are finished first."""

    @step
    async def fetch(number: int) -> int:
        if number == 3:
            raise ValueError("bad page")
        return number

    with pytest.raises(StepFailed, match="bad page"):
        asyncio.run(fetch.amap(range(10)))

    results = asyncio.run(fetch.amap(range(10), on_error="collect"))

    assert [3] == [failure.position for failure in results.failed]


def test_an_async_timeout_cancels_the_attempt() -> None:
    """An async step that hangs is cancelled at its timeout."""
    cancelled = []

    @step(timeout=0.02)
    async def slow(number: int) -> int:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.append(number)
            raise
        return number

    results = asyncio.run(slow.amap([1], on_error="collect"))

    assert [1] == cancelled
    assert isinstance(results[0].__cause__, StepTimeout)


class Asking:
    """An object that is called as a coroutine function is."""

    async def __call__(self, number: int) -> int:
        await asyncio.sleep(0)
        return number * number


def test_what_is_awaited_may_be_an_object() -> None:
    """An ``async def __call__`` makes an async step; what only hands a coroutine on says what to write instead."""
    assert [1, 4] == list(asyncio.run(step(name="ask")(Asking()).amap([1, 2])))

    handed: list[Any] = []

    @step
    def hand_on(number: int) -> Any:
        handed.append(Asking()(number))
        return handed[0]

    with pytest.raises(Unsaveable, match="a coroutine.*nobody has awaited it.*async def"):
        hand_on.map([1])
    handed[0].close()


@pytest.mark.parametrize("given", [{"executor": "asyncio"}, {}])
def test_an_async_step_is_on_the_loop_by_name(given: dict[str, str]) -> None:
    """executor="asyncio", of the map or of the step, says what is so anyway; of another step it is refused."""
    of_step = {} if given else {"executor": "asyncio"}

    @step(**of_step)
    async def fetch(number: int) -> int:
        await asyncio.sleep(0)
        return number

    @step(**of_step)
    def embed(number: int) -> int:
        return number

    assert [1, 2] == list(asyncio.run(fetch.amap([1, 2], **given)))
    with pytest.raises(ConfigError, match="embed is not async"):
        embed.map([1], **given)


def test_map_of_an_async_step_says_what_to_type() -> None:
    """map on an async step names amap."""

    @step
    async def fetch(number: int) -> int:
        return number

    with pytest.raises(ConfigError, match=r"await fetch\.amap"):
        fetch.map([1])


def test_what_is_appended_meanwhile_is_no_document_of_the_map(store: Store) -> None:
    """The list as it was; whoever maps it again has the new one."""
    docs = list(range(500))

    @step
    def embed(n: int) -> int:
        if n == 0 and len(docs) == 500:
            docs.append(-1)
        return n

    assert list(range(500)) == embed.map(docs, workers=1)
    assert (500, 500) == (store.run("embed").total, store.run("embed").done)


@pytest.mark.parametrize("timeout", [float("inf"), 1e10, timedelta.max])
def test_a_timeout_of_ages_is_none(timeout: Any) -> None:
    """Longer than a platform can wait."""

    @step(timeout=timeout)
    def embed(n: int) -> int:
        time.sleep(0.01)
        return n

    assert [1, 2] == embed.map([1, 2])


def test_a_document_may_be_a_number_that_nobody_prints() -> None:
    """Python refuses to write more than 4,300 digits."""

    @step
    def bits(n: int) -> int:
        return n.bit_length()

    assert [20_001, 2] == bits.map([2**20_000, 3])


def test_an_error_that_takes_no_note_is_told_as_it_is() -> None:
    """As a frozen dataclass."""

    @dataclass(frozen=True)
    class Refused(Exception):
        code: int

    @step(retries=1)
    def embed(n: int) -> int:
        raise Refused(n)

    with frozen_clock():
        results = embed.map([7], on_error="collect")
    assert ("Refused: 7", 2) == (results.failed[0].error, results.failed[0].attempts)


class Row:
    """Columns as attributes, as rows of many libraries have them; this one knows no missing one."""

    __slots__ = ("data",)

    def __init__(self, **data: int) -> None:
        self.data = data

    def __getattr__(self, name: str) -> int:
        return self.data[name]

    def __reduce__(self) -> tuple[Any, ...]:
        return _row, (self.data,)


def _row(data: dict[str, int]) -> Row:
    return Row(**data)


class Nameless:
    """No way of writing it down works."""

    def __fspath__(self) -> str:
        raise OSError("no path")

    def __format__(self, _: str) -> str:
        raise ValueError("no text")

    __str__ = __repr__ = __fspath__


@pytest.mark.parametrize("item", [Row(a=1), Nameless(), {"id": Nameless()}], ids=["row", "path", "id"])
def test_a_document_that_cannot_be_named_has_a_number(item: Any) -> None:
    """To name it for the panel never ends a map or a call."""

    @step
    def one(_: object) -> int:
        return 1

    found = one.map([item])
    with run("plain"):
        one(item)

    assert (1, "#0") == (found[0], found.labels[0])
