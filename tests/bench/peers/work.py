"""The function that every peer calls, which counts each of its executions, and what is true of its results."""

from __future__ import annotations

import functools
import mmap
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.workload import BASE

STARTED, FINISHED = "PEERS_STARTED", "PEERS_FINISHED"
"""Environment variables: the files of how often each document was begun, and ended; a byte for each."""
SECONDS = "PEERS_SECONDS"
"""Environment variable: what a call takes; 0 for measuring what is added to it."""
WARM = f"{99_999_999:08d} a text of no run"
"""Computed before the time is taken, so that neither opening nor a first transaction counts as the cost of an item."""


def embed(doc: str) -> np.ndarray:
    """The vector that only this document has, as ``tests.bench.workload`` makes it; the execution is counted first."""
    started, finished, seconds = _counts()
    number = int(doc[:8])
    if doc != WARM:
        started[number] += 1
    if seconds:
        time.sleep(seconds)
    if doc != WARM:
        finished[number] += 1
    return BASE * np.float32(number + 1)


@functools.cache
def _counts() -> tuple[mmap.mmap, mmap.mmap, float]:
    """Both counts, and the seconds of a call, in this process.

    Mapped memory outlives SIGKILL as a file does. A line appended to a file would be a system call for each item, and
    whoever saves in a thread might pay for the counting.
    """
    started, finished = (_mapped(os.environ[name]) for name in (STARTED, FINISHED))
    return started, finished, float(os.environ[SECONDS])


def _mapped(path: str) -> mmap.mmap:
    with open(path, "r+b") as file:
        return mmap.mmap(file.fileno(), 0)


def counted(path: Path) -> np.ndarray:
    """How often each document was executed until now."""
    return np.frombuffer(path.read_bytes(), np.uint8).astype(int)


def wrong(vectors: Sequence[Any], count: int) -> int:
    """How many of ``count`` documents have no vector, or not bit for bit their own."""
    extra = max(0, len(vectors) - count)
    true = (BASE * np.float32(number + 1) for number in range(count))
    return count - sum(np.array_equal(found, own) for found, own in zip(vectors, true, strict=False)) + extra
