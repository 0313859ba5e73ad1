"""What SIGKILL costs: finished results that were not durable, over kills triggered by progress."""

from __future__ import annotations

import argparse
import os
import random
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CHILD = """
import os, sys, time
from durable_nb import configure, step
configure(url="durable.db")
log = os.open("finished.log", os.O_CREAT | os.O_APPEND | os.O_WRONLY)

@step
def work(number):
    until = time.perf_counter() + {busy}
    while time.perf_counter() < until:
        pass
    os.write(log, f"{{number}} {{time.monotonic()}}\\n".encode())
    return number

work.map(range(100_000), workers={workers})
"""


def kill_once(busy_s: float, workers: int, chance: random.Random) -> tuple[int, float]:
    """(results lost, milliseconds between the oldest lost result and the kill) of one kill."""
    folder = Path(tempfile.mkdtemp(prefix="loss-"))
    log = folder / "finished.log"
    code = CHILD.format(busy=busy_s, workers=workers)
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    child = subprocess.Popen([sys.executable, "-c", code], cwd=folder, env=environment)
    goal = chance.randint(100, 1500)
    while not log.exists() or log.read_bytes().count(b"\n") < goal:
        time.sleep(0.001)
        if child.poll() is not None:
            raise SystemExit("the child ended by itself")
    killed = time.monotonic()
    child.send_signal(signal.SIGKILL)
    child.wait()
    finished = dict(line.split() for line in log.read_text().splitlines())
    with sqlite3.connect(folder / "durable.db") as connection:
        durable = {label for (label,) in connection.execute("SELECT label FROM checkpoints WHERE state = 'done'")}
    lost = [float(at) for number, at in finished.items() if number not in durable and float(at) < killed]
    return len(lost), (killed - min(lost)) * 1000 if lost else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=60)
    options = parser.parse_args()
    print(
        "| calls of | workers | kills | lost results: median, worst | oldest lost, ms before the kill: median, worst |"
    )
    print("|---|---:|---:|---:|---:|")
    for busy_s, workers in ((0.001, 1), (0.001, 4), (0.008, 4)):
        chance = random.Random(1)
        found = [kill_once(busy_s, workers, chance) for _ in range(options.kills // 3 + 1)]
        counts, ages = [count for count, _ in found], [age for _, age in found]
        print(
            f"| {busy_s * 1000:.0f} ms | {workers} | {len(found)} | {statistics.median(counts):.0f}, {max(counts)} "
            f"| {statistics.median(ages):.0f}, {max(ages):.0f} |"
        )


if __name__ == "__main__":
    main()
