"""The plain records that travel through the corridor: immutable, no behaviour.

They are named tuples rather than frozen dataclasses because one is made per document: a named tuple of 14 fields takes
0.4 µs to make, a frozen slotted dataclass 2.4 µs, and a ``Checkpoint`` *is* the row that the writer hands to the driver.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple

made = tuple.__new__
"""``made(Call, (…))`` is ``Call(…)`` in half the time, for what is made for each document."""


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
    """Index of the item in its map, or number of the call in the run; for order, never for identity."""
    key: bytes
    """16 bytes: argument values, and which one of the equal calls of this run."""
    label: str
    """What the document is called in messages and in the panel."""
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    document: int
    """Number of the document in the run, where its square is in the panel; the position of its checkpoint."""
    digest: bytes | None = None
    """Of the argument values without the receiver of a method; None where they do not name the call, as with ``key=``."""


class CurrentCall(NamedTuple):
    """What the function of a step may know of the call that it computes."""

    key: str
    """Names the call for others, as an idempotency key does: the same in every attempt and after a restart."""
    attempt: int
    """From 1, also on from those of a kernel that died before the next one was due."""


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


class Backoff(NamedTuple):
    """A call that failed and is to be made again."""

    attempts: int
    """How many have failed."""
    since: float
    """When the last one did, in seconds since the epoch."""
    delay_s: float
    """How long after it the next one follows."""


class Costed(Checkpoint):
    """A checkpoint with what stands in tables beside it: what the result cost, what the call printed."""

    cost: float = 0.0
    printed: tuple[int, int, int, str, bool] | None = None  # as `store.outputs.Printed`

    def _replace(self, **changes: Any) -> Costed:
        made = super()._replace(**changes)
        made.cost, made.printed = self.cost, self.printed
        return made


LINK = "link"
"""Codec of a checkpoint without a value: it says which call the expression of a cell came to."""


STORED = "stored"
"""Codec of a result that is left in the database; in place of its payload stands the key that it is found by."""


class Saved(NamedTuple):
    """What a look-up returns for a finished call."""

    codec: str
    payload: bytes
    seconds: float
    step_id: int
    position: int = 0
    """Number of the document when it was computed."""


class Outcome(NamedTuple):
    """What a call returned, and what else it did that a restored one has to do too."""

    value: Any
    effects: dict[str, Any]


class Failure(NamedTuple):
    """One document that gave up."""

    position: int
    """In `Results` the index of the item, elsewhere the number of the document in the run."""
    label: str
    error: str
    """Type and message, one line."""
    attempts: int
    traceback: str = ""


class Group(NamedTuple):
    """Documents that gave up for one reason."""

    error: str
    """Type and message, one line."""
    documents: int


class Event(NamedTuple):
    """One line of a run's history."""

    at: float
    """Seconds since the epoch."""
    kind: str
    """started, restarted, taken over, joined, left, kernel died, edited, paused, resumed, limited, stopping, lease lost, set
    aside, or the state it ended in."""
    detail: str


class Control(NamedTuple):
    """What somebody asked of a live run."""

    id: int
    at: float
    """Seconds since the epoch."""
    action: str
    """pause, resume, stop, workers or rate."""
    value: str


class Mosaic(NamedTuple):
    """The state of every document of a run."""

    version: int
    """Grows whenever a state changes, also from one attempt to the next."""
    states: bytes
    """One byte a document, by its number: `WAITING`, `RESTORED`, `COMPUTED` or `GAVE_UP`."""


WAITING, RESTORED, COMPUTED, GAVE_UP = range(4)

DEATHS = 3
"""After so many deaths of kernels during one call it is set aside: not made any more until somebody asks for it."""


class Document(NamedTuple):
    """One document of a run, for whoever points at its square."""

    position: int
    label: str
    state: str
    """done or failed; what has no checkpoint is no document yet."""
    seconds: float
    """How long the last attempt took."""
    attempts: int
    error: str
    """Type and message, then the traceback; '' unless it failed."""


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
    cell: str = ""
    """Jupyter cell id; a hint."""
    began: float = 0.0
    """When its last attempt began, in seconds since the epoch."""


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
    """One sentence about the end of the run."""
    run_id: int | None = None
    store: str = ""
    """`Store.id`."""
    notebook: str = ""
    cell: str = ""
    """Jupyter cell id; a hint."""
    attempts: int = 1
    paused: bool = False
    workers: int = 1
    """Calls at a time that are possible now."""
    limit_workers: int | None = None
    """Calls at a time that somebody asked for."""
    per_minute: float | None = None
    """Calls a minute that somebody asked for."""
    heartbeat_age_s: float | None = None
    """Seconds since the owner last wrote to the database; None before it did, and once it let go of the run."""
    waiting_for: str = ""
    """What calls wait for that could start otherwise, '' while none does."""
    groups: tuple[Group, ...] = ()
    """The failures by reason, the most frequent first; at most 20."""
    mosaic_version: int = 0
    spent: float = 0.0
    """What the results computed in this attempt cost, in the unit of the step's ``cost``."""
    saved_cost: float = 0.0
    """What the restored ones had cost."""

    @property
    def durable(self) -> int:
        """Documents whose result is in the database."""
        return self.restored + self.computed
