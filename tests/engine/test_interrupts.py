"""■, a second one, and tasks that are cancelled: nothing is recorded or restored that was not so, and nothing stays held."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from durable_nb import run, step
from durable_nb.engine import controls, runs
from durable_nb.engine.batch import Batch
from durable_nb.engine.recorder import Recorder
from durable_nb.engine.session import current as session
from durable_nb.errors import RunBusy, RunStopped, StoreUnavailable
from durable_nb.progress import Progress
from tests.kernels import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from durable_nb.store import Store

pytestmark = pytest.mark.usefixtures("store")


def test_a_retry_that_was_interrupted_goes_on_where_it_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it had computed is in the results, and is not tried once more."""
    computed: list[int] = []

    @step
    def embed(n: int) -> int:
        if os.environ["SERVICE"] == "broken":
            raise ValueError(n)
        computed.append(n)
        if os.environ["SERVICE"] == "interrupted" and n == 2:
            raise KeyboardInterrupt
        return 10 * n

    monkeypatch.setenv("SERVICE", "broken")
    results = embed.map(range(4), workers=1, on_error="collect")
    monkeypatch.setenv("SERVICE", "interrupted")
    with pytest.raises(KeyboardInterrupt):
        results.retry()
    monkeypatch.setenv("SERVICE", "mended")

    assert [0, 10, 20, 30] == results.retry()
    assert [0, 1, 2, 2, 3] == computed


@pytest.mark.parametrize("retries", [0, 2])
def test_calls_that_wait_in_a_pool_of_threads_did_not_fail(
    store: Store, monkeypatch: pytest.MonkeyPatch, retries: int
) -> None:
    """Interrupted while one of six runs: five have not begun, which is no failure of theirs, nor a reason to make them."""
    begun: list[int] = []
    cancel, cancelled = Batch.cancel, threading.Event()

    def cancel_and_tell(batch: Batch) -> None:
        cancel(batch)
        cancelled.set()

    monkeypatch.setattr(Batch, "cancel", cancel_and_tell)

    @step(retries=retries)
    def embed(n: int) -> int:
        begun.append(n)
        if n == 1:
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGINT)
            assert cancelled.wait(20), "the main thread was not told"
        return n

    with ThreadPoolExecutor(1) as pool, pytest.raises(KeyboardInterrupt):
        embed.map(range(20), workers=6, executor=pool)

    assert [0, 1] == begun
    assert (2, 0) == (store.run("embed").done, store.run("embed").failed)
    assert list(range(20)) == embed.map(range(20))


@pytest.fixture
def restarted() -> Iterator[None]:
    """Who handles SIGINT has system calls restarted, as polars does from its import on: it ends no wait for a lock."""
    signal.siginterrupt(signal.SIGINT, False)
    yield
    signal.siginterrupt(signal.SIGINT, True)


WAYS: dict[str, Callable[[Callable[..., int]], Any]] = {
    "threads": lambda slow: step(slow).map(range(9), workers=2),
    "the last ones": lambda slow: step(slow).map(range(3), workers=2),
    "of a pool": lambda slow: step(slow).map([1], workers=1, executor=ThreadPoolExecutor(1)),
    "of a pool, timed": lambda slow: step(timeout=60)(slow).map([1], workers=1, executor=ThreadPoolExecutor(1)),
    "stream": lambda slow: list(step(slow).stream(range(3))),
    "a deadline": lambda slow: step(timeout=60)(slow)(1),
    "backoff": lambda slow: step(retries=6)(slow).map([1], workers=1),
}


@pytest.mark.usefixtures("restarted")
@pytest.mark.parametrize("way", WAYS)
def test_an_interrupt_is_heard_though_it_ends_no_system_call(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """Whatever the main thread waits for: not when the call, or the minute before its next attempt, is over."""
    let_go = threading.Event()

    def slow(n: int) -> int:
        if n == 1:
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        if way == "backoff":
            raise ConnectionError(n)
        if n:
            let_go.wait(20)
        return n

    monkeypatch.setattr("random.random", lambda: 60.0)  # of half a second
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        WAYS[way](slow)
    let_go.set()

    assert time.monotonic() - began < 15


def test_a_loop_over_a_stream_that_is_interrupted_gives_control_back_within_two_seconds(store: Store) -> None:
    """In a run too: what its calls were given when the stream was closed, the end of the run does not give once more."""
    let_go, begun = threading.Event(), threading.Event()

    @step(version="1")
    def waiting(n: int) -> int:
        if n:
            begun.set()
            let_go.wait(20)
        return n

    started = 0.0
    with pytest.raises(KeyboardInterrupt), run("long"), waiting.stream(range(5), workers=1) as stream:  # noqa: PT012
        next(stream)
        begun.wait(20)
        started = time.monotonic()
        raise KeyboardInterrupt
    took = time.monotonic() - started
    let_go.set()

    assert 1.4 < took < 2.9
    snapshot = store.snapshot("long")
    assert snapshot is not None
    assert "interrupted" == snapshot.state


@pytest.mark.parametrize("has_begun", [True, False])
def test_a_run_that_is_interrupted_while_it_begins_can_be_begun_again(
    monkeypatch: pytest.MonkeyPatch, *, has_begun: bool
) -> None:
    """■ when all but its end has been made ready, or as the thread starts that looks for controls."""
    begin = controls.Poller.start

    def interrupted(self: controls.Poller) -> None:
        if has_begun:
            begin(self)
        raise KeyboardInterrupt

    @step
    def embed(n: int) -> int:
        return n

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(controls.Poller, "start", interrupted)
        embed.map([1, 2])

    assert [1, 2] == embed.map([1, 2])


@pytest.mark.parametrize("error", [KeyboardInterrupt(), StoreUnavailable("here", "is away."), OSError("no memory")])
@pytest.mark.parametrize("when", ["look", "suspects", "counts", "watch", "controls"])
def test_a_run_that_could_not_be_begun_is_held_by_nobody(
    store: Store, monkeypatch: pytest.MonkeyPatch, when: str, error: BaseException
) -> None:
    """Whatever comes between its claim and its first heartbeat: other kernels need not wait for the end of this one."""

    def fails(*_: Any, **__: Any) -> None:
        raise error

    @step
    def embed(n: int) -> int:
        return n

    at = {"look": (type(store), "snapshot"), "suspects": (runs, "Suspects"), "counts": (runs, "Progress")}
    at |= {"watch": (type(store), "watch"), "controls": (controls.Poller, "start")}
    with monkeypatch.context() as patch, pytest.raises(type(error)):
        patch.setattr(*at[when], fails)
        embed.map([1, 2])
    wait_until(lambda: store.run("embed").owner is None, timeout=20, describing="nobody holds it")

    assert "interrupted" == store.run("embed").state
    assert [1, 2] == embed.map([1, 2])
    assert "done" == store.run("embed").state


def test_a_map_cancelled_before_it_has_begun_makes_no_call(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The task was cancelled while the thread beside it opened the run."""
    computed: list[int] = []
    opening, may_open = threading.Event(), threading.Event()
    snapshot = type(store).snapshot

    def slow(self: Store, name: str) -> Any:
        opening.set()
        may_open.wait(10)
        return snapshot(self, name)

    @step
    def embed(n: int) -> int:
        computed.append(n)
        return n

    async def cancelled() -> None:
        task = asyncio.create_task(embed.amap(range(40)))
        await asyncio.to_thread(opening.wait)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        may_open.set()

    monkeypatch.setattr(type(store), "snapshot", slow)
    asyncio.run(cancelled())
    wait_until(lambda: not session.live and store.run("embed").owner is None, describing="the run is over")

    assert [] == computed
    assert "interrupted" == store.run("embed").state


def test_a_coroutine_that_waits_for_its_next_attempt_is_stopped_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not when the half minute is over."""
    failed = threading.Event()

    @step(retries=6)
    async def embed(n: int) -> int:
        failed.set()
        raise ValueError(n)

    monkeypatch.setattr("random.random", lambda: 60.0)  # of half a second
    began = time.monotonic()

    def stop() -> None:
        failed.wait(10)
        session.live[0].stop()

    threading.Thread(target=stop).start()
    with pytest.raises(RunStopped):
        asyncio.run(embed.amap([1]))
    assert time.monotonic() - began < 15


def test_words_that_are_no_text_end_a_run_as_others_do(store: Store) -> None:
    """An error that names a file whose name is no UTF-8."""
    for _ in range(2):
        with pytest.raises(ValueError, match="cannot read"), run("r"):
            raise ValueError("cannot read caf\udce9.txt")
    assert "failed" == store.run("r").state


def test_a_run_that_is_interrupted_while_it_ends_is_over(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """■ when its end has been written: later calls, outside of any run, are not kept in it."""

    @step
    def embed(n: int) -> int:
        return n

    def interrupted(_self: Recorder) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt), run("r"):
        patch.setattr(Recorder, "close", interrupted)
        embed(1)
    embed(7)

    assert [] == session.live
    assert 1 == store.run("r").done
    with run("r"):
        assert 7 == embed(7)


def test_a_document_that_waits_for_its_next_attempt_is_dropped_with_its_stream(store: Store) -> None:
    """Nobody reads on: it is not called again, and the run is over at once."""
    called: list[int] = []

    @step(retries=6)
    def embed(n: int) -> int:
        called.append(n)
        if n > 1:
            raise ConnectionError(n)
        return n

    with embed.stream(range(6), workers=6) as arriving:
        assert {(0, 0), (1, 1)} == {next(arriving), next(arriving)}
        wait_until(lambda: len(called) >= 6, describing="all have been tried")
    calls = len(called)
    wait_until(lambda: store.run("embed").state == "interrupted", timeout=5, describing="the run is over")
    time.sleep(1)

    assert calls == len(called)


def test_a_run_is_held_from_the_moment_it_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who begins it in this kernel at the same instant is told so, and takes nothing over."""
    refused: list[str] = []

    def meanwhile(*args: Any) -> Progress:
        with pytest.raises(RunBusy) as busy:
            runs.begin("r")
        refused.append(busy.value.run)
        return Progress(*args)

    with monkeypatch.context() as patch:
        patch.setattr(runs, "Progress", meanwhile)
        live = runs.begin("r")
    live.finish()

    assert ["r"] == refused


def test_calls_inside_of_different_steps_are_different_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps with equal arguments call a third one with equal arguments, and the kernel dies during the second."""
    answers: list[int] = []

    @step
    def chat(prompt: str) -> int:
        answers.append(len(answers))
        return answers[-1]

    @step
    def summary(doc: str) -> str:
        return f"summary {chat('go on')}"

    @step
    def title(doc: str) -> str:
        answer = chat("go on")
        if os.environ["KERNEL"] == "dies":
            raise KeyboardInterrupt
        return f"title {answer}"

    monkeypatch.setenv("KERNEL", "dies")
    with pytest.raises(KeyboardInterrupt), run("r"):
        summary("doc"), title("doc")
    monkeypatch.setenv("KERNEL", "lives")
    with run("r"):
        assert ("summary 0", "title 1") == (summary("doc"), title("doc"))
    assert [0, 1] == answers


def test_a_map_cancelled_while_its_source_is_silent_ends(store: Store) -> None:
    """A step that is not async, over an async iterator that has nothing to give."""

    @step
    def embed(n: int) -> int:
        return n

    async def silent() -> AsyncIterator[int]:
        yield 1
        await asyncio.Event().wait()

    async def cancelled() -> None:
        task = asyncio.create_task(embed.amap(silent()))
        await asyncio.to_thread(
            wait_until, lambda: store.snapshot("embed") and store.run("embed").done, describing="one is done"
        )
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.to_thread(wait_until, lambda: store.run("embed").state != "running", describing="it is over")

    asyncio.run(cancelled())
    assert "interrupted" == store.run("embed").state


@pytest.mark.parametrize("is_async", [False, True])
def test_another_attempt_finds_what_the_one_before_it_had_made(is_async: bool) -> None:
    """Calls and maps of steps inside of a step that fails twice: each is paid for once."""
    paid: list[str] = []
    attempts: list[int] = []

    @step
    def ask(prompt: str) -> str:
        paid.append(prompt)
        return prompt.upper()

    def asked(doc: str) -> list[str]:
        found = [ask(doc), ask("the same"), ask("the same"), *ask.map([doc, "another"], workers=1)]
        attempts.append(len(attempts))
        if len(attempts) < 3:
            raise ConnectionError(doc)
        return found

    @step(retries=2)
    def report(doc: str) -> list[str]:
        return asked(doc)

    @step(retries=2)
    async def report_async(doc: str) -> list[str]:
        return asked(doc)

    with run("r"):
        found = asyncio.run(report_async("doc")) if is_async else report("doc")  # type: ignore[arg-type]
    assert ["DOC", "THE SAME", "THE SAME", "DOC", "ANOTHER"] == found
    assert ["doc", "the same", "the same", "doc", "another"] == paid
    assert [0, 1, 2] == attempts


class Page:
    """A large argument that can be seen to be gone."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __getstate__(self) -> int:
        return self.number


def test_a_call_that_makes_many_others_keeps_none_of_their_arguments() -> None:
    """Neither of plain calls nor of maps, computed or restored; and the next attempt finds them all the same."""
    seen: list[weakref.ref[Page]] = []
    paid: list[int] = []
    alive: list[int] = []

    def page(number: int) -> Page:
        made = Page(number)
        seen.append(weakref.ref(made))
        return made

    @step
    def ask(one: Page) -> int:
        paid.append(one.number)
        return one.number

    @step(retries=1)
    def book(name: str) -> int:
        total = sum(ask(page(n)) for n in range(10))
        total += sum(ask.map([page(n) for n in range(10, 20)], workers=1))
        gc.collect()
        alive.append(sum(one() is not None for one in seen))
        if len(alive) == 1:
            raise ConnectionError(name)
        return total

    with run("r"):
        assert sum(range(20)) == book("name")
    assert [0, 0] == alive
    assert list(range(20)) == sorted(paid)
