"""Cells for the tests of this folder, and what became of them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from tests.kernels import Kernel, lines

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Start = Callable[..., Kernel]

LOAD = "%load_ext durable_nb\nimport asyncio, inspect, threading, time\nfrom durable_nb import step"
STEPS = """
def executed(doc):
    with open("executed.log", "a") as log:
        log.write(f"{doc}\\n")

@step
def embed(doc):
    executed(doc)
    if doc == "bad":
        raise ValueError("bad page")
    return doc.upper()

@step
async def aembed(doc):
    executed(doc)
    await asyncio.sleep(0)
    return doc.upper()

@step
def slow(doc):
    executed(doc)
    time.sleep(0.05)
    return doc

@step
async def aslow(doc):
    executed(doc)
    await asyncio.sleep(0.05)
    return doc
"""
LIVE = "from durable_nb.engine.session import current as _session\n[live.name for live in _session.live]"
IN_CELL = "[live.name for live in __import__('durable_nb').engine.session.current.live]"


def stored(folder: Path, name: str) -> tuple[str, int, int, int] | None:
    """(state, done, restored, failed) of a run, read with nothing but sqlite3; None if there is none."""
    path = folder / ".durable_nb" / "durable.db"
    if not path.exists():
        return None
    with closing(sqlite3.connect(path)) as connection:
        question = "SELECT state, done, restored, failed FROM runs WHERE name = ?"
        return connection.execute(question, (name,)).fetchone()


def executed(one: Kernel, among: str) -> list[str]:
    """The documents whose name begins with ``among`` that a step was called with, in order."""
    return [line for line in lines(one.folder / "executed.log") if line.startswith(among)]
