"""Results by key, many at a time: never one row at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import repeat
from typing import Any

import sqlalchemy as sa

from durable_nb.codecs import RISKY
from durable_nb.records import STORED, Saved, made
from durable_nb.store.misfits import number_of
from durable_nb.store.tables import BLOB_PREFIX, blobs, checkpoints, costs
from durable_nb.store.trust import Seal, digest_of

CHUNK = 1_000
"""Keys per statement: SQLite takes 32,766 parameters, and the text of a statement is cached by its length."""

GAP = 16
"""``fetch`` looks at most this many ids per wanted row ahead, so that another run's million rows are not read."""

_c = checkpoints.c
_DONE = _c.state == sa.literal_column("'done'")
_FOUND = (_c.seconds, _c.step_id, _c.position)
_SAVED = (_c.codec, _c.payload, *_FOUND)


def look_up(
    conn: sa.Connection, run_id: int, step_ids: Sequence[int], keys: Sequence[bytes], seal: Seal
) -> dict[bytes, Saved]:
    """Finished calls among ``keys``; a step earlier in ``step_ids`` wins."""

    def opened(rows: list[Any]) -> list[tuple[bytes, Saved]]:
        return [(key, saved) for _, key, saved in _opened(conn, rows, seal, repeat(run_id))]

    return _of_versions(conn, run_id, step_ids, keys, _SAVED, opened)


def found(conn: sa.Connection, run_id: int, step_ids: Sequence[int], keys: Sequence[bytes]) -> dict[bytes, Saved]:
    """As `look_up`, with the payloads left where they are."""

    def left(rows: list[Any]) -> list[tuple[bytes, Saved]]:
        return [(key, Saved(STORED, key, *rest)) for _, key, *rest in rows]

    return _of_versions(conn, run_id, step_ids, keys, _FOUND, left)


def _of_versions(
    conn: sa.Connection,
    run_id: int,
    step_ids: Sequence[int],
    keys: Sequence[bytes],
    columns: tuple[Any, ...],
    read: Callable[[list[Any]], list[tuple[bytes, Saved]]],
) -> dict[bytes, Saved]:
    found: dict[bytes, Saved] = {}
    for step_id in step_ids:
        wanted = [key for key in keys if key not in found] if found else list(keys)
        found.update(read(_by_keys(conn, run_id, step_id, wanted, columns)))
    return found


def costs_of(conn: sa.Connection, run_id: int, calls: Iterable[tuple[int, bytes]]) -> dict[tuple[int, bytes], float]:
    """What each of these results had cost, by the id of its step and its key."""
    by_step: dict[int, list[bytes]] = {}
    for step_id, key in calls:
        by_step.setdefault(step_id, []).append(key)
    found: dict[tuple[int, bytes], float] = {}
    for step_id, wanted in by_step.items():
        here = sa.and_(costs.c.run_id == run_id, costs.c.step_id == step_id)
        for start in range(0, len(wanted), CHUNK):
            query = sa.select(costs.c.key, costs.c.cost).where(here, costs.c.key.in_(wanted[start : start + CHUNK]))
            found.update(((step_id, row[0]), number_of(row[1])) for row in conn.execute(query))
    return found


def known(conn: sa.Connection, run_id: int, step_ids: Sequence[int]) -> dict[bytes, int]:
    """Checkpoint id by key of finished calls, from the key index alone; a step earlier in ``step_ids`` wins."""
    found: dict[bytes, int] = {}
    for step_id in reversed(step_ids):
        # The state is not in the key index; failed rows, few, are taken away through their own.
        here = sa.and_(_c.run_id == run_id, _c.step_id == step_id)
        failed = sa.select(_c.id).where(here, _c.state == sa.literal_column("'failed'"))
        rows = conn.execute(sa.select(_c.key, _c.id).where(here, _c.id.not_in(failed)))
        found.update((row[0], row[1]) for row in rows.all())
    return found


def names(conn: sa.Connection, run_id: int, step_ids: Sequence[int], most: int) -> list[bytes]:
    """Up to ``most`` keys of checkpoints, from the key index alone; those of failures are among them."""
    query = sa.select(_c.key).where(_c.run_id == run_id, _c.step_id.in_(list(step_ids))).limit(most)
    return list(conn.scalars(query).all())


def fetch(
    conn: sa.Connection, run_ids: Sequence[int], step_ids: Sequence[int], seal: Seal, *, from_id: int, limit: int
) -> list[tuple[int, bytes, Saved]]:
    """Finished calls in the order they were saved, from ``from_id`` on."""
    query = (
        sa.select(_c.id, _c.run_id, _c.key, *_SAVED)
        .where(_c.id >= from_id, _c.id < from_id + GAP * limit, _DONE)
        # "+ 0" keeps the key index out: it would fetch and sort the whole run for every page.
        .where(_c.run_id.op("+")(0).in_(list(run_ids)), _c.step_id.in_(list(step_ids)))
        .order_by(_c.id)
        .limit(limit)
    )
    rows = conn.execute(query).all()
    return _opened(conn, [(row[0], *row[2:]) for row in rows], seal, [row[1] for row in rows])


def following(
    conn: sa.Connection, run_id: int, step_id: int, seal: Seal, *, from_id: int, limit: int
) -> list[tuple[int, bytes, Saved]]:
    """The same of one step."""
    return _opened(conn, _following(conn, run_id, step_id, from_id, limit, _SAVED), seal, repeat(run_id))


def found_following(
    conn: sa.Connection, run_id: int, step_id: int, *, from_id: int, limit: int
) -> list[tuple[int, bytes, Saved]]:
    """The same with the payloads left where they are."""
    if not (rows := _following(conn, run_id, step_id, from_id, limit, _FOUND)):
        return []
    ids, keys, *others = zip(*rows, strict=True)
    return list(zip(ids, keys, map(made, repeat(Saved), zip(repeat(STORED), keys, *others, strict=False)), strict=True))


def id_of(conn: sa.Connection, run_id: int, step_id: int, key: bytes) -> int | None:
    """The checkpoint of one call."""
    return conn.scalar(sa.select(_c.id).where(_c.run_id == run_id, _c.step_id == step_id, _c.key == key))


def blob(conn: sa.Connection, digest: bytes) -> bytes | None:
    """A large payload, if it is there and is what it is called."""
    found = conn.scalar(sa.select(blobs.c.payload).where(blobs.c.digest == digest))
    return found if type(found) is bytes and digest_of(found) == digest else None


def _by_keys(
    conn: sa.Connection, run_id: int, step: int, keys: list[bytes], columns: tuple[Any, ...] = _SAVED
) -> list[Any]:
    rows: list[Any] = []
    if conn.dialect.name == "postgresql":  # one array instead of thousands of parameters
        array = sa.bindparam("keys", keys, type_=sa.ARRAY(sa.LargeBinary))
        return list(conn.execute(_finished(run_id, step, columns).where(_c.key == sa.any_(array))).all())
    for start in range(0, len(keys), CHUNK):
        chunk = keys[start : start + CHUNK]
        text = _by_keys_sql(len(chunk), conn.dialect, columns)
        rows += conn.exec_driver_sql(text, (run_id, step, *chunk)).all()
    return rows


def _finished(run_id: int, step: int, columns: tuple[Any, ...]) -> sa.Select[Any]:
    return sa.select(_c.id, _c.key, *columns).where(_c.run_id == run_id, _c.step_id == step, _DONE)


def _following(
    conn: sa.Connection, run_id: int, step_id: int, from_id: int, limit: int, columns: tuple[Any, ...]
) -> list[Any]:
    text = _following_sql(conn.dialect, columns)
    return list(conn.exec_driver_sql(text, (from_id, from_id + GAP * limit, run_id, step_id, limit)).all())


@lru_cache(maxsize=8)
def _following_sql(dialect: sa.Dialect, columns: tuple[Any, ...]) -> str:
    """As text, for SQLAlchemy would convert every key and payload."""
    within = sa.and_(_c.id >= sa.bindparam("first"), _c.id < sa.bindparam("end"), _DONE)
    run, step = (column.op("+")(sa.literal_column("0")) for column in (_c.run_id, _c.step_id))  # as in `fetch`
    query = sa.select(_c.id, _c.key, *columns).where(within, run == sa.bindparam("run"), step == sa.bindparam("step"))
    text = str(query.order_by(_c.id).compile(dialect=dialect))
    return f"{text} LIMIT {'%s' if dialect.name == 'postgresql' else '?'}"


@lru_cache(maxsize=64)
def _by_keys_sql(count: int, dialect: sa.Dialect, columns: tuple[Any, ...]) -> str:
    """The look-up as text: SQLAlchemy would name and convert every one of its parameters, at each execution."""
    query = _finished(0, 0, columns).where(_c.key.in_(sa.bindparam("keys", expanding=True)))
    return str(query.compile(dialect=dialect)).replace("__[POSTCOMPILE_keys]", ", ".join("?" * count))


def _opened(
    conn: sa.Connection, rows: Sequence[Any], seal: Seal, run_ids: Iterable[int]
) -> list[tuple[Any, bytes, Saved]]:
    """Rows (any, key and `_SAVED`) for whoever decodes them, in the same order. One whose blob is gone, or is another,
    counts as never saved.
    """
    if not rows:
        return []
    names, keys, codecs, *columns = zip(*rows, strict=True)
    opened = seal.opened(run_ids, keys, codecs, *columns)
    if any(codec.startswith(BLOB_PREFIX) for codec in set(codecs)):
        whole = _with_blobs(conn, opened)
        return [(*row[:2], saved) for row, saved in zip(rows, whole, strict=True) if saved is not None]
    return list(zip(names, keys, opened, strict=True))


def _with_blobs(conn: sa.Connection, opened: list[Saved]) -> list[Saved | None]:
    """The same with digests replaced by their blobs."""
    digests = sorted({saved.payload for saved in opened if saved.codec.startswith(BLOB_PREFIX)})
    content: dict[bytes, bytes] = {}
    for start in range(0, len(digests), CHUNK):
        query = sa.select(blobs.c.digest, blobs.c.payload).where(blobs.c.digest.in_(digests[start : start + CHUNK]))
        content.update((row[0], row[1]) for row in conn.execute(query).all())
    whole: list[Saved | None] = []
    for saved in opened:
        if not saved.codec.startswith(BLOB_PREFIX):
            whole.append(saved)
            continue
        codec, payload = saved.codec.removeprefix(BLOB_PREFIX), content.get(saved.payload)
        if payload is None or (codec.startswith(RISKY) and digest_of(payload) != saved.payload):
            whole.append(None)  # gone; or another one: the row is signed, and names its blob by the digest
        else:
            whole.append(saved._replace(codec=codec, payload=payload))
    return whole
