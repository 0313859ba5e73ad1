"""What it costs to name a value, beside one raw xxh3_128 of the same bytes."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xxhash

from durable_nb import keys

if TYPE_CHECKING:
    from collections.abc import Callable


def median(work: Callable[[], Any], rounds: int = 7) -> float:
    """Seconds."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def main() -> None:
    matrix = np.arange(25_000_000, dtype=np.float32).reshape(5000, 5000)
    big = {
        "contiguous": matrix,
        "transposed": matrix.T,
        "strided": matrix[:, ::2],
        "bytes": matrix.tobytes(),
        "str": "x" * 10**8,
    }
    print("| 100 MB | GB/s |\n|---|---:|")
    print(f"| raw xxh3_128 | {matrix.nbytes / median(lambda: xxhash.xxh3_128_digest(matrix)) / 1e9:.1f} |")
    for name, value in big.items():
        size = value.nbytes if isinstance(value, np.ndarray) else len(value)
        print(f"| {name} | {size / median(lambda value=value: keys.digest(value)) / 1e9:.1f} |")
    text = "x" * 2000
    frame = pd.DataFrame({"a": np.arange(10**6), "b": np.ones(10**6), "s": ["some text"] * 10**6})
    small = {
        "raw encode and xxh3_128 of a 2 KB str": lambda: [xxhash.xxh3_128_digest(text.encode()) for _ in range(1000)],
        "call_digest of it": lambda: [keys.call_digest((text,), {}) for _ in range(1000)],
    }
    print("\n| | µs |\n|---|---:|")
    for name, work in small.items():
        print(f"| {name} | {median(work) * 1e3:.2f} |")
    scores = {f"k{number * 7919 % 1000}": float(number) for number in range(1000)}
    print(f"| dict of 1,000 | {median(lambda: keys.digest(scores)) * 1e6:,.0f} |")
    print(f"| DataFrame of 1,000,000 x 3 | {median(lambda: keys.digest(frame)) * 1e6:,.0f} |")


if __name__ == "__main__":
    main()
