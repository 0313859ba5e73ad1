"""10,000 real chunks embedded with a real model on each engine: wall, and what is executed when the driver is killed at 40 %.

::

    python -m tests.bench.engines [--documents 10000] [--rounds 3] [--engines threads,processes,…]

The processor's time is that of the driver. The first line is of pairs in one process, in which a run was before: plain
threads, then durable ones, which embed too, so that what the plain ones took is taken away. In the table every row is of
processes of their own, which import SQLAlchemy and make a database meanwhile.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.executors.engines import ENGINES, Engine, cluster, script
from tests.kernels import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

WORKERS = 2
PLAIN = "plain threads"
SCRIPT = """
import json, os, re, sys, sysconfig, time
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")

LOG, model = os.path.abspath("executed.log"), None

def load():
    global model, log
    import wordllama
    log = os.open(LOG, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    model = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)

def embed(chunk):
    if model is None:
        load()
    os.write(log, b"x")
    return model.embed([chunk])[0]

def chunks(count):
    found = {}
    for folder in (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")):
        for path in sorted(Path(folder).rglob("*.py")):
            for text in re.findall(r'\\"\\"\\"(.+?)\\"\\"\\"', path.read_text(errors="replace"), re.DOTALL):
                for start in range(0, len(text), 500):
                    if len(text[start : start + 500].split()) > 20:
                        found[text[start : start + 500]] = None
                if len(found) >= count:
                    return list(found)[:count]
    sys.exit(f"only {len(found)} chunks were found")

def main():
    docs = chunks(DOCUMENTS)
    ENGINE
    if executor in ("plain threads", "threads"):
        load()
    from durable_nb import step
    kept = step(embed)
    began, spent = time.perf_counter(), time.process_time()
    if executor == "plain threads":
        with ThreadPoolExecutor(2) as pool:
            vectors = list(pool.map(embed, docs))
    else:
        vectors = kept.map(docs, workers=2, executor=executor)
    seconds, spent = time.perf_counter() - began, time.process_time() - spent
    load()
    import numpy as np
    same = all(np.array_equal(vectors[i], embed(docs[i])) for i in range(0, len(docs), 97))
    print("@" + json.dumps([seconds, spent, same]), flush=True)
    if isinstance(executor, Executor):
        executor.shutdown()
    os._exit(0)

if __name__ == "__main__":
    main()
"""

PAIRS = (
    SCRIPT[: SCRIPT.index("    began,")]
    + """
    from durable_nb import run
    kept.map(docs[:2], workers=2)
    took = []
    for n in range(ROUNDS):
        began, spent = time.perf_counter(), time.process_time()
        with ThreadPoolExecutor(2) as pool:
            plain = list(pool.map(embed, docs))
        between, between_spent = time.perf_counter(), time.process_time()
        with run(f"round-{n}"):
            kept.map(docs, workers=2)
        ended, ended_spent = time.perf_counter(), time.process_time()
        took.append([between - began, ended - between, between_spent - spent, ended_spent - between_spent])
    print("@" + json.dumps(took), flush=True)

if __name__ == "__main__":
    main()
"""
)


class Took(NamedTuple):
    """One whole run."""

    seconds: float
    spent: float
    """Seconds of the driver's processors."""


def said(folder: Path, source: str, engine: Engine) -> Any:
    """What a script that ran to its end has printed."""
    out, err = script(folder, source, engine).communicate()
    line = next((line for line in out.splitlines() if line.startswith("@")), None)
    if line is None:
        raise SystemExit(f"{engine.name}: {err[-2000:]}")
    return json.loads(line[1:])


def finished(folder: Path, source: str, engine: Engine) -> Took:
    """A script that ran to its end, with the right vectors."""
    seconds, spent, same = said(folder, source, engine)
    if not same:
        raise SystemExit(f"{engine.name}: wrong vectors")
    return Took(seconds, spent)


def executions(folder: Path) -> int:
    """How often the function was called."""
    log = folder / "executed.log"
    return log.stat().st_size if log.exists() else 0


@contextlib.contextmanager
def started(name: str) -> Iterator[tuple[Path, Engine]]:
    """An engine, and a folder of its own."""
    with tempfile.TemporaryDirectory() as folder, cluster(name) as at:
        yield Path(folder), Engine(name, ENGINES.get(name, f"executor = {name!r}"), at)


def measured(name: str, source: str) -> Took:
    """A whole run."""
    with started(name) as (folder, engine):
        return finished(folder, source, engine)


def executed(name: str, source: str, documents: int) -> int:
    """Calls of a run that is killed at 40 % and run again."""
    checked = len(range(0, documents, 97))  # vectors that the script computes again to compare
    with started(name) as (folder, engine):
        child = script(folder, source, engine)
        wait_until(lambda: executions(folder) >= 0.4 * documents, describing="40 %", timeout=300)
        child.kill()
        child.wait()
        finished(folder, source, engine)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)  # a pool of the standard library outlives its owner
        return executions(folder) - checked


def pairs(source: str, rounds: int) -> tuple[float, float]:
    """Durable threads by plain ones, and what they take more of the driver's processors, in seconds."""
    with started("threads") as (folder, engine):
        took = said(folder, source.replace("ROUNDS", str(rounds)), engine)
    return statistics.median(two / one for one, two, _, _ in took), statistics.median(d - c for _, _, c, d in took)


def main() -> None:
    engines = "threads,processes,spawn,loky,dask,ray,ipyparallel"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engines", default=engines)
    options = parser.parse_args()
    documents, names = options.documents, options.engines.split(",")
    source = SCRIPT.replace("DOCUMENTS", str(documents))
    print(f"{documents:,} chunks, {WORKERS} workers, medians of {options.rounds}, load {os.getloadavg()[0]:.1f}\n")
    ratio, more = pairs(PAIRS.replace("DOCUMENTS", str(documents)), 3 * options.rounds)
    print(
        f"threads: {ratio:.2f} × the wall of plain ones, {more / documents * 1e6:+.0f} µs of CPU a document\n",
        flush=True,
    )
    rounds = [{name: measured(name, source) for name in (PLAIN, *names)} for _ in range(options.rounds)]
    print("| | wall, s | × plain | driver, µs of CPU a document | calls, killed at 40 % and run again |")
    print("|---|---:|---:|---:|---:|", flush=True)
    for name in (PLAIN, *names):
        seconds = statistics.median(one[name].seconds for one in rounds)
        ratio = statistics.median(one[name].seconds / one[PLAIN].seconds for one in rounds)
        spent = statistics.median(one[name].spent for one in rounds)
        driver = "" if name in (PLAIN, "threads") else f"{spent / documents * 1e6:.0f}"
        calls = "" if name == PLAIN else f"{executed(name, source, documents):,}"
        print(f"| {name} | {seconds:.1f} | {ratio:.2f} | {driver} | {calls} |", flush=True)


if __name__ == "__main__":
    main()
