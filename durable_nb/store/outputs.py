"""What calls printed, beside their results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa

from durable_nb.store.misfits import fitting
from durable_nb.store.tables import outputs
from durable_nb.store.trust import Seal

_ROWS = 500
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
                ours = seal.trusts_all or signature == seal.of_output(run_id, step_id, key, printed.said)
                found[step_id, key] = printed._replace(is_ours=ours)
    return found
