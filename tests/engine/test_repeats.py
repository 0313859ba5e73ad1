"""A function is not called again with a document that it has changed: its result would be saved under the wrong name."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pydantic
import pytest

from durable_nb import run, step
from durable_nb.errors import StepFailed

pytestmark = pytest.mark.usefixtures("store")
CHANGED = "was changed in place"


class Later(Exception):
    """A service asks to wait."""

    status_code = 429
    response = SimpleNamespace(status_code=429, headers={"retry-after": "0.01"})


def documents(*texts: str) -> list[dict[str, str]]:
    """As fresh as after a restart."""
    return [{"text": text} for text in texts]


def told(results: Any) -> list[tuple[str, bool]]:
    """What failed, and whether for having been changed."""
    return [(failure.label, CHANGED in failure.error) for failure in results.failed]


@pytest.mark.parametrize("error", [Later, OSError])
@pytest.mark.parametrize("workers", [1, 4])
def test_a_changed_document_is_not_tried_again(error: type[Exception], workers: int) -> None:
    """Neither after a failure nor after a 429; the others go on, and the failure names its cause and what to do."""
    raised: list[str] = []

    @step(retries=2)
    def embed(doc: dict[str, str]) -> str:
        doc["text"] = "query: " + doc["text"]
        if doc["text"] == "query: b" and not raised:
            raised.append("b")
            raise error("later")
        return doc["text"]

    results = embed.map(documents("a", "b", "c"), workers=workers, on_error="collect")

    assert [("#1", True)] == told(results)
    assert "later" in results.failed[0].error
    assert "copy" in results.failed[0].error
    assert ["query: a", "query: c"] == results.ok
    assert isinstance(results.errors[1].__cause__, error)
    assert ["query: a", "query: b", "query: c"] == list(embed.map(documents("a", "b", "c")))


def test_changed_documents_are_taken_out_of_the_halves() -> None:
    """Of a batch that failed, what the function had changed by then fails, and what it had not come to goes on."""

    @step(batch=8)
    def embed(docs: list[dict[str, str]]) -> list[str]:
        for doc in docs:
            if doc["text"] == "bad":
                raise ValueError("no text")
            doc["text"] = "query: " + doc["text"]
        return [doc["text"] for doc in docs]

    texts = ("a", "b", "bad", "c", "d", "e")
    results = embed.map(documents(*texts), workers=1, on_error="collect")

    assert [("#0", True), ("#1", True), ("#2", False)] == told(results)
    assert ["query: c", "query: d", "query: e"] == results.ok


@pytest.mark.parametrize("is_async", [False, True])
def test_a_batch_that_is_asked_to_wait_is_not_repeated_with_what_it_changed(is_async: bool) -> None:
    """What was not changed is computed all the same, also by a coroutine."""
    raised: list[int] = []

    def work(docs: list[dict[str, str]]) -> list[str]:
        for doc in docs:
            if doc["text"] == "c" and not raised:
                raised.append(1)
                raise Later
            doc["text"] = "query: " + doc["text"]
        return [doc["text"] for doc in docs]

    async def work_async(docs: list[dict[str, str]]) -> list[str]:
        return work(docs)

    embed: Any = step(name="embed", batch=4)(work_async if is_async else work)
    docs = documents("a", "b", "c", "d")
    if is_async:
        results = asyncio.run(embed.amap(docs, on_error="collect"))
    else:
        results = embed.map(docs, workers=1, on_error="collect")

    assert [("#0", True), ("#1", True)] == told(results)
    assert ["query: c", "query: d"] == results.ok


def test_a_plain_call_is_not_repeated_with_what_it_changed() -> None:
    """It raises StepFailed, with what the function raised as its cause."""

    @step(retries=2)
    def embed(doc: dict[str, str], prefix: str) -> str:
        doc["text"] = prefix + doc["text"]
        raise OSError("away")

    with run("plain"), pytest.raises(StepFailed, match=CHANGED) as found:
        embed({"text": "a"}, "query: ")

    assert isinstance(found.value.__cause__, OSError)


def test_retry_does_not_take_what_was_changed() -> None:
    """``.retry()`` would save the result of another document."""
    calls: list[str] = []

    @step
    def embed(doc: dict[str, str]) -> str:
        calls.append(doc["text"])
        doc["text"] = "query: " + doc["text"]
        if len(calls) == 2:
            raise ValueError("no text")
        return doc["text"]

    results = embed.map(documents("a", "b"), workers=1, on_error="collect")
    assert [("#1", False)] == told(results)

    assert [("#1", True)] == told(results.retry())
    assert ["a", "b"] == calls


class Client:
    """Keeps something in itself at each call."""

    def __init__(self) -> None:
        self.calls = 0

    @step(retries=2)
    def embed(self, doc: dict[str, str]) -> str:
        """Fails, and is asked to wait, before it works."""
        self.calls += 1
        if self.calls < 3:
            raise (Later, OSError)[self.calls % 2]
        return doc["text"]

    @step(retries=2, ignore=("self", "state"))
    def embed_ignoring(self, doc: dict[str, str], state: list[int]) -> str:
        """Changes an argument that does not count."""
        state.append(1)
        return self.embed.function(self, doc)  # type: ignore[no-any-return]


def test_receivers_and_ignored_arguments_may_change() -> None:
    """Only documents are compared: a method may keep a client in its object, and fill what does not count."""
    with run("methods"):
        client = Client()
        assert "a" == client.embed({"text": "a"})
        assert 3 == client.calls
        assert "a" == Client().embed_ignoring({"text": "a"}, [])

    assert ["a"] == list(Client().embed.map(documents("a"), workers=1))


@pytest.mark.parametrize("batch", [None, 3])
def test_unchanged_documents_are_tried_again(batch: int | None) -> None:
    """Also equal ones, which are told apart by their number, and those of a map inside of a call."""
    raised: list[int] = []

    def work(docs: Any) -> Any:
        raised.append(1)
        if len(raised) < 4:
            raise (Later, OSError)[len(raised) % 2]
        return [doc["text"] for doc in docs] if isinstance(docs, list) else docs["text"]

    embed: Any = step(name="embed", retries=3, batch=batch)(work)

    @step
    def outer(text: str) -> list[str]:
        return list(embed.map(documents(text, text, "b"), workers=2))

    assert [["a", "a", "b"]] == list(outer.map(["a"]))
    assert len(raised) > 4


def test_documents_that_a_key_names_are_not_compared() -> None:
    """Their value does not name the call, so that the step may change it: what comes of that is up to ``key``."""
    raised: list[int] = []

    @step(retries=1)
    def embed(doc: dict[str, str]) -> str:
        doc["text"] = doc["text"].strip()
        raised.append(1)
        if len(raised) == 1:
            raise OSError("away")
        return doc["text"]

    assert ["a"] == list(embed.map(documents(" a "), key=lambda doc: doc["text"].strip()))


class Lazy:
    """Reads itself when it is asked, and keeps that."""

    def __init__(self, path: str) -> None:
        self.path = path

    @functools.cached_property
    def text(self) -> str:
        """Looked up once."""
        return self.path.upper()


class LazyModel(pydantic.BaseModel):
    """The same of pydantic."""

    path: str

    @functools.cached_property
    def text(self) -> str:
        """Looked up once."""
        return self.path.upper()


def lazy(kind: type[Any]) -> list[Any]:
    """Fresh documents."""
    return [kind(path=path) for path in "abcdefgh"]


@pytest.mark.parametrize("kind", [Lazy, LazyModel])
@pytest.mark.parametrize("error", [Later, OSError])
@pytest.mark.parametrize("workers", [1, 4])
def test_a_cached_property_is_no_change(kind: type[Any], error: type[Exception], workers: int) -> None:
    """Documents that keep what they have read are tried again; fresh ones are found then."""
    calls: list[str] = []

    @step(retries=2)
    def embed(doc: Any) -> str:
        calls.append(doc.text)
        if len(calls) in (2, 5):
            raise error("later")
        return doc.text  # type: ignore[no-any-return]

    assert list("ABCDEFGH") == list(embed.map(lazy(kind), workers=workers))
    assert 10 == len(calls)
    assert list("ABCDEFGH") == list(embed.map(lazy(kind)))
    assert 10 == len(calls)


def _by_assignment(doc: Any) -> None:
    doc.text = "query: " + doc.text


def _by_setattr(doc: Any) -> None:
    setattr(doc, "text", "query: " + doc.text)


@pytest.mark.parametrize("prepare", [_by_assignment, _by_setattr])
@pytest.mark.parametrize("error", [Later, OSError])
def test_what_a_step_assigns_over_a_cached_property_is_a_change(
    prepare: Callable[[Any], None], error: type[Exception]
) -> None:
    """The document is not sent twice prepared: the call fails, and says why."""
    sent: list[str] = []

    @step(retries=2)
    def embed(doc: Lazy) -> str:
        prepare(doc)
        sent.append(doc.text)
        if len(sent) == 1:
            raise error("away")
        return doc.text

    results = embed.map(lazy(Lazy), workers=1, on_error="collect")

    assert [f"query: {path}" for path in "ABCDEFGH"] == sent
    assert [("a", True)] == told(results)


def test_a_batch_of_documents_with_cached_properties_is_halved() -> None:
    """Only the bad one of them fails, and it can be tried again."""
    bad = ["D"]

    @step(batch=8, version="1")
    def embed(docs: list[Lazy]) -> list[str]:
        texts = [doc.text for doc in docs]
        if set(bad) & set(texts):
            raise ValueError("no text")
        return texts

    results = embed.map(lazy(Lazy), workers=1, on_error="collect")
    assert [("d", False)] == told(results)

    bad.clear()
    assert list("ABCDEFGH") == list(results.retry())


class Noting:
    """Keeps what it has read as well, by hand."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.read: str | None = None

    def text(self) -> str:
        """Looked up once."""
        if self.read is None:
            self.read = self.path.upper()
        return self.read


def test_documents_that_keep_something_are_named_by_a_key() -> None:
    """Nobody can tell that from a change: the failure says what to do, and with ``key`` only the key counts."""
    errors: list[type[Exception]] = []

    @step(batch=4, version="1")
    def embed(docs: list[Noting]) -> list[str]:
        texts = [doc.text() for doc in docs]
        if "D" in texts and errors:
            raise errors.pop(0)
        return texts

    def documents() -> list[Noting]:
        return [Noting(path) for path in "abcd"]

    errors += [Later]
    refused = embed.map(documents(), workers=1, on_error="collect")
    assert [(path, True) for path in "abcd"] == told(refused)
    assert "key=" in refused.failed[0].error

    errors += [Later, ValueError, ValueError, ValueError]  # all, all, a half, and the document alone
    results = embed.map(documents(), workers=1, on_error="collect", key=lambda doc: doc.path)
    assert [("d", False)] == told(results)
    assert list("ABCD") == list(results.retry())
    assert list("ABCD") == list(embed.map(documents(), key=lambda doc: doc.path))
