"""Several kernels compute one run, on PostgreSQL: who they are, and which call each of them has claimed.

A claim is a row rather than a lock, because a call may take minutes and no transaction should. It outlives its call until
the attempt is over: what is claimed once is computed once, and a result counts only for whoever has the claim. A kernel
that died is found by its members row (`leases.is_alive`: by proof on the same machine, by its lease elsewhere); then its
unfinished claims are free again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from durable_nb import clock, retry
from durable_nb.errors import ConfigError
from durable_nb.records import Backoff, Checkpoint, Failure, Owner, Run, State
from durable_nb.store import backoffs, claims, leases, tables
from durable_nb.store.backoffs import Name
from durable_nb.store.connect import Database
from durable_nb.store.dialects import insert
from durable_nb.store.ledgers import Ledger, Watch
from durable_nb.store.misfits import fitting
from durable_nb.store.tables import checkpoints, members, mosaics, run_of, runs

_LOCK = 0x646E620300000000  # and the id of a run: who takes claims of it waits for who does, instead of for nothing


class Taken(NamedTuple):
    """What has become of some calls."""

    mine: set[bytes]
    done: set[bytes]
    failed: set[bytes]
    waited: dict[bytes, Backoff]
    """Those of mine that had failed for a kernel which has left or died since."""


class Share:
    """The part of one kernel in a run.

    Attributes
    ----------
    run : Run
        Its owner is the same for all kernels that compute it.
    dead : list of str
        Tokens of kernels that died and whose calls are free since this one joined.
    kept, fenced : list of (step id, key)
        Calls of this kernel that ended since somebody emptied the list: saved, and refused because others have the claim.
    before : Run or None
        What the run was when this kernel began it; None if it joined others.
    """

    def __init__(self, database: Database, run: Run, member: Owner, dead: list[str], before: Run | None = None) -> None:
        self.run, self.dead, self.before = run, dead, before
        self.kept: list[Name] = []
        self.fenced: list[Name] = []
        self.member = member
        self._database = database

    def take(self, step_id: int, keys: Sequence[bytes], limit: int, *, longest_s: float = math.inf) -> Taken:
        """Claim up to ``limit`` of the calls that nobody has, the first first; and say which of the others have ended.

        A call that failed for a kernel which has left or died since is claimed when its next attempt may be made, after
        ``longest_s`` at most.
        """
        return self._database.change(self._take, step_id, keys, limit, longest_s)

    def known(self, step_id: int, keys: Sequence[bytes]) -> set[bytes]:
        """Calls that somebody has claimed in this attempt."""
        rows = self._database.ask(claims.look_up, self.run.id, step_id, keys)
        return {key for key, _, _ in rows}

    def failures(self, step_id: int, keys: Sequence[bytes]) -> dict[bytes, Failure]:
        """Why calls failed, by key."""
        return self._database.ask(_failures, self.run.id, step_id, keys)

    def bury(self) -> list[str]:
        """Free the calls that dead kernels had claimed; the tokens of those kernels."""
        return self._database.change(_bury, self.run.id, self.member.token)

    def leave(self, conn: sa.Connection, *, state: State, message: str, last: dict[str, Any], again: bool) -> None:
        """Let go of all claims that have not ended; the last kernel ends the run. As `leases.release`."""
        run_id, face = self.run.id, self.run.owner
        assert face is not None
        last = _whole(conn, run_id, last | {"restored": max(_lock(conn, run_id), last["restored"])})
        _drop(conn, run_id, self.member.token)
        mine = sa.and_(runs.c.id == run_id, runs.c.owner_token == face.token)
        if not any(leases.is_alive(owner, beat) for owner, beat in _members(conn, run_id)):
            leases.release(conn, run_id, owner=face, state=state, message=message, last=last, again=again)
            for table in (tables.claims, members):
                conn.execute(sa.delete(table).where(table.c.run_id == run_id))
        elif conn.execute(sa.update(runs).where(mine).values(_at_least(last))).rowcount:
            leases.tell(conn, run_id, "left", f"{_who(self.member)}: {message or state.value}")

    def _take(self, conn: sa.Connection, step_id: int, keys: Sequence[bytes], limit: int, longest_s: float) -> Taken:
        conn.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK + self.run.id)))
        found = claims.look_up(conn, self.run.id, step_id, keys)
        taken = {key for key, _, _ in found}
        # A claim of our own that we do not know of: the answer of the attempt that made it was lost.
        mine = {key for key, token, state in found if state == claims.HELD and token == self.member.token}
        free = [key for key in keys if key not in taken]
        waited = backoffs.of_calls(conn, self.run.id, step_id, free) if free else {}
        free = [key for key in free if key not in waited or _is_due(waited[key], longest_s)][:limit]
        if free:
            mine |= claims.take(conn, self.run.id, step_id, self.member.token, free)
        done, failed = ({key for key, _, state in found if state == end} for end in (claims.DONE, claims.FAILED))
        return Taken(mine, done, failed, {key: waited[key] for key in mine if key in waited})


class SharedWatch(Watch):
    """A run that this kernel computes together with others: whichever commits first keeps its lease for all."""

    def __init__(self, ledger: Ledger, share: Share) -> None:
        super().__init__(share.member, ledger)
        self.share = share
        self._fenced: set[Name] = set()

    def write_rest(self, conn: sa.Connection, run_id: int) -> None:
        """As of one kernel, once no other commits: those lock the run before its mosaic too."""
        _lock(conn, run_id)
        super().write_rest(conn, run_id)

    def write(self, conn: sa.Connection, run_id: int, batch: Sequence[Checkpoint]) -> bool:
        """As of one kernel; and end the claims of what is committed. What others have claimed meanwhile is fenced."""
        face, now = self.share.run.owner, clock.now()
        assert face is not None
        mine = sa.update(runs).where(runs.c.id == run_id, runs.c.owner_token == face.token)
        # From this statement on the commits of all kernels are one after the other.
        if conn.execute(mine.values(heartbeat=now)).rowcount == 0:
            return False
        _enrol(conn, run_id, self.share.member, now)
        self._fenced = claims.end(conn, run_id, self.share.member.token, batch)
        conn.execute(mine.values(_at_least(self.last(self._counting(batch)))))
        self._write_more(conn, run_id)
        return True

    def admitted(self, run_id: int, rows: list[Checkpoint], held: set[int]) -> list[Checkpoint]:
        """Without what is fenced."""
        held.add(run_id)
        return [row for row in rows if row.run_id != run_id or row[1:3] not in self._fenced] if self._fenced else rows

    def committed(self, batch: Sequence[Checkpoint]) -> None:
        """The transaction is over: whoever computed these calls may know."""
        counting = self._counting(batch)
        super().committed(counting)
        self.share.kept += [row[1:3] for row in counting]
        self.share.fenced += self._fenced
        self._fenced = set()

    def _replacing(self, mosaic: dict[str, Any]) -> dict[str, Any]:
        """Each kernel counts versions for itself; whoever looks at the rows shall see them grow."""
        return mosaic | {"version": sa.func.greatest(mosaics.c.version + 1, mosaic["version"])}

    def _counting(self, batch: Sequence[Checkpoint]) -> Sequence[Checkpoint]:
        return [row for row in batch if row[1:3] not in self._fenced] if self._fenced else batch


def join(database: Database, name: str, *, owner: Owner, parent: int | None = None, **texts: str) -> Share:
    """Begin a run that others may join, or join those who are at it.

    Raises
    ------
    ConfigError
        The database is SQLite's.
    RunBusy
        A kernel computes the run alone.
    """
    if database.is_sqlite:
        raise ConfigError(
            "shared=True needs PostgreSQL: in SQLite one kernel computes a run.",
            'Set configure(url="postgresql+psycopg://user@host/database") in each kernel, or leave out shared=True.',
        )
    with database.writing() as conn:
        return _join(conn, database, name, owner, parent, texts)


def _join(
    conn: sa.Connection, database: Database, name: str, member: Owner, parent: int | None, texts: dict[str, str]
) -> Share:
    now = clock.now()
    conn.execute(insert(conn.dialect, runs).values(name=name, state="running", created=now).on_conflict_do_nothing())
    before = run_of(conn.execute(sa.select(runs).where(runs.c.name == name).with_for_update()).one())
    there, began = _members(conn, before.id), None
    if any(leases.is_alive(owner, beat) for owner, beat in there):
        dead = _bury(conn, before.id, member.token)
        run = before
        leases.tell(conn, run.id, "joined", _who(member))
    else:
        dead = [owner.token for owner, _ in there]
        if before.owner is not None and not there:
            dead = [before.owner.token]
        # Only its lease says whether a run of several is alive: no process is it. With the token of those who are dead
        # nobody has to wait for the end of the lease.
        face = member._replace(token=f"shared-{member.token}", machine="", born="")
        if before.owner is not None and there:
            face = face._replace(token=before.owner.token)
        run, began = leases.claim(conn, name, owner=face, parent=parent, **texts), before
    _enrol(conn, run.id, member, now)
    return Share(database, run, member, dead, began)


def _lock(conn: sa.Connection, run_id: int) -> int:
    """Until this transaction ends no other kernel commits to the run; how many calls of it were restored."""
    return conn.scalar(sa.select(runs.c.restored).where(runs.c.id == run_id).with_for_update()) or 0


def _members(conn: sa.Connection, run_id: int) -> list[tuple[Owner, float]]:
    columns = (members.c[f] for f in (*Owner._fields, "heartbeat"))
    rows = conn.execute(sa.select(*columns).where(members.c.run_id == run_id).order_by(members.c.token))
    return [(fitting(Owner(*row[:-1])), row[-1]) for row in rows]


def _enrol(conn: sa.Connection, run_id: int, member: Owner, now: float) -> None:
    """The heartbeat of a member; one that was taken for dead is one again."""
    statement = insert(conn.dialect, members).values(run_id=run_id, heartbeat=now, **member._asdict())
    conn.execute(statement.on_conflict_do_update(index_elements=["run_id", "token"], set_={"heartbeat": now}))


def _bury(conn: sa.Connection, run_id: int, token: str) -> list[str]:
    """Of all members but that one, and whatever is held by no member."""
    are_strays = claims.are_strays(conn, run_id)  # looks at all claims: not while others wait for the lock
    _lock(conn, run_id)
    there = _members(conn, run_id)
    dead = [owner for owner, beat in there if owner.token != token and not leases.is_alive(owner, beat)]
    for owner in dead:
        freed = _drop(conn, run_id, owner.token)
        leases.tell(conn, run_id, "kernel died", f"{_who(owner)}; {freed:,} of its calls are free again")
    if are_strays:
        claims.drop_strays(conn, run_id)
    return [owner.token for owner in dead]


def _drop(conn: sa.Connection, run_id: int, token: str) -> int:
    """A member, with its claims that have not ended; how many those were."""
    conn.execute(sa.delete(members).where(members.c.run_id == run_id, members.c.token == token))
    return claims.drop(conn, run_id, token)


def _is_due(backoff: Backoff, longest_s: float) -> bool:
    now = clock.now()
    # A time of the future: a clock was stepped back. Whoever claims the call waits for the delay by itself.
    return backoff.since > now + leases.LEASE_S or retry.left(backoff, now, longest_s) <= 0


def _failures(conn: sa.Connection, run_id: int, step_id: int, keys: Sequence[bytes]) -> dict[bytes, Failure]:
    c = checkpoints.c
    found = sa.select(c.key, c.position, c.label, c.error, c.attempts)
    found = found.where(c.run_id == run_id, c.step_id == step_id, c.key.in_(list(keys)), c.state == State.FAILED.value)
    failures = {}
    for row in conn.execute(found):
        line, _, traceback = str(row.error).partition("\n")
        failures[row.key] = fitting(Failure(row.position, row.label, line, row.attempts, traceback))
    return failures


def _whole(conn: sa.Connection, run_id: int, last: dict[str, Any]) -> dict[str, Any]:
    """The last counts of a kernel, with what others have ended since it looked."""
    done, failed = claims.ended(conn, run_id)
    done += last["restored"]
    last |= {"done": done, "failed": failed}
    if last["total"] is None:  # it has looked at nothing: what others want stays
        return {name: value for name, value in last.items() if name != "total"}
    return last | {"total": max(last["total"], done + failed)}


def _at_least(values: dict[str, Any]) -> dict[str, Any]:
    """Each kernel knows some of what the others did a moment later: counts of a run grow, whoever writes them."""
    counts = ("total", "done", "restored", "failed")
    return values | {name: sa.func.greatest(runs.c[name], values[name]) for name in counts if name in values}


def _who(member: Owner) -> str:
    return f"pid {member.pid} on {member.host}"
