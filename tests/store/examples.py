"""What the store tests save."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from durable_nb.records import Checkpoint, Mosaic, Owner, Run
from durable_nb.store import Store, owner_of_this_process  # noqa: F401

ROOT = Path(__file__).parents[2]


class Counts:
    """A ledger that only counts."""

    def __init__(self, total: int | None = None) -> None:
        self.total, self.done = total, 0
        self.batches: list[int] = []
        self.waits: list[str] = []

    def counts_after(self, batch: Sequence[Checkpoint]) -> tuple[int | None, int, int, int]:
        return self.total, self.done + len(batch), 0, 0

    def committed(self, batch: Sequence[Checkpoint]) -> None:
        if batch:
            self.done += len(batch)
            self.batches.append(len(batch))

    def figures(self) -> dict[str, Any]:
        return {}

    def mosaic(self) -> Mosaic | None:
        return None

    def held_up(self, by: str) -> None:
        if by != (self.waits[-1] if self.waits else ""):
            self.waits.append(by)


def key(n: int) -> bytes:
    """16 bytes for a number."""
    return n.to_bytes(16, "big")


def result(run: int, step: int, n: int, **changes: Any) -> Checkpoint:
    """Document ``n`` with a result."""
    row = Checkpoint(run, step, key(n), "done", n, f"doc {n}", 1, None, 1e9, 0.5, "raw", b"payload %d" % n)
    return row._replace(**changes)


def failure(run: int, step: int, n: int, **changes: Any) -> Checkpoint:
    """Document ``n`` that gave up."""
    nothing = {"state": "failed", "error": f"ValueError: {n}\nTraceback: …", "codec": "", "payload": None}
    return result(run, step, n, **nothing | changes)


def begin(store: Store, name: str = "embed") -> tuple[Run, Owner, int]:
    """A run of this process with one step."""
    owner = owner_of_this_process("kernel-1")
    run = store.begin(name, owner=owner, notebook="a.ipynb", source="cell")
    return run, owner, store.step("embed", fingerprint="one", parts={"def:embed": "1"}, source="def embed(): ...")


def python(code: str, *arguments: str) -> subprocess.Popen[str]:
    """Another process that runs ``code`` with this checkout on its path; its output is a pipe."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", "from tests.store.examples import *\n" + code, *arguments]
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
