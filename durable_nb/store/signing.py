"""Rows that this user has not signed: count them, or vouch for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from durable_nb.store.dialects import insert
from durable_nb.store.tables import checkpoints, meta
from durable_nb.store.trust import MARKED, Seal

_PAGE = 200
_READABLE = (int, int, int, bytes, str, bytes)
_c = checkpoints.c
_MARKED = sa.or_(*(_c.codec.startswith(codec, autoescape=True) for codec in MARKED))


def foreign(conn: sa.Connection, seal: Seal) -> int:
    """How many results could do something when they are read, and bear no signature of this user. Reads them all."""
    after, count = 0, 0
    while page := _page(conn, after):
        after = page[-1].id
        count += sum(1 for _ in _not_ours(page, seal))
    return count


def vouch(conn: sa.Connection, seal: Seal, *, after: int) -> tuple[int, int] | None:
    """Sign what is foreign on the page of rows behind id ``after``: the last id, and how many that were; None at the end."""
    page = _page(conn, after)
    if not page:
        return None
    signed = 0
    for row in _not_ours(page, seal):
        codec = seal.vouched(row.run_id, row.step_id, row.key, row.codec, row.payload)
        here = sa.and_(_c.id == row.id, _c.codec == row.codec)  # not what somebody saves in its place meanwhile
        signed += conn.execute(sa.update(checkpoints).where(here).values(codec=codec)).rowcount
    return page[-1].id, signed


def make_home(conn: sa.Connection, seal: Seal) -> None:
    """Note that the database is home to this user."""
    seal.is_home = True
    conn.execute(insert(conn.dialect, meta).values(key=seal.home, value="").on_conflict_do_nothing())


def _page(conn: sa.Connection, after: int) -> list[Any]:
    query = sa.select(_c.id, _c.run_id, _c.step_id, _c.key, _c.codec, _c.payload).where(_c.id > after, _MARKED)
    return list(conn.execute(query.order_by(_c.id).limit(_PAGE)))


def _not_ours(page: list[Any], seal: Seal) -> Iterator[Any]:
    for row in page:
        if tuple(map(type, row)) != _READABLE:  # nobody ever reads it
            continue
        if not seal.is_ours(row.run_id, row.step_id, row.key, row.codec, row.payload):
            yield row
