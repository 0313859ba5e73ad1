"""Worker processes of our own: a call that hangs is really ended, and a death costs what that one process computed.

Not ``multiprocessing``: a kernel has threads, so fork may leave a lock locked for ever; spawn and forkserver run the user's
script again in each worker, and know no function of a notebook. These begin as a fresh interpreter, and functions come by
value. Not a pool with shared queues either: who dies or is killed there takes the others along.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from functools import partial
from multiprocessing.connection import Connection, Pipe
from typing import TYPE_CHECKING, Any

from durable_nb import clock
from durable_nb.executors.engines import GRACE_S, LOOK_S, Abandoned, TimeIsUp, WorkerLost
from durable_nb.executors.worker import ignore_interrupts, run_batch

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable_nb.executors.engines import Outcome, Task

_MAIN = (
    "import sys; sys.path[:] = sys.argv[2:]; from durable_nb.executors.processes import serve; serve(int(sys.argv[1]))"
)


class Processes:
    """So many workers, started as they are needed."""

    initializer: Callable[..., Any] | None = None

    def __init__(self, workers: int) -> None:
        self._places = _Places(workers)
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._workers: set[_Worker] = set()
        self._end: float | None = None

    def call(self, task: Task) -> list[Outcome]:
        """See `Engine`. Every death is certain: a worker has one task at a time."""
        self._places.take(partial(self._check, begins=True))
        worker = None
        try:
            worker = self._taken()
            outcomes = self._computed(worker, task)
        except BaseException:  # also KeyboardInterrupt: what it computes is not known any more
            if worker is not None:
                self._end_of(worker)
            raise
        else:
            with self._lock:
                self._idle.append(worker)
            return outcomes
        finally:
            self._places.leave()

    def cancel(self) -> None:
        """See `Engine`."""
        self._end = self._end or clock.monotonic() + GRACE_S

    def close(self) -> None:
        """End all workers; whoever waits for one is told at once."""
        self._end = 0.0
        with self._lock:
            workers, self._idle = list(self._workers), []
        for worker in workers:
            worker.kill()
        for worker in workers:
            self._end_of(worker)

    def _taken(self) -> _Worker:
        self._check(begins=True)
        with self._lock:
            while self._idle:
                worker = self._idle.pop()
                if worker.is_alive:
                    return worker
                worker.end()
                self._workers.discard(worker)
            worker = _Worker()
            self._workers.add(worker)
        return worker

    def _computed(self, worker: _Worker, task: Task) -> list[Outcome]:
        """The time of a call begins with it: a worker that starts, and what the function imports, may take longer."""
        deadline = None
        try:
            worker.send(task)
            while True:
                while not worker.connection.poll(LOOK_S if deadline is None else min(LOOK_S, task.timeout_s or LOOK_S)):
                    self._check(begins=False)
                    if not worker.is_alive and not worker.connection.poll():
                        raise EOFError  # what it had started holds the pipe open
                    # Looked at once more: this thread may have slept for longer than the call.
                    if deadline is not None and clock.monotonic() >= deadline and not worker.connection.poll():
                        raise TimeIsUp
                arrived: list[Outcome] | None = worker.connection.recv()
                if arrived is not None:
                    return arrived
                deadline = clock.monotonic() + (task.timeout_s or 0.0)
        except (EOFError, OSError) as error:
            self._check(begins=False)
            raise WorkerLost(is_certain=True) from error

    def _check(self, *, begins: bool) -> None:
        if self._end is not None and (begins or clock.monotonic() >= self._end):
            raise Abandoned

    def _end_of(self, worker: _Worker) -> None:
        worker.end()
        with self._lock:
            self._workers.discard(worker)


class _Places:
    """So many at a time, in the order they came: with a semaphore, who leaves and comes back overtakes those who wait."""

    def __init__(self, places: int) -> None:
        self._free, self._lock = places, threading.Lock()
        self._waiting: deque[threading.Event] = deque()

    def take(self, check: Callable[[], None]) -> None:
        """Wait for a place, for as long as ``check`` raises nothing."""
        turn = threading.Event()
        with self._lock:
            self._waiting.append(turn)
            self._hand_over()
        try:
            while not turn.wait(LOOK_S):
                check()
        except BaseException:
            with self._lock:
                if turn.is_set():
                    self._free += 1
                else:
                    self._waiting.remove(turn)
                self._hand_over()
            raise

    def leave(self) -> None:
        """Let the next one in."""
        with self._lock:
            self._free += 1
            self._hand_over()

    def _hand_over(self) -> None:
        while self._free and self._waiting:
            self._free -= 1
            self._waiting.popleft().set()


class _Worker:
    """One process. It ends when this one does: its standard input is a pipe that ends then."""

    def __init__(self) -> None:
        self.connection, theirs = Pipe()
        self._function: bytes | None = None
        self._is_killed = False
        # Under -O as this process is: its modules are other ones else. multiprocessing asks for the flags in this way too.
        flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # noqa: SLF001
        command = [sys.executable, *flags, "-c", _MAIN, str(theirs.fileno()), *sys.path]
        # A session of its own: Ctrl-C in a terminal and ■ in Jupyter go to all processes of the group. What calls start is in
        # that of the worker, so it ends with it.
        self._process = subprocess.Popen(  # noqa: S603 - this very interpreter
            command, pass_fds=[theirs.fileno()], stdin=subprocess.PIPE, start_new_session=True
        )
        theirs.close()

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def send(self, task: Task) -> None:
        known = task.function is self._function  # sent once: a closure may hold megabytes
        # The deadline is ours, the process is killed at it: it only says when each call begins (some 25 µs).
        self.connection.send((None if known else task.function, task.items, task.is_group, task.timeout_s is not None))
        self._function = task.function

    def kill(self) -> None:
        if self._is_killed:  # a group that is gone may have left its number to another one
            return
        self._is_killed = True
        self._process.kill()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGTERM)  # multiprocessing's tracker heeds none, and tidies up first

    def end(self) -> None:
        self.kill()
        self._process.wait()
        self.connection.close()
        with contextlib.suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()


def serve(handle: int) -> None:
    """Compute what comes through the pipe until it ends: None goes back when a call begins whose time is limited."""
    connection: Connection[Any, Any] = Connection(handle)
    # What calls start must not hold it open: the pipe ends with this process.
    os.set_inheritable(handle, False)
    os.register_at_fork(after_in_child=connection.close)
    ignore_interrupts()
    threading.Thread(target=_end_with_parent, args=(_own_input(),), daemon=True).start()
    function = b""
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            new, items, is_group, is_timed = connection.recv()
            function = new or function
            begun = partial(connection.send, None) if is_timed else None
            connection.send(run_batch(function, items, begun=begun, is_group=is_group))


def _own_input() -> int:
    """The pipe that came as standard input; a program that a call starts reads nothing from there, and not for ever."""
    lifeline = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return lifeline


def _end_with_parent(lifeline: int) -> None:
    os.read(lifeline, 1)
    os.killpg(0, signal.SIGTERM)
    os._exit(1)
