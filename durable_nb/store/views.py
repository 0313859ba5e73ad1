"""Runs as they are now, from the rows alone, for the panel and the server."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from durable_nb import clock, limits
from durable_nb.errors import ConfigError, StoreUnavailable
from durable_nb.records import (
    RESTORED,
    Backoff,
    Control,
    Document,
    Event,
    Failure,
    Group,
    Mosaic,
    Run,
    Snapshot,
    State,
    StepVersion,
)
from durable_nb.store import backoffs, leases, reader, suspects, tables
from durable_nb.store.dialects import insert, plain
from durable_nb.store.figures import figures_of, groups_of
from durable_nb.store.lookups import Lookups
from durable_nb.store.misfits import fitting
from durable_nb.store.tables import run_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    import sqlalchemy as sa


_FAILURES, _GROUPS = 50, 20
_GONE = "Its kernel is gone; run the cell again to go on"


class Views(Lookups):
    """The part of a store that needs no writing thread.

    Attributes
    ----------
    id : str
        12 hex digits: the same database has the same in a kernel and in a server.
    """

    id: str

    def step(self, name: str, *, fingerprint: str, parts: dict[str, str], source: str, kind: str = "function") -> int:
        """Id of a version of a step, the same for the same name and fingerprint; ask once a run, not once a kernel."""
        found = self._database.ask(reader.step_id, name, fingerprint)
        if found is not None:
            return found
        texts = {"name": name, "fingerprint": fingerprint, "kind": kind, "source": plain(source)}
        values = texts | {"parts": json.dumps(parts), "created": clock.now()}

        def made(conn: sa.Connection) -> int | None:
            conn.execute(insert(conn.dialect, tables.steps).values(values).on_conflict_do_nothing())
            return reader.step_id(conn, name, fingerprint)

        new = self._database.change(made)
        assert new is not None
        return new

    def runs(self) -> list[Run]:
        """All runs, the one started or ended last first; one whose kernel died counts as interrupted."""
        with self._database.reading() as conn:
            return [leases.as_it_is(run_of(row)) for row in reader.all_runs(conn)]

    def run(self, name: str) -> Run | None:
        """One run by name, None when there is none."""
        with self._database.reading() as conn:
            row = reader.run_named(conn, name)
            return None if row is None else leases.as_it_is(run_of(row))

    def snapshot(self, name: str) -> Snapshot | None:
        """A run as its rows tell: the last figures of its owner while that is alive, interrupted once it is dead."""
        with self._database.reading() as conn:
            row = reader.run_named(conn, name)
            return None if row is None else _with_failures(conn, _snapshot(row, self.id))

    def overview(self) -> list[tuple[Run, Snapshot]]:
        """All runs, in one query: each with its snapshot, the failures left out."""
        with self._database.reading() as conn:
            rows = reader.all_runs(conn)
            return [(leases.as_it_is(run_of(row)), _snapshot(row, self.id)._replace(groups=())) for row in rows]

    def mosaic(self, run_id: int) -> Mosaic | None:
        """The state of every document; None before the first commit.

        While the run is alive it is at most about 2 s old; 0.1 s, and a commit, where there are not more than 100,000.
        """
        with self._database.reading() as conn:
            return reader.mosaic(conn, run_id)

    def document(self, run_id: int, position: int) -> Document | None:
        """What is saved of one document, by its number in the run.

        None while that is nothing, and for a restored one if documents were added, removed or sorted otherwise since they
        were computed: which of them has this number now, nobody wrote down.
        """
        if abs(position) > tables.MOST:
            return None
        with self._database.reading() as conn:
            every = (reader.document(conn, one, position) for one in self.lineage(run_id))
            found = next((one for one in every if one is not None), None)
            row = None if found is None else reader.run_of_id(conn, run_id)
            if row is not None and figures_of(row.figures).get("renumbered"):
                mosaic = reader.mosaic(conn, run_id)
                if mosaic is None or mosaic.states[position : position + 1] == bytes((RESTORED,)):
                    return None
        return found

    def failures(
        self, run_id: int, *, limit: int = _FAILURES, offset: int = 0, counted: int | None = None
    ) -> list[Failure]:
        """Documents that gave up and have no result since, in their order.

        Where there are more of them than the run has ``counted``, the newest: the others failed in an earlier attempt, and
        are no longer among the documents, or not yet tried again.
        """
        with self._database.reading() as conn:
            return reader.failures(conn, run_id, limit=limit, offset=offset, counted=counted)

    def failure_groups(self, run_id: int, *, limit: int = _GROUPS) -> list[Group]:
        """The same by the first line of their errors, the most frequent first. Reads all of them."""
        with self._database.reading() as conn:
            return reader.failure_groups(conn, run_id, limit=limit)

    def events(self, run_id: int) -> list[Event]:
        """The history of a run, oldest first; the last line of one whose owner is dead says when that was heard of last."""
        with self._database.reading() as conn:
            story, row = reader.history(conn, run_id), reader.run_of_id(conn, run_id)
            run = None if row is None else run_of(row)
        if run is not None and run.owner is not None and leases.as_it_is(run) is not run:
            story.append(leases.death_of(run))
        return story

    def contents(self, run_id: int) -> list[StepVersion]:
        """Versions of all steps with saved results in this run, newest first."""
        with self._database.reading() as conn:
            return reader.versions(conn, run_id)

    def origins(self, run_id: int) -> list[str]:
        """Names of the runs whose results a run takes where it has none, the nearest first."""
        with self._database.reading() as conn:
            found = [reader.run_of_id(conn, one) for one in self.lineage(run_id)[1:]]
        return [row.name for row in found if row is not None]

    def choose(self, run_id: int, step_id: int, older: Iterable[int], choice: str, *, edited: bool = False) -> None:
        """Remember what to do with results of older versions; a later choice replaces it.

        A version that keeps its own results is thereby noted as the one in use now. With ``edited`` somebody decides about
        an edit of the step: a choice that is new goes into the history.
        """
        if choice not in ("keep", "recompute"):
            raise ConfigError(f"choice {choice!r} is not known.", 'It is "keep" or "recompute".')
        made, older = {"run_id": run_id, "step_id": step_id, "choice": choice, "at": clock.now()}, list(older)
        if not older:
            return

        def note(conn: sa.Connection) -> None:
            before = reader.choices_of(conn, run_id, step_id)
            if edited and any(before.get(old) != choice for old in older):
                done = "kept" if choice == "keep" else "computed again"
                leases.tell(
                    conn, run_id, "edited", f"{reader.step_name(conn, step_id)}: results of older code are {done}"
                )
            adding = insert(conn.dialect, tables.choices)
            conn.execute(
                adding.on_conflict_do_update(
                    index_elements=["run_id", "step_id", "older_step_id"],
                    set_={name: adding.excluded[name] for name in ("choice", "at")},
                ),
                [made | {"older_step_id": old} for old in older],
            )

        self._database.change(note)

    def suspects(self, run_id: int) -> dict[tuple[int, bytes], int]:
        """By step id and key, how many deaths of kernels count for each call that has no result."""
        with self._database.reading() as conn:
            return suspects.of_run(conn, run_id)

    def note_death(
        self, run_id: int, guilty: Collection[tuple[int, bytes]], beside: Collection[tuple[int, bytes]]
    ) -> None:
        """A kernel died: count it for the ``guilty`` calls, and remember those that ran ``beside`` them."""
        with self._database.writing() as conn:
            suspects.note_death(conn, run_id, guilty, beside)

    def backoffs(self, run_id: int) -> dict[tuple[int, bytes], Backoff]:
        """By step id and key, the calls that waited for their next attempt when the kernel of a run died."""
        return self._database.ask(backoffs.of_run, run_id)

    def spare(self, run_id: int, names: Collection[tuple[int, bytes]] | None = None) -> int:
        """Let calls that were set aside, all or those of these step ids and keys, run once more; how many they are.

        If all, then those that wait for their next attempt begin with their first one, too.
        """
        with self._database.writing() as conn:
            if names is None:
                backoffs.drop(conn, run_id)
            return suspects.spare(conn, run_id, names)

    def control(self, run_id: int, action: str, value: str = "") -> int:
        """Ask something of a live run, which looks every 0.1 s; the id of the request.

        Parameters
        ----------
        run_id : int
            Nothing happens if nobody computes it: what is asked of one attempt is never done to the next.
        action : str
            ``pause``, ``resume``, ``stop``, ``workers`` or ``rate``.
        value : str
            Calls at a time for ``workers``, calls a minute for ``rate``; '' for no limit.

        Raises
        ------
        ConfigError
        """
        limits.parsed(action, value)
        with self._database.writing() as conn:
            return leases.ask(conn, run_id, action, value)

    def controls(self, run_id: int, *, after: int = 0) -> list[Control]:
        """What was asked of a run since the request of id ``after``, in this order."""
        with self._database.reading() as conn:
            return reader.controls(conn, run_id, after=after)

    @contextmanager
    def listening(self, run_id: int) -> Iterator[Callable[[int], list[Control]]]:
        """``controls`` as a function of ``after`` for whoever asks ten times a second: on one connection, held meanwhile.

        It raises StoreUnavailable once a new one has to be taken.
        """
        database, opened = self._database, self._database.openings

        def asked(after: int) -> list[Control]:
            if database.openings != opened:
                raise StoreUnavailable(database.where, "was opened anew.", "Ask again.")
            with database.doors.passing():
                return reader.controls(conn, run_id, after=after)

        with database.holding() as conn:
            yield asked


def _snapshot(row: Any, store: str) -> Snapshot:
    run = leases.as_it_is(run_of(row))
    figures = figures_of(row.figures)
    alive, now = run.state is State.RUNNING, clock.now()
    known = now if alive else run.heartbeat  # until when anything is known of it
    elapsed = max(0.0, known - run.began if run.began else run.updated - run.created)
    computed, committed, eta = run.done - run.restored, figures.get("committed"), figures.get("eta_s")
    last_words = figures.get("message", "") if run.owner is None else _GONE
    snapshot = Snapshot(
        name=run.name,
        state=run.state,
        total=run.done + run.failed if run.total is None and run.state is State.DONE else run.total,
        restored=run.restored,
        computed=computed,
        failed=run.failed,
        running=figures.get("running", 0) if alive else 0,
        rate=figures.get("rate", 0.0) if alive else computed / elapsed if elapsed else 0.0,
        eta_s=max(0.0, eta - (now - run.heartbeat)) if alive and eta is not None else None,
        elapsed_s=elapsed,
        saved_s=figures.get("saved_s", 0.0),
        commit_age_s=None if committed is None else max(0.0, known - committed),
        message="" if alive else last_words,
        run_id=run.id,
        store=store,
        notebook=run.notebook,
        cell=run.cell,
        attempts=run.attempts,
        paused=alive and figures.get("paused", False),
        workers=figures.get("workers", 1),
        limit_workers=figures.get("limit_workers") if alive else None,
        per_minute=figures.get("per_minute") if alive else None,
        heartbeat_age_s=None if run.owner is None else max(0.0, now - run.heartbeat),
        waiting_for=figures.get("waiting_for", "") if alive else "",
        groups=groups_of(figures.get("groups", [])),
        mosaic_version=row.version or 0,
        spent=figures.get("spent", 0.0),
        saved_cost=figures.get("saved_cost", 0.0),
    )
    return fitting(snapshot)


def _with_failures(conn: sa.Connection, snapshot: Snapshot) -> Snapshot:
    """As the owner shows them: those of its attempt, none while there are none."""
    if not snapshot.failed or snapshot.run_id is None:
        return snapshot
    groups = snapshot.groups or reader.failure_groups(conn, snapshot.run_id, limit=_GROUPS)
    listed = reader.failures(conn, snapshot.run_id, limit=_FAILURES, offset=0, counted=snapshot.failed)
    return snapshot._replace(failures=tuple(listed), groups=tuple(groups))
