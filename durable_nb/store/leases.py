"""Who owns a run, and when a dead kernel's run may be taken over.

On one machine a process is looked up by pid and start time: a killed kernel is known dead at once, and one that is
merely slow is never robbed. Across machines only the lease counts: a heartbeat younger than ``LEASE_S``.
"""

from __future__ import annotations

import os
import platform
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

import sqlalchemy as sa

from durable_nb import clock, machines
from durable_nb.errors import LeaseLost, RunBusy
from durable_nb.machines import born, goes_on, machine
from durable_nb.records import Event, Owner, Run, State
from durable_nb.store import backoffs, lineages
from durable_nb.store.dialects import insert, plain
from durable_nb.store.tables import claims, controls, events, members, run_of, runs, tallies

if TYPE_CHECKING:
    from collections.abc import Iterator

watched: set[str] = set()
"""Tokens of the claims that this process keeps alive."""

_heard: dict[str, tuple[float, float]] = {}
"""By token, the last heartbeat that lay in the future, and when we saw it first."""

LEASE_S = machines.LEASE_S
"""How long a run of another machine stays its own without a heartbeat; six missed beats, and room for clock skew."""


def owner_of_this_process(kernel: str = "") -> Owner:
    """A new claim by this process; every claim has its own token."""
    pid = os.getpid()
    return Owner(secrets.token_hex(8), platform.node(), machine(), pid, born(pid) or "", kernel)


@contextmanager
def claiming(owner: Owner) -> Iterator[None]:
    """A block in which a run is begun and watched: nobody takes the claim for a dead one meanwhile, after an exception all do."""
    watched.add(owner.token)
    try:
        yield
    except BaseException:
        watched.discard(owner.token)
        raise


def is_alive(owner: Owner, heartbeat: float) -> bool:
    """True while the process that holds a run may still be computing it.

    Parameters
    ----------
    owner : Owner
        Who claimed it.
    heartbeat : float
        When it last said so, in seconds since the epoch.
    """
    is_ours = owner.machine == machine() and owner.pid == os.getpid() and owner.born == born(owner.pid)
    if owner.machine and is_ours:
        return owner.token in watched  # a claim of our own that nobody watches: the cell died while it was ending
    return goes_on(owner.machine, owner.pid, owner.born, is_leased=_is_leased(owner.token, heartbeat))


def _is_leased(token: str, heartbeat: float) -> bool:
    age = clock.now() - heartbeat
    if age > -LEASE_S:
        return age < LEASE_S
    # A heartbeat of the future: a clock was stepped back. Then it counts for as long as we hear another one in time.
    heard, since = _heard.get(token, (0.0, 0.0))
    if heard != heartbeat:
        since = clock.monotonic()
        _heard[token] = heartbeat, since
    return clock.monotonic() - since < LEASE_S


def as_it_is(run: Run) -> Run:
    """The run with ``running`` only said while its owner is alive; SIGKILL leaves no time to write anything else."""
    if run.state is State.RUNNING and (run.owner is None or not is_alive(run.owner, run.heartbeat)):
        return run._replace(state=State.INTERRUPTED)
    return run


def refuse_if_busy(run: Run) -> None:
    """Raise RunBusy while a live process holds the run."""
    owner = run.owner
    if owner is not None and is_alive(owner, run.heartbeat):
        raise RunBusy(run.name, owner.host, owner.pid, owner.kernel, max(0.0, clock.now() - run.heartbeat))


class Claim(TypedDict):
    """Who begins or joins a run, and what is known of it."""

    owner: Owner
    notebook: NotRequired[str]
    source: NotRequired[str]
    cell: NotRequired[str]
    parent: NotRequired[int | None]
    fork: NotRequired[str]


def claim(
    conn: sa.Connection, name: str, *, owner: Owner, parent: int | None = None, fork: str = "", **texts: str
) -> Run:
    """Create or re-open a run and hold it; inside one write transaction, so that of two claims one waits and sees."""
    now = clock.now()
    conn.execute(insert(conn.dialect, runs).values(name=name, state="running", created=now).on_conflict_do_nothing())
    before = run_of(conn.execute(sa.select(runs).where(runs.c.name == name).with_for_update()).one())
    if before.owner is None or before.owner.token != owner.token:
        refuse_if_busy(before)
    if fork:
        lineages.fork(conn, before, fork)
    changes: dict[str, Any] = {f"owner_{field}": value for field, value in owner._asdict().items()}
    changes |= {"state": State.RUNNING.value, "heartbeat": now, "updated": now, "attempts": runs.c.attempts + 1}
    changes |= {"total": None, "done": 0, "restored": 0, "failed": 0, "figures": "", "began": now}
    changes |= {key: plain(text) for key, text in texts.items() if text} | ({"parent": parent} if parent else {})
    for table in (controls, tallies, members, claims):  # asked of an earlier attempt, made in one
        conn.execute(sa.delete(table).where(table.c.run_id == before.id))
    conn.execute(sa.update(runs).where(runs.c.id == before.id).values(changes))
    who = f"pid {owner.pid} on {owner.host}"
    if before.owner is not None:
        dead = before.owner
        at, kind, last_sign = death_of(before)
        tell(conn, before.id, kind, last_sign, at=at)
        tell(conn, before.id, "taken over", f"{who}, from pid {dead.pid} on {dead.host}")
    else:
        forked = f", forked from {fork}" if fork and not before.attempts else ""
        tell(conn, before.id, "restarted" if before.attempts else "started", who + forked)
    return run_of(conn.execute(sa.select(runs).where(runs.c.id == before.id)).one())


def release(
    conn: sa.Connection,
    run_id: int,
    *,
    owner: Owner,
    state: State,
    message: str,
    last: dict[str, Any],
    again: bool = False,
) -> None:
    """End a run with its ``last`` counts and let go of it; LeaseLost when somebody else holds it by now.

    ``again`` after an attempt whose answer was lost with the connection: it may have been committed.
    """
    now = clock.now()
    mine = sa.and_(runs.c.id == run_id, runs.c.owner_token == owner.token)
    changes: dict[str, Any] = {"state": State(state).value, "owner_token": None, "heartbeat": now, "updated": now}
    if conn.execute(sa.update(runs).where(mine).values(changes | last)).rowcount == 0:
        found = conn.execute(sa.select(runs.c.name, runs.c.owner_token).where(runs.c.id == run_id)).one_or_none()
        if again and found is not None and found.owner_token is None:
            return
        raise LeaseLost(str(run_id) if found is None else found.name)
    backoffs.drop(conn, run_id)
    tell(conn, run_id, State(state).value, message)


def death_of(run: Run) -> Event:
    """The line of the history that a killed owner could not write itself."""
    assert run.owner is not None
    return Event(run.heartbeat, "interrupted", f"pid {run.owner.pid} on {run.owner.host} was heard of last")


def tell(conn: sa.Connection, run_id: int, kind: str, detail: str, *, at: float | None = None) -> None:
    """A row of the run's history."""
    moment = clock.now() if at is None else at
    conn.execute(sa.insert(events).values(run_id=run_id, at=moment, kind=kind, detail=plain(detail)))


def ask(conn: sa.Connection, run_id: int, action: str, value: str) -> int:
    """A row that the owner of a live run will find; its id."""
    made = conn.execute(sa.insert(controls).values(run_id=run_id, at=clock.now(), action=action, value=value))
    assert made.inserted_primary_key is not None
    return int(made.inserted_primary_key[0])
