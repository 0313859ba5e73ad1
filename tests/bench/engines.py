"""10,000 real chunks embedded with a real model on each engine: wall, and what is executed when the driver is killed at 40 %.

::

    python -m tests.bench.engines [--documents 10000] [--engines threads,processes,…]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import tempfile
from pathlib import Path

from tests.executors.engines import ENGINES, Engine, cluster, script
from tests.kernels import wait_until

WORKERS = 2
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
    began = time.perf_counter()
    if executor == "plain threads":
        with ThreadPoolExecutor(2) as pool:
            vectors = list(pool.map(embed, docs))
    else:
        vectors = kept.map(docs, workers=2, executor=executor)
    seconds = time.perf_counter() - began
    load()
    import numpy as np
    same = all(np.array_equal(vectors[i], embed(docs[i])) for i in range(0, len(docs), 97))
    print("@" + json.dumps([seconds, len(vectors), same]), flush=True)
    if isinstance(executor, Executor):
        executor.shutdown()
    os._exit(0)

if __name__ == "__main__":
    main()
"""


def finished(folder: Path, source: str, engine: Engine) -> float:
    """Seconds of the map of a script that ran to its end, with the right vectors."""
    out, err = script(folder, source, engine).communicate()
    line = next((line for line in out.splitlines() if line.startswith("@")), None)
    if line is None:
        raise SystemExit(f"{engine.name}: {err[-2000:]}")
    seconds, _, same = json.loads(line[1:])
    if not same:
        raise SystemExit(f"{engine.name}: wrong vectors")
    return float(seconds)


def executions(folder: Path) -> int:
    """How often the function was called."""
    log = folder / "executed.log"
    return log.stat().st_size if log.exists() else 0


def measured(name: str, documents: int) -> tuple[float, int | None]:
    """Wall of a whole run in seconds, and executions of one that is killed at 40 % and run again."""
    source = SCRIPT.replace("DOCUMENTS", str(documents))
    prelude = ENGINES.get(name, f"executor = {name!r}")
    checked = len(range(0, documents, 97))  # vectors that the script computes again to compare
    with tempfile.TemporaryDirectory() as whole, tempfile.TemporaryDirectory() as killed, cluster(name) as at:
        engine = Engine(name, prelude, at)
        seconds = finished(Path(whole), source, engine)
        if name == "plain threads":
            return seconds, None
        child = script(Path(killed), source, engine)
        wait_until(lambda: executions(Path(killed)) >= 0.4 * documents, describing="40 %", timeout=300)
        child.kill()
        child.wait()
        finished(Path(killed), source, engine)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)  # a pool of the standard library outlives its owner
        return seconds, executions(Path(killed)) - checked


def main() -> None:
    names = ["plain threads", "threads", "processes", "spawn", "loky", "dask", "ray", "ipyparallel"]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=10_000)
    parser.add_argument("--engines", default=",".join(names))
    options = parser.parse_args()
    print(f"{options.documents:,} chunks, {WORKERS} workers, load {os.getloadavg()[0]:.1f} at the beginning\n")
    print("| | wall | chunks/s | executions, killed at 40 % and run again |\n|---|---:|---:|---:|", flush=True)
    for name in options.engines.split(","):
        seconds, executed = measured(name, options.documents)
        rate, again = options.documents / seconds, "" if executed is None else f"{executed:,}"
        print(f"| {name} | {seconds:.1f} s | {rate:,.0f} | {again} |", flush=True)


if __name__ == "__main__":
    main()
