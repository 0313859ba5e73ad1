"""A child forked while other threads are anywhere in the library calls steps, and waits for none of them."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from durable_nb import run, step
from durable_nb.engine.outputs import Outputs
from durable_nb.engine.session import current as session

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


@pytest.mark.parametrize("name", OWNERS)
def test_a_child_waits_for_no_thread_of_its_parent(name: str) -> None:
    """Whichever lock one of them held when the process was forked."""
    with run("r"):
        double(1)
        live = session.live[0]
        live.gate.limit(workers=8)
        live.outputs = Outputs(live)
        owner = OWNERS[name](live)
        with held(owner._lock):
            child = os.fork()
            if child == 0:
                signal.alarm(60)
                is_right = (double(5), triple(5)) == (10, 15) and owner._lock.acquire(blocking=False)
                os._exit(0 if is_right else 1)
        _, status = os.waitpid(child, 0)

    assert 0 == status
