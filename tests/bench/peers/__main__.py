"""Every peer on the same items, in processes of its own, interleaved; prints one Markdown table.

::

    python -m tests.bench.peers [--items 2000] [--rounds 3] [--kills 3] [--peers durable_nb,joblib,…]
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.bench import as_installed
from tests.bench.peers import PEERS
from tests.bench.peers.contract import Peer
from tests.bench.peers.measuring import PeerFailed, Took, kill, run_twice
from tests.bench.peers.references import LOOP, RAW
from tests.bench.peers.table import Measured, table, targets, versions


def attempt(peer: Peer, took: Took, trial: Callable[[], None]) -> None:
    """Measure, unless this peer has failed already; a failure is shown in its row and hurts nobody else."""
    if took.failed:
        return
    print(f"{peer.name}", end="; ", file=sys.stderr, flush=True)
    try:
        trial()
    except PeerFailed as error:
        took.failed = f"failed: {error}"


def measure(peers: list[Peer], items: int, rounds: int, kills: int, seconds: float, folder: Path | None) -> Measured:
    """What each took; one after the other in every round, so that a noisy minute meets all of them."""
    at = Path(folder or os.environ.get("TMPDIR", "/var/tmp"))  # a disk: /tmp may be memory
    measured = {peer: Took(failed="" if peer.version is not None else "not installed") for peer in peers}
    for number in range(rounds):
        print(f"\nround {number + 1} of {rounds}: ", end="", file=sys.stderr)
        for peer, took in measured.items():
            attempt(peer, took, lambda peer=peer, took=took: run_twice(peer, items, at, took))
    chance = random.Random(1)
    for number in range(kills):
        share = chance.uniform(0.35, 0.45)  # not always the same place within somebody's batch
        print(f"\nkill {number + 1} of {kills}, at {share:.0%}: ", end="", file=sys.stderr)
        for peer, took in measured.items():
            attempt(peer, took, lambda peer=peer, took=took: kill(peer, items, at, took, share, seconds))
    print(file=sys.stderr)
    return measured


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3, help="of a first and a second run; medians are shown")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.001, help="of a call that is killed")
    parser.add_argument("--peers", default="", help="only those with one of these words in their name; default all")
    parser.add_argument("--folder", type=Path, help="on the disk that is meant; default $TMPDIR or /var/tmp")
    options = parser.parse_args(arguments)
    as_installed()
    words = options.peers.lower().split(",")
    chosen = [
        peer for peer in PEERS.values() if peer in (LOOP, RAW) or any(word in peer.name.lower() for word in words)
    ]
    load = os.getloadavg()[0]
    measured = measure(chosen, options.items, options.rounds, options.kills, options.seconds, options.folder)
    print(
        f"{options.items:,} items, medians of {options.rounds} rounds, {options.kills} kills; load {load:.1f} at the start\n"
    )
    print(f"{table(measured, options.items)}\n\n{targets(measured)}\n\n{versions(measured)}")


if __name__ == "__main__":
    main()
