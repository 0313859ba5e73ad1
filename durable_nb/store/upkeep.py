"""Look after a store: check it, drop a run, give space back."""

from __future__ import annotations

import sqlalchemy as sa

from durable_nb.store import leases, lineages
from durable_nb.store.dialects import plain
from durable_nb.store.rows import BLOB_LOCK
from durable_nb.store.tables import (
    BLOB_PREFIX,
    backoffs,
    blobs,
    capsules,
    checkpoints,
    choices,
    claims,
    controls,
    costs,
    events,
    forks,
    members,
    mosaics,
    outputs,
    run_of,
    runs,
    steps,
    suspects,
    tallies,
)
from durable_nb.store.trust import digest_of

_c = checkpoints.c
_OF_A_RUN = (
    choices,
    events,
    controls,
    mosaics,
    tallies,
    suspects,
    backoffs,
    costs,
    members,
    claims,
    forks,
    outputs,
    capsules,
)
_IS_BLOB = _c.codec.startswith(BLOB_PREFIX, autoescape=True)


def damage(conn: sa.Connection) -> list[str]:
    """What SQLite finds wrong with its file, then what to do; [] when it is sound."""
    if conn.dialect.name != "sqlite":
        return []
    found: list[str] = []
    try:
        for line in conn.exec_driver_sql("PRAGMA integrity_check").scalars():
            found += [f"SQLite: {line}"] if line != "ok" else []
    except sa.exc.DatabaseError as problem:  # it gives up after what it could tell
        found.append(f"SQLite: {problem.orig}")
    return [*found, "the file is damaged: `durable-nb check --repair NEW.db` saves what is intact"] if found else []


def check(conn: sa.Connection) -> list[str]:
    """What is wrong with the rows, one sentence each; [] when nothing is. Reads everything."""
    found = []
    for text, condition in (
        ("checkpoints of a run that does not exist", _c.run_id.not_in(sa.select(runs.c.id))),
        ("checkpoints of a step that does not exist", _c.step_id.not_in(sa.select(steps.c.id))),
        ("checkpoints in an unknown state", _c.state.not_in(["done", "failed"])),
        ("results without a payload", sa.and_(_c.state == "done", sa.or_(_c.payload.is_(None), _c.codec == ""))),
        ("failures without an error", sa.and_(_c.state == "failed", _c.error.is_(None))),
        ("results whose blob is gone", sa.and_(_IS_BLOB, _c.payload.not_in(sa.select(blobs.c.digest)))),
    ):
        count = conn.scalar(sa.select(sa.func.count()).select_from(checkpoints).where(condition))
        if count:
            found.append(f"{count:,} {text}")
    same = sa.select(_c.run_id).group_by(_c.run_id, _c.step_id, _c.key).having(sa.func.count() > 1)
    if doubles := conn.scalar(sa.select(sa.func.count()).select_from(same.subquery())):
        found.append(f"{doubles:,} calls with more than one checkpoint")
    for table in _OF_A_RUN:
        lost = sa.select(sa.func.count()).select_from(table).where(table.c.run_id.not_in(sa.select(runs.c.id)))
        if count := conn.scalar(lost):
            found.append(f"{count:,} {table.name} of a run that does not exist")
    lost = sa.select(sa.func.count()).select_from(forks).where(forks.c.origin_id.not_in(sa.select(runs.c.id)))
    if count := conn.scalar(lost):
        found.append(f"{count:,} forks of a run that does not exist")
    return found + _spoilt_blobs(conn)


def forget(conn: sa.Connection, name: str) -> int:
    """Drop a run with all that only it refers to; how many checkpoints that were."""
    row = conn.execute(sa.select(runs).where(runs.c.name == plain(name)).with_for_update()).one_or_none()
    if row is None:
        return 0
    leases.refuse_if_busy(run_of(row))
    lineages.refuse_if_forked(conn, run_of(row))
    dropped = conn.execute(sa.delete(checkpoints).where(_c.run_id == row.id)).rowcount
    for table in _OF_A_RUN:
        conn.execute(sa.delete(table).where(table.c.run_id == row.id))
    conn.execute(sa.delete(runs).where(runs.c.id == row.id))
    drop_orphans(conn)
    return dropped


def drop_orphans(conn: sa.Connection) -> None:
    """Delete blobs and versions of steps that no checkpoint refers to."""
    if conn.dialect.name == "postgresql":
        conn.execute(sa.select(sa.func.pg_advisory_xact_lock(BLOB_LOCK)))
    used = sa.select(_c.payload).where(_IS_BLOB, _c.payload.is_not(None))
    if (
        conn.scalar(sa.select(blobs.c.digest).limit(1)) is not None
    ):  # else the search would read all payloads for nothing
        conn.execute(sa.delete(blobs).where(blobs.c.digest.not_in(used)))
    # A live kernel may have registered a step and saved nothing with it yet: its versions wait for a quieter moment.
    living = conn.execute(sa.select(runs).where(runs.c.owner_token.is_not(None))).all()
    if not any(run.owner and leases.is_alive(run.owner, run.heartbeat) for run in map(run_of, living)):
        conn.execute(sa.delete(steps).where(steps.c.id.not_in(sa.select(_c.step_id).distinct())))


def _spoilt_blobs(conn: sa.Connection) -> list[str]:
    spoilt = 0
    digests = conn.scalars(sa.select(blobs.c.digest)).all()
    for digest in digests:  # one by one: each may be large
        payload = conn.scalar(sa.select(blobs.c.payload).where(blobs.c.digest == digest))
        spoilt += payload is not None and digest_of(payload) != digest
    return [f"{spoilt:,} blobs that are not what was saved"] if spoilt else []
