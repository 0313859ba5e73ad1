"""Pools of somebody else: any ``concurrent.futures.Executor``, and what all adapters do to wait for a future."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any

from durable_nb import clock
from durable_nb.errors import ConfigError
from durable_nb.executors.engines import GRACE_S, LOOK_S, Abandoned, TimeIsUp, WorkerLost
from durable_nb.executors.worker import run_batch

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable_nb.executors.engines import Outcome, Task


class Waiting:
    """How a thread waits for what it has submitted, until nobody wants it any more."""

    name = "the executor"
    initializer: Callable[..., Any] | None = None
    tells_begin = False
    """Whether a future knows that its task runs; one that does not run is dropped without grace."""

    def __init__(self) -> None:
        self._end: float | None = None

    def cancel(self) -> None:
        """See `Engine`."""
        self._end = self._end or clock.monotonic() + GRACE_S

    def close(self) -> None:
        """See `Engine`. What was handed over is its owner's to end."""
        self._end = 0.0

    def _wait(self, future: Future[Any]) -> Any:
        """What the future brings; Abandoned after a cancel, at once if it has not begun."""
        while True:
            try:
                return future.result(LOOK_S)
            except TimeoutError:
                if future.done():  # just now; or it is its own
                    return future.result()
            except CancelledError as error:
                raise self._unusable(error) from error
            self._look()
            waits = self.tells_begin and not future.running()
            if self._end is not None and (waits or clock.monotonic() >= self._end):
                future.cancel()
                raise Abandoned

    def _look(self) -> None:
        """Asked now and then while it waits: raise if what is waited for will never come."""

    def _unusable(self, error: BaseException) -> ConfigError:
        said = str(error).partition("\n")[0]
        return _unusable(self.name, f"{type(error).__name__}{f': {said}' if said else ''}")

    def _check(self) -> None:
        if self._end is not None:
            raise Abandoned


def _unusable(name: str, why: str) -> ConfigError:
    return ConfigError(
        f"{name} does not compute any more ({why}).",
        "What is finished is saved: start it anew and run the cell again, or use another executor.",
    )


class Pool(Waiting):
    """A process pool. One that breaks as a whole, as those of the standard library and of loky do, is replaced."""

    tells_begin = True

    def __init__(self, executor: Executor) -> None:
        super().__init__()
        self.name = f"the {type(executor).__name__}"
        self.initializer = getattr(executor, "_initializer", None)
        self._pool, self._lock = executor, threading.Lock()
        self._own: list[Executor] = []
        self._running: Counter[int] = Counter()  # tasks by pool; those of one that broke are not taken off

    def call(self, task: Task) -> list[Outcome]:
        """See `Engine`. Which of several tasks broke the pool nobody knows."""
        while True:
            self._check()
            pool, future = self._submitted(task)
            if future is None:
                continue
            try:
                outcomes: list[Outcome] = self._wait(future)
            except BrokenExecutor as error:
                alone = self._running[id(pool)] == 1
                self._replace(pool, error)
                raise WorkerLost(is_certain=alone) from error
            except BaseException as error:
                self._left(pool)
                if isinstance(error, (Abandoned, ConfigError)) or not isinstance(error, Exception):
                    raise
                raise self._unusable(error) from error  # this package is missing where it computes, for example
            self._left(pool)
            return outcomes

    def close(self) -> None:
        """See `Engine`. Pools that took the place of a broken one are ours: what runs there after an interrupt is ended."""
        is_interrupted = self._end is not None
        super().close()
        for pool in self._own:
            processes: Any = dict(getattr(pool, "_processes", None) or {})
            pool.shutdown(wait=False)
            for process in processes.values() if is_interrupted else ():
                process.kill()

    def _submitted(self, task: Task) -> tuple[Executor, Future[Any] | None]:
        """None for the future if the pool was broken already: that is no death of this task."""
        run = partial(run_batch, timeout_s=task.timeout_s, is_group=task.is_group, hears_interrupts=False)
        pool = self._pool
        with self._lock:
            self._running[id(pool)] += 1
        try:
            return pool, pool.submit(run, task.function, task.items)
        except BrokenExecutor as error:
            self._left(pool)
            self._replace(pool, error)
            return pool, None
        except Exception as error:  # it was shut down, or what it sends to is away: no fault of a document
            self._left(pool)
            raise self._unusable(error) from error

    def _left(self, pool: Executor) -> None:
        with self._lock:
            self._running[id(pool)] -= 1

    def _replace(self, broken: Executor, error: BrokenExecutor) -> None:
        with self._lock:
            if self._pool is not broken:
                return  # another thread has seen it first
            made = _like(broken)
            if made is None:
                raise self._unusable(error) from error
            self._pool = made
            self._own.append(made)


def _like(broken: Executor) -> Executor | None:
    """A new pool as the broken one was made; None where we do not know how."""
    from concurrent.futures import ProcessPoolExecutor  # 10 ms for whoever has none

    pool: Any = broken  # there is no other way to ask it
    plain: Any = ProcessPoolExecutor
    made: Any = None
    loky: Any = sys.modules.get("loky")
    if isinstance(pool, plain):
        made = object.__new__(type(pool))  # of a class of somebody's own nobody knows what it is made with
        plain.__init__(
            made,
            pool._max_workers,  # noqa: SLF001
            mp_context=pool._mp_context,  # noqa: SLF001
            initializer=pool._initializer,  # noqa: SLF001
            initargs=pool._initargs,  # noqa: SLF001
            max_tasks_per_child=pool._max_tasks_per_child,  # noqa: SLF001
        )
        vars(made).update({name: value for name, value in vars(pool).items() if name not in vars(made)})
    elif loky is not None and isinstance(pool, loky.ProcessPoolExecutor):
        made = loky.ProcessPoolExecutor(
            pool._max_workers,  # noqa: SLF001
            timeout=pool._timeout,  # noqa: SLF001
            context=pool._context,  # noqa: SLF001
            initializer=pool._initializer,  # noqa: SLF001
            initargs=pool._initargs,  # noqa: SLF001
            env=pool._env,  # noqa: SLF001
        )
    new: Executor | None = made
    return new


class OnThreads:
    """A function whose calls are made by somebody's ``ThreadPoolExecutor``; nothing is sent anywhere."""

    def __init__(
        self,
        pool: Executor,
        function: Callable[..., Any],
        refusal: Callable[[], BaseException],
        timeout_s: float | None,
    ) -> None:
        self._pool, self._function, self._refusal, self._timeout_s = pool, function, refusal, timeout_s
        self._name = f"the {type(pool).__name__}"
        self._pending: set[Future[Any]] = set()
        self._late: set[Future[Any]] = set()
        """What goes on beyond its time, on a thread that nobody else has meanwhile."""
        self._is_cancelled = False
        self.is_unusable = False
        """Whether the pool was found to be shut down, broken or stuck, which ConfigError says."""

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """What the function returns or raises, or TimeIsUp; the refusal of a call that has not begun when it is cancelled.

        Raises
        ------
        ConfigError
            The pool makes no more calls.
        """
        if self._is_cancelled:
            raise self._refusal()
        begun = threading.Event()  # the wait for a thread is not the call's
        try:
            future = self._pool.submit(copy_context().run, self._made, begun, args, kwargs)
        except RuntimeError as error:  # it was shut down, or its initializer has failed
            raise self._unusable(str(error)) from error
        self._pending.add(future)
        try:
            value, raised = self._outcome(future, begun)
        except CancelledError as error:
            if not self._is_cancelled:  # by who owns the pool
                raise self._unusable("it was shut down") from error
            raise self._refusal() from None
        except BrokenExecutor as error:
            raise self._unusable(str(error)) from error
        finally:
            self._pending.discard(future)
        if raised is not None:
            raise raised  # from here: a traceback through the pool tells nobody anything
        return value

    def _outcome(self, future: Future[Any], begun: threading.Event) -> tuple[Any, BaseException | None]:
        """Of the call, which goes on where it is if its time is up: on a thread of the pool, as its initializer made it."""
        if self._timeout_s is not None:
            future.add_done_callback(lambda _: begun.set())  # cancelled
            while not begun.wait(self._timeout_s):
                self._refuse_if_stuck(future)
        try:
            made: tuple[Any, BaseException | None]
            made = clock.result(future) if self._timeout_s is None else future.result(self._timeout_s)
        except TimeoutError as error:
            if not future.done():
                self._late.add(future)
                future.add_done_callback(self._late.discard)
                raise TimeIsUp from error
            made = future.result()
        return made

    def _refuse_if_stuck(self, future: Future[Any]) -> None:
        """Calls that hang on all threads of the pool may do so for ever, and what waits behind them has no time to run out."""
        pool: Any = self._pool
        if len(self._late) >= pool._max_workers and future.cancel():  # noqa: SLF001 - there is no other way to ask
            raise self._unusable("calls beyond their timeout go on, on all of its threads")

    def _unusable(self, why: str) -> ConfigError:
        self.is_unusable = True
        return _unusable(self._name, why)

    def _made(
        self, begun: threading.Event, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, BaseException | None]:
        begun.set()
        try:
            return self._function(*args, **kwargs), None
        except BaseException as error:  # carried to the caller
            return None, error

    def cancel(self) -> None:
        """Calls that have not begun are not made."""
        self._is_cancelled = True
        for future in list(self._pending):
            future.cancel()
