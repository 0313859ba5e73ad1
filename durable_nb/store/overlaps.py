"""Calls that several runs of a lineage have computed: the nearest result counts, the others for nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from durable_nb.store.tables import checkpoints, costs

_c = checkpoints.c
_DONE: sa.ColumnElement[str] = sa.literal_column("'done'")
_FAILED: sa.ColumnElement[str] = sa.literal_column("'failed'")


class Eclipsed(NamedTuple):
    """Rows of one version that do not count."""

    results: int
    failures: int
    seconds: float
    """What the results took."""
    cost: float


def eclipsed(conn: sa.Connection, run_ids: Sequence[int], step_ids: Iterable[int]) -> dict[int, Eclipsed]:
    """Those of each version that several of the runs have, the nearest run being the first; {} of a run that is no fork.

    A result hides what is farther away, a failure what has failed there, and gives way to a result.
    """
    found: dict[int, Eclipsed] = {}
    for step_id in step_ids if len(run_ids) > 1 else ():
        having = [run_id for run_id in run_ids if conn.scalar(_of(run_id, step_id)) is not None]
        rows = [_of_run(conn, having, place, step_id) for place in range(len(having))] if len(having) > 1 else []
        if rows:
            found[step_id] = Eclipsed(*map(sum, zip(*rows, strict=True)))
    return found


def _of(run_id: int, step_id: int) -> sa.Select[tuple[int]]:
    return sa.select(_c.id).where(_c.run_id == run_id, _c.step_id == step_id).limit(1)


def _of_run(conn: sa.Connection, run_ids: Sequence[int], place: int, step_id: int) -> Eclipsed:
    mine, other = checkpoints.alias("mine"), checkpoints.alias("other")
    nearer, farther = run_ids[:place], run_ids[place + 1 :]
    own, same = sa.and_(mine.c.run_id == run_ids[place], mine.c.step_id == step_id), _same(mine, other)
    is_done, has_failed = other.c.state == _DONE, mine.c.state == _FAILED
    ids = []
    # A fork has few results of its own, and failures are few; what is behind a fork, perhaps a million: that is not gone through.
    if nearer:
        here = sa.and_(other.c.run_id.in_(nearer), other.c.step_id == step_id)
        found = sa.select(mine.c.id).select_from(other.join(mine, sa.and_(own, same)))
        ids.append(found.where(here, sa.or_(is_done, has_failed)))
    if farther:
        done_there = sa.exists().where(other.c.run_id.in_(farther), same, is_done)
        ids.append(sa.select(mine.c.id).where(own, has_failed, done_there))
    done = _c.state == _DONE
    values = sa.func.count().filter(done), sa.func.count().filter(~done), sa.func.sum(_c.seconds).filter(done)
    paid = costs, sa.and_(costs.c.run_id == _c.run_id, _same(costs, checkpoints))
    query = sa.select(*values, sa.func.sum(costs.c.cost)).select_from(checkpoints.outerjoin(*paid))
    results, failures, seconds, cost = conn.execute(query.where(_c.id.in_(sa.union(*ids)))).one()
    return Eclipsed(results, failures, seconds or 0.0, cost or 0.0)


def _same(one: sa.FromClause, other: sa.FromClause) -> sa.ColumnElement[bool]:
    return sa.and_(one.c.step_id == other.c.step_id, one.c.key == other.c.key)
