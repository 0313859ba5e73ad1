"""What is intact of a damaged SQLite file, copied into a new one.

Rows are read by ranges of their ids, and a range that cannot be read is halved until only the rows on the damaged pages are
left out. A page whose damage makes it look like a sound one is not noticed by SQLite; signed rows and blobs are checked.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import quote

import sqlalchemy as sa

from durable_nb.errors import ConfigError, StoreUnavailable
from durable_nb.records import Checkpoint
from durable_nb.store.connect import Database
from durable_nb.store.misfits import Misfit, fitting
from durable_nb.store.tables import BLOB_PREFIX, blobs, checkpoints, meta, metadata, runs, steps
from durable_nb.store.trust import digest_of

_RANGE = 1 << 12


class Salvage(NamedTuple):
    """What came of it."""

    results: int
    """Checkpoints in the new database."""
    unreadable: int
    """Rows, of all tables, that lie on damaged pages."""
    unfit: int
    """Checkpoints that could be read, and were not what is ever saved, or whose blob is gone."""


def salvage(path: str, new: Database, *, busy_s: float = 5.0) -> Salvage:
    """Copy what can be read of the SQLite file at ``path`` into ``new``, which holds nothing yet."""
    old = sqlite3.connect(f"file:{quote(os.fsencode(path))}?mode=ro", uri=True, timeout=busy_s)
    old.text_factory = bytes  # text that is no UTF-8 spoils its row, not the reading of the others
    try:
        try:
            found = {row[0].decode() for row in old.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        except (sqlite3.Error, UnicodeDecodeError) as problem:
            remedy = "The first page is damaged, so nothing tells where the rows are. Restore a copy."
            raise StoreUnavailable(path, f"cannot be salvaged ({problem}).", remedy) from problem
        if not {"meta", "checkpoints"} <= found:
            raise ConfigError(f"{path} holds no durable_nb tables.", "There is nothing to salvage.")
        source = _Source(old)
        with new.writing() as conn:
            unfit = _copy(source, conn, found)
            results = conn.scalar(sa.select(sa.func.count()).select_from(checkpoints)) or 0
    finally:
        old.close()
    return Salvage(results, source.unreadable, unfit)


class _Source:
    """Tables of the damaged file."""

    def __init__(self, old: sqlite3.Connection) -> None:
        self._old, self.unreadable = old, 0

    def rows(self, table: sa.Table) -> Iterator[dict[str, Any]]:
        """Every row that can be read, with the columns that the table had."""
        known = {row[1].decode() for row in self._old.execute(f"PRAGMA table_info({table.name})")}
        names = [column.name for column in table.columns if column.name in known]
        texts = {column.name for column in table.columns if isinstance(column.type, sa.Text)}
        for row in self._read(f"SELECT {', '.join(names)} FROM {table.name}", *self._bounds(table)):  # noqa: S608 - ours
            try:
                yield {
                    name: value.decode() if name in texts and type(value) is bytes else value
                    for name, value in zip(names, row, strict=True)
                }
            except UnicodeDecodeError:
                self.unreadable += 1

    def _bounds(self, table: sa.Table) -> tuple[int, int]:
        """The first and the last id, from whatever tree tells: the table's own ends may be damaged."""
        ends = []
        for end in ("min", "max"):
            for source in (table.name, *(f"{table.name} INDEXED BY {index.name}" for index in table.indexes)):
                try:
                    value = self._old.execute(f"SELECT {end}(rowid) FROM {source}").fetchone()[0]  # noqa: S608 - ours
                except sqlite3.Error:
                    continue
                ends.append(value or 0)
                break
            else:  # a page holds at most 300 of our rows
                pages = self._old.execute("PRAGMA page_count").fetchone()[0]
                ends.append(0 if end == "min" else 300 * pages)
        return ends[0], ends[1]

    def _read(self, query: str, first: int, last: int) -> Iterator[Any]:
        ranges = [(low, min(low + _RANGE - 1, last)) for low in range(first, last + 1, _RANGE)]
        while ranges:
            low, high = ranges.pop()
            try:
                found = self._old.execute(f"{query} WHERE rowid BETWEEN ? AND ?", (low, high)).fetchall()
            except sqlite3.Error:
                if low == high:
                    self.unreadable += 1
                else:
                    middle = (low + high) // 2
                    ranges += [(low, middle), (middle + 1, high)]
                continue
            yield from found


def _copy(source: _Source, conn: sa.Connection, found: set[str]) -> int:
    unfit = 0
    conn.execute(sa.delete(meta).where(meta.c.key.not_in(["schema", "journal"])))  # the old id: signatures stay good
    for table in metadata.sorted_tables:
        if table.name not in found:
            continue
        for row in source.rows(table):
            if table is checkpoints:
                unfit += not _is_fit(row)
            if (table is checkpoints and not _is_fit(row)) or (table is blobs and not _is_blob(row)):
                continue
            conn.execute(sa.insert(table).prefix_with("OR IGNORE").values(row))
    apart = checkpoints.c.codec.startswith(BLOB_PREFIX, autoescape=True)
    gone = sa.and_(apart, checkpoints.c.payload.not_in(sa.select(blobs.c.digest)))
    unfit += conn.execute(sa.delete(checkpoints).where(gone)).rowcount
    _fill_places(conn)
    return unfit


def _is_fit(row: dict[str, Any]) -> bool:
    try:
        found = fitting(Checkpoint._make(row[name] for name in Checkpoint._fields))
    except (Misfit, KeyError):
        return False
    is_done = found.state == "done" and found.payload is not None and found.codec != ""
    return is_done or (found.state == "failed" and found.error is not None)


def _is_blob(row: dict[str, Any]) -> bool:
    return type(row["payload"]) is bytes and digest_of(row["payload"]) == row["digest"]


def _fill_places(conn: sa.Connection) -> None:
    """Stand-ins for lost runs and steps of results that are there; rows of other tables go with their run."""
    for column, table in ((checkpoints.c.run_id, runs), (checkpoints.c.step_id, steps)):
        lost = sa.select(column).where(column.not_in(sa.select(table.c.id))).distinct()
        for missing in conn.scalars(lost).all():
            values = {"id": missing, "name": f"salvaged-{missing}"}
            values |= {"state": "interrupted"} if table is runs else {"parts": "{}"}
            conn.execute(sa.insert(table).values(values))
    for table in metadata.sorted_tables:
        if "run_id" in table.c:
            conn.execute(sa.delete(table).where(table.c.run_id.not_in(sa.select(runs.c.id))))
