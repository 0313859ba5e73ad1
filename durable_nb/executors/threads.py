"""A pool of daemon threads that pull calls from a short queue.

Not ``concurrent.futures``: a future for each call costs 15 to 50 µs, several times what saving a result costs, and its
pool joins all queued work when the interpreter or a ``with`` block ends, which is why ■ hangs there.
"""

from __future__ import annotations

import contextvars
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from durable_nb import clock
from durable_nb.executors import starts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


GRACE_S = 1.5
"""How long an interrupt waits for running calls to end: control is back within two seconds (promise D), and what comes after
them, a last commit among it, takes its time too."""

# More threads only make calls of microseconds slower (they share the GIL): one begins, and their number doubles each
# millisecond in which fewer calls than this were taken. Eight are there after 3 ms; overhead of a cheap call 22 -> 16 µs.
_RAMP_S, _FEW = 0.001, 10


def run(
    work: Callable[[Any], None],
    chunks: Iterable[Sequence[Any]],
    *,
    workers: int,
    halted: Callable[[], bool],
    abandon: Callable[[], None],
) -> None:
    """Work through ``chunks`` on ``workers`` threads; returns when all are done, or running calls ended after a halt.

    After KeyboardInterrupt, running calls get 1.5 seconds to end and be saved; a call that needs longer goes on in its
    daemon thread and is still saved if the process lives to see it. ``abandon`` is told then, and after an error: calls
    may be waiting somewhere for leave to start.
    """
    pool = _Pool(work, workers, halted, abandon)
    try:
        for chunk in chunks:
            if not pool.feed(chunk):
                break
        pool.finish()
    except BaseException:
        pool.abandon()
        raise
    if pool.error is not None:
        raise pool.error


class _Pool:
    def __init__(
        self, work: Callable[[Any], None], workers: int, halted: Callable[[], bool], abandon: Callable[[], None]
    ) -> None:
        self._work, self._workers, self._halted, self._abandon = work, workers, halted, abandon
        self._queue: deque[Any] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._threads: list[threading.Thread] = []
        self._next_due = 0.0
        self.error: BaseException | None = None

    def feed(self, calls: Sequence[Any]) -> bool:
        """Queue ``calls`` and return once there is room for more; False when no more are wanted."""
        self._queue.extend(calls)
        # A chunk of restored documents brings no calls: it must not start threads.
        if calls and not self._threads:
            self._start()
        self._wait(lambda: len(self._queue) <= self._workers or self._over())
        return not self._over()

    def finish(self) -> None:
        """No more will be queued; returns when the last worker has ended."""
        self._wait(lambda: not self._queue or self._over())
        self._close()
        for thread in self._threads:
            clock.join(thread)

    def _wait(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            self._changed.notify_all()
            while not condition():
                before, running = len(self._queue), len(self._threads)
                is_many = running >= starts.AT_ONCE
                apart_s = starts.apart_s(self._workers) if is_many else _RAMP_S
                self._changed.wait(apart_s if running < self._workers else clock.HEAR_S)
                now = clock.monotonic()
                if before - len(self._queue) < _FEW and now >= self._next_due:
                    for _ in range(min(1 if is_many else running, self._workers - running, len(self._queue))):
                        self._start()
                    self._next_due = now + apart_s if len(self._threads) >= starts.AT_ONCE else now

    def abandon(self) -> None:
        """Start nothing more; give running calls a moment to end."""
        self._abandon()
        self._close()
        deadline = clock.monotonic() + GRACE_S
        for thread in self._threads:
            if thread.is_alive():  # the interrupt may have come between its being listed and its being started
                thread.join(max(0.0, deadline - clock.monotonic()))

    def _close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _over(self) -> bool:
        return self.error is not None or self._halted()

    def _start(self) -> None:
        # A copy of the context for each worker: a step called inside a step finds the same run.
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(self._drain,), name="durable-worker", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _drain(self) -> None:
        queue, work, workers = self._queue, self._work, self._workers
        while not self._over():
            try:
                call = queue.popleft()
            except IndexError:
                if not self._wait_for_more():
                    break
                continue
            if len(queue) in (0, workers):
                with self._changed:
                    self._changed.notify_all()
            try:
                work(call)
            except BaseException as error:  # carried to the caller's thread, which raises it
                if self.error is None:  # what others raise because of the first one is not the cause
                    self.error = error
                self._abandon()
        with self._changed:
            self._changed.notify_all()

    def _wait_for_more(self) -> bool:
        with self._changed:
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._queue or self._closed or self._over())
            return bool(self._queue) or not self._closed
