"""What may be sent to worker processes, what is said of the rest, and what stays this process's business."""

from __future__ import annotations

import asyncio
import functools
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest

from durable_nb import current_call, run, step
from durable_nb.errors import ConfigError, StepFailed, StepTimeout, Unsaveable
from durable_nb.executors import shipping, worker
from durable_nb.executors.engines import Abandoned, Task, TimeIsUp, WorkerLost
from durable_nb.executors.processes import Processes
from tests.kernels import ROOT, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from durable_nb.store import Store

pytestmark = pytest.mark.usefixtures("store")
LOCK = threading.Lock()


@pytest.mark.parametrize("workers", [1, 3])
def test_processes_give_what_threads_give(workers: int) -> None:
    """From an iterator too: the same results in order, restored afterwards, whatever computes them."""

    @step
    def square(number: int) -> int:
        return number * number

    assert [n * n for n in range(300)] == list(square.map(iter(range(300)), workers=workers, executor="processes"))
    assert "300 restored" in repr(square.map(range(300)))


def test_fast_calls_are_sent_together_and_slow_ones_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task is to take 50 ms: hundreds of calls of microseconds, one of a longer one."""
    sent: list[int] = []
    call = Processes.call
    monkeypatch.setattr(Processes, "call", lambda self, task: (sent.append(task.calls), call(self, task))[1])

    @step
    def fast(number: int) -> int:
        return number

    @step
    def slow(number: int) -> int:
        time.sleep(0.06)
        return number

    fast.map(range(1000), workers=2, executor="processes")
    tasks_of_fast = len(sent)
    slow.map(range(10), workers=2, executor="processes")

    assert 1000 <= sum(sent[:tasks_of_fast])
    assert tasks_of_fast <= 60
    assert max(sent[:tasks_of_fast]) <= 256
    assert [1] * 10 == sent[tasks_of_fast:]


def test_calls_begin_in_the_order_of_the_documents() -> None:
    """Of the tasks that wait for a worker, none is overtaken by those that were sent after it."""

    @step
    def begun(number: int) -> float:
        at = time.monotonic()
        time.sleep(0.06)  # no two of them are sent together
        return at

    at = list(begun.map(range(20), workers=2, executor="processes"))

    assert all(at[number] < at[number + 6] for number in range(14))


def test_a_call_beyond_its_timeout_is_ended() -> None:
    """The process is killed, and another one takes its place: nothing goes on in the background."""

    @step(timeout=0.5)
    def hang(number: int) -> int:
        if number == 3:
            while True:
                time.sleep(0.01)
        return number

    before = psutil.Process().children()  # clusters of other tests
    results = hang.map(range(20), workers=2, executor="processes", on_error="collect")

    assert isinstance(results.errors[3].__cause__, StepTimeout)
    assert [n for n in range(20) if n != 3] == results.ok
    assert set(psutil.Process().children()) <= set(before)


@pytest.mark.parametrize("how", ["system", "fork"])
def test_a_death_is_noticed_though_what_the_call_started_lives_on(how: str) -> None:
    """A program or a fork of the worker that holds what it has inherited is no reason to wait for the worker."""

    @step
    def square(number: int) -> int:
        if number == 3 and how == "system":
            os.system("sleep 60 &")
        if number == 3 and (how == "system" or os.fork()):
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60 if number == 3 else 0)
        return number * number

    began = time.monotonic()
    results = square.map(range(6), workers=2, executor="processes", on_error="collect")

    assert [0, 1, 4, 16, 25] == results.ok
    assert time.monotonic() - began < 40


def test_a_program_that_a_call_starts_ends_with_the_worker(tmp_path: Path) -> None:
    """With a call beyond its timeout, and with the map."""

    @step(timeout=1)
    def linger(number: int) -> int:
        command = f"echo $$ >> {tmp_path / 'pids'}; exec sleep 60"
        program = subprocess.Popen(["sh", "-c", command])
        while number and program.poll() is None:
            time.sleep(0.01)
        time.sleep(0.3)  # it has begun
        return number

    results = linger.map([0, 1], workers=1, executor="processes", on_error="collect")
    pids = [int(line) for line in (tmp_path / "pids").read_text().split()]

    assert isinstance(results.errors[1].__cause__, StepTimeout)
    assert 2 == len(pids)
    wait_until(lambda: not any(map(_is_running, pids)), describing="both programs have ended", timeout=10)


def _is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_program_that_a_call_starts_has_no_input() -> None:
    """One that reads its standard input to the end comes to it."""

    @step(timeout=20)
    def read(number: int) -> bytes:
        return subprocess.run(["cat"], stdout=subprocess.PIPE, check=True).stdout

    assert [b"", b""] == list(read.map(range(2), workers=2, executor="processes"))


def test_the_time_of_a_call_does_not_begin_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers start and import longer than a call may take; a call that hangs after that is ended all the same."""
    (tmp_path / "slow_to_import.py").write_text(f"import time, os\nif os.getpid() != {os.getpid()}: time.sleep(2)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import slow_to_import  # type: ignore[import-not-found]

    @step(timeout=1)
    def double(number: int) -> int:
        assert slow_to_import.time is time
        if number == 2:
            time.sleep(60)
        return 2 * number

    results = double.map(range(4), workers=2, executor="processes", on_error="collect")

    assert [0, 2, 6] == results.ok
    assert isinstance(results.errors[2].__cause__, StepTimeout)


def test_each_of_the_calls_that_are_sent_together_has_its_time() -> None:
    """They take longer together than one of them may; one that hangs behind others is ended."""

    def nap(number: int) -> int:
        worker._LONGEST_S = 60.0  # there: so that all of them are made
        time.sleep(60 if number == 9 else 0.3)
        return number

    engine = Processes(1)
    function, name = shipping.function_bytes(nap, "nap"), "0" * 32

    def naps(numbers: range) -> Task:
        calls = [((number,), name, 1) for number in numbers]
        return Task(function, pickle.dumps(calls), len(calls), 1.5, False)

    assert ["ok"] * 8 == [outcome[0] for outcome in engine.call(naps(range(8)))]
    with pytest.raises(TimeIsUp):
        engine.call(naps(range(8, 10)))
    engine.close()


def test_a_worker_that_dies_or_waits_while_it_loads_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A death is one of the document; what hangs there is given up with the map, though no call has begun."""
    here = f"import os, signal, time\nif os.getpid() != {os.getpid()}: "
    (tmp_path / "deadly_to_import.py").write_text(f"{here}os.kill(os.getpid(), signal.SIGKILL)\n")
    (tmp_path / "endless_to_import.py").write_text(f"{here}time.sleep(60)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import deadly_to_import  # type: ignore[import-not-found]
    import endless_to_import  # type: ignore[import-not-found]

    engine = Processes(1)
    tasks = [
        Task(shipping.function_bytes(lambda _, module=module: module, "load"), b"", 1, 0.1, False)
        for module in (deadly_to_import, endless_to_import)
    ]
    with pytest.raises(WorkerLost):
        engine.call(tasks[0])
    threading.Timer(0.5, engine.cancel).start()
    with pytest.raises(Abandoned):
        engine.call(tasks[1])
    engine.close()


def test_a_poisonous_document_stays_aside_until_somebody_asks(tmp_path: Path, store: Store) -> None:
    """The next map does not make the call; ``.retry()`` does, once."""
    cure = tmp_path / "cured"

    @step
    def risky(number: int) -> int:
        if number == 7 and not cure.exists():
            os.kill(os.getpid(), signal.SIGSEGV)
        return number

    first = risky.map(range(30), workers=2, executor="processes", on_error="collect")
    cure.touch()
    second = risky.map(range(30), on_error="collect")

    assert [7] == [failure.position for failure in first.failed] == [failure.position for failure in second.failed]
    assert isinstance(first.errors[7], StepFailed)
    assert "only when you ask" in str(first.errors[7])
    assert list(range(30)) == list(first.retry())


def test_who_runs_beside_a_killer_is_not_suspected() -> None:
    """A worker has one task at a time: its death is nobody else's, however slow the others are."""

    @step
    def square(number: int) -> int:
        time.sleep(0.06)  # no two of them are sent together
        if number == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return current_call().attempt

    results = square.map(range(12), workers=4, executor="processes", on_error="collect")

    assert [5] == [failure.position for failure in results.failed]
    assert [1] * 11 == results.ok


def test_a_refusal_by_the_service_uses_up_no_attempt(tmp_path: Path) -> None:
    """The driver hears "later" from a worker and waits; a rate limit holds there too."""

    class RateLimitError(Exception):
        pass

    asked = tmp_path / "asked"

    @step(rate_limit="50/s")
    def ask(number: int) -> int:
        if number == 4 and not asked.exists():
            asked.touch()
            raise RateLimitError
        return current_call().attempt

    began = time.monotonic()
    results = ask.map(range(20), workers=4, executor="processes")

    assert asked.exists()
    assert [1] * 20 == list(results)
    assert time.monotonic() - began >= 19 / 50


def test_a_class_that_comes_back_in_an_error_is_the_same() -> None:
    """Raised in a worker by a local class with methods: it is caught here, and the step is not taken for edited."""

    class Away(Exception):
        def __init__(self, number: int) -> None:
            super().__init__(f"away: {number}")
            self.number = number

        def __reduce__(self) -> Any:
            return Away, (self.number,)

    @step(retries=1, retry_on=Away)
    def ask(number: int) -> int:
        if current_call().attempt == 1:
            raise Away(number)
        return number

    assert [0, 1] == list(ask.options(retries=1).map(range(2), workers=2, executor="processes"))
    assert [0, 1, 2] == list(ask.map(range(3), workers=2, executor="processes"))


def test_a_function_that_cannot_be_sent_is_refused_with_the_name_of_the_reason() -> None:
    """Also when a helper uses it; nothing has run."""

    def helper() -> None:
        with LOCK:
            pass

    @step
    def embed(number: int) -> int:
        helper()
        return number

    with pytest.raises(ConfigError, match=r"embed cannot be sent .*LOCK, a lock"):
        embed.map(range(3), executor="processes")


def test_what_keeps_its_results_is_sent_empty() -> None:
    """A model that ``functools.cache`` loads once is loaded once in each worker; methods and properties keep theirs too."""

    @functools.lru_cache(maxsize=3)
    def model() -> int:
        return os.getpid()

    @functools.cache
    def fibonacci(number: int) -> int:
        return number if number < 2 else fibonacci(number - 1) + fibonacci(number - 2)

    class Page:
        @functools.cached_property
        def model(self) -> int:
            return model()

        @functools.cache  # noqa: B019 - as users do it
        def again(self) -> int:
            return self.model

    @step
    def embed(number: int) -> tuple[int, int, bool, int | None]:
        page = Page()
        made = {model(), page.model, page.again(), page.again(), os.getpid()}
        return fibonacci(number), len(made), page.model == page.__dict__["model"], model.cache_parameters()["maxsize"]

    assert os.getpid() == model()
    assert [(832040, 1, True, 3)] == list(embed.map([30], executor="processes"))


def test_a_function_that_dispatches_by_type_is_sent_with_its_implementations() -> None:
    """``functools.singledispatch``, and one of them that calls it again."""

    @functools.singledispatch
    def size(value: Any) -> int:
        return 0

    @size.register(list)
    def _(value: list[Any]) -> int:
        return sum(map(size, value))

    @size.register(int)
    def _(value: int) -> int:
        return value

    @step
    def measure(number: int) -> int:
        return size([number, [number, "a"]])

    assert [4, 6] == list(measure.map([2, 3], executor="processes"))


def test_an_argument_that_cannot_be_sent_is_named(store: Store) -> None:
    """Which document and which part; what was computed before it is kept."""

    @step
    def embed(doc: dict[str, Any]) -> int:
        return doc["id"]

    docs: list[dict[str, Any]] = [{"id": number} for number in range(10)]
    with pytest.raises(ConfigError, match=r"argument of embed for 10 .*value\['lock'\] is a lock"):
        embed.map([*docs, {"id": 10, "lock": LOCK}], executor="processes", workers=1, key=lambda doc: doc["id"])
    assert "restored" in repr(embed.map(docs, key=lambda doc: doc["id"]))


def test_a_result_that_cannot_be_saved_is_named_before_a_second_one_is_wasted() -> None:
    """Promise H, from a worker."""

    @step
    def embed(number: int) -> Any:
        return (number for _ in range(3))

    with pytest.raises(Unsaveable, match="embed returned for 0 a generator"):
        embed.map(range(10), executor="processes")


@pytest.mark.parametrize(
    ("returned", "said"), [([1], "1 results for 2"), (None, "a NoneType for 2"), ([], "0 results")]
)
def test_groups_of_the_wrong_length_are_told(returned: Any, said: str) -> None:
    """As in this process."""

    @step(batch=2)
    def embed(numbers: list[int]) -> Any:
        return returned

    with pytest.raises(ConfigError, match=said):
        embed.map(range(4), executor="processes")


def test_a_result_of_a_group_that_raises_when_it_is_read_is_the_error_of_the_call() -> None:
    """Of the documents it fails for, and of no worker; one that cannot be read at all is told as in this process."""

    class Lazy:
        def __init__(self, numbers: list[int]) -> None:
            self.numbers = numbers

        def __len__(self) -> int:
            return len(self.numbers)

        def __iter__(self) -> Iterator[int]:
            for number in self.numbers:
                if number == 5:
                    raise OSError("the file is gone")
                yield number

    @step(batch=4)
    def read(numbers: list[int]) -> Any:
        return Lazy(numbers)

    @step(batch=4)
    def mean(numbers: list[int]) -> Any:
        return np.array(np.mean(numbers))

    results = read.map(range(8), workers=2, executor="processes", on_error="collect")

    assert [(5, "OSError: the file is gone", 1)] == [(one.position, one.error, one.attempts) for one in results.failed]
    assert [n for n in range(8) if n != 5] == results.ok
    with pytest.raises(ConfigError, match="mean returned a ndarray"):
        mean.map(range(8), workers=2, executor="processes")


def test_a_group_that_kills_is_taken_apart() -> None:
    """Each of its documents is tried alone; the one to blame is set aside."""

    @step(batch=8)
    def embed(numbers: list[int]) -> list[int]:
        if 13 in numbers:
            os.kill(os.getpid(), signal.SIGKILL)
        return numbers

    results = embed.map(range(24), workers=2, executor="processes", on_error="collect")

    assert [13] == [failure.position for failure in results.failed]
    assert [n for n in range(24) if n != 13] == results.ok


def test_a_step_inside_of_a_step_runs_plainly_there() -> None:
    """Its call is not kept, its map is refused: only this process writes to the database."""

    @step
    def inner(number: int) -> int:
        return number + 1

    @step
    def outer(number: int) -> int:
        return inner(number) * 10

    @step
    def nested(number: int) -> Any:
        return inner.map([number])

    assert [10, 20, 30] == list(outer.map(range(3), executor="processes"))
    with pytest.raises(ConfigError, match=r"inner.map\(\) is not possible inside of a step"):
        nested.map(range(3), executor="processes")


def test_a_forked_worker_keeps_nothing_in_the_run_it_was_born_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    """Steps of a module run plainly there, in its threads too, and a later run gets no value of an earlier one."""
    (tmp_path / "with_a_step.py").write_text(
        "import os\nfrom threading import Thread\nfrom durable_nb import step\ncalls = []\n"
        "@step\ndef inner(n):\n    calls.append(n)\n    return len(calls)\n"
        "def twice(n):\n    thread = Thread(target=inner, args=(n,))\n    thread.start()\n    thread.join()\n"
        "    return inner(n), len(calls)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import with_a_step  # type: ignore[import-not-found]

    @step
    def outer(number: int) -> Any:
        return with_a_step.twice(number)

    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        with run("first"):
            first = list(outer.map([1, 2], executor=pool))
        with run("second"):
            second = list(outer.map([1, 2], executor=pool))

    assert [(2, 2), (4, 4), (6, 6), (8, 8)] == first + second
    for name in ("first", "second"):
        found = store.run(name)
        assert found is not None
        assert [] == store.versions(found.id, "inner")


def test_a_method_that_is_a_step_takes_its_object_along() -> None:
    """The object travels with each call."""

    class Model:
        def __init__(self, factor: int) -> None:
            self.factor = factor

        @step
        def scale(self, number: int) -> int:
            return number * self.factor

    assert [0, 3, 6] == list(Model(3).scale.map(range(3), executor="processes"))


def test_what_cannot_leave_the_process_is_refused() -> None:
    """A connection, a coroutine, and what is no executor: told before anything runs."""

    @step(transaction=True)
    def write(number: int, *, connection: Any) -> None: ...

    @step
    async def fetch(number: int) -> int:
        return number

    @step
    def embed(number: int) -> int:
        return number

    with pytest.raises(ConfigError, match="write has transaction=True"):
        write.map([1], executor="processes")
    with pytest.raises(ConfigError, match="fetch is async"):
        asyncio.run(fetch.amap([1], executor="processes"))
    for wrong in ("thread", 3, threading):
        with pytest.raises(ConfigError, match="executor="):
            embed.map([1], executor=wrong)
    with pytest.raises(ConfigError, match="executor="):
        step(name="same", executor="cluster")(lambda number: number)


def test_the_executor_of_a_step_is_where_its_maps_run() -> None:
    """Given with ``@step``, overruled by ``map``; awaited too."""

    @step(executor="processes")
    def where(number: int) -> int:
        return os.getpid()

    assert os.getpid() not in list(where.map([1, 2]))
    assert os.getpid() not in list(asyncio.run(where.amap([3, 4])))
    assert {os.getpid()} == set(where.map([5, 6], executor="inline"))


def test_a_pool_of_threads_is_sent_nothing() -> None:
    """Calls are made on its threads, with what cannot be pickled."""

    @step
    def embed(number: int) -> str:
        with LOCK:
            return threading.current_thread().name

    with ThreadPoolExecutor(2, thread_name_prefix="theirs") as pool:
        names = embed.map(range(20), executor=pool)

    assert all(name.startswith("theirs") for name in names)


def test_the_wait_for_a_thread_is_not_the_time_of_a_call() -> None:
    """In a pool with fewer threads than workers; what hangs on one of its threads, as it was initialised, is given up."""
    made, over = threading.local(), threading.Event()

    @step(timeout=1)
    def embed(number: int) -> str:
        over.wait(60 if number == 7 else 0.3)
        return made.by

    with ThreadPoolExecutor(1, initializer=lambda: setattr(made, "by", "theirs")) as pool:
        results = embed.map(range(8), workers=8, executor=pool, on_error="collect")
        over.set()

    assert ["theirs"] * 7 == results.ok
    assert isinstance(results.errors[7].__cause__, StepTimeout)


def test_an_error_in_a_pool_of_threads_has_the_traceback_of_the_function() -> None:
    """Frames of the pool say nothing about the document."""

    @step
    def embed(number: int) -> int:
        raise KeyError(number)

    with ThreadPoolExecutor(2) as pool:
        (failure,) = embed.map([1], executor=pool, on_error="collect").failed

    assert "in embed" in failure.traceback
    assert "concurrent" not in failure.traceback


@pytest.mark.parametrize("kind", [ProcessPoolExecutor, ThreadPoolExecutor])
def test_a_pool_that_was_shut_down_is_told(kind: Any, store: Store) -> None:
    """Not one failure for each document; another attempt would not help."""

    @step(retries=3)
    def embed(number: int) -> int:
        return number

    pool = kind(1)
    pool.shutdown()
    with pytest.raises(ConfigError, match=f"the {kind.__name__} does not compute any more"):
        embed.map(range(5), executor=pool, on_error="collect")
    seen = store.snapshot("embed")
    assert seen is not None
    assert 0 == seen.failed


def test_an_executor_that_takes_no_more_work_is_told() -> None:
    """Whatever it says it with; what is finished is kept, and no document has failed."""

    class Service(Executor):
        """Takes four tasks, then it is away."""

        def __init__(self) -> None:
            self.taken, self.pool = 0, ThreadPoolExecutor(1)

        def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
            self.taken += 1
            if self.taken > 4:
                raise ConnectionError("the service is away")
            return self.pool.submit(function, *args, **kwargs)

    @step
    def embed(number: int) -> int:
        time.sleep(0.06)  # no two of them are sent together
        return number

    with pytest.raises(
        ConfigError, match=r"the Service does not compute any more \(ConnectionError: the service is away"
    ):
        embed.map(range(20), executor=Service(), workers=1, on_error="collect")
    results = embed.map(range(20), on_error="collect")

    assert list(range(20)) == results.ok
    assert "4 restored" in repr(results)


def test_a_pool_of_threads_that_breaks_or_is_shut_down_meanwhile_is_told() -> None:
    """By its initializer, or by whoever drops what waits in it."""
    begun = threading.Event()

    def refuse() -> None:
        raise ValueError

    @step
    def embed(number: int) -> int:
        begun.set()
        return number

    with (
        ThreadPoolExecutor(1, initializer=refuse) as broken,
        pytest.raises(ConfigError, match="does not compute any more"),
    ):
        embed.map(range(5), executor=broken, on_error="collect")

    @step
    def last(number: int) -> int:
        pool.shutdown(wait=False, cancel_futures=True)
        return number

    with ThreadPoolExecutor(1) as pool, pytest.raises(ConfigError, match="does not compute any more"):
        last.map(range(5), executor=pool, on_error="collect")
    assert not begun.is_set()


def test_a_pool_of_threads_that_all_hang_is_told() -> None:
    """What waits for a thread has no time to run out, and is not waited for without end."""
    over = threading.Event()

    @step(timeout=0.3)
    def embed(number: int) -> int:
        if number > 2:
            over.wait(60)
        return number

    with ThreadPoolExecutor(2) as pool:
        with pytest.raises(ConfigError, match="calls beyond their timeout go on, on all of its threads"):
            embed.map(range(8), workers=4, executor=pool, on_error="collect")
        over.set()
    results = embed.map(range(8), on_error="collect")

    assert list(range(8)) == results.ok
    assert "3 restored" in repr(results)


def test_workers_of_our_own_run_as_this_process_does(tmp_path: Path) -> None:
    """With ``python -O`` too, which makes another module of each that has an ``assert``."""
    (tmp_path / "mine.py").write_text("def check(x):\n    assert x >= 0\n    return x + __debug__\n")
    (tmp_path / "script.py").write_text(
        "import mine, durable_nb\ndurable_nb.configure(url='sqlite:///durable.db')\n"
        "print(list(durable_nb.step(mine.check).map([1, 2], executor='processes')))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-O", "script.py"]
    said = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    assert "[1, 2]\n" == said.stdout, said.stderr


def test_no_engine_is_imported_to_recognise_one() -> None:
    """Whoever maps on processes does not pay for Dask, Ray or ipyparallel."""
    code = (
        "import sys; from durable_nb import step; import durable_nb.engine.steps; "
        "print([name for name in ('distributed', 'ray', 'ipyparallel', 'loky', 'multiprocessing') if name in sys.modules])"
    )
    from subprocess import run

    assert "[]\n" == run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_classes_of_main_are_encoded_by_name() -> None:
    """In a worker whose ``__main__`` knows nothing of them; it is left as it was."""
    main: Any = sys.modules["__main__"]
    before = set(vars(main))
    code = "class Vector:\n    def __init__(self, number):\n        self.number = number\n"
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(code, scope)
    function = shipping.function_bytes(lambda number: scope["Vector"](number), "make")

    ((kind, codec, payload, *_),) = worker.run_batch(function, pickle.dumps([((3,), "0" * 32, 1)]))

    assert ("ok", "pickle") == (kind, codec)
    assert b"__main__" in payload
    assert before == set(vars(main))


def test_costs_and_streams_work_on_an_engine(store: Store) -> None:
    """What a result cost is told here, of the result that came back; a stream hands it on."""

    @step(cost=lambda answer: answer["tokens"] * 0.5)
    def ask(number: int) -> dict[str, int]:
        return {"tokens": number}

    found = dict(ask.stream(range(10), workers=2, executor="processes"))
    seen = store.snapshot("ask")

    assert {number: {"tokens": number} for number in range(10)} == found
    assert seen is not None
    assert seen.spent == 22.5
