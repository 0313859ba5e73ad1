"""What one more kept call costs: fresh processes, interleaved; medians; the bare loop is subtracted."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench import workload


def bare(docs, folder):
    return [workload.embed(doc) for doc in docs]


def raw_sqlite(docs, folder):
    """The limit: hash, compute, insert, 1,000 rows a transaction."""
    import xxhash

    connection = sqlite3.connect(folder / "raw.db", isolation_level=None)
    connection.execute("PRAGMA page_size=8192")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("CREATE TABLE results (id INTEGER PRIMARY KEY, key BLOB UNIQUE, value BLOB)")
    vectors, rows = [], []
    for doc in docs:
        vector = workload.embed(doc)
        vectors.append(vector)
        rows.append((xxhash.xxh3_128_digest(doc.encode()), vector.tobytes()))
        if len(rows) == 1000:
            connection.execute("BEGIN")
            connection.executemany("INSERT INTO results (key, value) VALUES (?, ?)", rows)
            connection.execute("COMMIT")
            rows.clear()
    return vectors


def _durable(folder):
    from durable_nb import configure, step

    configure(url=str(folder / "durable.db"))
    return step(workload.embed)


def durable_map(docs, folder):
    return _durable(folder).map(docs)


def durable_map_inline(docs, folder):
    return _durable(folder).map(docs, workers=1)


def durable_calls(docs, folder):
    from durable_nb import run

    embed = _durable(folder)
    with run("bench"):
        return [embed(doc) for doc in docs]


def joblib_memory(docs, folder):
    from joblib import Memory

    embed = Memory(folder, verbose=0).cache(workload.embed)
    return [embed(doc) for doc in docs]


def diskcache_memoize(docs, folder):
    from diskcache import Cache

    embed = Cache(folder).memoize()(workload.embed)
    return [embed(doc) for doc in docs]


def dbos_steps(docs, folder):
    import logging

    from dbos import DBOS

    logging.disable(logging.WARNING)
    DBOS(config={"name": "bench", "system_database_url": f"sqlite:///{folder / 'dbos.sqlite'}"})
    embed = DBOS.step()(workload.embed)

    @DBOS.workflow()
    def work():
        return [embed(doc) for doc in docs]

    DBOS.launch()
    return work()


PEERS = {function.__name__: function for function in (
    bare, raw_sqlite, durable_map, durable_map_inline, durable_calls, diskcache_memoize, joblib_memory, dbos_steps,
)}  # fmt: skip


def one(peer: str, count: int) -> None:
    """Measure one peer in this process and print a JSON line."""
    docs, folder = workload.documents(count), Path(tempfile.mkdtemp(prefix="bench-"))
    if peer.startswith("durable"):
        # Opening the store is start-up, which the resume benchmark holds; here it is the cost of one more call.
        _durable(folder).map(["00000000"], key=lambda _: "warm")
    began = time.perf_counter()
    vectors = PEERS[peer](docs, folder)
    seconds = time.perf_counter() - began
    wrong = workload.wrong(list(vectors), count)
    shutil.rmtree(folder, ignore_errors=True)
    print("@" + json.dumps({"seconds": seconds, "wrong": wrong}), flush=True)
    os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--one")
    options = parser.parse_args()
    if options.one:
        one(options.one, options.documents)
    times: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        for peer in options.peers.split(","):
            command = [
                sys.executable,
                "-m",
                "tests.bench.overhead",
                "--one",
                peer,
                "--documents",
                str(options.documents),
            ]
            out = subprocess.run(command, capture_output=True, text=True, check=False)
            line = next((line for line in out.stdout.splitlines() if line.startswith("@")), None)
            if line is None:
                print(f"{peer}: {out.stderr[-500:]}", file=sys.stderr)
                continue
            found = json.loads(line[1:])
            if found["wrong"]:
                raise SystemExit(f"{peer}: {found['wrong']} wrong vectors")
            times.setdefault(peer, []).append(found["seconds"])
    loop = statistics.median(times.pop("bare"))
    cost = {peer: (statistics.median(seconds) - loop) / options.documents * 1e6 for peer, seconds in times.items()}
    print(
        f"{options.documents:,} calls, median of {options.rounds}; bare loop {loop / options.documents * 1e6:.1f} µs a call\n"
    )
    print("| | µs a call | × raw sqlite |\n|---|---:|---:|")
    for peer, each in sorted(cost.items(), key=lambda pair: pair[1]):
        print(f"| {peer} | {each:,.1f} | {each / cost['raw_sqlite']:.2f} |")


if __name__ == "__main__":
    main()
