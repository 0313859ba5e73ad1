"""A fresh process with everything done: imports, opening and all results in memory, beside raw sqlite3."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench import as_installed

BEGAN = time.perf_counter()
RAW, DURABLE, MATRIX, RAW_MATRIX = "raw", "durable", "durable matrix", "raw matrix"


def prepare(folder: Path, count: int) -> None:
    """Both databases, with the same results."""
    from durable_nb import configure, step
    from tests.bench import workload
    from tests.bench.peers.references import raw_sqlite

    docs = workload.documents(count)
    with raw_sqlite(folder, workload.embed) as compute:
        compute(docs)
    configure(url=str(folder / "durable.db"))
    step(workload.embed).map(docs)


def one(kind: str, folder: Path, count: int) -> None:
    """All results of one kind in this process; prints seconds since it began, making the documents not counted."""
    import numpy as np

    from tests.bench import workload

    began = time.perf_counter()
    docs = workload.documents(count)
    making = time.perf_counter() - began
    if kind.startswith("raw"):
        import sqlite3

        rows = sqlite3.connect(folder / "raw.db").execute("SELECT key, value FROM results")
        if kind == RAW_MATRIX:
            vectors = np.frombuffer(b"".join(value for _, value in rows), np.float32).reshape(count, 256)
        else:
            vectors = list({key: np.frombuffer(value, np.float32) for key, value in rows}.values())
    else:
        from durable_nb import configure, step

        configure(url=str(folder / "durable.db"))
        results = step(workload.embed).map(docs)
        vectors = results.to_numpy() if kind == MATRIX else list(results)
    seconds = time.perf_counter() - BEGAN - making
    wrong = workload.wrong(vectors, count)
    matrix = None
    if kind == MATRIX:
        again = step(workload.embed).map(docs)
        began = time.perf_counter()
        again.to_numpy()
        matrix = time.perf_counter() - began
    print("@" + json.dumps({"seconds": seconds, "wrong": wrong, "to_numpy": matrix}), flush=True)
    os._exit(0)


def main() -> None:
    if len(sys.argv) > 1:
        one(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
    as_installed()
    for count in (10_000, 100_000):
        folder = Path(tempfile.mkdtemp(prefix="bench-"))
        subprocess.run(
            [sys.executable, "-c", f"from tests.bench.resume import *; prepare(Path({str(folder)!r}), {count})"],
            check=True,
        )
        times: dict[str, list[float]] = {}
        for _ in range(5):
            for kind in (RAW, DURABLE, RAW_MATRIX, MATRIX):
                command = [sys.executable, "-m", "tests.bench.resume", kind, str(folder), str(count)]
                out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                found = json.loads(out[out.index("@") + 1 :])
                if found["wrong"]:
                    raise SystemExit(f"{kind}: {found['wrong']} wrong vectors")
                times.setdefault(kind, []).append(found["seconds"])
                if found["to_numpy"]:
                    times.setdefault("to_numpy alone", []).append(found["to_numpy"])
        median = {kind: statistics.median(seconds) for kind, seconds in times.items()}
        # With the log: whoever ends without closing leaves the last 32 MB in it.
        sizes = {
            name: sum(path.stat().st_size for path in folder.glob(f"{name}*")) / count
            for name in ("raw.db", "durable.db")
        }
        print(
            f"\n{count:,} finished calls; bytes a document: {sizes['durable.db']:.0f} (payload 1024, raw {sizes['raw.db']:.0f})"
        )
        print("| | seconds | × raw |\n|---|---:|---:|")
        for kind, seconds in median.items():
            base = median[RAW_MATRIX] if "matrix" in kind or "numpy" in kind else median[RAW]
            print(f"| {kind} | {seconds:.3f} | {seconds / base:.1f} |")


if __name__ == "__main__":
    main()
