"""Capsules: one for each run, replaced by its next attempt, and read only if this user saved or vouched for it.

Its manifest is code to be executed, so all of it is signed, as a pickle is.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import sqlalchemy as sa

from durable_nb import clock
from durable_nb.errors import UntrustedStore
from durable_nb.store.dialects import insert
from durable_nb.store.misfits import fitting
from durable_nb.store.tables import capsules
from durable_nb.store.trust import Seal

_c = capsules.c
_CODEC = "capsule"
_READABLE = (int, str, str, bytes)


class Capsule(NamedTuple):
    """What a fresh kernel needs to run the cell of a run again; reading it can run code."""

    manifest: str
    """JSON: the cell, and by name what it reads."""
    payload: bytes
    """The values of the manifest, one after the other."""
    at: float = 0.0
    """When it was saved, in seconds since the epoch."""


def save(conn: sa.Connection, run_id: int, capsule: Capsule | None, seal: Seal) -> None:
    """Put it in the place of the one before."""
    if capsule is None:
        conn.execute(sa.delete(capsules).where(_c.run_id == run_id))
        return
    values = {
        "run_id": run_id,
        "at": clock.now(),
        "signatures": _signature(seal, run_id, capsule.manifest, capsule.payload),
        "manifest": capsule.manifest,
        "payload": capsule.payload,
    }
    statement = insert(conn.dialect, capsules).values(values)
    conn.execute(statement.on_conflict_do_update(index_elements=["run_id"], set_=values))


def of_run(conn: sa.Connection, run_id: int, seal: Seal, where: str) -> Capsule | None:
    """The capsule of a run, None if there is none; UntrustedStore for one that bears no signature of this user."""
    row = conn.execute(sa.select(capsules).where(_c.run_id == run_id)).one_or_none()
    if row is None:
        return None
    if not (seal.trusts_all or _is_ours(row, seal)):
        raise UntrustedStore(where)
    return fitting(Capsule(row.manifest, row.payload, row.at))


def foreign(conn: sa.Connection, seal: Seal) -> int:
    """How many bear no signature of this user."""
    return sum(not _is_ours(row, seal) for row in conn.execute(sa.select(capsules)))


def vouch(conn: sa.Connection, seal: Seal) -> int:
    """Sign them; how many that were."""
    rows = [row for row in conn.execute(sa.select(capsules)) if _types_of(row) == _READABLE and not _is_ours(row, seal)]
    for row in rows:
        signatures = _signature(seal, row.run_id, row.manifest, row.payload) + row.signatures
        conn.execute(sa.update(capsules).where(_c.run_id == row.run_id).values(signatures=signatures))
    return len(rows)


def _is_ours(row: Any, seal: Seal) -> bool:
    if _types_of(row) != _READABLE:
        return False
    return _signature(seal, row.run_id, row.manifest, row.payload) in row.signatures


def _types_of(row: Any) -> tuple[type, ...]:
    return type(row.run_id), type(row.signatures), type(row.manifest), type(row.payload)


def _signature(seal: Seal, run_id: int, manifest: str, payload: bytes) -> str:
    # The manifest by its digest, so that nothing can be moved from it into the payload.
    digest = hashlib.blake2b(manifest.encode("utf-8", "surrogatepass"), digest_size=32).digest()
    return seal.signature(run_id, 0, b"", _CODEC, digest + payload)
