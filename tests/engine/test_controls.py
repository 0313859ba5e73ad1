"""Somebody steers a live run: through the database, as another process does, or by a click in this one."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from durable_nb import run, step
from durable_nb.engine.session import current as session
from durable_nb.errors import ConfigError, LeaseLost, RunStopped
from durable_nb.records import State
from durable_nb.store import Store, tables
from tests.kernels import wait_until
from tests.store.examples import python

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS = ("map", "inline", "amap", "amap on threads", "calls", "calls in threads")


class Work:
    """A step over many documents, each of which waits until it is let go; in a thread of its own."""

    def __init__(self, kind: str, count: int = 40) -> None:
        self.executed: list[int] = []
        self.go = threading.Semaphore(0)
        self.error: BaseException | None = None
        self.out: Any = None
        self._thread = threading.Thread(target=self._run, args=(kind, count))
        self._thread.start()
        wait_until(lambda: self.executed and session.live, describing="the first call runs")
        self.live = session.live[0]

    def let(self, calls: int) -> None:
        """Let so many calls end."""
        self.go.release(calls)

    def join(self) -> None:
        self.go.release(1_000)
        self._thread.join(60)
        assert not self._thread.is_alive()

    @property
    def is_over(self) -> bool:
        return not self._thread.is_alive()

    def _run(self, kind: str, count: int) -> None:
        try:
            self.out = self._work(kind, count)
        except BaseException as error:
            self.error = error

    def _work(self, kind: str, count: int) -> Any:
        def work(number: int) -> int:
            self.executed.append(number)
            assert self.go.acquire(timeout=60)
            return number

        async def work_async(number: int) -> int:
            self.executed.append(number)
            await asyncio.to_thread(self.go.acquire, timeout=60)
            return number

        plain, awaited = step(work, name="work"), step(work_async, name="work")
        numbers = list(range(count))
        if kind in ("map", "inline"):
            return list(plain.map(numbers, workers=4 if kind == "map" else 1))
        if kind == "amap":
            return list(asyncio.run(awaited.amap(numbers, workers=4)))
        if kind == "amap on threads":
            return list(asyncio.run(plain.amap(numbers, workers=4)))
        with run("work"):
            if kind == "calls":
                return [plain(number) for number in numbers]
            with ThreadPoolExecutor(4) as pool:
                return list(pool.map(plain, numbers))


@pytest.fixture(params=KINDS)
def work(request: pytest.FixtureRequest, store: Store) -> Iterator[Work]:
    """Work of every kind that the gate has to cover."""
    started = Work(request.param)
    yield started
    for live in session.live:
        live.gate.resume()
    started.join()


def asked(store: Store, work: Work, action: str, value: str = "") -> float:
    """Ask through the database, as a server does; the seconds until it was obeyed."""
    before = len(store.events(work.live.record.id))
    began = time.monotonic()
    store.control(work.live.record.id, action, value)
    wait_until(lambda: len(store.events(work.live.record.id)) > before, describing=f"{action} was obeyed")
    return time.monotonic() - began


def quiet(work: Work) -> int:
    """How many calls have been started, once no more are."""
    wait_until(lambda: not work.live.gate.running, describing="running calls have ended")
    return len(work.executed)


def test_a_paused_run_ends_its_calls_and_starts_no_other(work: Work, store: Store) -> None:
    """Calls under way end and are saved, the next ones wait, whatever makes them; then the work goes on to its end."""
    asked(store, work, "pause")
    running = len(work.live.gate.running)
    work.let(40)
    started = quiet(work)
    wait_until(lambda: store.snapshot("work").durable == started, describing="they are saved")
    seen = store.snapshot("work")

    assert 1 <= running <= 4
    assert (len(work.executed), True, State.RUNNING) == (seen.durable, seen.paused, seen.state)
    assert "somebody to press Resume" == seen.waiting_for

    asked(store, work, "resume")
    work.join()
    assert (None, list(range(40))) == (work.error, work.out)
    assert list(range(40)) == sorted(work.executed)


def test_a_paused_run_can_be_stopped(work: Work, store: Store) -> None:
    """Stop needs no Resume first: the run ends as interrupted, and what is finished is saved."""
    asked(store, work, "pause")
    work.let(40)
    started = quiet(work)
    store.control(work.live.record.id, "stop")
    wait_until(lambda: work.is_over, describing="the work has ended")
    ended = store.snapshot("work")

    assert isinstance(work.error, RunStopped)
    assert (State.INTERRUPTED, started) == (ended.state, ended.durable)
    assert "stopped; run the cell again to go on" == ended.message
    assert ["paused", "stopping", "interrupted"] == [event.kind for event in store.events(ended.run_id)][1:]


def test_a_stop_is_the_button(work: Work, store: Store) -> None:
    """A control row stops a run as the panel's button does: calls under way are saved, no other starts."""
    store.control(work.live.record.id, "stop")
    wait_until(lambda: work.live.stopping.is_set(), describing="the run is stopping")
    work.let(40)
    wait_until(lambda: work.is_over, describing="the work has ended")

    assert isinstance(work.error, RunStopped)
    assert len(work.executed) <= 5
    assert len(work.executed) == store.run("work").done


def test_a_lease_lost_while_paused_ends_the_wait(work: Work, store: Store) -> None:
    """A run that another kernel has taken over waits for nobody."""
    asked(store, work, "pause")
    work.let(40)
    quiet(work)
    with store._database.writing() as conn:
        conn.execute(sa.update(tables.runs).values(owner_token="somebody else"))
    store.tell(work.live.record.id, "beat", "")
    wait_until(lambda: work.is_over, describing="the work has ended")

    assert isinstance(work.error, LeaseLost)


def test_so_many_calls_at_a_time(work: Work, store: Store) -> None:
    """A limit holds from the next call on, is seen in the database, and can be taken back."""
    asked(store, work, "workers", "1")
    work.let(4)
    wait_until(lambda: len(work.live.gate.running) <= 1, describing="those that ran before have ended")
    most = 0
    for _ in range(5):
        started = len(work.executed)
        work.let(1)
        wait_until(lambda started=started: len(work.executed) > started, describing="the next one runs")
        most = max(most, len(work.live.gate.running))
    seen = store.snapshot("work")

    assert 1 == most
    assert (1, 1) == (seen.workers, seen.limit_workers)

    asked(store, work, "workers")
    work.join()
    assert (None, list(range(40))) == (work.error, work.out)


def test_so_many_calls_a_minute(work: Work, store: Store) -> None:
    """With a rate limit calls start no closer together than it says."""
    asked(store, work, "rate", "3000")
    work.let(1_000)
    before, began = len(work.executed), time.monotonic()
    work.join()
    took = time.monotonic() - began

    assert took >= (40 - before - 4) * 0.02 * 0.9  # 20 ms a call; four may have been let in before the clock was read
    assert (None, list(range(40))) == (work.error, work.out)


def test_it_takes_effect_while_the_main_thread_is_busy(store: Store) -> None:
    """Ten pauses and resumes of a run, in a process whose main thread never lets go, are obeyed soon each: 0.1 s where nothing
    else uses the machine (the server's tests print the figure), and this one may be busy."""
    code = """
import sys, threading
from durable_nb import configure, step
from durable_nb.engine.session import current as session
configure(url=sys.argv[1])
over = threading.Event()
@step
def embed(number): over.wait(60); return number
def read():
    print(session.live[0].record.id, flush=True); sys.stdin.readline(); over.set()
thread = threading.Thread(target=lambda: embed.map([1], workers=2)); thread.start()
while not session.live: pass
threading.Thread(target=read).start()
while thread.is_alive() and not over.is_set(): sum(range(100))
thread.join()
"""
    child = python(code, store.url)
    run_id = int(child.stdout.readline())
    seconds = []
    for n in range(10):
        began = time.monotonic()
        store.control(run_id, "pause" if n % 2 == 0 else "resume")
        wait_until(lambda n=n: store.snapshot("embed").paused is (n % 2 == 0), describing="it was obeyed")
        seconds.append(time.monotonic() - began)
    child.communicate("\n", timeout=60)

    assert sorted(seconds)[5] <= 1.0, seconds
    assert State.DONE is store.run("embed").state


@pytest.mark.parametrize("workers", [1, 4])
def test_interrupting_a_paused_map(workers: int, store: Store) -> None:
    """■ ends a map that waits, at once, and nothing of it stays behind."""
    main, executed = threading.get_ident(), []

    @step
    def embed(number: int) -> int:
        executed.append(number)
        session.live[0].gate.pause()
        threading.Thread(target=interrupt_once_waiting).start()
        return number

    def interrupt_once_waiting() -> None:
        wait_until(lambda: bool(session.live[0].gate._queue), describing="a call waits")
        signal.pthread_kill(main, signal.SIGINT)

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        embed.map(range(10), workers=workers)

    assert time.monotonic() - began < 10.0
    assert ([0], State.INTERRUPTED, 1) == (executed, store.run("embed").state, store.run("embed").done)


def test_what_was_asked_of_an_earlier_attempt_is_not_done_to_the_next(store: Store) -> None:
    """A pause or stop that nobody heard before the kernel died holds up no restart."""

    @step
    def embed(number: int) -> int:
        return number

    with run("embed") as live:
        pass
    store.control(live.record.id, "stop")
    store.control(live.record.id, "pause")
    with run("embed") as live:
        store.control(live.record.id, "workers", "7")
        wait_until(lambda: live.gate.workers == 7, describing="the run has looked")
        out = [embed(number) for number in range(5)]

    assert list(range(5)) == out
    assert ["workers"] == [control.action for control in store.controls(live.record.id)]


def test_a_click_does_what_a_row_does(store: Store) -> None:
    """The panel of this kernel calls the run directly: the same history, shown as fast."""
    with run("embed") as live:
        live.control("rate", "90")
        live.control("workers", "2")
        live.control("pause")
        wait_until(lambda: store.snapshot("embed").paused, describing="the database shows it")
        seen = store.snapshot("embed")
        live.control("resume")
    story = [(event.kind, event.detail) for event in store.events(live.record.id)]

    assert (90, 2) == (seen.per_minute, seen.limit_workers)
    assert [("limited", "90 calls a minute"), ("limited", "2 at a time")] == story[1:3]
    assert ["paused", "resumed", "done"] == [kind for kind, _ in story[3:]]


def test_a_click_that_makes_no_sense_is_refused(store: Store) -> None:
    """What cannot be asked is an error for whoever asks, and does nothing to the run."""
    with run("embed") as live, pytest.raises(ConfigError):
        live.control("workers", "none")
    story = [event.kind for event in store.events(live.record.id)]

    assert ["started", "done"] == story


def test_a_row_that_makes_no_sense_is_passed_over(store: Store) -> None:
    """A control that only a newer durable_nb knows does not keep the run from hearing the next one."""
    with run("embed") as live:
        with store._database.writing() as conn:
            conn.execute(sa.insert(tables.controls).values(run_id=live.record.id, action="dance", value=""))
        store.control(live.record.id, "pause")
        wait_until(lambda: live.gate.paused, describing="the next one is heard")
        live.control("resume")


def test_calls_inside_of_a_call_are_let_through(store: Store) -> None:
    """A call that runs may make others: with one call at a time, or paused, it is not held up for its own end."""

    @step
    def inner(number: int) -> int:
        return number

    @step
    def outer(number: int) -> int:
        session.live[0].gate.limit(workers=1)
        session.live[0].gate.pause()
        found = inner(number)
        session.live[0].gate.resume()
        return found

    assert [0, 1, 2] == list(outer.map(range(3), workers=2))


def test_a_paused_run_keeps_its_lease(tmp_path: Any) -> None:
    """While nothing happens its heartbeat goes on, so that nobody takes it over."""
    store = Store.open(f"sqlite:///{tmp_path / 'own.db'}", heartbeat_s=0.05)
    session._stores[store.url, "normal", False] = store
    with run("embed", url=store.url) as live:
        live.control("pause")
        first = store.run("embed").heartbeat
        wait_until(lambda: store.run("embed").heartbeat > first + 0.2, describing="it beats")
        assert store.snapshot("embed").paused
        live.control("resume")


def test_an_error_ends_a_paused_map(store: Store) -> None:
    """A result that cannot be saved is raised although other calls wait."""

    @step
    def embed(number: int) -> Any:
        if number < 2:
            return number
        session.live[0].gate.pause()
        wait_until(lambda: bool(session.live[0].gate._queue), describing="another call waits")
        return threading.Lock()

    with pytest.raises(TypeError, match="cannot be saved"):
        embed.map(range(20), workers=3)


@pytest.mark.parametrize("waits", [True, False])
def test_a_stop_ends_no_loop(waits: bool, store: Store) -> None:
    """Calls in tasks of their own are cancelled: a KeyboardInterrupt in a task would end the loop, and with it a kernel."""

    @step
    async def embed(number: int) -> int:
        return number

    async def cell() -> None:
        with run("embed") as live:
            live.gate.pause() if waits else live.stop()
            tasks = [asyncio.ensure_future(embed(number)) for number in range(3)]
            if waits:
                await asyncio.to_thread(wait_until, lambda: len(live.gate._queue) == 3, describing="all wait")
                live.stop()
            done, _ = await asyncio.wait(tasks)
            assert all(task.cancelled() for task in done)

    asyncio.run(cell())

    assert State.INTERRUPTED is store.run("embed").state
