"""Which kernel has claimed which call of a run that several compute, on PostgreSQL; as text, because each claim costs this.

A claim is held until its call ends. It stays then, done or failed: the others learn from it what has become of the call.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from durable_nb.records import Checkpoint, State
from durable_nb.store.backoffs import Name
from durable_nb.store.tables import claims, members

HELD, DONE, FAILED = "held", State.DONE.value, State.FAILED.value

_TAKE = """
INSERT INTO claims (run_id, step_id, key, token, state) SELECT %s, %s, d.key, %s, 'held' FROM unnest(%s::bytea[]) AS d(key)
ON CONFLICT DO NOTHING RETURNING key"""
_END = """
INSERT INTO claims (run_id, step_id, key, token, state)
SELECT %s, d.step_id, d.key, %s, d.state FROM unnest(%s::bigint[], %s::bytea[], %s::text[]) AS d(step_id, key, state)
ON CONFLICT (run_id, step_id, key) DO UPDATE SET state = excluded.state WHERE claims.token = excluded.token
RETURNING step_id, key"""
_LOOK = """
SELECT c.key, c.token, c.state FROM unnest(%s::bytea[]) AS d(key)
JOIN claims AS c ON c.run_id = %s AND c.step_id = %s AND c.key = d.key"""


def look_up(conn: sa.Connection, run_id: int, step_id: int, keys: Sequence[bytes]) -> list[tuple[bytes, str, str]]:
    """Key, token and state of those that are there."""
    return [(bytes(row[0]), row[1], row[2]) for row in conn.exec_driver_sql(_LOOK, (list(keys), run_id, step_id))]


def take(conn: sa.Connection, run_id: int, step_id: int, token: str, keys: Sequence[bytes]) -> set[bytes]:
    """Claim calls; those of them that nobody had."""
    asked = (run_id, step_id, token, sorted(keys))  # as in end
    return {bytes(row[0]) for row in conn.exec_driver_sql(_TAKE, asked)}


def end(conn: sa.Connection, run_id: int, token: str, batch: Sequence[Checkpoint]) -> set[Name]:
    """End the claims of some calls; those of them that somebody else has."""
    ends = {row[1:3]: row.state for row in batch}
    if not ends:
        return set()
    names = sorted(ends)  # in one order everywhere, or two could wait for each other
    asked = (
        run_id,
        token,
        [step_id for step_id, _ in names],
        [key for _, key in names],
        [ends[name] for name in names],
    )
    return ends.keys() - {(row[0], bytes(row[1])) for row in conn.exec_driver_sql(_END, asked)}


def drop(conn: sa.Connection, run_id: int, token: str) -> int:
    """Free what a kernel holds; how many calls that were."""
    return conn.execute(sa.delete(claims).where(_held(run_id), claims.c.token == token)).rowcount


def are_strays(conn: sa.Connection, run_id: int) -> bool:
    """Whether calls are held by who is no member: it claimed them after it had left, or after it was taken for dead."""
    return bool(conn.scalar(sa.select(sa.exists().where(_held(run_id), _of_nobody(run_id)))))


def drop_strays(conn: sa.Connection, run_id: int) -> None:
    """Free them: if they end after all, that counts as long as nobody has claimed them anew."""
    conn.execute(sa.delete(claims).where(_held(run_id), _of_nobody(run_id)))


def ended(conn: sa.Connection, run_id: int) -> tuple[int, int]:
    """How many calls of a run are done, and failed."""
    query = sa.select(claims.c.state, sa.func.count()).where(claims.c.run_id == run_id).group_by(claims.c.state)
    counts: dict[str, int] = {row[0]: row[1] for row in conn.execute(query)}
    return counts.get(DONE, 0), counts.get(FAILED, 0)


def _held(run_id: int) -> sa.ColumnElement[bool]:
    return sa.and_(claims.c.run_id == run_id, claims.c.state == HELD)


def _of_nobody(run_id: int) -> sa.ColumnElement[bool]:
    return claims.c.token.not_in(sa.select(members.c.token).where(members.c.run_id == run_id))
