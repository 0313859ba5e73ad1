"""The schema on one screen.

One table per idea. ``checkpoints`` is a rowid table with its payload last: listings and key look-ups stop reading
before it, and ``WITHOUT ROWID`` with payloads took three times the space and time.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from durable_nb.records import Owner, Run, State
from durable_nb.store.misfits import Misfit, fitting

SCHEMA = 5
"""Version of the layout below; a change adds a function to ``migrations``."""

BLOB_BYTES = 1 << 20
"""Payloads above this many bytes are kept once, by content, in ``blobs``."""

BLOB_PREFIX = "blob+"
"""Before the codec of a checkpoint whose payload column is the digest of its blob."""

MOST = (1 << 63) - 1
"""Documents that the columns can count, as ``map(range(10**12))`` wants."""

_LARGEST_PID = (1 << 31) - 1

metadata = sa.MetaData()
Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # only INTEGER is an alias of SQLite's rowid


def _id() -> sa.Column[int]:
    return sa.Column("id", Id, primary_key=True)


def _key(name: str, kind: Any = Id) -> sa.Column[Any]:
    """Part of a primary key that is given, not counted."""
    return sa.Column(name, kind, primary_key=True, autoincrement=False)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False, server_default="")


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, Id, nullable=False, server_default="0")


def _time(name: str) -> sa.Column[float]:
    return sa.Column(name, sa.Double, nullable=False, server_default="0")


meta = sa.Table("meta", metadata, _key("key", sa.Text), _text("value"))

# Ids of runs and steps are never used again: a kernel that still holds the id of something another one dropped must
# not write into its successor.
runs = sa.Table(
    "runs",
    metadata,
    _id(),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    _text("state"),
    _text("notebook"),
    _text("source"),
    sa.Column("total", Id),
    _count("done"),
    _count("restored"),
    _count("failed"),
    _count("attempts"),
    sa.Column("owner_token", sa.Text),  # null: nobody holds the run
    _text("owner_host"),
    _text("owner_machine"),
    _count("owner_pid"),
    _text("owner_born"),
    _text("owner_kernel"),
    _time("heartbeat"),
    _time("created"),
    _time("updated"),
    sa.Column("parent", Id),
    _text("figures"),  # JSON: what is true of a live run for a moment, and of an ended one for good
    _text("cell"),
    _time("began"),  # this attempt
    sqlite_autoincrement=True,
)

steps = sa.Table(
    "steps",
    metadata,
    _id(),
    _text("name"),
    _text("kind"),
    _text("fingerprint"),
    _text("parts"),  # JSON object
    _text("source"),
    _time("created"),
    sa.UniqueConstraint("name", "fingerprint"),
    sqlite_autoincrement=True,
)

checkpoints = sa.Table(
    "checkpoints",
    metadata,
    _id(),
    sa.Column("run_id", Id, nullable=False),
    sa.Column("step_id", Id, nullable=False),
    sa.Column("key", sa.LargeBinary, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("position", Id, nullable=False),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("attempts", Id, nullable=False),
    sa.Column("error", sa.Text),  # first line: type and message; below it the traceback
    sa.Column("started", sa.Double, nullable=False),
    sa.Column("seconds", sa.Double, nullable=False),
    sa.Column("codec", sa.Text, nullable=False),
    sa.Column("payload", sa.LargeBinary),
)
sa.Index("checkpoints_key", checkpoints.c.run_id, checkpoints.c.step_id, checkpoints.c.key, unique=True)
FAILED = checkpoints.c.state == sa.literal_column("'failed'")
RESULT = sa.and_(checkpoints.c.state == sa.literal_column("'done'"), checkpoints.c.codec != sa.literal_column("'link'"))
"""Literals, not parameters: only so are the indexes below used. No two of them are as good for one question, since SQLite
would take either."""
for _name, _column, _where in (
    ("checkpoints_failed", checkpoints.c.step_id, FAILED),
    ("checkpoints_gave_up", checkpoints.c.position, FAILED),
    ("checkpoints_position", checkpoints.c.position, RESULT),
):
    sa.Index(_name, checkpoints.c.run_id, _column, sqlite_where=_where)

choices = sa.Table(
    "choices",
    metadata,
    _key("run_id"),
    _key("step_id"),
    _key("older_step_id"),
    _text("choice"),
    _time("at"),
)

blobs = sa.Table(
    "blobs",
    metadata,
    _key("digest", sa.LargeBinary),  # blake2b, 32 bytes
    sa.Column("payload", sa.LargeBinary, nullable=False),
)

events = sa.Table(
    "events",
    metadata,
    _id(),
    sa.Column("run_id", Id, nullable=False, index=True),
    _time("at"),
    _text("kind"),
    _text("detail"),
)


# Ids are never used again: whoever has seen a control asks for those after it.
controls = sa.Table(
    "controls",
    metadata,
    _id(),
    sa.Column("run_id", Id, nullable=False, index=True),
    _time("at"),
    _text("action"),
    _text("value"),
    sqlite_autoincrement=True,
)

mosaics = sa.Table(
    "mosaics",
    metadata,
    _key("run_id"),
    _count("version"),
    sa.Column("states", sa.LargeBinary, nullable=False),  # zlib of one byte a document
)

# How often worker processes have made each call in this attempt: nobody else could tell equal calls apart there.
tallies = sa.Table(
    "tallies",
    metadata,
    _key("run_id"),
    _key("step_id"),
    _key("digest", sa.LargeBinary),
    _count("made"),
    _text("given_back"),  # numbers of calls that raised, with spaces between
)


# Calls that were running when a kernel died.
suspects = sa.Table(
    "suspects",
    metadata,
    _key("run_id"),
    _key("step_id"),
    _key("key", sa.LargeBinary),
    _count("deaths"),
)

# Calls that wait for their next attempt.
backoffs = sa.Table(
    "backoffs",
    metadata,
    sa.Column("run_id", Id, primary_key=True, autoincrement=False),
    sa.Column("step_id", Id, primary_key=True, autoincrement=False),
    sa.Column("key", sa.LargeBinary, primary_key=True),
    _count("attempts"),
    _time("since"),
    _time("delay_s"),
)

# What results cost, of steps that say so: beside the checkpoints, which are read without it.
costs = sa.Table(
    "costs",
    metadata,
    _key("run_id"),
    _key("step_id"),
    _key("key", sa.LargeBinary),
    sa.Column("cost", sa.Double, nullable=False),
)
# Kernels that compute a shared run, each with the call that it has: see `sharing`.
members = sa.Table(
    "members",
    metadata,
    _key("run_id"),
    _key("token", sa.Text),
    _text("host"),
    _text("machine"),
    _count("pid"),
    _text("born"),
    _text("kernel"),
    _time("heartbeat"),
)
claims = sa.Table(
    "claims",
    metadata,
    _key("run_id"),
    _key("step_id"),
    _key("key", sa.LargeBinary),
    _text("token"),
    _text("state"),  # held, done or failed
)

# What a fresh kernel needs to run the cell of a run again.
capsules = sa.Table(
    "capsules",
    metadata,
    _key("run_id"),
    _time("at"),
    _text("signatures"),
    _text("manifest"),  # JSON
    sa.Column("payload", sa.LargeBinary, nullable=False),
)
# The run whose results a run takes where it has none of its own: see `lineages`.
forks = sa.Table(
    "forks",
    metadata,
    _key("run_id"),
    sa.Column("origin_id", Id, nullable=False, index=True),
)
# What calls printed, of those that did: see `outputs`.
outputs = sa.Table(
    "outputs",
    metadata,
    _key("run_id"),
    _key("step_id"),
    _key("key", sa.LargeBinary),
    _count("lines"),
    _count("shown"),
    _count("logged"),
    _text("signature"),
    _text("said"),  # JSON: what, in order
)


def run_of(row: Any) -> Run:
    """The record of a row of ``runs``, as stored; Misfit for one that cannot be."""
    owner = None
    if row.owner_token is not None:
        owner = fitting(
            Owner(row.owner_token, row.owner_host, row.owner_machine, row.owner_pid, row.owner_born, row.owner_kernel)
        )
    if row.state not in set(State):
        raise Misfit(f"a run in state {row.state!r:.60}")
    run = Run(
        row.id, row.name, State(row.state), row.notebook, row.source, row.total, row.done, row.restored, row.failed,
        row.attempts, owner, row.heartbeat, row.created, row.updated, row.cell, row.began,
    )  # fmt: skip
    counts = (fitting(run).total or 0, run.done, run.restored, run.failed, run.attempts)
    if not all(0 <= count <= MOST for count in counts) or not 0 <= (owner.pid if owner else 0) <= _LARGEST_PID:
        raise Misfit(f"the counts {counts} of a run, or the number of its process")
    return run
