"""Which one of the equal calls of a run a call in a worker process is: processes share nothing else than the database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from durable_nb.store.dialects import insert
from durable_nb.store.tables import tallies


class Tallies:
    """Numbers of equal calls in one attempt, each given once."""

    def __init__(self, change: Callable[..., Any]) -> None:
        self._change = change

    def take(self, run_id: int, step_id: int, digest: bytes) -> int:
        """The lowest number of this call that nobody has in this attempt, from 0."""
        return int(self._change(_take, {"run_id": run_id, "step_id": step_id, "digest": digest}))

    def give_back(self, run_id: int, step_id: int, digest: bytes, number: int) -> None:
        """The call raised: the next equal one is the same call, tried again."""
        self._change(_give_back, {"run_id": run_id, "step_id": step_id, "digest": digest}, number)


def _take(conn: sa.Connection, place: dict[str, Any]) -> int:
    conn.execute(insert(conn.dialect, tallies).values(place).on_conflict_do_nothing())
    query = sa.select(tallies.c.made, tallies.c.given_back).where(_at(place)).with_for_update()
    made, given_back = conn.execute(query).one()
    free = sorted(map(int, given_back.split()))
    changes = {"given_back": " ".join(map(str, free[1:]))} if free else {"made": made + 1}
    conn.execute(sa.update(tallies).where(_at(place)).values(changes))
    return free[0] if free else int(made)


def _give_back(conn: sa.Connection, place: dict[str, Any], number: int) -> None:
    conn.execute(sa.update(tallies).where(_at(place)).values(given_back=tallies.c.given_back + f" {number}"))


def _at(place: dict[str, Any]) -> sa.ColumnElement[bool]:
    return sa.and_(*(tallies.c[name] == value for name, value in place.items()))
