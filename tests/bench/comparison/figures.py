"""What is measured beside the lines and the behaviour: after SIGKILL, and of ten thousand chunks."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing
from typing import NamedTuple

from tests.bench.comparison.places import Hangs, Place, Rows, place, run
from tests.bench.comparison.scenarios import DOCUMENTS, again, revived, started, stray
from tests.bench.comparison.variants import APPEND, Variant
from tests.kernels import wait_until


class Figures(NamedTuple):
    """Of one variant, killed at 10 of 24 documents and run again."""

    again: int
    """Documents that were executed twice."""
    wrong: int
    missing: int
    duplicates: int
    """Rows of the vector store."""
    appended_duplicates: int
    """The same, if chunks have no names, killed just after an insert became visible, three times."""
    first_new_s: float
    """From the first cell of the new kernel to the first document that is new."""
    bytes_a_document: float
    """Of checkpoints: what a hundred documents more add to the files, once the kernel is gone and their logs are folded in."""
    peak_threads: int
    """Of the kernel."""
    processes: int
    """Beside the kernel, counted while it ran."""


class Ten(NamedTuple):
    """Ten thousand chunks, killed at four thousand."""

    chunks: int
    at_kill: int
    """In the vector store."""
    after: int
    """Chunks of the documents that were executed after the restart."""
    in_flight: int
    """Chunks of documents that were executed before the kill and again after it."""
    stray: str
    """Missing, duplicate and wrong rows; '' if there are none."""
    answer: str
    seconds: float


def measured(variant: Variant, rows: Rows) -> Figures:
    """The figures of a variant."""
    with place(variant, DOCUMENTS) as here:
        here.kill(started(here)[0])
        before = set(here.site.asked)
        first: list[float] = []
        threading.Thread(target=_watch, args=(here, before, first), daemon=True).start()
        began = time.monotonic()
        kernel = revived(here)
        again(here, kernel)
        stored, made = here.rows(), len(here.site.asked)
        missing, surplus = rows - stored, stored - rows
        doubled = sum(count for row, count in surplus.items() if row in rows)
        return Figures(
            again=made - DOCUMENTS,
            wrong=surplus.total() - doubled,
            missing=missing.total(),
            duplicates=doubled,
            appended_duplicates=appended(variant, rows),
            first_new_s=first[0] - began if first else float("nan"),
            bytes_a_document=(checkpoint_bytes(variant, 110) - checkpoint_bytes(variant, 10)) / 100,
            peak_threads=here.peak_threads,
            processes=len(here.processes),
        )


def checkpoint_bytes(variant: Variant, documents: int) -> int:
    """Size of what a variant keeps beside the vector store, when everything is done and closed."""
    if not variant.checkpoints:
        return 0
    with place(variant, documents, delay_s=0.0) as here:
        kernel = here.kernel()
        reply = run(kernel, here.cell, timeout=120)
        assert reply.status == "ok", reply.text
        kernel.close()
        for process in here.processes:
            process.terminate()
            process.wait()
        for path in here.folder.glob(variant.checkpoints.rstrip("*")):
            with closing(sqlite3.connect(path)) as database:  # a write-ahead log is no lasting size: it is folded in
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return sum(path.stat().st_size for path in here.folder.glob(variant.checkpoints))


def _watch(here: Place, before: set[str], first: list[float]) -> None:
    seen = len(here.site.asked)
    due = time.monotonic() + 100
    while not first and time.monotonic() < due:
        if any(name not in before for name in here.site.asked[seen:]):
            first.append(time.monotonic())
        time.sleep(0.005)


def appended(variant: Variant, rows: Rows) -> int:
    """Duplicates after three kills, each as soon as one more document is seen in the vector store."""
    sizes = [
        sum(1 for document, _, _ in rows.elements() if document == name) for name in sorted({row[0] for row in rows})
    ]
    with place(variant, DOCUMENTS, APPEND) as here:
        for documents in (6, 12, 18):
            kernel = revived(here)
            kernel.start(here.cell)
            wanted = sum(sizes[:documents])
            wait_until(lambda: _count(here) >= wanted, describing=f"{wanted} rows", timeout=40)  # noqa: B023
            here.kill(kernel)
        kernel = revived(here)
        again(here, kernel)
        surplus = here.rows() - rows
        return sum(count for row, count in surplus.items() if row in rows)


def _count(here: Place) -> int:
    path = here.folder / "vectors.db"
    if not path.exists():
        return 0
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            return int(database.execute("SELECT count(*) FROM chunks").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def ten_thousand(variant: Variant, rows: Rows, documents: int) -> Ten:
    """Killed when four tenths of the chunks are in the vector store; the same cells in a new kernel."""
    sizes: dict[str, int] = {}
    for document, _, _ in rows.elements():
        sizes[document] = sizes.get(document, 0) + 1
    began = time.monotonic()
    with place(variant, documents, delay_s=0.0) as here:
        kernel = here.kernel()
        kernel.start(here.cell)
        wanted = rows.total() * 4 // 10
        wait_until(lambda: _count(here) >= wanted, describing=f"{wanted} rows", timeout=600)
        here.kill(kernel)
        at_kill, before = _count(here), len(here.site.asked)
        kernel = revived(here)
        reply = run(kernel, here.cell, timeout=600)
        if reply.status != "ok":
            raise Hangs(reply.text)
        after = here.site.asked[before:]
        seen = set(here.site.asked[:before])
        answer = run(kernel, next(cell.source for cell in variant.cells() if cell.id == "answer")).result
        return Ten(
            chunks=rows.total(),
            at_kill=at_kill,
            after=sum(sizes.get(name, 0) for name in after),
            in_flight=sum(sizes.get(name, 0) for name in after if name in seen),
            stray=stray(here.rows(), rows),
            answer=answer.strip("'").rpartition("/")[2],
            seconds=time.monotonic() - began,
        )
