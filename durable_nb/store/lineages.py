"""Forks: runs that take the results of another run where they have none of their own.

One row says so, and nothing is copied. It is written when the run is made and never changed, so lineages have no circles.
"""

from __future__ import annotations

import sqlalchemy as sa

from durable_nb.errors import ConfigError
from durable_nb.records import Run
from durable_nb.store.dialects import plain
from durable_nb.store.misfits import Misfit
from durable_nb.store.tables import forks, runs

_LONGEST = 1_000  # fork of a fork of a fork …


def lineage_of(conn: sa.Connection, run_id: int) -> tuple[int, ...]:
    """A run, the one that it was forked from, and so on."""
    found = [run_id]
    while (origin := conn.scalar(sa.select(forks.c.origin_id).where(forks.c.run_id == found[-1]))) is not None:
        if type(origin) is not int or origin in found or len(found) > _LONGEST:
            raise Misfit(f"run {found[-1]} is forked from {origin!r:.20}, after {len(found):,} others")
        found.append(origin)
    return tuple(found)


def fork(conn: sa.Connection, run: Run, origin: str) -> None:
    """Note that a run, as it was before this attempt, is forked from the one of that name.

    Raises
    ------
    ConfigError
        There is no such run, or this one exists already and was not forked from it.
    """
    if origin == run.name:
        raise ConfigError(f"run {origin!r} cannot be forked from itself.", "Give the fork another name.")
    # Locked, so that nobody drops it meanwhile; only by who has just made a run, or two could wait for each other.
    wanted = sa.select(runs.c.id).where(runs.c.name == plain(origin))
    origin_id = conn.scalar(wanted if run.attempts else wanted.with_for_update())
    if origin_id is None:
        raise ConfigError(f"there is no run {origin!r} to fork from in this database.", "%durable lists the runs.")
    if not run.attempts:
        conn.execute(sa.insert(forks).values(run_id=run.id, origin_id=origin_id))
    elif lineage_of(conn, run.id)[1:2] != (origin_id,):
        raise ConfigError(
            f"run {run.name!r} is there already, and was not forked from {origin!r}.",
            f"Give the fork another name, or drop that run: %durable forget {run.name}",
        )


def refuse_if_forked(conn: sa.Connection, run: Run) -> None:
    """Raise ConfigError for a run whose results another one takes."""
    query = sa.select(runs.c.name).join_from(forks, runs, runs.c.id == forks.c.run_id)
    names = list(conn.scalars(query.where(forks.c.origin_id == run.id).order_by(runs.c.name)))
    if names:
        listed = ", ".join(map(repr, names))
        raise ConfigError(
            f"run {run.name!r} cannot be dropped: {listed} {'takes' if len(names) == 1 else 'take'} its results.",
            f"Drop {listed} first, or keep both: a fork takes no space for what it takes from another run.",
        )
