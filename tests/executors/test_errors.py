"""Errors that come from a worker are those that were raised there, though pickle brings many classes of clients not back."""

from __future__ import annotations

import multiprocessing
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError

import httpx
import openai
import pytest

from durable_nb import current_call, step
from durable_nb.errors import ConfigError
from tests.matrix import usual

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("store")
WAIT_S = 1.0


class Flaky(Exception):
    """Wants a keyword."""

    def __init__(self, text: str, *, code: int) -> None:
        super().__init__(text)
        self.code = code


class Missing(OSError):
    """Is a built-in one that keeps more than its arguments, and wants a keyword."""

    def __init__(self, path: str, *, code: int) -> None:
        super().__init__(2, "is missing", path)
        self.code = code


class Locked(Exception):
    """Has what cannot be sent among its arguments and attributes."""

    def __init__(self, text: str, lock: Any) -> None:
        super().__init__(text, lock)
        self.code, self.lock = 5, lock

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True)
class Frozen(Exception):
    """Takes no attributes, of pickle neither."""

    code: int


class Worded(Exception):
    """Comes back from pickle, with other words."""

    def __init__(self, number: int) -> None:
        super().__init__(f"no {number}")
        self.code = 7


class Unsaid(Exception):
    """Can say nothing without what cannot be sent."""

    def __init__(self, lock: Any) -> None:
        super().__init__()
        self.lock = lock

    def __str__(self) -> str:
        return f"{self.lock.locked()}"


def answer(status: int, wait_s: float = 0.0) -> httpx.Response:
    """What a service answers."""
    request = httpx.Request("POST", "http://service")
    return httpx.Response(status, headers={"retry-after": str(wait_s)}, request=request)


def throw(kind: str, status: int, wait_s: float = 0.0) -> None:
    """Raise as the clients do, or as classes of users do."""
    if kind == "openai":
        raise openai.APIStatusError("no", response=answer(status), body=None)
    if kind == "openai limit":
        raise openai.RateLimitError("slow down", response=answer(status, wait_s), body=None)
    if kind == "httpx":
        answer(status, wait_s).raise_for_status()
    if kind == "urllib":
        raise HTTPError("http://service", status, "no", {"retry-after": str(wait_s)}, None)  # type: ignore[arg-type]
    if kind == "keyword":
        raise Flaky("try again", code=status)
    if kind == "file":
        raise Missing("x.txt", code=status)
    if kind == "lock":
        raise Locked("is locked", threading.Lock())
    if kind == "frozen":
        raise Frozen(status)
    if kind == "worded":
        raise Worded(status)
    raise Unsaid(threading.Lock())


@pytest.fixture(params=["processes", "spawn"])
def executor(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Worker processes of ours, and a pool of somebody else."""
    if request.param == "processes":
        yield request.param
    else:
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
            yield pool


def test_errors_are_the_same_as_in_this_process(executor: Any) -> None:
    """Class, text and what says the status; only one without a text of its own is told in the words of the worker."""
    kinds = ["openai", "httpx", "urllib", "keyword", "file", "lock", "worded", "frozen", "unsaid"]

    @step
    def ask(kind: str) -> None:
        throw(kind, 401)

    here = [one.__cause__ for one in ask.map(kinds, executor="threads", on_error="collect").errors.values()]
    there = [
        one.__cause__
        for one in ask.options(name="there").map(kinds, executor=executor, on_error="collect").errors.values()
    ]

    assert [type(error) for error in here[:-1]] == [type(error) for error in there[:-1]]
    assert [str(error) for error in here[:-1]] == [str(error) for error in there[:-1]]
    assert [401, 401] == [there[0].status_code, there[1].response.status_code]  # type: ignore[union-attr]
    assert [401, 401, 401, 5, 7, 401] == [error.code for error in there[2:-1]]  # type: ignore[union-attr]
    assert (2, "x.txt") == (there[4].errno, there[4].filename)  # type: ignore[union-attr]
    assert there[5].lock is None  # type: ignore[union-attr]
    assert "RuntimeError: Unsaid: False" == f"{type(there[-1]).__name__}: {there[-1]}"


@pytest.mark.parametrize("kind", usual(["openai limit", "httpx"], "openai limit"))
def test_a_refusal_by_the_service_holds_all_workers_up(kind: str, executor: Any, tmp_path: Path) -> None:
    """A 429 with ``Retry-After`` uses up no attempt; nothing is sent for so long, but for what had been: two for each worker."""
    asked = tmp_path / "asked"

    @step
    def ask(number: int) -> tuple[float, int]:
        began = time.monotonic()
        if number == 4 and not asked.exists():
            asked.write_text(str(began))
            throw(kind, 429, WAIT_S)
        time.sleep(0.06)  # no two of them are sent together
        return began, current_call().attempt

    answers = list(ask.map(range(12), workers=2, executor=executor))
    refused = float(asked.read_text())

    assert [1] * 12 == [attempt for _, attempt in answers]
    assert answers[4][0] >= refused + WAIT_S
    assert len([began for began, _ in answers if refused < began < refused + WAIT_S]) <= 4


def test_what_was_found_in_the_worker_holds_where_the_response_is_lost(executor: Any, tmp_path: Path) -> None:
    """The error has no status any more, and is a refusal all the same."""
    asked = tmp_path / "asked"

    class Refused(Exception):
        def __init__(self, response: Any) -> None:
            super().__init__("later")
            self.response, response.lock = response, threading.Lock()

    @step
    def ask(number: int) -> int:
        if number == 1 and not asked.exists():
            asked.touch()
            raise Refused(answer(429, 0.1))
        return current_call().attempt

    assert [1, 1, 1] == list(ask.map(range(3), workers=2, executor=executor))


def test_retry_on_matches_a_class_that_wants_a_keyword(executor: Any) -> None:
    """As on threads."""

    @step(retries=1, retry_on=Flaky)
    def ask(number: int) -> int:
        if current_call().attempt == 1:
            throw("keyword", 7)
        return current_call().attempt

    assert [2, 2] == list(ask.map(range(2), workers=2, executor=executor))


class Sealed:
    """Can be pickled and not be opened again, as an exception of a client that wants more than its ``args``."""

    def __reduce__(self) -> Any:
        return int, ("seven",)


@pytest.mark.parametrize("batch", [None, 4])
def test_a_document_that_no_worker_can_load_fails_by_its_name(batch: int | None) -> None:
    """The others are computed, those that are sent together with it too."""

    def classify(error: Any) -> Any:
        return [type(one).__name__ for one in error] if batch else type(error).__name__

    documents = [number if number != 7 else Sealed() for number in range(20)]
    results = step(batch=batch, name="classify")(classify).map(
        documents,
        executor="processes",
        workers=2,
        on_error="collect",
        key=lambda one: type(one).__name__ + str(one)[:2],
    )
    (failure,) = results.failed

    assert 7 == failure.position
    assert failure.error.startswith("RuntimeError: a worker cannot load its arguments: ValueError: ")
    assert ["int"] * 19 == results.ok


def test_a_function_that_no_worker_can_load_is_told_once() -> None:
    """Whatever the documents are: that of what it holds which cannot be unpickled."""
    held = Sealed()

    @step
    def embed(number: int) -> str:
        return f"{number} {held}"

    with pytest.raises(ConfigError, match="a worker cannot load embed: ValueError: "):
        embed.map(range(20), executor="processes", on_error="collect")
