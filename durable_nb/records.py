"""The plain records that travel through the corridor: immutable, no behaviour.

They are named tuples rather than frozen dataclasses because one is made per document: a named tuple of 14 fields takes
0.4 µs to make, a frozen slotted dataclass 2.4 µs, and a ``Checkpoint`` *is* the row that the writer hands to the driver.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple


class State(StrEnum):
    """Of a run, or of one checkpoint (only ``DONE`` and ``FAILED``)."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"
    FAILED = "failed"
    DONE = "done"
    CANCELLED = "cancelled"


class Call(NamedTuple):
    """One step with one set of arguments."""

    position: int
    """Index of the item in its map, or number of the call in the run; for display and order, never for identity."""
    key: bytes
    """16 bytes: argument values, and which one of the equal calls of this run."""
    label: str
    """What the document is called in messages and in the panel."""
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Checkpoint(NamedTuple):
    """The durable record of a call; the fields are the columns of the table ``checkpoints``, in order."""

    run_id: int
    step_id: int
    key: bytes
    state: str
    position: int
    label: str
    attempts: int
    error: str | None
    started: float
    """Seconds since the epoch."""
    seconds: float
    """How long the last attempt took."""
    codec: str
    payload: bytes | None


LINK = "link"
"""Codec of a checkpoint without a value: it says which call the expression of a cell came to."""


class Saved(NamedTuple):
    """What a look-up returns for a finished call."""

    codec: str
    payload: bytes
    seconds: float
    step_id: int


class Outcome(NamedTuple):
    """What a call returned, and what else it did that a restored one has to do too."""

    value: Any
    effects: dict[str, Any]


class Failure(NamedTuple):
    """One document that gave up."""

    position: int
    label: str
    error: str
    """Type and message, one line."""
    attempts: int
    traceback: str = ""


class Owner(NamedTuple):
    """A process that computes a run."""

    token: str
    """Unique to this claim."""
    host: str
    machine: str
    """Boot id and pid namespace: inside one machine a pid can be checked, across machines only the lease counts."""
    pid: int
    born: str
    """Start time of the process, so that a recycled pid is not mistaken for it."""
    kernel: str
    """Jupyter kernel id, or ''."""


class StepVersion(NamedTuple):
    """One fingerprint of a step, and how many results of it a run holds."""

    id: int
    name: str
    fingerprint: str
    parts: dict[str, str]
    """What the fingerprint is made of, by label ('def:embed', 'global MODEL'), so that a change can be named."""
    source: str
    saved: int


class Run(NamedTuple):
    """One named execution, as stored; counts are those of its last attempt."""

    id: int
    name: str
    state: State
    notebook: str
    source: str
    """Text of the cell or function."""
    total: int | None
    """Documents wanted; None while not known."""
    done: int
    restored: int
    failed: int
    attempts: int
    """How often it was started."""
    owner: Owner | None
    heartbeat: float
    created: float
    updated: float


class Snapshot(NamedTuple):
    """Everything a view of a run needs, at one moment; the contract with the front end (tests/fixtures/snapshot.json)."""

    name: str
    state: State
    total: int | None
    restored: int
    computed: int
    """Computed *and committed* in this attempt: ``durable = restored + computed``."""
    failed: int
    running: int
    """Calls inside the user's function right now."""
    rate: float
    """Documents per second over the last 30 s, restored ones not counted."""
    eta_s: float | None
    elapsed_s: float
    saved_s: float
    """Seconds the restored calls took when they were computed."""
    commit_age_s: float | None
    """Seconds since the last commit; None before the first."""
    failures: tuple[Failure, ...] = ()
    """At most 50."""
    message: str = ""
    """One sentence about the end of the run, or what it waits for."""

    @property
    def durable(self) -> int:
        """Documents whose result is in the database."""
        return self.restored + self.computed
