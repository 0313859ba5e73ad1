"""What SIGKILL costs a durable cell: calls that had returned and were not durable, over kills triggered by progress."""

from __future__ import annotations

import argparse
import random
import sqlite3
import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from durable_nb import codecs
from tests.kernels import Kernel, wait_until

SETUP = """
import os, time
from concurrent.futures import ThreadPoolExecutor
log = os.open("returned.log", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
texts = [f"text-{{number}}" for number in range(20_000)]

def work(text):
    until = time.perf_counter() + {busy_s}
    while time.perf_counter() < until:
        pass
    return text
"""
# The cell notes a call once it has the value: until then the call is in flight.
SHAPES = {
    "for": 'for text in texts:\n    value = work(text)\n    os.write(log, f"{value} {time.monotonic()}\\n".encode())',
    "pool.map": "with ThreadPoolExecutor(4) as pool:\n    for value in pool.map(work, texts):\n"
    '        os.write(log, f"{value} {time.monotonic()}\\n".encode())',
}
COMMITTED_S = 0.005
"""A call that takes this long is committed before it returns."""
LIMIT_MS = 50
"""How old a lost result of a faster call may be."""


class Loss(NamedTuple):
    """Of one kill."""

    returned: int
    lost: int
    oldest_ms: float
    """Between the return of the oldest lost call and the kill; 0 if none was lost."""


def kill_once(shape: str, busy_s: float, chance: random.Random) -> Loss:
    """Start the cell, SIGKILL its kernel after a random number of calls, compare what returned with what is stored."""
    with tempfile.TemporaryDirectory(prefix="loss-") as name:
        folder = Path(name)
        log = folder / "returned.log"
        kernel = Kernel(folder)
        kernel.ok("%load_ext durable_nb")
        kernel.ok(SETUP.format(busy_s=busy_s))
        kernel.start(f"%%durable loss\n{SHAPES[shape]}")
        goal = chance.randint(20, 200) if busy_s >= COMMITTED_S else chance.randint(100, 1500)
        wait_until(lambda: log.read_bytes().count(b"\n") >= goal, describing=f"{goal} calls have returned")
        killed = time.monotonic()
        kernel.kill()
        returned = dict(line.split() for line in log.read_text().splitlines())
        with closing(sqlite3.connect(folder / ".durable_nb" / "durable.db")) as connection:
            rows = connection.execute("SELECT codec, payload FROM checkpoints WHERE state = 'done'")
            durable = {codecs.decode(codec, payload, trusted=False, where=name) for codec, payload in rows}
    if not all(label.startswith("text-") for label in durable):
        raise SystemExit(f"calls are stored under {sorted(durable)[:5]}, not under their texts")
    lost = [float(at) for text, at in returned.items() if text not in durable and float(at) < killed]
    if returned and not durable.intersection(returned):
        raise SystemExit(f"no call is stored under its text, but under {sorted(durable)[:5]}")
    return Loss(len(returned), len(lost), (killed - min(lost)) * 1000 if lost else 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=60)
    options = parser.parse_args()
    cases = [(shape, busy_s) for busy_s in (0.0001, 0.001, 0.008) for shape in SHAPES]
    each = -(-options.kills // len(cases))
    print(
        "| calls of | cell | kills | returned calls lost: median, worst | oldest lost, ms before the kill: median, worst | |"
    )
    print("|---|---|---:|---:|---:|---|")
    for shape, busy_s in cases:
        chance = random.Random(1)
        found = [kill_once(shape, busy_s, chance) for _ in range(each)]
        counts, ages = [loss.lost for loss in found], [loss.oldest_ms for loss in found]
        is_kept = max(ages) <= LIMIT_MS if busy_s < COMMITTED_S else max(counts) == 0
        print(
            f"| {busy_s * 1000:g} ms | {shape} | {each} | {statistics.median(counts):.0f}, {max(counts)} "
            f"| {statistics.median(ages):.0f}, {max(ages):.0f} | {'✓' if is_kept else '✗'} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
