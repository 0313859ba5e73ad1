"""What Dask has beside the other engines: workers that are threads of the kernel, and clusters that give up their workers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.executors.engines import Engine, need, script

if TYPE_CHECKING:
    from pathlib import Path

IN_THREADS = """
import json
from durable_nb import current_call, run, step

OFFSET = 7

class Doc:
    def __init__(self, number):
        self.number = number
    def shifted(self):
        return self.number + OFFSET

class Vector:
    def __init__(self, values):
        self.values = values
    def __eq__(self, other):
        return type(self) is type(other) and self.values == other.values

class Away(Exception):
    def again(self):
        return OFFSET

@step(retries=1, retry_on=Away)
def embed(doc):
    if doc.number % 10 == 5 and current_call().attempt == 1:
        raise Away
    return Vector([doc.shifted()])

@step(batch=8)
def many(docs):
    return [Vector([doc.shifted()]) for doc in docs]

def main():
    global OFFSET
    ENGINE
    docs, methods, found = [Doc(number) for number in range(60)], (Doc.shifted, Vector.__eq__, Away.again), {}
    options = {"key": lambda doc: doc.number, "executor": executor, "workers": 2}
    found["equal"] = [embed.map(docs, **options) == [Vector([n + 7]) for n in range(60)]]
    found["equal"].append(many.map(docs, **options) == [Vector([n + 7]) for n in range(60)])
    found["same"] = [Doc.shifted is methods[0], Vector.__eq__ is methods[1], Away.again is methods[2]]
    OFFSET = 100
    with run("later"):
        found["equal"].append(embed.map(docs, **options) == [Vector([n + 100]) for n in range(60)])
    found["here"] = docs[0].shifted()
    print("@" + json.dumps(found))

if __name__ == "__main__":
    main()
"""


def test_workers_that_are_threads_leave_the_classes_of_the_notebook_alone(tmp_path: Path) -> None:
    """``LocalCluster(processes=False)``: classes as arguments, results and errors keep their methods, which see the globals."""
    need("dask")
    prelude = (
        "from distributed import Client, LocalCluster\n"
        "executor = Client(LocalCluster(processes=False, n_workers=2, threads_per_worker=1, dashboard_address=None))"
    )
    out, err = script(tmp_path, IN_THREADS, Engine("dask", prelude, "")).communicate(timeout=120)
    printed = [json.loads(line[1:]) for line in out.splitlines() if line.startswith("@")]

    assert [{"equal": [True] * 3, "same": [True] * 3, "here": 100}] == printed, err[-3000:]


GIVEN_UP = """
import json, os, signal
from durable_nb import step
from durable_nb.errors import ConfigError
from durable_nb.executors import dask

@step
def square(number):
    if number == 17 and not os.path.exists("tame"):
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number

def main():
    from dask import config
    from distributed import Client, LocalCluster

    config.set({"distributed.deploy.lost-worker-timeout": "50ms"})  # Dask's own: 15 s
    executor = Client(LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50))
    usual, dask.GONE_S = dask.GONE_S, 0.5
    try:
        square.map(range(40), workers=2, executor=executor)
    except ConfigError as error:
        said = str(error)
    dask.GONE_S = usual
    config.set({"distributed.deploy.lost-worker-timeout": "60s"})
    open("tame", "w").close()
    executor.cluster.scale(2)
    squares = square.map(range(40), workers=2, executor=executor)
    print("@" + json.dumps([said, squares == [n * n for n in range(40)], repr(squares)]), flush=True)
    os._exit(0)  # a cluster that is ended while it starts workers may not end

if __name__ == "__main__":
    main()
"""


def test_a_cluster_that_gave_up_its_workers_is_told(tmp_path: Path) -> None:
    """Dask itself makes a task again that kills, and drops workers that are away for too long: without any, the map ends.

    It says what starts new ones, and then what was finished is restored.
    """
    need("dask")
    out, err = script(tmp_path, GIVEN_UP, Engine("dask", "", "")).communicate(timeout=120)
    printed = [json.loads(line[1:]) for line in out.splitlines() if line.startswith("@")]

    assert len(printed) == 1, err[-3000:]
    said, is_right, squares = printed[0]
    assert "given up all of its workers" in said
    assert "client.cluster.scale(2)" in said
    assert is_right
    assert "restored" in squares
