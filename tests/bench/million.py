"""A million finished documents: what a fresh process needs to go on from there.

    python -m tests.bench.million [--documents 1000000] [--folder build/million]

Prints the seconds until the first call that is new begins (imports, and a look-up of every document) and the processor's of
them, which other users of the machine prolong less, how much the resident memory has grown by then and at the end, what ``%durable show`` takes, and the bytes of the database over those of the
results, 1.5 KB each. The database is made once and kept in the folder.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from tests.bench import as_installed

BYTES = 1536


def vector(number: int) -> np.ndarray:
    """A result that only this document has: 384 float32."""
    return np.full(BYTES // 4, number, np.float32)


def prepare(url: str, documents: int) -> None:
    """The finished run."""
    from durable_nb import configure, step

    configure(url=url)
    for _ in step(name="embed", version="1")(vector).stream(range(documents), workers=1):
        pass


def go_on(url: str, documents: int, how: str) -> None:
    """One more document, in this process."""
    began = time.perf_counter()
    import psutil

    from durable_nb import configure, step

    process, first = psutil.Process(), []

    @step(name="embed", version="1")
    def embed(number: int) -> np.ndarray:
        first.append((time.perf_counter() - began, time.process_time(), process.memory_info().rss))
        return vector(number)

    configure(url=url)
    embed.map([], workers=1)  # what any run needs; the growth is that of the documents
    before, wanted = process.memory_info().rss, range(documents + 1)
    if how == "stream":
        wrong = sum(not np.array_equal(value, vector(number)) for number, value in embed.stream(wanted, workers=1))
    else:
        wrong = sum(not np.array_equal(one, vector(number)) for number, one in enumerate(embed.map(wanted, workers=1)))
    seconds, cpu, then = first[0]
    growth = [round((rss - before) / 2**20) for rss in (then, process.memory_info().rss)]
    found = {"first new call, s": round(seconds, 2), "of the processor": round(cpu, 2), "growth, MB": growth}
    print(json.dumps({"how": how, **found, "wrong": wrong}))


def show() -> None:
    """``%durable show`` in a shell of this process."""
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "durable_nb")
    times = []
    for _ in range(5):
        began = time.perf_counter()
        shell.run_line_magic("durable", "show embed")
        times.append(round(1000 * (time.perf_counter() - began)))
    print(json.dumps({"show, ms": times}))


def main() -> None:
    """Each in a process of its own, on a copy of the first database."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, default=Path("build/million"))
    parser.add_argument("what", nargs="*")
    options = parser.parse_args()
    path = options.folder / f"{options.documents}.db"
    url = f"sqlite:///{path.absolute()}"
    if options.what:
        {"prepare": prepare, "go_on": go_on}[options.what[0]](url, options.documents, *options.what[1:])
        return
    options.folder.mkdir(parents=True, exist_ok=True)
    again = [
        sys.executable,
        "-m",
        "tests.bench.million",
        "--documents",
        str(options.documents),
        "--folder",
        str(options.folder),
    ]
    as_installed()
    if not path.exists():
        subprocess.run([*again, "prepare"], check=True)
    size = sum(os.path.getsize(f"{path}{end}") for end in ("", "-wal") if os.path.exists(f"{path}{end}"))
    print(f"database / results: {size / (BYTES * options.documents):.2f}")
    for how in ("map", "stream"):
        subprocess.run([*again, "go_on", how], check=True)
        drop_last(path, options.documents)
    environment = os.environ | {"DURABLE_NB_URL": url}
    subprocess.run([sys.executable, "-c", "from tests.bench.million import show; show()"], check=True, env=environment)


def drop_last(path: Path, documents: int) -> None:
    """The document that was new is new again."""
    import sqlite3

    with sqlite3.connect(path) as conn:
        conn.execute("DELETE FROM checkpoints WHERE position >= ?", (documents,))


if __name__ == "__main__":
    main()
