"""A service that takes 20 requests a second, asked by the client of OpenAI without a limit of our own: ``python -m tests.bench.limits``.

The ideal is all that one can do who knows the limit: as many as it has in store at once, then one whenever there is room.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from durable_nb import configure
from tests.engine.test_flow import Service, embed_on_a_loop, embed_on_threads, served

PER_S = 20


class Asked(NamedTuple):
    """What it took until every document was answered."""

    seconds: float
    refused: int


def once(
    ask: Callable[[Service, list[str], int], None], documents: list[str], workers: int, after: str | None
) -> Asked:
    """Into a database of its own, from a server that has been left alone."""
    folder = Path(tempfile.mkdtemp(prefix="limits-"))
    configure(url=str(folder / "durable.db"))
    with served(PER_S) as service:
        service.headers = {} if after is None else {"Retry-After": after}
        began = time.monotonic()
        ask(service, documents, workers)
        assert service.answered == len(documents)
        return Asked(time.monotonic() - began, service.refused)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    documents = [f"document {number}" for number in range(options.documents)]
    ideal = (len(documents) - PER_S) / PER_S
    print(
        f"{len(documents)} documents, {PER_S} a second, ideal {ideal:.1f} s; medians of {options.rounds} rounds (worst)\n"
    )
    print("| | `Retry-After` | time | refused of all requests |\n|---|---|---|---|")
    for ask, workers in ((embed_on_threads, 8), (embed_on_threads, 32), (embed_on_a_loop, 32)):
        for after in ("0.5", None):
            all_asked = [once(ask, documents, workers, after) for _ in range(options.rounds)]
            times = [one.seconds / ideal for one in all_asked]
            shares = [one.refused / (len(documents) + one.refused) for one in all_asked]
            kind = "`map`" if ask is embed_on_threads else "`amap`"
            print(
                f"| {kind}, {workers} workers | {after or 'none'} | {statistics.median(times):.2f} × ({max(times):.2f}) | "
                f"{statistics.median(shares):.1%} ({max(shares):.1%}) |",
                flush=True,
            )


if __name__ == "__main__":
    main()
