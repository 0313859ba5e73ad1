"""Versions of the code behind a run, with what is saved of each; and documents in their order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from durable_nb.records import LINK, StepVersion
from durable_nb.store import overlaps
from durable_nb.store.misfits import fitting, json_of
from durable_nb.store.tables import FAILED, checkpoints, costs, runs, steps

_ROWS = 500
_c = checkpoints.c


class Numbered(NamedTuple):
    """One version of a step in one run."""

    number: int
    """From 1 within its step, in the order of their first results."""
    version: StepVersion
    failed: int
    cost: float
    first: float
    """When its first result began to be computed, in seconds since the epoch."""
    run: str
    """Whose results they are: of the run itself, or only of one that it was forked from."""


class Spent(NamedTuple):
    """What results took."""

    seconds: float
    cost: float


def numbered(conn: sa.Connection, run_ids: Sequence[int]) -> list[Numbered]:
    """All versions with results, step by step; one that several of the runs have bears the name of the nearest."""
    found: dict[int, tuple[Any, ...]] = {}
    for run_id in run_ids:
        name = conn.scalar(sa.select(runs.c.name).where(runs.c.id == run_id)) or ""
        here = _c.run_id == run_id
        failed = _by_step(conn, sa.select(_c.step_id, sa.func.count()).where(here, FAILED))
        paid = _by_step(
            conn, sa.select(costs.c.step_id, sa.func.sum(costs.c.cost)).where(costs.c.run_id == run_id), costs.c.step_id
        )
        rows = sa.select(_c.step_id, sa.func.count(), sa.func.min(_c.id)).where(here).group_by(_c.step_id)
        for step_id, count, first in conn.execute(rows):
            failures, cost = failed.get(step_id, 0), paid.get(step_id, 0.0)
            if saved := count - failures:
                before = found.get(step_id, (first, 0, 0, 0.0, name))
                more = (saved + before[1], failures + before[2], cost + before[3], before[4])
                found[step_id] = (min(first, before[0]), *more)
    for step_id, eclipsed in overlaps.eclipsed(conn, run_ids, found.keys()).items():
        first, saved, failures, cost, name = found[step_id]
        found[step_id] = (first, saved - eclipsed.results, failures - eclipsed.failures, cost - eclipsed.cost, name)
    numbers: dict[str, int] = {}
    versions = []
    for step_id, (first, saved, failures, cost, name) in sorted(found.items(), key=lambda one: one[1][0]):
        row = conn.execute(sa.select(steps).where(steps.c.id == step_id)).one_or_none()
        if row is None or row.kind == LINK:
            continue
        parts = json_of(row.parts, dict)
        version = fitting(StepVersion(row.id, row.name, row.fingerprint, parts, row.source, saved))
        number = numbers[row.name] = numbers.get(row.name, 0) + 1
        started = conn.scalar(sa.select(_c.started).where(_c.id == first)) or 0.0
        versions.append(fitting(Numbered(number, version, failures, cost, started, name)))
    return sorted(versions, key=lambda one: (one.version.name, one.number))


def spent(conn: sa.Connection, run_ids: Sequence[int], step_ids: Sequence[int]) -> Spent:
    """Seconds and cost of all results of these versions, each call once; reads every row, not its payload."""
    done = sa.and_(_c.run_id.in_(run_ids), _c.step_id.in_(step_ids), _c.state == "done")
    seconds = conn.scalar(sa.select(sa.func.sum(_c.seconds)).where(done))
    paid = sa.select(sa.func.sum(costs.c.cost)).where(costs.c.run_id.in_(run_ids), costs.c.step_id.in_(step_ids))
    twice = overlaps.eclipsed(conn, run_ids, step_ids).values()
    rest = (
        (seconds or 0.0) - sum(one.seconds for one in twice),
        (conn.scalar(paid) or 0.0) - sum(one.cost for one in twice),
    )
    return fitting(Spent(*rest))


class Labelled(NamedTuple):
    """A document that has a result."""

    key: bytes
    label: str
    position: int
    """Its number in the run when it was computed; -1 if nobody gave it one."""


def labelled(conn: sa.Connection, checkpoint_ids: Iterable[int]) -> list[Labelled]:
    """The documents of some checkpoints, in their order; those without a number last."""
    ids, found = sorted(checkpoint_ids), list[Labelled]()
    for start in range(0, len(ids), _ROWS):
        query = sa.select(_c.key, _c.label, _c.position).where(_c.id.in_(ids[start : start + _ROWS])).order_by(_c.id)
        found += [fitting(Labelled(*row)) for row in conn.execute(query)]
    return sorted(found, key=lambda one: (one.position < 0, one.position))


def _by_step(conn: sa.Connection, query: sa.Select[Any], step: Any = _c.step_id) -> dict[int, Any]:
    return {row[0]: row[1] for row in conn.execute(query.group_by(step))}
