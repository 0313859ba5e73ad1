"""What ``%%durable`` adds to an iteration of an ordinary cell, in a real kernel, beside the same cell without it."""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import psutil

from tests.kernels import Kernel
from tests.notebook.cells import stored

FIRST_US, RESTORED_US = 120, 30
"""What may be added to an iteration."""
SETUP = """
import threading, types
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from tests.bench import workload
docs = workload.documents({count})
BASE = workload.BASE

def embed(doc):
    return BASE * np.float32(int(doc[:8]) + 1)

def clean(doc):
    return doc.strip()

class Embeddings:
    def create(self, input):
        return types.SimpleNamespace(data=[types.SimpleNamespace(embedding=embed(input))])

class Client:
    def __init__(self):
        self.embeddings, self.lock = Embeddings(), threading.Lock()

client = Client()
"""
SHAPES = {
    "for + append, embed(doc)": "vectors = []\nfor doc in docs:\n    vectors.append(embed(doc))",
    "for + append, embed(clean(doc))": "vectors = []\nfor doc in docs:\n    vectors.append(embed(clean(doc)))",
    "[embed(doc) for doc in docs]": "vectors = [embed(doc) for doc in docs]",
    "ThreadPoolExecutor.map": "with ThreadPoolExecutor(4) as pool:\n    vectors = list(pool.map(embed, docs))",
    "client.embeddings.create(input=doc).data[0].embedding": "vectors = []\nfor doc in docs:\n"
    "    vectors.append(client.embeddings.create(input=doc).data[0].embedding)",
}
PROFILED = """
import cProfile, pstats, threading
_profile = cProfile.Profile()
_profile.enable()
get_ipython().run_cell({cell!r}).raise_error()
_profile.disable()
pstats.Stats(_profile).sort_stats("tottime").print_stats(45)
"""


def prepared(folder: Path, count: int) -> Kernel:
    """A kernel with the work, the store open and everything imported: start-up is what resume and imports measure."""
    kernel = Kernel(folder)
    kernel.ok("%load_ext durable_nb")
    kernel.ok(SETUP.format(count=count))
    kernel.ok("%%durable warm\n[embed(doc) for doc in docs[:1]]")
    return kernel


class Took(NamedTuple):
    """Seconds of a cell."""

    wall: float
    """From sending it until the kernel is idle again."""
    cpu: float
    """Of all threads of the kernel meanwhile: says more than the wall where others use the machine."""


Pair = tuple[Took, Took]
"""Plain and durable."""


def timed(kernel: Kernel, cell: str, count: int) -> Took:
    """Run a cell; its vectors must be right."""
    process = psutil.Process(kernel.pid)
    spent, began = process.cpu_times(), time.perf_counter()
    kernel.ok(cell, timeout=300)
    wall, now = time.perf_counter() - began, process.cpu_times()
    took = Took(wall, now.user + now.system - spent.user - spent.system)
    wrong = kernel.ok(f"workload.wrong(vectors, {count})").result
    kernel.ok("del vectors")
    if wrong != "0":
        raise SystemExit(f"{wrong} wrong vectors:\n{cell}")
    return took


def session(folder: Path, shapes: dict[str, str], count: int, restored: int) -> dict[str, Pair]:
    """What (plain, durable) took of every shape, in one kernel: the plain cell just before the durable one."""
    found = {}
    with prepared(folder, count) as kernel:
        for number, (shape, body) in enumerate(shapes.items()):
            plain = timed(kernel, body, count)
            found[shape] = plain, timed(kernel, f"%%durable shape-{number}\n{body}", count)
            state = stored(folder, f"shape-{number}")
            if state != ("done", count, restored, 0):
                raise SystemExit(f"{shape}: run is {state}, not all of {restored} were restored")
    return found


def profile(shapes: dict[str, str], count: int) -> None:
    """Print where the time of one shape goes, first run and restored, in the thread of the cell."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for what in ("first run", "restored"):
            with prepared(Path(folder), count) as kernel:
                body = next(iter(shapes.values()))
                text = kernel.ok(PROFILED.format(cell=f"%%durable profiled\n{body}"), timeout=300).stdout
                print(f"{what}: {next(iter(shapes))}\n{text}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shapes", default="", help="only those that contain this text")
    parser.add_argument("--profile", action="store_true", help="where the time of the first of them goes")
    options = parser.parse_args()
    shapes, count = {shape: body for shape, body in SHAPES.items() if options.shapes in shape}, options.documents
    if options.profile:
        profile(shapes, count)
        return
    first: dict[str, list[Pair]] = {shape: [] for shape in shapes}
    again: dict[str, list[Pair]] = {shape: [] for shape in shapes}
    for number in range(options.rounds):
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            for found, restored in ((first, 0), (again, count)):
                for shape, pair in session(Path(folder), shapes, count, restored).items():
                    found[shape].append(pair)
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
    print(f"{count:,} iterations, 2 KB of text in, 256 float32 out; medians of {options.rounds}, µs an iteration\n")
    print(f"| | plain | first run adds (≤ {FIRST_US}) | CPU | restored adds (≤ {RESTORED_US}) | CPU |")
    print("|---|---:|---:|---:|---:|---:|")
    for shape in shapes:
        plain = statistics.median(one.wall for one, _ in first[shape]) / count * 1e6
        print(f"| `{shape}` | {plain:.1f} | {added(first[shape], count)} | {added(again[shape], count)} |")


def added(pairs: list[Pair], count: int) -> str:
    """Median of the differences within the pairs and their range; the same of the CPU time."""
    walls = sorted((durable.wall - plain.wall) / count * 1e6 for plain, durable in pairs)
    cpu = statistics.median(durable.cpu - plain.cpu for plain, durable in pairs) / count * 1e6
    return f"**{statistics.median(walls):.1f}** ({walls[0]:.0f} to {walls[-1]:.0f}) | {cpu:.0f}"


if __name__ == "__main__":
    main()
