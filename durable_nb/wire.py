"""Records as they travel to a page: JSON, and mosaics as bytes (extension/src/panel/snapshot.ts and mosaic.ts)."""

from __future__ import annotations

import math
import re
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durable_nb.records import Document, Event, Failure, Mosaic, Run, Snapshot, StepVersion

MIME = "application/vnd.durable-nb.run.v1+json"
"""The type of an output that the lab shows from the database."""
_FULL, _DELTA = 0, 1
_HEAD = struct.Struct("<BII")
"""Kind, version, count: of states after a full head, of changes after that of a delta."""
_CHANGED = re.compile(rb"[^\0]")


def snapshot_json(snapshot: Snapshot) -> dict[str, Any]:
    """A snapshot as the front end reads it: plain JSON types, and ``durable`` beside the fields of the record.

    A rate or a time that is not finite becomes 0 or None, because JSON has no infinity.
    """
    raw = snapshot._asdict()
    times = {name: _finite(raw[name]) for name in ("eta_s", "commit_age_s", "heartbeat_age_s", "per_minute")}
    amounts = {name: _finite(raw[name]) or 0.0 for name in ("rate", "elapsed_s", "saved_s", "spent", "saved_cost")}
    groups = [{"error": group.error, "count": group.documents} for group in snapshot.groups]
    lists = {"failures": failures_json(snapshot.failures), "groups": groups}
    return raw | times | amounts | lists | {"state": str(snapshot.state), "durable": snapshot.durable}


def saved_json(snapshot: Snapshot) -> dict[str, Any]:
    """What of a run is kept in the notebook's file, which may be published: no path of this machine, no tracebacks."""
    failures = tuple(failure._replace(traceback="") for failure in snapshot.failures)
    figures = snapshot_json(snapshot._replace(notebook="", failures=failures))
    return {"schema": 1, "store": snapshot.store, "name": snapshot.name, "snapshot": figures}


def summary_json(run: Run, snapshot: Snapshot) -> dict[str, Any]:
    """One line of a list of runs: the snapshot without its failures, and when the run was made and last changed hands."""
    found = snapshot_json(snapshot) | {"created": run.created, "updated": run.updated}
    return {name: value for name, value in found.items() if name not in ("failures", "groups")}


def context_json(history: Sequence[Event], versions: Sequence[StepVersion]) -> dict[str, Any]:
    """What stands beside a snapshot: `Store.events`, and `Store.contents`, of which the first of each name is in use."""
    in_use = {version.name: version.id for version in reversed(versions)}
    return {
        "history": [event._asdict() for event in history],
        "versions": [
            {
                "id": version.id,
                "name": version.name,
                "fingerprint": version.fingerprint,
                "saved": version.saved,
                "current": in_use[version.name] == version.id,
            }
            for version in versions
        ],
    }


def failures_json(failures: Sequence[Failure]) -> list[dict[str, Any]]:
    """Documents that gave up."""
    return [failure._asdict() for failure in failures]


def document_json(document: Document) -> dict[str, Any]:
    """One document."""
    return document._asdict()


def mosaic_full(mosaic: Mosaic) -> bytes:
    """The states of all documents."""
    return _HEAD.pack(_FULL, mosaic.version, len(mosaic.states)) + mosaic.states


def mosaic_since(mosaic: Mosaic, before: bytes) -> bytes:
    """What is different from the states ``before``; all of it where that is shorter.

    Documents that are new since then are all listed, those that wait too: so the reader knows how many there are.
    """
    known = len(before)
    if known > len(mosaic.states):
        return mosaic_full(mosaic)  # another attempt: it cannot say that there are fewer
    differing = int.from_bytes(before, "little") ^ int.from_bytes(mosaic.states[:known], "little")
    positions = [match.start() for match in _CHANGED.finditer(differing.to_bytes(known, "little"))]
    positions += range(known, len(mosaic.states))
    count = len(positions)
    if 5 * count >= len(mosaic.states):
        return mosaic_full(mosaic)
    states = bytes(map(mosaic.states.__getitem__, positions))
    return _HEAD.pack(_DELTA, mosaic.version, count) + struct.pack(f"<{count}I", *positions) + states


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None
