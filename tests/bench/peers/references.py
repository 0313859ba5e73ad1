"""What peers are compared with: nothing kept, and the least that keeps something."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from tests.bench.peers.contract import Compute, Peer, Work

ROWS = 1000
"""In a transaction of raw sqlite3."""
WORKERS = 8
"""Threads, where a peer has any; what durable_nb takes by default."""


@contextmanager
def loop(folder: Path, work: Work) -> Iterator[Compute]:
    """What the time of everybody is reduced by."""
    yield lambda items: [work(item) for item in items]


@contextmanager
def threads(folder: Path, work: Work) -> Iterator[Compute]:
    """As the standard library's documentation has it."""

    def compute(items: list[str]) -> list[np.ndarray]:
        with ThreadPoolExecutor(WORKERS) as pool:
            return list(pool.map(work, items))

    yield compute


@contextmanager
def raw_sqlite(folder: Path, work: Work) -> Iterator[Compute]:
    """The limit: one hash, one look-up of everything, bytes in, bytes out; settings as durable_nb has them."""
    import xxhash

    with closing(sqlite3.connect(folder / "raw.db", isolation_level=None)) as connection:
        for pragma in ("page_size=8192", "journal_mode=WAL", "synchronous=NORMAL"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("CREATE TABLE IF NOT EXISTS results (id INTEGER PRIMARY KEY, key BLOB UNIQUE, value BLOB)")

        def save(rows: list[tuple[bytes, bytes]]) -> None:
            connection.execute("BEGIN")
            connection.executemany("INSERT INTO results (key, value) VALUES (?, ?)", rows)
            connection.execute("COMMIT")
            rows.clear()

        def compute(items: list[str]) -> list[np.ndarray]:
            known = dict(connection.execute("SELECT key, value FROM results"))
            vectors, rows = [], []
            for item in items:
                key = xxhash.xxh3_128_digest(item.encode())
                if (value := known.get(key)) is not None:
                    vectors.append(np.frombuffer(value, np.float32))
                    continue
                vectors.append(vector := work(item))
                rows.append((key, vector.tobytes()))
                if len(rows) == ROWS:
                    save(rows)
            save(rows)
            return vectors

        yield compute


LOOP = Peer("plain loop", loop, "nothing")
RAW = Peer("raw sqlite3", raw_sqlite, f"every {ROWS:,} rows", ("sqlite3", "xxhash"))
REFERENCES = (LOOP, Peer(f"ThreadPoolExecutor, {WORKERS}", threads, "nothing"), RAW)
