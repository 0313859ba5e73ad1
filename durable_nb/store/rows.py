"""Write checkpoints as rows: the statement is compiled once, the record goes to the driver as it is."""

from __future__ import annotations

import sys
from functools import lru_cache, partial
from itertools import accumulate, chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from durable_nb.records import Checkpoint, Costed
from durable_nb.store.dialects import insert
from durable_nb.store.tables import BLOB_BYTES, BLOB_PREFIX, blobs, checkpoints, costs, outputs
from durable_nb.store.trust import STORED_RISKY, Seal, digest_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.dialects import postgresql, sqlite

SIZES = (128, 16, 4, 1)
"""Rows of an INSERT. sqlite3 gives the GIL away at every row of executemany, and with a busy main thread its return takes up
to 5 ms: 2,000 rows took 4.4 s so, in statements of 128 or 512 0.05 s. Only a few sizes: to prepare one that is new costs two
or three times what it takes to execute it."""

HEAVY_SIZES, LIGHT_BYTES = (4, 1), 32 << 10
"""The same where a result takes more bytes than this: those of a statement are copied together."""

NUMBERS_PARAMETERS = not (3, 12) <= sys.version_info < (3, 12, 5)
"""Whether sqlite3 takes ?1 for what it is. Early versions of Python 3.12 warn of it, and a warning may be an error."""

_MOST = {"postgresql": (1 << 29) - 1024, "sqlite": 1_000_000_000 - 1024}
"""Bytes of one payload. PostgreSQL takes twice as much, and then cannot give it back: it does so in hexadecimal digits, of which
a message holds a gigabyte."""

_WIDTH = 16  # of a key
_PAYLOAD = itemgetter(Checkpoint._fields.index("payload"))

BLOB_LOCK = 0x646E6202
"""PostgreSQL advisory lock, shared by who refers to blobs, exclusive for who drops orphans."""


class TooLarge(ValueError):
    """A payload has more bytes than the database takes."""


def upsert(conn: sa.Connection, rows: list[Checkpoint], held: set[int], seal: Seal | None) -> None:
    """Write checkpoints, signed (without a seal they are foreign to everybody); one that is there already is replaced, but
    never a result by a failure.

    In runs that are not ``held``, never a result at all. That is the fence: who took a run over has perhaps returned
    another value for a call that we had in flight.
    """
    _note_beside(conn, [row for row in rows if type(row) is Costed and row.run_id in held], seal)
    most = _largest(rows)
    rows, sizes = _as_stored(conn, rows, seal, most), SIZES if most <= LIGHT_BYTES else HEAVY_SIZES
    if {row[0] for row in rows} <= held:
        _write(conn, rows, _upsert_parts(conn.dialect), sizes)
        return
    _write(conn, [row for row in rows if row.run_id in held], _upsert_parts(conn.dialect), sizes)
    _write(conn, [row for row in rows if row.run_id not in held], _add_parts(conn.dialect), sizes)


def _as_stored(conn: sa.Connection, rows: list[Checkpoint], seal: Seal | None, most: int) -> list[Checkpoint]:
    """Large payloads apart, and what could run code signed; ``most``: bytes of the largest one."""
    if most > _MOST[conn.dialect.name]:
        raise TooLarge(
            f"it takes {most:,} bytes, and this database at most {_MOST[conn.dialect.name]:,} for one result"
        )
    if most > BLOB_BYTES:
        rows = _with_blobs_apart(conn, rows)
    if seal is None or not any(codec.startswith(STORED_RISKY) for codec in {row.codec for row in rows}):
        return rows
    return [seal.signed(row) if row.codec.startswith(STORED_RISKY) else row for row in rows]


def _largest(rows: list[Checkpoint]) -> int:
    """Bytes of the largest payload."""
    return max(map(len, filter(None, map(_PAYLOAD, rows))), default=0)


def _write(conn: sa.Connection, rows: list[Checkpoint], parts: tuple[str, str, str], sizes: tuple[int, ...]) -> None:
    head, values, tail = parts
    if conn.dialect.name == "postgresql":  # executemany is pipelined there, and may hold the same key twice
        if rows:
            conn.exec_driver_sql(head + values + tail, list(rows))
        return
    others = rows
    if NUMBERS_PARAMETERS:  # in either order: a result stays before a failure
        results = [row for row in rows if row.state == "done"]
        others = [row for row in rows if row.state != "done"] if len(results) < len(rows) else []
        _insert_all(conn, results, sizes, partial(_packed_text, tail), _packed)
    _insert_all(conn, others, sizes, partial(_text, head, values, tail), _flat)


def _insert_all(
    conn: sa.Connection,
    rows: list[Checkpoint],
    sizes: tuple[int, ...],
    text: Callable[[int], str],
    parameters: Callable[[list[Checkpoint]], tuple[Any, ...]],
) -> None:
    start = 0
    for size in sizes:
        while len(rows) - start >= size:
            conn.exec_driver_sql(text(size), parameters(rows[start : start + size]))
            start += size


@lru_cache(maxsize=64)
def _text(head: str, values: str, tail: str, count: int) -> str:
    return head + ", ".join([values] * count) + tail


def _flat(rows: list[Checkpoint]) -> tuple[Any, ...]:
    return tuple(chain.from_iterable(rows))


@lru_cache(maxsize=64)
def _packed_text(tail: str, count: int) -> str:
    """The INSERT of so many results. Their keys and payloads are one piece, ?1, out of which SQLite cuts them: to hand over a
    bytes or None takes sqlite3 0.7 to 1 µs, a number a tenth of that.
    """
    head = "INSERT INTO checkpoints (key, payload, run_id, step_id, position, label, attempts, started, seconds, codec, state)"
    keys = (_WIDTH * n + 1 for n in range(count))
    lines = (f"(substr(?1, {key}, {_WIDTH}), substr(?1, ?, ?), ?, ?, ?, ?, ?, ?, ?, ?, 'done')" for key in keys)
    return f"{head} VALUES {', '.join(lines)}{tail}"


def _packed(rows: list[Checkpoint]) -> tuple[Any, ...]:
    runs, steps, keys, _, positions, labels, attempts, _, started, seconds, codecs, payloads = zip(*rows, strict=True)
    if set(map(len, keys)) != {_WIDTH}:  # the others would be cut out of the wrong places
        raise ValueError(f"a key has {_WIDTH} bytes")
    sizes = list(map(len, payloads))
    starts = accumulate(sizes, initial=_WIDTH * len(rows) + 1)  # one more than there are: where the last one ends
    columns = zip(starts, sizes, runs, steps, positions, labels, attempts, started, seconds, codecs, strict=False)
    return (b"".join((*keys, *payloads)), *chain.from_iterable(columns))


def settle(conn: sa.Connection, row: Checkpoint, seal: Seal) -> bool:
    """Write a result unless its call has one; whether it was written. Two who try it at once wait for each other."""
    (stored,) = _as_stored(conn, [row], seal, _largest([row]))
    adding = insert(conn.dialect, checkpoints).values(stored._asdict())
    statement = adding.on_conflict_do_update(
        index_elements=["run_id", "step_id", "key"],
        set_={name: adding.excluded[name] for name in Checkpoint._fields[3:]},
        where=checkpoints.c.state != _IS_DONE,
    )
    is_ours = conn.scalar(statement.returning(checkpoints.c.id)) is not None  # on PostgreSQL rowcount did not tell
    if is_ours and isinstance(row, Costed):
        _note_beside(conn, [row], seal)
    return is_ours


def _note_beside(conn: sa.Connection, rows: list[Costed], seal: Seal | None) -> None:
    """What stands in tables beside the checkpoints."""
    paid = [_name(row) | {"cost": row.cost} for row in rows if row.cost]
    _put(conn, costs, paid)
    spoken = []
    for row in rows:
        if row.printed is not None:
            lines, shown, logged, said, _ = row.printed
            signature = "" if seal is None else seal.of_output(*row[:3], said)
            counts = {"lines": lines, "shown": shown, "logged": logged}
            spoken.append(_name(row) | counts | {"signature": signature, "said": said})
    _put(conn, outputs, spoken)


def _name(row: Checkpoint) -> dict[str, Any]:
    return {"run_id": row.run_id, "step_id": row.step_id, "key": row.key}


def _put(conn: sa.Connection, table: sa.Table, values: list[dict[str, Any]]) -> None:
    if values:
        statement = insert(conn.dialect, table)
        names = values[0].keys() - {"run_id", "step_id", "key"}
        again = {name: statement.excluded[name] for name in names}
        keyed = ["run_id", "step_id", "key"]
        conn.execute(statement.on_conflict_do_update(index_elements=keyed, set_=again), values)


_IS_DONE: sa.ColumnElement[str] = sa.literal_column("'done'")


@lru_cache(maxsize=8)
def _upsert_parts(dialect: sa.Dialect) -> tuple[str, str, str]:
    adding = _insert(dialect)
    return _parts(dialect, adding, sa.or_(adding.excluded.state == _IS_DONE, checkpoints.c.state != _IS_DONE))


@lru_cache(maxsize=8)
def _add_parts(dialect: sa.Dialect) -> tuple[str, str, str]:
    return _parts(dialect, _insert(dialect), checkpoints.c.state != _IS_DONE)


def _insert(dialect: sa.Dialect) -> sqlite.Insert | postgresql.Insert:
    columns = [checkpoints.c[field] for field in Checkpoint._fields]
    line = {column.name: sa.bindparam(f"{column.name}_", type_=column.type) for column in columns}
    return insert(dialect, checkpoints).values([line])  # a list: PostgreSQL would add RETURNING to a plain one


def _parts(
    dialect: sa.Dialect, adding: sqlite.Insert | postgresql.Insert, replacing: sa.ColumnElement[bool]
) -> tuple[str, str, str]:
    """What stands before, in and after the parentheses of VALUES, if a row that is there is replaced on a condition."""
    statement = adding.on_conflict_do_update(
        index_elements=["run_id", "step_id", "key"],
        set_={field: adding.excluded[field] for field in Checkpoint._fields[3:]},
        where=replacing,
    )
    text = str(statement.compile(dialect=dialect))
    head, _, tail = text.partition(" VALUES ")
    values, _, tail = tail.partition(" ON CONFLICT ")
    return f"{head} VALUES ", values, f" ON CONFLICT {tail}"


def _with_blobs_apart(conn: sa.Connection, rows: list[Checkpoint]) -> list[Checkpoint]:
    """The rows with large payloads replaced by digests, their contents written."""
    apart, content = [], {}
    for row in rows:
        if row.payload is not None and len(row.payload) > BLOB_BYTES:
            digest = digest_of(row.payload)
            content[digest] = row.payload
            apart.append(row._replace(codec=BLOB_PREFIX + row.codec, payload=digest))
        else:
            apart.append(row)
    if conn.dialect.name == "postgresql":
        conn.execute(sa.select(sa.func.pg_advisory_xact_lock_shared(BLOB_LOCK)))
    adding = insert(conn.dialect, blobs).on_conflict_do_nothing()
    for digest in sorted(content):  # in one order everywhere, or two writers could wait for each other
        conn.execute(adding.values(digest=digest, payload=content[digest]))
    return apart


def by_run(rows: list[Checkpoint]) -> dict[int, list[Checkpoint]]:
    """The checkpoints of each run, by its id."""
    run_ids = {row[0] for row in rows}
    if len(run_ids) == 1:
        return {run_ids.pop(): rows}
    return {run_id: [row for row in rows if row[0] == run_id] for run_id in run_ids}
