"""For tests of code that uses durable_nb: a store that is thrown away, a clock that stands still, and what was restored.

::

    from durable_nb.testing import assert_restored, temporary_store

    def test_second_run_is_free(tmp_path):
        with temporary_store(tmp_path):
            embed.map(docs)
            with assert_restored(embed, len(docs)):
                embed.map(docs)
"""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from durable_nb import clock
from durable_nb.engine.session import current as session

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from durable_nb.engine.runs import LiveRun
    from durable_nb.engine.steps import Step
    from durable_nb.store import Store


@contextlib.contextmanager
def temporary_store(where: str | os.PathLike[str]) -> Iterator[Store]:
    """A fresh store for the length of a block: a folder, or a database URL; the settings before it come back after."""
    before, session.given = session.given, {}
    text = str(where)
    session.given = before | {"url": text if "://" in text else str(Path(text).absolute() / "durable.db")}
    try:
        yield session.store()
    finally:
        session.close()
        session.given = before


@contextlib.contextmanager
def frozen_clock(at: float = 1_000_000.0) -> Iterator[FrozenClock]:
    """Time that moves only when told, for everything in durable_nb that reads it."""
    names = ("now", "monotonic", "stopwatch", "sleep", "wait")
    before = {name: getattr(clock, name) for name in names}
    frozen = FrozenClock(at)
    for name in names:
        setattr(clock, name, getattr(frozen, name))
    try:
        yield frozen
    finally:
        for name, function in before.items():
            setattr(clock, name, function)


class FrozenClock:
    """Seconds that only ``move``, ``sleep`` and ``wait`` add to; ``waits`` lists how long each of those was."""

    def __init__(self, at: float) -> None:
        self.at = at
        self.waits: list[float] = []

    def now(self) -> float:
        """The frozen time."""
        return self.at

    monotonic = stopwatch = now

    def move(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        self.at += seconds

    def sleep(self, seconds: float) -> None:
        """Return at once, ``seconds`` later."""
        self.waits.append(seconds)
        self.at += seconds

    def wait(self, event: clock.Waitable, seconds: float) -> bool:
        """As ``sleep``; whether the event is set. Threads of ours that wait for news do not move the time."""
        if threading.current_thread().name in ("durable-writer", "durable-controls"):
            return event.wait(0.01)
        self.sleep(max(0.0, seconds))
        return event.is_set()


@contextlib.contextmanager
def assert_restored(step: Step[..., Any], expected: int) -> Iterator[None]:
    """The block makes ``expected`` calls of ``step`` that are restored, and runs its function for none of them."""
    executed = 0
    function = step.function
    ended: list[LiveRun] = []

    def counting(*args: Any, **kwargs: Any) -> Any:
        nonlocal executed
        executed += 1
        return function(*args, **kwargs)

    session.observers.append(ended.append)
    step.function = counting
    try:
        yield
    finally:
        step.function = function
        session.observers.remove(ended.append)
    restored = sum(live.calls_of(step.name) for live in ended) - executed
    if (restored, executed) != (expected, 0):
        raise AssertionError(
            f"{restored} calls of {step.name} were restored and {executed} executed, not {expected} and 0"
        )
