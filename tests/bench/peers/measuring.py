"""One peer, measured in processes of its own: a first run, a second one, and one that is killed and run again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from tests.bench.peers import work
from tests.bench.peers.contract import Peer
from tests.kernels import ROOT

PATIENCE_S = 1800
"""A process that takes longer has failed: a peer may wait for ever for what a dead process was computing."""


class PeerFailed(Exception):  # noqa: N818  # named after what happened
    """The process of a peer ended without a report; the text is its last line."""


@dataclass
class Took:
    """What the processes of one peer came to; a list has one number for each round or kill."""

    computing: list[float] = field(default_factory=list)
    """Seconds of the first run, neither imports nor opening."""
    giving: list[float] = field(default_factory=list)
    """Seconds before it, for what the users of a peer have instead of a list."""
    cpu: list[float] = field(default_factory=list)
    """Seconds of all its threads meanwhile: says more than the wall where others use the machine, and nothing of waiting."""
    again: list[float] = field(default_factory=list)
    """Seconds of the second run in a fresh process, opening included, imports not."""
    imports: list[float] = field(default_factory=list)
    """Seconds of the imports of that second run."""
    recomputed: list[int] = field(default_factory=list)
    """Calls in the second run: what was not kept although the first had ended."""
    bytes: list[int] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    """Bytes that the most resident memory of the first run is above what the process had before its imports."""
    threads: list[int] = field(default_factory=list)
    """The most that were seen alive."""
    lost: list[int] = field(default_factory=list)
    """Calls that had ended before the kill and were made again."""
    beyond: list[int] = field(default_factory=list)
    """Calls beyond one for each item, over both lives; those in flight at the kill are among them."""
    wrong: int = 0
    """Vectors that are missing, or not bit for bit those of their document, over all runs."""
    short: int = 0
    """Documents that were never computed, though the run has ended well: somebody else's results."""
    failed: str = ""
    """Why this peer has no, or not all, numbers."""

    @property
    def whole(self) -> list[float]:
        """Seconds from the list of items to the results."""
        return [giving + computing for giving, computing in zip(self.giving, self.computing, strict=True)]


class Trial:
    """A folder that a peer keeps its results in, over several processes."""

    def __init__(self, peer: Peer, items: int, at: Path, seconds: float = 0) -> None:
        self.peer, self.items, self.at = peer, items, at
        self.kept, self.started, self.finished = at / "kept", at / "started", at / "finished"
        self.kept.mkdir()
        for counts in (self.started, self.finished):
            counts.write_bytes(bytes(items))
        # Nobody leaves anything in the home of whoever runs this, or asks the network.
        homes = {"HOME": at, "XDG_STATE_HOME": at / "state", "IPYTHONDIR": at / "ipython", "HF_HOME": at / "hf"}
        counting = {work.STARTED: self.started, work.FINISHED: self.finished, work.SECONDS: seconds}
        quiet = {"HF_HUB_OFFLINE": 1, "OMP_NUM_THREADS": 1, "OPENBLAS_NUM_THREADS": 1, "PYTHONPATH": ROOT}
        own = {name: value for name, value in os.environ.items() if not name.startswith("DURABLE_NB_")}
        self._environment = own | {name: str(value) for name, value in (homes | counting | quiet).items()}

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        """A process that computes the items, or takes what is kept of them."""
        (self.at / "report").unlink(missing_ok=True)
        command = [sys.executable, "-m", "tests.bench.peers.child", self.peer.name, self.kept, self.at / "report"]
        with (self.at / "errors").open("wb") as errors:
            return subprocess.Popen(
                [*map(str, command), "--items", str(self.items), *options],
                env=self._environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=errors,
            )  # fmt: skip

    def report(self, child: subprocess.Popen[bytes]) -> dict[str, float]:
        """What a process that has ended took."""
        try:
            child.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            child.kill()
            raise PeerFailed(f"no end after {PATIENCE_S} s") from None
        if not (self.at / "report").exists():
            said = (self.at / "errors").read_text(errors="replace").split("\n")
            raise PeerFailed(next((line for line in reversed(said) if line.strip()), "without a word")[-200:])
        return dict(json.loads((self.at / "report").read_text()))

    def progress(self) -> float:
        """The share of the items that has been computed."""
        return 1 - self.finished.read_bytes().count(0) / self.items

    def size(self) -> int:
        """Bytes that its results take on the disk, in whole blocks."""
        files = (path for path in self.kept.glob(self.peer.results) if path.is_file())
        return sum(512 * path.stat().st_blocks for path in files)


def run_twice(peer: Peer, items: int, folder: Path, took: Took) -> None:
    """A first run and a second one in a fresh process, added to what the peer took."""
    with TemporaryDirectory(prefix="peers-", dir=folder) as at:
        trial = Trial(peer, items, Path(at))
        child = trial.start("--warm")
        threads = most_threads(child)
        first = trial.report(child)
        size, executed = trial.size(), work.counted(trial.started)
        second = trial.report(trial.start())
        took.computing.append(first["computing"])
        took.giving.append(first["giving"])
        took.cpu.append(first["cpu"])
        took.memory.append(int(first["memory"]))
        took.threads.append(threads)
        took.bytes.append(size)
        took.again.append(second["opening"] + second["computing"])
        took.imports.append(second["imports"])
        took.recomputed.append(int((work.counted(trial.started) - executed).sum()))
        took.wrong += int(first["wrong"] + second["wrong"])
        took.short += int((executed == 0).sum())


def kill(peer: Peer, items: int, folder: Path, took: Took, share: float, seconds: float) -> None:
    """SIGKILL when that share of the items has been computed, then a run to the end, added to what the peer took."""
    with TemporaryDirectory(prefix="peers-", dir=folder) as at:
        trial = Trial(peer, items, Path(at), seconds)
        child, deadline = trial.start(), time.monotonic() + PATIENCE_S
        while not (there := trial.progress() >= share) and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)
        child.kill()
        if child.wait() != -signal.SIGKILL or not there:
            raise PeerFailed("ended, or hung, before it was to be killed")
        begun, ended = work.counted(trial.started), work.counted(trial.finished)
        took.wrong += int(trial.report(trial.start())["wrong"])
        executed = work.counted(trial.started)
        took.lost.append(int(((ended > 0) & (executed > begun)).sum()))
        took.beyond.append(int((executed - 1).clip(0).sum()))
        took.short += int((executed == 0).sum())


def most_threads(child: subprocess.Popen[bytes]) -> int:
    """The most threads that were alive at a time, until the process has ended; seen every 5 ms."""
    most, process, deadline = 0, psutil.Process(child.pid), time.monotonic() + PATIENCE_S
    while child.poll() is None and time.monotonic() < deadline:
        try:
            most = max(most, process.num_threads())
        except psutil.Error:
            break
        time.sleep(0.005)
    return most
