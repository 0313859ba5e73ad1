"""Listings: they never read payloads."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from durable_nb.records import LINK, Control, Document, Event, Failure, Group, Mosaic, StepVersion
from durable_nb.store.dialects import plain
from durable_nb.store.misfits import Misfit, fitting, inflated, json_of, number_of
from durable_nb.store.tables import (
    FAILED,
    RESULT,
    checkpoints,
    choices,
    events,
    mosaics,
    runs,
    steps,
)
from durable_nb.store.tables import controls as _controls

_c = checkpoints.c
_RUNS = sa.select(runs, mosaics.c.version).select_from(runs.outerjoin(mosaics, mosaics.c.run_id == runs.c.id))


def all_runs(conn: sa.Connection) -> list[Any]:
    """Rows of every run with the version of its mosaic, the one started or ended last first."""
    return list(conn.execute(_RUNS.order_by(runs.c.updated.desc(), runs.c.id.desc())))


def run_named(conn: sa.Connection, name: str) -> Any:
    """The same of one run, None when there is none, whatever the name."""
    return conn.execute(_RUNS.where(runs.c.name == plain(name))).one_or_none()


def run_of_id(conn: sa.Connection, run_id: int) -> Any:
    """The same by its id."""
    return conn.execute(_RUNS.where(runs.c.id == run_id)).one_or_none()


def step_id(conn: sa.Connection, name: str, fingerprint: str) -> int | None:
    """Id of one version of a step."""
    return conn.scalar(sa.select(steps.c.id).where(steps.c.name == name, steps.c.fingerprint == fingerprint))


def step_name(conn: sa.Connection, step: int) -> str:
    """What a version is a version of."""
    return conn.scalar(sa.select(steps.c.name).where(steps.c.id == step)) or ""


def versions(
    conn: sa.Connection, run_id: int, name: str | None = None, *, with_chosen: bool = False
) -> list[StepVersion]:
    """Versions of a step, or of all steps, with finished calls in this run, the one in use last first; if asked with those,
    too, that were only in use here, and have results elsewhere.
    """
    here = sa.and_(_c.run_id == run_id, _c.step_id == steps.c.id)
    total = sa.select(sa.func.count()).select_from(checkpoints).where(here).scalar_subquery()
    failed = sa.select(sa.func.count()).select_from(checkpoints)
    failed_here = failed.where(here, _c.state == sa.literal_column("'failed'")).scalar_subquery()
    own = sa.and_(choices.c.run_id == run_id, choices.c.step_id == steps.c.id, choices.c.older_step_id == steps.c.id)
    used = sa.func.coalesce(sa.select(choices.c.at).where(own).scalar_subquery(), 0.0)
    query = sa.select(steps, (total - failed_here).label("saved"), used.label("used"))
    query = query.where(steps.c.kind != LINK) if name is None else query.where(steps.c.name == name)
    rows = conn.execute(query.order_by(used.desc(), steps.c.id.desc()))
    return [
        fitting(StepVersion(row.id, row.name, row.fingerprint, json_of(row.parts, dict), row.source, row.saved))
        for row in rows
        if row.saved or (with_chosen and row.used)
    ]


def choices_of(conn: sa.Connection, run_id: int, step: int) -> dict[int, str]:
    """What the user decided about older versions of a step."""
    query = sa.select(choices.c.older_step_id, choices.c.choice)
    found = conn.execute(query.where(choices.c.run_id == run_id, choices.c.step_id == step))
    return {row[0]: row[1] for row in found.all()}


def failures(conn: sa.Connection, run_id: int, *, limit: int, offset: int, counted: int | None) -> list[Failure]:
    """Documents that gave up and have no result since, in their order; of more than are ``counted`` the newest."""
    query = _given_up(run_id, _c.position, _c.label, _c.error, _c.attempts).order_by(_c.position, _c.id)
    if counted is not None and counted < _count_failed(conn, run_id, counted + 1):
        newest = _given_up(run_id, _c.id).order_by((_c.started + _c.seconds).desc(), _c.id.desc()).limit(counted)
        query = query.where(_c.id.in_(newest.subquery().select()))
    found = []
    for position, label, error, attempts in conn.execute(query.limit(limit).offset(offset)):
        line, _, traceback = str(error or "").partition("\n")
        found.append(fitting(Failure(position, label, line, attempts, traceback)))
    return found


def _count_failed(conn: sa.Connection, run_id: int, most: int) -> int:
    """How many rows of failures there are, at most so many."""
    some = sa.select(_c.id).where(_c.run_id == run_id, FAILED).limit(most).subquery()
    return conn.scalar(sa.select(sa.func.count()).select_from(some)) or 0


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
    row = max((row for row in rows if row is not None), key=lambda row: number_of(row.started), default=None)
    if row is None:
        return None
    return fitting(Document(position, row.label, row.state, row.seconds, row.attempts, row.error or ""))


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
