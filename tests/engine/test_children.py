"""A child forked while other threads are anywhere in the library calls steps, and waits for none of them."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from durable_nb import run, step
from durable_nb.engine.outputs import Outputs
from durable_nb.engine.session import current as session
from durable_nb.store import doors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from durable_nb.engine.runs import LiveRun

pytestmark = pytest.mark.usefixtures("store")
OWNERS: dict[str, Callable[[LiveRun], Any]] = {
    "run": lambda live: live,
    "gate": lambda live: live.gate,
    "progress": lambda live: live.progress,
    "step": lambda live: live.enter(double),
    "flow": lambda live: double.flow,
    "outputs": lambda live: live.outputs,
}


@step(rate_limit="1000/s")
def double(n: int) -> int:
    """Enough to ask every lock."""
    return 2 * n


@step
def triple(n: int) -> int:
    """One that the run does not know yet."""
    return 3 * n


@contextmanager
def held(lock: threading.Lock) -> Iterator[None]:
    """By another thread."""
    has, may_go = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            has.set()
            may_go.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    has.wait(60)
    try:
        yield
    finally:
        may_go.set()
        thread.join()


def child(is_right: Callable[[], bool]) -> int:
    """A forked process that says by its end, of 60 s at most, whether what it does there is right; its pid."""
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # not as a test that takes too long: this is no test any more
        signal.alarm(60)
        code = 1
        try:
            code = 0 if is_right() else 1
        finally:
            os._exit(code)
    return pid


def end_of(pid: int) -> int:
    """Its exit status, once it has ended."""
    return os.waitpid(pid, 0)[1]


def computes() -> bool:
    """Whether steps can be called and their results be read."""
    return (double(5), triple(5)) == (10, 15) and ["r"] == [one.name for one in session.store().runs()]


@contextmanager
def in_a_thread(work: Callable[[], AbstractContextManager[Any]], seconds: float) -> Iterator[threading.Event]:
    """Another thread is in the middle of it, for so long; the event says that it is over."""
    is_inside, is_over = threading.Event(), threading.Event()

    def stay() -> None:
        with work():
            is_inside.set()
            time.sleep(seconds)
            is_over.set()

    thread = threading.Thread(target=stay)
    thread.start()
    is_inside.wait(60)
    yield is_over
    thread.join()


@pytest.mark.parametrize("name", OWNERS)
def test_a_child_waits_for_no_thread_of_its_parent(name: str) -> None:
    """Whichever lock one of them held when the process was forked."""
    with run("r"):
        double(1)
        live = session.live[0]
        live.gate.limit(workers=8)
        live.outputs = Outputs(live)
        owner = OWNERS[name](live)
        live.store.flush()  # a commit under way needs those locks, and a fork waits for it
        with held(owner._lock):
            pid = child(lambda: computes() and owner._lock.acquire(blocking=False))
        status = end_of(pid)

    assert 0 == status


@contextmanager
def transacting() -> Iterator[None]:
    """A step that has begun to write beside its checkpoint."""
    with session.store().transactions.open() as transaction:
        transaction.connection.execute(sa.text("SELECT 1"))
        yield


@pytest.mark.parametrize("doing", ["writing", "reading", "transacting"])
def test_a_process_is_forked_while_nobody_is_inside_of_sqlite(doing: str) -> None:
    """A child would find the transaction of another thread under way for ever, and wait for it; nor are read locks its own."""
    with run("r"):
        double(1)
        work = transacting if doing == "transacting" else getattr(session.live[0].store._database, doing)
        with in_a_thread(work, 0.5) as is_over:
            pid = child(computes)
            was_over = is_over.is_set()
        status = end_of(pid)

    assert (True, 0) == (was_over, status)


@pytest.mark.parametrize("work", [None, "transaction"])
def test_a_fork_waits_for_nobody_who_only_holds_a_connection(work: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run has one that looks for controls, and a step with a transaction computes before it writes."""
    monkeypatch.setattr(doors, "PATIENCE_S", 30.0)
    with run("r"):
        double(1)
        time.sleep(0.5)  # by then somebody listens
        began = time.monotonic()
        with in_a_thread(session.live[0].store.transactions.open if work else nullcontext, 0.5):
            pid = child(computes)
            took = time.monotonic() - began
        status = end_of(pid)
        assert 4 == double(2)

    assert (0, True) == (status, took < 15)


def test_a_fork_does_not_wait_for_ever() -> None:
    """A step may write beside its checkpoint for minutes; the child then does without the database, and nobody is stuck."""
    with run("r"):
        double(1)
        began = time.monotonic()
        with in_a_thread(session.live[0].store._database.writing, 4.0) as is_over:
            pid = child(lambda: True)
            was_over, took = is_over.is_set(), time.monotonic() - began
            status = end_of(pid)
        assert 4 == double(2)

    assert (False, 0) == (was_over, status)
    assert took < 4.0


def test_a_child_has_locks_of_its_own_in_the_database() -> None:
    """Beside a parent that closes and opens it again: the child took the parent's locks for its own and found it damaged.

    It is forked in the middle of a run, while a thread of the parent holds a connection.
    """

    def compute(names: str) -> bool:
        for n in range(30):
            with run(f"{names}-{n}"):
                assert [2 * n for n in range(5)] == [double(n) for n in range(5)]
            if names == "parent":
                session.close()
        return True

    with run("first"):
        double(0)
        time.sleep(0.5)  # by then somebody listens
        pid = child(lambda: compute("child"))
    compute("parent")
    status = end_of(pid)

    assert 0 == status
    assert [] == session.store().check()
    assert 61 == len(session.store().runs())
