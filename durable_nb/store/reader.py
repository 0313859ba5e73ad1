"""Bulk look-ups and listings: never one row at a time, and listings never read payloads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from durable_nb.codecs import RISKY
from durable_nb.records import LINK, STORED, Control, Document, Event, Failure, Group, Mosaic, Saved, StepVersion
from durable_nb.store.misfits import Misfit, fitting, inflated, json_of
from durable_nb.store.tables import (
    BLOB_PREFIX,
    FAILED,
    RESULT,
    blobs,
    checkpoints,
    choices,
    costs,
    events,
    mosaics,
    runs,
    steps,
)
from durable_nb.store.tables import controls as _controls
from durable_nb.store.trust import Seal, digest_of

CHUNK = 1_000
"""Keys per statement: SQLite takes 32,766 parameters, and the text of a statement is cached by its length."""

GAP = 16
"""``fetch`` looks at most this many ids per wanted row ahead, so that another run's million rows are not read."""

Key = TypeVar("Key")

_c = checkpoints.c
_DONE = _c.state == sa.literal_column("'done'")
_RUNS = sa.select(runs, mosaics.c.version).select_from(runs.outerjoin(mosaics, mosaics.c.run_id == runs.c.id))
_FOUND = (_c.seconds, _c.step_id, _c.position)
_SAVED = (_c.codec, _c.payload, *_FOUND)


def look_up(
    conn: sa.Connection, run_id: int, step_ids: Sequence[int], keys: Sequence[bytes], seal: Seal
) -> dict[bytes, Saved]:
    """Finished calls among ``keys``; a step earlier in ``step_ids`` wins."""
    found: dict[bytes, Saved] = {}
    for step_id in step_ids:
        wanted = [key for key in keys if key not in found] if found else list(keys)
        rows = _by_keys(conn, run_id, step_id, wanted)
        found.update(_resolved(conn, [(row[0], seal.opened(run_id, *row)) for row in rows]))
    return found


def found(conn: sa.Connection, run_id: int, step_ids: Sequence[int], keys: Sequence[bytes]) -> dict[bytes, Saved]:
    """As `look_up`, with the payloads left where they are."""
    seen: dict[bytes, Saved] = {}
    for step_id in step_ids:
        wanted = [key for key in keys if key not in seen] if seen else list(keys)
        rows = _by_keys(conn, run_id, step_id, wanted, _FOUND)
        seen.update((key, Saved(STORED, key, *rest)) for key, *rest in rows)
    return seen


def cost_of(conn: sa.Connection, run_id: int, calls: Iterable[tuple[int, bytes]]) -> float:
    """What these results had cost together, by the id of their step and their key."""
    by_step: dict[int, list[bytes]] = {}
    for step_id, key in calls:
        by_step.setdefault(step_id, []).append(key)
    total = 0.0
    for step_id, wanted in by_step.items():
        here = sa.and_(costs.c.run_id == run_id, costs.c.step_id == step_id)
        for start in range(0, len(wanted), CHUNK):
            query = sa.select(sa.func.sum(costs.c.cost)).where(here, costs.c.key.in_(wanted[start : start + CHUNK]))
            total += conn.scalar(query) or 0.0
    return total


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


def fetch(
    conn: sa.Connection, run_id: int, step_ids: Sequence[int], seal: Seal, *, from_id: int, limit: int
) -> list[tuple[int, bytes, Saved]]:
    """Finished calls in the order they were saved, from ``from_id`` on."""
    query = (
        sa.select(_c.id, _c.key, *_SAVED)
        .where(_c.id >= from_id, _c.id < from_id + GAP * limit, _DONE)
        # "+ 0" keeps the key index out: it would fetch and sort the whole run for every page.
        .where(_c.run_id.op("+")(0) == run_id, _c.step_id.in_(list(step_ids)))
        .order_by(_c.id)
        .limit(limit)
    )
    rows = conn.execute(query).all()
    whole = dict(_resolved(conn, [(row[0], seal.opened(run_id, *row[1:])) for row in rows]))
    return [(row[0], row[1], whole[row[0]]) for row in rows if row[0] in whole]


def blob(conn: sa.Connection, digest: bytes) -> bytes | None:
    """A large payload, if it is there and is what it is called."""
    found = conn.scalar(sa.select(blobs.c.payload).where(blobs.c.digest == digest))
    return found if type(found) is bytes and digest_of(found) == digest else None


def all_runs(conn: sa.Connection) -> list[Any]:
    """Rows of every run with the version of its mosaic, the one started or ended last first."""
    return list(conn.execute(_RUNS.order_by(runs.c.updated.desc(), runs.c.id.desc())))


def run_named(conn: sa.Connection, name: str) -> Any:
    """The same of one run, None when there is none."""
    return conn.execute(_RUNS.where(runs.c.name == name)).one_or_none()


def run_of_id(conn: sa.Connection, run_id: int) -> Any:
    """The same by its id."""
    return conn.execute(_RUNS.where(runs.c.id == run_id)).one_or_none()


def step_id(conn: sa.Connection, name: str, fingerprint: str) -> int | None:
    """Id of one version of a step."""
    return conn.scalar(sa.select(steps.c.id).where(steps.c.name == name, steps.c.fingerprint == fingerprint))


def step_name(conn: sa.Connection, step: int) -> str:
    """What a version is a version of."""
    return conn.scalar(sa.select(steps.c.name).where(steps.c.id == step)) or ""


def versions(conn: sa.Connection, run_id: int, name: str | None = None) -> list[StepVersion]:
    """Versions of a step, or of all steps, with finished calls in this run, the one in use last first."""
    here = sa.and_(_c.run_id == run_id, _c.step_id == steps.c.id)
    total = sa.select(sa.func.count()).select_from(checkpoints).where(here).scalar_subquery()
    failed = sa.select(sa.func.count()).select_from(checkpoints)
    failed_here = failed.where(here, _c.state == sa.literal_column("'failed'")).scalar_subquery()
    query = sa.select(steps, (total - failed_here).label("saved"))
    query = query.where(steps.c.kind != LINK) if name is None else query.where(steps.c.name == name)
    own = sa.and_(choices.c.run_id == run_id, choices.c.step_id == steps.c.id, choices.c.older_step_id == steps.c.id)
    used = sa.func.coalesce(sa.select(choices.c.at).where(own).scalar_subquery(), 0.0)
    rows = conn.execute(query.order_by(used.desc(), steps.c.id.desc()))
    return [
        fitting(StepVersion(row.id, row.name, row.fingerprint, json_of(row.parts, dict), row.source, row.saved))
        for row in rows
        if row.saved
    ]


def choices_of(conn: sa.Connection, run_id: int, step: int) -> dict[int, str]:
    """What the user decided about older versions of a step."""
    query = sa.select(choices.c.older_step_id, choices.c.choice)
    found = conn.execute(query.where(choices.c.run_id == run_id, choices.c.step_id == step))
    return {row[0]: row[1] for row in found.all()}


def failures(conn: sa.Connection, run_id: int, *, limit: int, offset: int) -> list[Failure]:
    """Documents that gave up and have no result since, in their order."""
    query = _given_up(run_id, _c.position, _c.label, _c.error, _c.attempts).order_by(_c.position, _c.id)
    found = []
    for position, label, error, attempts in conn.execute(query.limit(limit).offset(offset)):
        line, _, traceback = str(error or "").partition("\n")
        found.append(fitting(Failure(position, label, line, attempts, traceback)))
    return found


def failure_groups(conn: sa.Connection, run_id: int, *, limit: int) -> list[Group]:
    """How many of those there are for each first line of an error."""
    if conn.dialect.name == "postgresql":
        line: sa.ColumnElement[str] = sa.func.split_part(_c.error, "\n", 1)
    else:
        line = sa.func.substr(_c.error, 1, sa.func.instr(_c.error.concat("\n"), "\n") - 1)
    lines = _given_up(run_id, line.label("line")).subquery()
    count = sa.func.count().label("count")
    query = sa.select(lines.c.line, count).group_by(lines.c.line).order_by(count.desc(), lines.c.line).limit(limit)
    return [fitting(Group(*row)) for row in conn.execute(query)]


def _given_up(run_id: int, *columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    other, name, version = checkpoints.alias(), steps.alias(), steps.alias()
    # A document that failed under an older version and has been tried again is not a failure, or not this one. Version by
    # version, so that each look is one of the key index: as a join, SQLite read the whole run for every failure.
    ended_otherwise = sa.select(other.c.id).where(
        other.c.run_id == _c.run_id,
        other.c.step_id == version.c.id,
        other.c.key == _c.key,
        sa.or_(other.c.state == sa.literal_column("'done'"), other.c.step_id > _c.step_id),
    )
    ended_otherwise = ended_otherwise.correlate(checkpoints, version)
    superseded = sa.select(version.c.id).where(version.c.name == name.c.name, ended_otherwise.exists())
    superseded = superseded.correlate(checkpoints, name)
    failed = sa.select(*columns).join_from(checkpoints, name, name.c.id == _c.step_id)
    return failed.where(_c.run_id == run_id, FAILED, ~superseded.exists())


def history(conn: sa.Connection, run_id: int) -> list[Event]:
    """What happened to a run, oldest first."""
    query = sa.select(events.c.at, events.c.kind, events.c.detail).where(events.c.run_id == run_id)
    return [fitting(Event(*row)) for row in conn.execute(query.order_by(events.c.id))]


def mosaic(conn: sa.Connection, run_id: int) -> Mosaic | None:
    """The state of every document."""
    row = conn.execute(sa.select(mosaics.c.version, mosaics.c.states).where(mosaics.c.run_id == run_id)).one_or_none()
    if row is None:
        return None
    found = fitting(Mosaic(row.version, inflated(row.states)))
    if not 0 <= found.version < 1 << 32:  # pages get it as 32 bits
        raise Misfit(f"the version of a mosaic is {found.version}")
    return found


def document(conn: sa.Connection, run_id: int, position: int) -> Document | None:
    """What was saved last of one document."""
    here = sa.select(_c.label, _c.state, _c.seconds, _c.attempts, _c.error, _c.started)
    here = here.where(_c.run_id == run_id, _c.position == position).order_by(_c.started.desc(), _c.id.desc()).limit(1)
    rows = [conn.execute(here.where(kind)).one_or_none() for kind in (RESULT, FAILED)]
    row = max((row for row in rows if row is not None), key=lambda row: _number(row.started), default=None)
    if row is None:
        return None
    return fitting(Document(position, row.label, row.state, row.seconds, row.attempts, row.error or ""))


def _number(value: Any) -> float:
    if not isinstance(value, (int, float)):
        raise Misfit(f"a time is {value!r:.60}")
    return value


def controls(conn: sa.Connection, run_id: int, *, after: int) -> list[Control]:
    """What was asked of a run since; as text, because a live run asks ten times a second."""
    rows = conn.exec_driver_sql(_controls_sql(conn.dialect), (run_id, after))
    return [fitting(Control(*row)) for row in rows]


@lru_cache(maxsize=8)
def _controls_sql(dialect: sa.Dialect) -> str:
    asked = _controls.c
    query = sa.select(asked.id, asked.at, asked.action, asked.value)
    wanted = query.where(asked.run_id == sa.bindparam("run"), asked.id > sa.bindparam("after")).order_by(asked.id)
    return str(wanted.compile(dialect=dialect))


def _by_keys(
    conn: sa.Connection, run_id: int, step: int, keys: list[bytes], columns: tuple[Any, ...] = _SAVED
) -> list[Any]:
    rows: list[Any] = []
    if conn.dialect.name == "postgresql":  # one array instead of thousands of parameters
        array = sa.bindparam("keys", keys, type_=postgresql.ARRAY(sa.LargeBinary))
        return list(conn.execute(_finished(run_id, step, columns).where(_c.key == sa.any_(array))).all())
    for start in range(0, len(keys), CHUNK):
        chunk = keys[start : start + CHUNK]
        text = _by_keys_sql(len(chunk), conn.dialect, columns)
        rows += conn.exec_driver_sql(text, (run_id, step, *chunk)).all()
    return rows


def _finished(run_id: int, step: int, columns: tuple[Any, ...]) -> sa.Select[Any]:
    return sa.select(_c.key, *columns).where(_c.run_id == run_id, _c.step_id == step, _DONE)


@lru_cache(maxsize=64)
def _by_keys_sql(count: int, dialect: sa.Dialect, columns: tuple[Any, ...]) -> str:
    """The look-up as text: SQLAlchemy would name and convert every one of its parameters, at each execution."""
    query = _finished(0, 0, columns).where(_c.key.in_(sa.bindparam("keys", expanding=True)))
    return str(query.compile(dialect=dialect)).replace("__[POSTCOMPILE_keys]", ", ".join("?" * count))


def _resolved(conn: sa.Connection, pairs: Iterable[tuple[Key, Saved]]) -> list[tuple[Key, Saved]]:
    """The same with digests replaced by their blobs; one whose blob is gone, or is another, counts as never saved."""
    pairs = list(pairs)
    digests = sorted({saved.payload for _, saved in pairs if saved.codec.startswith(BLOB_PREFIX)})
    if not digests:
        return pairs
    content: dict[bytes, bytes] = {}
    for start in range(0, len(digests), CHUNK):
        query = sa.select(blobs.c.digest, blobs.c.payload).where(blobs.c.digest.in_(digests[start : start + CHUNK]))
        content.update((row[0], row[1]) for row in conn.execute(query).all())
    whole = []
    for key, saved in pairs:
        if not saved.codec.startswith(BLOB_PREFIX):
            whole.append((key, saved))
        elif saved.payload in content:
            codec = saved.codec.removeprefix(BLOB_PREFIX)
            if codec.startswith(RISKY) and digest_of(content[saved.payload]) != saved.payload:
                continue  # the row is signed, and names its blob by the digest
            whole.append((key, saved._replace(codec=codec, payload=content[saved.payload])))
    return whole
