"""A run as one file, for a colleague or another machine.

::

    durable_nb run 1                          format and version
    ["run", …]                                a line of JSON for each record; a payload follows its line as raw bytes,
    ["step", …] ["checkpoint", …, 1024] …     the number of them standing last
    ["end"]
    9f86d0…                                   SHA-256 of all before, in hex: 64 characters and a line feed

The sum finds what was cut off or altered on the way. It says nothing of who wrote the file: what could run code when it is
read is foreign to whoever imports it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import sqlalchemy as sa

from durable_nb.errors import ConfigError, StoreError
from durable_nb.records import Checkpoint
from durable_nb.store import lineages, reader, wholes
from durable_nb.store.dialects import insert
from durable_nb.store.misfits import Misfit, fitting
from durable_nb.store.rows import SIZES, upsert
from durable_nb.store.tables import (
    BLOB_PREFIX,
    capsules,
    checkpoints,
    choices,
    costs,
    events,
    mosaics,
    outputs,
    runs,
    steps,
)

FORMAT = b"durable_nb run 1\n"
_SUM_BYTES = 65
_LONGEST_LINE = 64 << 20
_RUN = ("name", "state", "notebook", "source", "total", "done", "restored", "failed", "attempts", "heartbeat", "created",
        "updated", "figures", "cell", "began")  # fmt: skip
_STEP = ("id", "name", "kind", "fingerprint", "parts", "source", "created")
_CHOICE = ("step_id", "older_step_id", "choice", "at")
_EVENT = ("at", "kind", "detail")
_COST = ("step_id", "key", "cost")
_CAPSULE = ("at", "manifest", "payload")
_OUTPUT = ("step_id", "key", "lines", "shown", "logged", "said")
_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("lines", "shown", "logged"), (int,)),
    **dict.fromkeys(("total", "done", "restored", "failed", "attempts", "id", "step_id", "older_step_id"), (int,)),
    **dict.fromkeys(("heartbeat", "created", "updated", "began", "at", "cost"), (int, float)),
}
_c = checkpoints.c


def write(conn: sa.Connection, run_id: int, file: BinaryIO) -> int:
    """Write a run with all its results to a file, of a fork also those that it takes; how many checkpoints that were."""
    digest, count = hashlib.sha256(), 0

    def put(*fields: Any, payload: bytes | None = None) -> None:
        try:
            line = [*fields] if payload is None else [*fields, len(payload)]
            part = json.dumps(line, separators=(",", ":"), allow_nan=False).encode() + b"\n" + (payload or b"")
        except (TypeError, ValueError):
            raise Misfit(f"a {fields[0]} that cannot be exported") from None
        digest.update(part)
        file.write(part)

    digest.update(FORMAT)
    file.write(FORMAT)
    about = wholes.rows(conn, _RUN, runs, runs.c.id == run_id)
    if not about:
        raise ConfigError("the run was forgotten just now.", "There is nothing to export any more.")
    put("run", *about[0])
    lineage = lineages.lineage_of(conn, run_id)
    made = wholes.merged(conn, _CHOICE, choices, lineage)
    used = sa.select(_c.step_id).where(_c.run_id.in_(lineage)).distinct()
    named = {step for choice in made for step in choice[:2]}.union(conn.scalars(used))
    # In a row that nobody of us wrote anything can be named; the first in the list would give the type for them all.
    ids = [step for step in named if isinstance(step, int)]
    for step in wholes.rows(conn, _STEP, steps, steps.c.id.in_(ids)):
        put("step", *step)
    for choice in made:
        put("choice", *choice)
    for event in wholes.rows(conn, _EVENT, events, events.c.run_id == run_id):
        put("event", *event)
    for states in conn.scalars(sa.select(mosaics.c.states).where(mosaics.c.run_id == run_id)):
        put("mosaic", payload=states)
    for row in wholes.results(conn, lineage):
        put("checkpoint", *row[1:2], row.key.hex(), *row[3:11], payload=row.payload if row.state == "done" else b"")
        count += 1
    for step_id, key, cost in wholes.merged(conn, _COST, costs, lineage):
        put("cost", step_id, _hex(key), cost)
    for step_id, key, *output in wholes.merged(conn, _OUTPUT, outputs, lineage):
        put("output", step_id, _hex(key), *output)
    for at, manifest, payload in wholes.rows(conn, _CAPSULE, capsules, capsules.c.run_id == run_id):
        put("capsule", at, manifest, payload=payload)
    put("end")
    file.write(digest.hexdigest().encode() + b"\n")
    return count


@contextmanager
def refusing(path: str | os.PathLike[str]) -> Iterator[None]:
    """What is wrong with a file is said of the file, not of the database."""
    try:
        yield
    except Misfit as problem:
        raise StoreError(os.fspath(path), f"was not imported: {problem}.", "Nothing was changed.") from problem


def verify(file: BinaryIO) -> None:
    """Read the file to its end, and go back to its start; Misfit for one that is not as it was written."""
    if file.readline(len(FORMAT)) != FORMAT:
        raise Misfit("it does not begin as a run that this version of durable_nb exports")
    size = file.seek(0, 2) - _SUM_BYTES
    file.seek(0)
    digest = hashlib.sha256()
    while part := file.read(min(1 << 20, max(0, size - file.tell()))):
        digest.update(part)
    if file.read() != digest.hexdigest().encode() + b"\n":
        raise Misfit("it was cut off or changed since it was exported")
    file.seek(len(FORMAT))


def read(conn: sa.Connection, file: BinaryIO, name: str | None) -> tuple[str, int]:
    """Insert the run of a file that was verified, under another name if one is given: its name, and how many checkpoints.

    Misfit for what is never exported, and for a name that is taken.
    """
    run_id, called, ids, batch, count = 0, "", dict[int, int](), list[Checkpoint](), 0
    for kind, fields in _lines(file):
        if (kind == "run") == bool(run_id):
            raise Misfit("it holds no run, or two")
        if kind == "run":
            run_id, called = _add_run(conn, _record(_RUN, fields), name)
        elif kind == "step":
            step = _record(_STEP, fields)
            ids[step.pop("id")] = _add_step(conn, step)
        elif kind == "choice":
            choice = _record(_CHOICE, fields)
            choice |= {end: _known(ids, choice[end]) for end in ("step_id", "older_step_id")}
            conn.execute(sa.insert(choices).values(run_id=run_id, **choice))
        elif kind == "event":
            conn.execute(sa.insert(events).values(run_id=run_id, **_record(_EVENT, fields)))
        elif kind == "cost":
            cost = _record(_COST, fields)
            cost |= {"step_id": _known(ids, cost["step_id"]), "key": _digest(cost["key"])}
            if not 0 <= cost["cost"] < math.inf:
                raise Misfit(f"a cost is {cost['cost']!r:.40}")
            conn.execute(sa.insert(costs).values(run_id=run_id, **cost))
        elif kind == "output":
            output = _record(_OUTPUT, fields)
            output |= {"step_id": _known(ids, output["step_id"]), "key": _digest(output["key"])}
            conn.execute(sa.insert(outputs).values(run_id=run_id, **output))
        elif kind == "mosaic":
            conn.execute(sa.insert(mosaics).values(run_id=run_id, version=1, states=_payload(file, fields)))
        elif kind == "capsule":  # without a signature: foreign to whoever imports it
            capsule = _record(_CAPSULE[:2], fields[:-1]) | {"payload": _payload(file, fields)}
            conn.execute(sa.insert(capsules).values(run_id=run_id, **capsule))
        elif kind == "checkpoint":
            batch.append(_checkpoint(run_id, ids, fields, _payload(file, fields)))
            count += 1
            if len(batch) == SIZES[0]:
                upsert(conn, batch, {run_id}, seal=None)
                batch.clear()
        else:
            raise Misfit(f"it holds a {kind!r:.40}")
    if not run_id:
        raise Misfit("it holds no run")
    upsert(conn, batch, {run_id}, seal=None)
    return called, count


def _lines(file: BinaryIO) -> Iterator[tuple[str, list[Any]]]:
    while True:
        try:
            fields = json.loads(file.readline(_LONGEST_LINE))
        except (ValueError, RecursionError):
            raise Misfit("it holds a line that is no record") from None
        if not isinstance(fields, list) or not fields or not isinstance(fields[0], str):
            raise Misfit("it holds a line that is no record")
        if fields == ["end"]:
            return
        yield fields[0], fields[1:]


def _record(names: tuple[str, ...], fields: list[Any]) -> dict[str, Any]:
    if len(fields) != len(names):
        raise Misfit(f"it holds a record of {len(fields)} fields instead of {len(names)}")
    for name, value in zip(names, fields, strict=True):
        is_none = value is None and name == "total"
        if not is_none and (not isinstance(value, _KINDS.get(name, (str,))) or isinstance(value, bool)):
            raise Misfit(f"{name} is {value!r:.60}")
    return dict(zip(names, fields, strict=True))


def _payload(file: BinaryIO, fields: list[Any]) -> bytes:
    size = fields[-1] if fields else None
    if type(size) is not int or size < 0:
        raise Misfit("it holds a payload without a size")
    payload = file.read(size)
    if len(payload) != size:
        raise Misfit("it ends in the middle of a payload")
    return payload


def _add_run(conn: sa.Connection, values: dict[str, Any], name: str | None) -> tuple[int, str]:
    values["name"] = called = name or values["name"]
    if reader.run_named(conn, called) is not None:
        raise Misfit(f"there is a run {called!r:.60} already: give it another name with --as")
    if values["state"] == "running":  # elsewhere
        values["state"] = "interrupted"
    made = conn.execute(sa.insert(runs).values(values))
    assert made.inserted_primary_key is not None
    return int(made.inserted_primary_key[0]), called


def _add_step(conn: sa.Connection, values: dict[str, Any]) -> int:
    conn.execute(insert(conn.dialect, steps).values(values).on_conflict_do_nothing())
    found = reader.step_id(conn, values["name"], values["fingerprint"])
    assert found is not None
    return found


def _known(ids: dict[int, int], step: Any) -> int:
    if type(step) is not int or step not in ids:
        raise Misfit(f"it holds results of a step {step!r:.20} that it does not name")
    return ids[step]


def _hex(key: Any) -> str:
    if not isinstance(key, bytes):
        raise Misfit(f"a key is {key!r:.40}")
    return key.hex()


def _digest(key: str) -> bytes:
    try:
        return bytes.fromhex(key)
    except ValueError:
        raise Misfit(f"a key is {key!r:.40}") from None


def _checkpoint(run_id: int, ids: dict[int, int], fields: list[Any], payload: bytes) -> Checkpoint:
    if len(fields) != len(Checkpoint._fields) - 1 or not isinstance(fields[1], str):
        raise Misfit(f"it holds a checkpoint of {len(fields)} fields")
    step, key, *rest, _ = fields
    found = fitting(Checkpoint._make((run_id, _known(ids, step), _digest(key), *rest, payload)))
    if found.state not in ("done", "failed") or found.codec.startswith(BLOB_PREFIX):
        raise Misfit(f"it holds a checkpoint in state {found.state!r:.20} of codec {found.codec!r:.40}")
    return found if found.state == "done" else found._replace(payload=None)
