"""Batched steps: many documents a call, a checkpoint for each."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from durable_nb import codecs, run, step
from durable_nb.engine.groups import Sizes
from durable_nb.errors import ConfigError, StepFailed, StepTimeout, Unsaveable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from durable_nb.store import Store

pytestmark = pytest.mark.usefixtures("store")
DOCS = [f"doc {i}" for i in range(150)]


@pytest.mark.parametrize("workers", [1, 4])
def test_each_document_has_its_result(workers: int) -> None:
    """150 documents, 64 a call: the first alone proves that results can be saved, the order is that of the list."""
    sizes: list[int] = []

    @step(batch=64)
    def embed(texts: list[str]) -> list[str]:
        sizes.append(len(texts))
        return [text.upper() for text in texts]

    assert [text.upper() for text in DOCS] == list(embed.map(DOCS, workers=workers))
    assert sorted(sizes) == [22, 64, 64]


def test_only_the_missing_are_batched_again() -> None:
    """Documents that came meanwhile fill batches of their own; what is known is restored, wherever it stood."""
    seen: list[str] = []

    @step(batch=10)
    def embed(texts: list[str]) -> list[int]:
        seen.extend(texts)
        return [len(text) for text in texts]

    embed.map(DOCS[:100])
    seen.clear()
    results = embed.map(["new", *reversed(DOCS)])

    assert ["new", *reversed(DOCS[100:])] == sorted(seen, key=["new", *reversed(DOCS)].index)
    assert [len(text) for text in ["new", *reversed(DOCS)]] == list(results)


def test_results_of_the_step_that_took_one_document_are_kept(store: Store) -> None:
    """A checkpoint belongs to a document, not to a batch: another size computes nothing again."""
    calls: list[int] = []

    @step(batch=32)
    def embed(texts: list[str]) -> list[int]:
        calls.append(len(texts))
        return [len(text) for text in texts]

    embed.map(DOCS)
    calls.clear()
    embed.options(batch=7).map(DOCS)
    assert calls == []
    (version,) = store.contents(store.runs()[0].id)
    assert version.saved == len(DOCS)


def test_a_failing_batch_is_halved_until_the_bad_document_stands_alone() -> None:
    """One bad document of 64 costs about two calls a halving; the other 63 are saved."""
    sizes: list[int] = []

    @step(batch=64)
    def embed(texts: list[str]) -> list[int]:
        sizes.append(len(texts))
        if "doc 37" in texts:
            raise ValueError("no text")
        return [len(text) for text in texts]

    results = embed.map(DOCS[:64], workers=1, on_error="collect")

    assert ["doc 37"] == [failure.label for failure in results.failed]
    assert 63 == len(results.ok)
    assert len(sizes) == 1 + 2 * 6
    with pytest.raises(StepFailed, match=r"doc 37.*ValueError: no text"):
        embed.map(DOCS[:64], workers=1)


def test_a_document_alone_has_its_retries() -> None:
    """Retries are for the document that failed alone."""
    attempts: list[int] = []

    @step(batch=8, retries=2)
    def embed(texts: list[str]) -> list[int]:
        if "doc 3" in texts:
            attempts.append(len(texts))
            if len(attempts) < 5:
                raise OSError("away")
        return [len(text) for text in texts]

    assert [5] * 8 == list(embed.map(DOCS[:8], workers=1))
    assert [8, 4, 2, 1, 1] == attempts


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (["a"], "1 results for 8"),
        ([], "0 results for 8"),
        (None, "a NoneType for 8"),
        (dict.fromkeys("abcdefgh", 1), "a dict for 8"),
        (set("abcdefgh"), "a set for 8"),
        ("abcdefgh", "a str for 8"),
        (pd.DataFrame({name: range(8) for name in "abcdefgh"}), "a DataFrame for 8"),
        (pd.DataFrame({"a": range(8)}), "a DataFrame for 8"),
        (np.array(8), "a ndarray for 8"),
    ],
)
@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_a_wrong_length_names_both(returned: Any, said: str, executor: str) -> None:
    """Nobody can say which result belongs to which document: nor of what has another order, or gives its columns."""

    @step(batch=8)
    def embed(texts: list[str]) -> Any:
        return returned

    for _ in range(2):
        with pytest.raises(ConfigError, match=said):
            embed.map(DOCS[:8], executor=executor)


def test_rows_of_an_array_are_results(store: Store) -> None:
    """What models return: (n, dim); restored, the matrix is the same."""

    @step(batch=16)
    def embed(texts: list[str]) -> np.ndarray[Any, Any]:
        return np.array([[len(text), ord(text[-1])] for text in texts], "f4")

    first, again = embed.map(DOCS).to_numpy(), embed.map(DOCS).to_numpy()

    assert (150, 2) == first.shape
    np.testing.assert_array_equal(first, again)
    assert store.check() == []


@pytest.mark.parametrize(
    "values",
    [
        [np.full(4, n, np.float32) for n in range(3)],
        [np.full((2, 2), n) for n in range(3)],
        [np.arange(6.0)[n::2] for n in range(2)] + [np.arange(3.0)],
        np.arange(12).reshape(3, 4),
        np.arange(12).reshape(3, 4).T[:3],
        np.arange(3),
        [np.zeros(2), np.zeros(3), np.zeros(2)],
        [np.zeros(2), np.zeros(2, np.int64), np.zeros(2)],
        [np.zeros(2), [0.0, 0.0], None],
        [np.zeros(()), np.ones(()), np.zeros(())],
        [np.zeros(0), np.zeros(0), np.zeros(0)],
        [np.array([n, None], object) for n in range(3)],
        [np.ma.masked_array([n, 1], [0, 1]) for n in range(3)],
        [np.array([n], "datetime64[D]") for n in range(3)],
        tuple(np.array([n], [("a", "<i4"), ("b", "<f8")]) for n in range(3)),
    ],
    ids=lambda values: f"{type(values).__name__} of {type(values[0]).__name__} {getattr(values[0], 'dtype', '')}"[:60],
)
def test_arrays_are_saved_as_they_would_be_alone(values: Any) -> None:
    """Of one layout all at once, otherwise each by itself: type, dtype, shape and bits are those that came back."""

    @step(batch=3)
    def embed(texts: list[str]) -> Any:
        return values

    computed, restored = embed.map(DOCS[:3]), embed.map(DOCS[:3])

    for own, one, other in zip(values, computed, restored, strict=True):
        assert codecs.encode(own) == codecs.encode(one) == codecs.encode(other)
        assert type(own) is type(other)


def test_coroutines_take_batches_too() -> None:
    """The same on a loop."""
    sizes: list[int] = []

    @step(batch=50)
    async def embed(texts: list[str]) -> list[int]:
        await asyncio.sleep(0)
        sizes.append(len(texts))
        if len(texts) > 1 and "doc 60" in texts:
            raise ValueError("one of them")
        return [len(text) for text in texts]

    assert [len(text) for text in DOCS] == list(asyncio.run(embed.amap(DOCS, workers=3)))
    assert sum(sizes) > 150


def test_a_call_in_a_run_keeps_each_document() -> None:
    """``embed(batch)`` in a loop of a durable cell, or in a run."""
    seen: list[str] = []

    @step(batch=4)
    def embed(texts: list[str]) -> list[int]:
        seen.extend(texts)
        return [len(text) for text in texts]

    with run("filings"):
        first = [embed(DOCS[i : i + 10]) for i in range(0, 30, 10)]
    with run("filings"):
        again = [embed(DOCS[i : i + 15]) for i in range(0, 30, 15)]

    assert sum(first, []) == sum(again, [])
    assert len(seen) == 30
    assert embed(["plain"]) == [5]
    with run("filings"), pytest.raises(ConfigError, match="one list"):
        embed("a", "b")  # type: ignore[call-arg]


def test_items_of_unknown_number() -> None:
    """A generator is batched as it comes."""
    sizes: list[int] = []

    @step(batch=20)
    def embed(numbers: list[int]) -> list[int]:
        sizes.append(len(numbers))
        return [number * 2 for number in numbers]

    def numbers() -> Iterator[int]:
        yield from range(50)

    assert [number * 2 for number in range(50)] == list(embed.map(numbers(), workers=2))
    assert sorted(sizes) == [10, 20, 20]


def test_a_batch_that_hangs_is_halved_too() -> None:
    """The time-out is for one call of the function."""

    @step(batch=4, timeout=0.3)
    def embed(texts: list[str]) -> list[int]:
        if "doc 2" in texts:
            time.sleep(1.5)
        return [len(text) for text in texts]

    results = embed.map(DOCS[:4], workers=1, on_error="collect")

    assert [2] == list(results.errors)
    assert isinstance(results.errors[2].__cause__, StepTimeout)


def test_what_cannot_be_saved_stops_after_the_first_batch() -> None:
    """Promise H: no second one is wasted."""
    calls: list[int] = []

    @step(batch=8)
    def embed(texts: list[str]) -> list[Any]:
        calls.append(len(texts))
        return [threading.Lock() for _ in texts]

    with pytest.raises(Unsaveable, match="doc 0"):
        embed.map(DOCS)
    assert calls == [8]


@pytest.mark.parametrize("seconds", [0.0, 0.01])
def test_what_stands_beside_a_result_that_cannot_be_saved_is_saved(store: Store, seconds: float) -> None:
    """What a batch returned is saved in one piece, but for the one that stops it: nothing that was computed is lost."""

    @step(batch=8)
    def embed(texts: list[str]) -> list[Any]:
        time.sleep(seconds)
        return [threading.Lock() if text == "doc 5" else text.upper() for text in texts]

    with pytest.raises(Unsaveable, match="doc 5"):
        embed.map(DOCS[:8])

    saved = store.run("embed")
    assert (7, 1) == (saved.done, saved.failed)
    assert ["doc 5"] == [failure.label for failure in store.failures(saved.id)]
    assert {f"DOC {n}" for n in range(8) if n != 5} == {
        found.payload.decode()
        for *_, found in store.fetch(saved.id, [store.contents(saved.id)[0].id], from_id=0, limit=8)
    }


@pytest.mark.parametrize("workers", [1, 4])
def test_batches_out_of_the_order_of_the_list(workers: int) -> None:
    """By priority, beside restored results and failures, each document gets its own result all the same."""

    @step(batch=4)
    def embed(texts: list[str]) -> list[str]:
        if "doc 7" in texts:
            raise ValueError("not this one")
        return [text.upper() for text in texts]

    docs = DOCS[:30]
    embed.map(docs[10:14], workers=1)
    results = embed.map(docs, workers=workers, on_error="collect", priority=lambda doc: int(doc[4:]) % 5)

    assert [7] == list(results.errors)
    assert [doc.upper() for doc in docs if doc != "doc 7"] == results.ok


def test_auto_finds_a_size_that_is_worth_a_call() -> None:
    """Doubled while calls are short, halved when they get long; never below one, never without end."""
    sizes = Sizes("auto")
    for _ in range(20):
        sizes.learn(sizes.now, 0.001)
    assert sizes.now == 1024
    for _ in range(20):
        sizes.learn(sizes.now, 2.0)
    assert sizes.now == 1
    sizes.learn(1, 0.2)
    assert sizes.now == 1

    @step(batch="auto")
    def embed(texts: list[str]) -> list[int]:
        return [len(text) for text in texts]

    assert [len(text) for text in DOCS] == list(embed.map(DOCS))


@pytest.mark.parametrize("batch", [0, -1, 1.5, True, "many"])
def test_sizes_that_are_not_possible(batch: Any) -> None:
    """They are refused where they stand."""

    def embed(texts: list[str]) -> list[str]:
        return texts

    with pytest.raises(ConfigError, match="batch="):
        step(batch=batch)(embed)


def test_retry_takes_what_failed_alone() -> None:
    """``.retry()`` batches the failed ones again."""
    calls: list[int] = []

    @step(batch=8)
    def embed(texts: list[str]) -> list[int]:
        calls.append(len(texts))
        if len(calls) < 50 and {"doc 1", "doc 5"} & {*texts}:
            raise ValueError("no")
        return [len(text) for text in texts]

    results = embed.map(DOCS[:8], on_error="collect")
    assert [1, 5] == list(results.errors)
    calls.extend([0] * 50)
    assert [5] * 8 == list(results.retry())
    assert calls[-1] == 2


class Later(Exception):
    """A service asks to wait."""

    status_code = 429
    response = SimpleNamespace(status_code=429, headers={"retry-after": "0.01"})


@pytest.mark.parametrize("error", [Later, OSError])
@pytest.mark.parametrize("executor", ["threads", "inline", "pool"])
def test_each_call_is_handed_a_list_of_its_own(error: type[Exception], executor: str) -> None:
    """What the function does to its list before it fails, or is asked to wait, no further call of it sees."""
    calls: list[int] = []

    @step(batch=6)
    def embed(numbers: list[int]) -> list[int]:
        numbers.reverse()
        calls.append(numbers.pop())
        if len(calls) == 2:
            raise error("later")
        return [calls[-1], *reversed(numbers)]

    with ThreadPoolExecutor(1) as pool:
        results = embed.map(range(12), workers=1, executor=pool if executor == "pool" else executor)

    assert [*range(12)] == list(results)
    assert len(calls) >= 3


def test_a_coroutine_is_handed_a_list_of_its_own_each_time() -> None:
    """As of functions."""
    calls: list[int] = []

    @step(batch=6)
    async def embed(numbers: list[int]) -> list[int]:
        numbers.reverse()
        calls.append(len(numbers))
        if len(calls) == 1:
            raise Later
        return list(reversed(numbers))

    assert [*range(6)] == list(asyncio.run(embed.amap(range(6))))
    assert [6, 6] == calls


class Lazy:
    """Results that are computed when they are read, as of a data set of torch."""

    def __init__(self, texts: list[str], reads: list[str]) -> None:
        self.texts, self.reads = texts, reads

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> str:
        text = self.texts[index]
        self.reads.append(text)
        if text == "doc 3":
            raise ValueError("no text")
        return f"{text}: read {self.reads.count(text)}"


@pytest.mark.parametrize("is_async", [False, True])
def test_what_is_computed_when_it_is_read_is_read_once(store: Store, is_async: bool) -> None:
    """The saved value is the returned one, and an error on the way is the document's: it is recorded."""
    reads: list[str] = []

    async def work_async(texts: list[str]) -> Lazy:
        return Lazy(texts, reads)

    embed: Any = step(name="embed", batch=2)(work_async if is_async else lambda texts: Lazy(texts, reads))

    def mapped() -> Any:  # the list that the step reads is another one by then
        given: Any = {"on_error": "collect", "on_change": "keep", "workers": 1}
        return asyncio.run(embed.amap(DOCS[:4], **given)) if is_async else embed.map(DOCS[:4], **given)

    first = mapped()
    expected = ["doc 0: read 1", "doc 1: read 1", "doc 2: read 2"]  # the last one again, when its batch was halved

    assert expected == first.ok
    assert expected == mapped().ok
    assert ["ValueError: no text"] == [failure.error for failure in first.failed]
    assert 1 == store.runs()[0].failed
