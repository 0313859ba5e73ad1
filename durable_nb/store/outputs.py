"""What calls printed, beside their results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa

from durable_nb.store.misfits import fitting
from durable_nb.store.tables import outputs
from durable_nb.store.trust import Seal

_ROWS = 500
_READABLE = (int, int, bytes, str, str)
_o = outputs.c
Name = tuple[int, bytes]
"""Step id and key of a call."""


class Printed(NamedTuple):
    """How many lines a call printed, things it showed, and records it logged for handlers of the user's."""

    lines: int
    shown: int
    logged: int
    said: str = ""
    """JSON: (kind, content) of each part, in order; '' where nobody asked for it."""
    is_ours: bool = True


def is_any(conn: sa.Connection, run_ids: Sequence[int]) -> bool:
    """Whether any call of these runs printed something."""
    return conn.scalar(sa.select(_o.run_id).where(_o.run_id.in_(list(run_ids))).limit(1)) is not None


def of_calls(
    conn: sa.Connection, run_id: int, calls: Sequence[Name], seal: Seal, *, with_text: bool
) -> dict[Name, Printed]:
    """What those of the calls printed that did."""
    by_step: dict[int, list[bytes]] = {}
    for step_id, key in calls:
        by_step.setdefault(step_id, []).append(key)
    found: dict[Name, Printed] = {}
    columns = [_o.key, _o.lines, _o.shown, _o.logged, *((_o.said, _o.signature) if with_text else ())]
    for step_id, keys in by_step.items():
        here = sa.select(*columns).where(_o.run_id == run_id, _o.step_id == step_id)
        for start in range(0, len(keys), _ROWS):
            for key, *counts in conn.execute(here.where(_o.key.in_(keys[start : start + _ROWS]))):
                signature = counts.pop() if with_text else ""
                printed = fitting(Printed(*counts))
                own = seal.of_output(run_id, step_id, key, printed.said)
                ours = seal.trusts_all or (type(signature) is str and own in signature)
                found[step_id, key] = printed._replace(is_ours=ours)
    return found


def vouch(conn: sa.Connection, seal: Seal) -> None:
    """Sign what somebody else's calls printed; signatures of others stay."""
    name = (_o.run_id, _o.step_id, _o.key)
    query = sa.select(*name, _o.said, _o.signature).order_by(*name).limit(_ROWS)
    page = conn.execute(query).all()
    while page:
        for row in page:
            if tuple(map(type, row)) != _READABLE:  # nobody ever shows it
                continue
            own = seal.of_output(*row[:4])
            if own not in row.signature:
                here = sa.and_(_o.run_id == row.run_id, _o.step_id == row.step_id, _o.key == row.key)
                conn.execute(sa.update(outputs).where(here).values(signature=own + row.signature))
        last = sa.tuple_(*page[-1][:3], types=[sa.types.NULLTYPE] * 3)  # of whatever types: anybody may have written it
        page = conn.execute(query.where(sa.tuple_(*name) > last)).all()
