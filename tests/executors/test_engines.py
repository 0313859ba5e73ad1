"""Every engine gives what inline calls give, for what a script or notebook defines; documents that raise or kill are theirs."""

from __future__ import annotations

import fcntl
import json
import signal
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any

import pytest

from durable_nb import executors, step
from durable_nb.errors import ConfigError
from durable_nb.executors import futures
from tests.executors.engines import ENGINES, Engine, on, script

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

N, POISON = 60, 17
SCRIPT = """
import json, os, signal
from durable_nb import current_call, step

OFFSET = 7
log = os.path.abspath("executed.log")

def note(text):
    handle = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.write(handle, f"{text}\\n".encode())
    os.close(handle)

class Doc:
    def __init__(self, number):
        self.number = number

class Vector:
    def __init__(self, values):
        self.values = values
    def __eq__(self, other):
        return type(self) is type(other) and self.values == other.values

class Refused(Exception):
    def __init__(self, number, reason):  # pickle cannot make it again
        super().__init__(f"{number} {reason}")

class Away(Exception):
    def __init__(self, *, until):  # nor this one
        self.until = until

def helper(number):
    return [number + OFFSET] * 3

@step
def embed(doc):
    note(f"embed {doc.number}")
    return Vector(helper(doc.number))

@step(retries=1, retry_on=Away)
def flaky(number):
    if number == 3:
        raise Refused(number, "is refused")
    if number % 10 == 5 and current_call().attempt == 1:
        raise Away(until=number)
    return current_call().key

@step(batch=8)
def many(numbers):
    if 11 in numbers:
        raise ValueError("no eleven")
    return [Vector([number]) for number in numbers]

@step
def deadly(number):
    note(f"deadly {number}")
    if number == POISON:
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number

def shown(results):
    return [[failure.position, failure.error, failure.attempts] for failure in results.failed]

def main():
    ENGINE
    docs = [Doc(number) for number in range(N)]
    options = {"executor": executor, "workers": 2, "on_error": "collect"}
    name = lambda doc: doc.number
    found = {}
    embedded = embed.map(docs, key=name, **options)
    found["equal"] = embedded == [embed.function(doc) for doc in docs]
    found["restored"] = repr(embed.map(docs, key=name, **options))
    flakies = flaky.map(range(20), **options)
    found["flaky"], found["keys"] = shown(flakies), flakies.ok
    found["cause"] = str(flakies.errors[3].__cause__)
    found["trace"] = flakies.failed[0].traceback
    groups = many.map(range(30), **options)
    found["many"], found["grouped"] = shown(groups), groups.ok == [Vector([n]) for n in range(30) if n != 11]
    squares = deadly.map(range(N), **options)
    found["deadly"], found["squares"] = shown(squares), squares.ok
    print("@" + json.dumps(found))

if __name__ == "__main__":
    main()
"""


@pytest.fixture(scope="session")
def answers(engine: Engine, tmp_path_factory: pytest.TempPathFactory, testrun_uid: str) -> dict[str, Any]:
    """What the script printed on one engine, and what it executed; run once, also by several processes that test."""
    folder = tmp_path_factory.getbasetemp().parent / f"{testrun_uid}-{engine.name}"
    folder.mkdir(exist_ok=True)
    kept = folder / "answers.json"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            source = SCRIPT.replace("range(N)", f"range({N})").replace("POISON", str(POISON))
            out, err = script(folder, source, engine).communicate(timeout=150)
            printed = next((line for line in out.splitlines() if line.startswith("@")), None)
            assert printed is not None, f"{out}\n{err[-4000:]}"
            executed = (folder / "executed.log").read_text().splitlines()
            kept.write_text(json.dumps(json.loads(printed[1:]) | {"executed": executed}))
    found: dict[str, Any] = json.loads(kept.read_text())
    return found


on_each_engine = on(*ENGINES)


@on_each_engine
def test_results_are_those_of_inline_calls_in_order(answers: dict[str, Any]) -> None:
    """A function, a helper, a global and classes that stand in ``__main__``: equal in type and value, computed once each."""
    assert answers["equal"]
    assert answers["restored"] == f"Results(embed: {N} documents, {N} restored)"
    assert sorted(line for line in answers["executed"] if line.startswith("embed")) == sorted(
        f"embed {number}"
        for number in [*range(N), *range(N)]  # the engine, and the script itself for comparison
    )


@on_each_engine
def test_exceptions_are_failures_and_are_tried_again(answers: dict[str, Any]) -> None:
    """A class of the script is caught by ``retry_on``, and so named, with its line, though pickle cannot make it again."""
    ((position, error, attempts),) = answers["flaky"]

    assert (3, 1) == (position, attempts)
    assert "Refused: 3 is refused" == error
    assert "3 is refused" == answers["cause"]
    assert "in flaky" in answers["trace"]
    assert len(set(answers["keys"])) == 19
    assert all(len(key) == 32 for key in answers["keys"])


@on_each_engine
def test_groups_are_halved_there_too(answers: dict[str, Any]) -> None:
    """``batch=8``: each document has its result, but the one that its group fails for."""
    assert [[11, "ValueError: no eleven", 1]] == answers["many"]
    assert answers["grouped"]


@on_each_engine
def test_a_document_that_kills_its_worker_is_set_aside(answers: dict[str, Any]) -> None:
    """SIGKILL in a worker: every other document is done, the poisonous one is named, and not tried for ever."""
    executed = answers["executed"].count(f"deadly {POISON}")

    assert [[POISON, "the worker process died each time it was computed", 3]] == answers["deadly"]
    assert [n * n for n in range(N) if n != POISON] == answers["squares"]
    assert (
        2 <= executed <= 5
    )  # with others, perhaps twice, then alone; engines of ipyparallel do not come back: twice in all


class Here(Executor):
    """Makes each call where it is asked to, as some executors for debugging do."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """A future that is done."""
        future: Future[Any] = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


@pytest.mark.usefixtures("store")
def test_an_executor_in_this_thread_leaves_interrupts_on() -> None:
    """Ctrl-C and ■ are switched off in worker processes, and nowhere else."""
    before = signal.getsignal(signal.SIGINT)
    squared = step(name="squared", version="1")(lambda n: n * n)

    assert [n * n for n in range(5)] == list(squared.map(range(5), executor=Here()))
    assert before is signal.getsignal(signal.SIGINT)


POOLED = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from durable_nb import step
from durable_nb.errors import ConfigError

scale, offset = 1, 7

def load(factor):
    global scale
    scale = factor

def prepare(factor):
    load(factor)

@step
def scaled(number):
    return number * scale

@step
def moved(number):
    return number + offset

if __name__ == "__main__":
    ENGINE
    with executor:
        print(list(moved.map(range(3), executor=executor)))
        try:
            scaled.map(range(3), executor=executor, on_error="collect")
        except ConfigError as error:
            print(error)
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_global_that_an_initializer_sets_is_not_read_with_another_value(tmp_path: Path, method: str) -> None:
    """Functions of a script go with its globals as they are here; whoever reads what workers are given is told, before it runs."""
    pool = ENGINES[method].replace("(2, ", "(2, initializer=prepare, initargs=(10,), ")
    process = script(tmp_path, POOLED, Engine(method, pool, ""))
    said, _ = process.communicate(timeout=60)
    moved, told = said.splitlines()

    assert "[7, 8, 9]" == moved
    assert told.startswith("scaled reads scale, which the initializer of the executor sets")


REPLACED = """
import multiprocessing, os, signal
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from time import sleep
from durable_nb import step

class Counting(ProcessPoolExecutor):
    def __init__(self, workers, *, log):
        super().__init__(workers, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=2)
        self.log = log
    def submit(self, *args, **kwargs):
        self.log.append(1)
        return super().submit(*args, **kwargs)

@step
def fatal(number):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    sleep(0.06)  # no two of them are sent together
    return os.getpid()

if __name__ == "__main__":
    ENGINE
    with executor:
        pids = fatal.map(range(8), executor=executor, workers=2, on_error="collect")
        print([failure.position for failure in pids.failed], len(pids.ok))
        print(max(Counter(pids.ok).values()), len(getattr(executor, "log", ())) > 8)
"""


def test_a_pool_of_a_class_of_ones_own_is_replaced_by_one_like_it(tmp_path: Path) -> None:
    """When it broke: the document that kills is set aside, and workers of the new one make as few tasks, counted as before."""
    process = script(tmp_path, REPLACED, Engine("counting", "executor = Counting(2, log=[])", ""))
    said, error = process.communicate(timeout=100)

    assert ["[3] 7", "2 True"] == said.splitlines(), error


def test_a_pool_of_loky_is_replaced_by_one_like_it() -> None:
    """With the environment that was asked for."""
    loky = pytest.importorskip("loky")
    broken = loky.ProcessPoolExecutor(1, env={"OF_WORKERS": "1"}, timeout=50)
    made: Any = futures._like(broken)

    assert ({"OF_WORKERS": "1"}, 50, broken._context) == (made._env, made._timeout, made._context)
    made.shutdown()
    broken.shutdown()


@pytest.mark.usefixtures("store")
def test_an_executor_of_a_dask_client_is_taken_as_the_client() -> None:
    """Of ``client.get_executor()``, with its options: Dask goes on after a death, and says which document it was."""
    distributed = pytest.importorskip("distributed")
    squared = step(name="squared", version="1")(lambda n: n * n)
    with distributed.Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None) as client:
        executor = client.get_executor(retries=0)
        made: Any = executors.engine(executor, 1)

        assert ("the Dask client", {"retries": 0}) == (made.name, made._options)
        assert [0, 1, 4] == list(squared.map(range(3), executor=executor))
        executor.shutdown()
        with pytest.raises(ConfigError, match="was shut down"):
            squared.map(range(5), executor=executor)
