"""Errors that are false, as those are that hold a list and can tell its length: they are errors like any other."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from durable_nb import StepFailed, run, step
from durable_nb.executors.deadlines import within
from durable_nb.records import State

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from durable_nb.store import Store

pytestmark = pytest.mark.usefixtures("store")


class NotValid(Exception):
    """What a validator raises: with a list of errors, here an empty one."""

    def __len__(self) -> int:
        return 0


def parse(number: int) -> int:
    """Document 2 is not valid."""
    if number == 2:
        raise NotValid("invalid document")
    return number


async def parse_async(number: int) -> int:
    """The same of a client."""
    return parse(number)


def _on_a_pool(of: Any) -> list[Any]:
    with ThreadPoolExecutor(2) as pool:
        return list(of.map([1, 2, 3], executor=pool, on_error="collect"))


WAYS: dict[str, Callable[[Any], list[Any]]] = {
    "map": lambda of: list(of.map([1, 2, 3], on_error="collect")),
    "one worker": lambda of: list(of.map([1, 2, 3], workers=1, on_error="collect")),
    "processes": lambda of: list(of.map([1, 2, 3], workers=1, executor="processes", on_error="collect")),
    "pool": _on_a_pool,
    "amap": lambda of: list(asyncio.run(of.amap([1, 2, 3], on_error="collect"))),
    "stream": lambda of: [result for _, result in sorted(of.stream([1, 2, 3], on_error="collect"))],
}


@pytest.mark.parametrize("timeout", [None, 20])
@pytest.mark.parametrize("way", WAYS)
def test_an_error_of_a_call_is_its_failure(way: str, timeout: int | None) -> None:
    """The document fails with the error as its cause, whatever makes the call and whether it has a timeout."""
    first, failed, last = WAYS[way](step(timeout=timeout)(parse))

    assert (1, 3) == (first, last)
    assert isinstance(failed, StepFailed)
    assert "NotValid" == type(failed.__cause__).__name__


@pytest.mark.parametrize("timeout", [None, 20])
def test_an_error_of_a_plain_call_is_raised(timeout: int | None) -> None:
    """A call in a run raises it as it is, and keeps no result; so does one that is awaited."""
    checked, awaited = step(timeout=timeout)(parse), step(timeout=timeout)(parse_async)
    with run("filings"):
        with pytest.raises(NotValid):
            checked(2)
        with pytest.raises(NotValid):
            asyncio.run(awaited(2))


def test_a_deadline_carries_what_is_raised_beyond_its_end() -> None:
    """The error of the function is raised, also one that says that a time is over; nothing is made of it."""
    with pytest.raises(NotValid):
        within(lambda: parse(2), 20)
    with pytest.raises(TimeoutError, match="of the function"):
        within(lambda: _raise(TimeoutError("of the function")), 20)


def _raise(error: BaseException) -> Any:
    raise error


def broken() -> Iterator[int]:
    """A cursor that breaks off."""
    yield 1
    raise NotValid("the cursor broke off")


async def broken_async() -> AsyncIterator[int]:
    """The same of an async iterator."""
    for number in broken():
        yield number


@pytest.mark.parametrize(
    "work",
    [
        lambda: step(parse).map(broken()),
        lambda: step(parse).map(broken(), limit=5),
        lambda: list(step(parse).stream(broken())),
        lambda: asyncio.run(step(parse).amap(broken_async())),
        lambda: asyncio.run(step(parse_async).amap(broken_async())),
        lambda: asyncio.run(step(parse).amap(broken_async(), limit=5)),
    ],
    ids=["map", "limit", "stream", "amap", "async step", "amap limit"],
)
def test_an_error_of_the_items_is_raised(work: Callable[[], Any]) -> None:
    """Items that break off with such an error are not taken for all that there are."""
    with pytest.raises(NotValid, match="the cursor broke off"):
        work()


def test_a_run_that_ended_with_one_has_failed(store: Store) -> None:
    """A block that raises it, while a stream of it is still read, has failed: it was not interrupted."""
    with pytest.raises(NotValid), run("filings"):
        stream = step(parse).stream(iter([1, 3, 4]))
        next(stream)
        raise NotValid("invalid")

    snapshot = store.snapshot("filings")
    stream.close()
    assert snapshot is not None
    assert State.FAILED == snapshot.state


def test_documents_that_failed_with_one_are_tried_again() -> None:
    """``retry`` looks at the error that the function has raised, and makes the call again."""
    is_valid = False

    @step(timeout=20)
    def check(number: int) -> int:
        if not is_valid:
            raise NotValid("invalid")
        return number

    results = check.map([1], on_error="collect")
    is_valid = True
    results.retry()

    assert [1] == list(results)
