"""Begin, use and finish a run; the current run is a context variable."""

from __future__ import annotations

import contextlib
import itertools
import sys
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from durable_nb import config
from durable_nb.engine.session import current as session
from durable_nb.errors import CodeChanged, LeaseLost, RunStopped, StoreError
from durable_nb.progress import Progress
from durable_nb.records import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from durable_nb.engine.steps import Step
    from durable_nb.records import Saved
    from durable_nb.store import Store

_current: ContextVar[LiveRun | None] = ContextVar("durable_nb_run", default=None)
_READ_AHEAD = 500


class LiveRun:
    """One attempt of a run, in the process that computes it."""

    def __init__(self, name: str, *, source: str = "", on_change: str | None = None, url: str | None = None) -> None:
        from durable_nb.store import owner_of_this_process

        self.name = config.run_name(name)
        self.store: Store = session.store(url=url)
        self.on_change = session.settings(on_change=on_change).on_change
        self.owner = owner_of_this_process(session.kernel)
        self.progress = Progress(name)
        self.record = self.store.begin(self.name, owner=self.owner, notebook=session.notebook, source=source)
        self.store.watch(self.record.id, owner=self.owner, ledger=self.progress)
        self.finished: list[Callable[[], None]] = []
        """Called once the run has ended, its end state known."""
        self.retries: list[Callable[[], object]] = []
        """What Retry failed would call: one for each map that had failures."""
        self.over = False
        self._stop = threading.Event()
        self._versions: dict[tuple[str, str], StepInRun] = {}
        self._lock = threading.Lock()
        session.live.append(self)

    def enter(self, step: Step[..., Any], *, on_change: str | None = None, fresh: bool = True) -> StepInRun:
        """What this run knows of ``step`` as its code is now; not ``fresh`` trusts globals that are the same objects.

        Raises
        ------
        CodeChanged
            When results of other code are saved and nobody has chosen yet what to do with them.
        """
        fingerprint = step.fingerprint(fresh=fresh)
        version = (step.name, fingerprint.digest)
        with self._lock:
            entered = self._versions.get(version)
            if entered is None or on_change is not None:
                entered = self._versions[version] = self._enter(step, fingerprint, on_change or self.on_change)
            return entered

    def _enter(self, step: Step[..., Any], fingerprint: Any, on_change: str) -> StepInRun:
        run_id, store = self.record.id, self.store
        step_id = store.step(
            step.name, fingerprint=fingerprint.digest, parts=fingerprint.parts, source=fingerprint.source
        )
        versions = store.versions(run_id, step.name)
        step_id = next((v.id for v in versions if v.id != step_id and _is_part_of(fingerprint.parts, v.parts)), step_id)
        older = [version for version in versions if version.id != step_id]
        if older and on_change != "ask":
            store.choose(run_id, step_id, [version.id for version in older], on_change)
        choices = store.choices(run_id, step_id) if older else {}
        undecided = [version for version in older if version.id not in choices]
        if undecided:
            raise step.changed(self.name, undecided[0], fingerprint, sum(version.saved for version in undecided))
        kept = [version.id for version in older if choices[version.id] == "keep"]
        saved = any(version.id == step_id or version.id in kept for version in versions)
        return StepInRun(self, step_id, (step_id, *kept), fingerprint.digest, saved)

    def stop(self) -> None:
        """Start no further call; running ones end and are saved. Safe from any thread."""
        self._stop.set()

    @property
    def stopping(self) -> threading.Event:
        """Set once ``stop`` was called."""
        return self._stop

    @property
    def halted(self) -> bool:
        """Whether no further call may start."""
        return self._stop.is_set() or self.store.lost(self.record.id)

    def check(self) -> None:
        """Raise if no further call may start, saying why."""
        if self._stop.is_set():
            raise RunStopped(self.name)
        if self.store.lost(self.record.id):
            raise LeaseLost(self.name)

    def finish(self, error: BaseException | None = None) -> None:
        """Flush, write the end state, release the lease; a store that fails here is an error in the cell."""
        state, message = _ending(error, self.progress.failed)
        try:
            self.store.finish(self.record.id, owner=self.owner, state=state, message=message)
        except StoreError as failure:
            state, message = State.FAILED, str(failure)
            raise
        finally:
            self.store.unwatch(self.record.id)
            with contextlib.suppress(ValueError):
                session.live.remove(self)
            self.progress.end(state, message)
            self.over = True
            for tell in self.finished:
                tell()


class StepInRun:
    """One version of a step in one attempt: which calls have been made, and what is saved of them."""

    def __init__(self, live: LiveRun, step_id: int, accepted: tuple[int, ...], fingerprint: str, saved: bool) -> None:
        self.live, self.step_id, self.accepted, self.fingerprint, self.saved = (
            live,
            step_id,
            accepted,
            fingerprint,
            saved,
        )
        self.proven = saved
        """A result of this step has been saved and read back: its type is one that can be."""
        self.positions = itertools.count()
        """Of plain calls, in the order they are computed; for display only."""
        self._made: dict[bytes, int] = {}
        self._given_back: dict[bytes, list[int]] = {}
        self._known: dict[bytes, int] | None = None
        self._ahead: dict[bytes, Saved] = {}
        self._lock = threading.Lock()

    def numbers(self, digests: Iterable[bytes]) -> list[int]:
        """For each call, which one of the equal calls of this run it is, from 0."""
        made, given_back, found = self._made, self._given_back, []
        with self._lock:
            for digest in digests:
                if given_back and (free := given_back.get(digest)):
                    found.append(free.pop(0))
                    continue
                occurrence = made.get(digest, 0)
                made[digest] = occurrence + 1
                found.append(occurrence)
        return found

    def give_back(self, digest: bytes, occurrence: int) -> None:
        """A call that raised does not use up its number: the next equal call is the same call, tried again."""
        with self._lock:
            self._given_back.setdefault(digest, []).append(occurrence)
            self._given_back[digest].sort()

    def refresh(self) -> None:
        """Results were saved under numbers that have been given back: look in the store again."""
        with self._lock:
            self.saved, self._known = True, None

    def find(self, key: bytes) -> Saved | None:
        """The saved result of one plain call. Keys are loaded once, results are read ahead in the order they were saved:
        a loop that is run again asks for them in that order, and one SELECT for each call would cost more than most calls.
        """
        if not self.saved:
            return None
        with self._lock:
            if self._known is None:
                self._known = self.live.store.known(self.live.record.id, self.accepted)
            checkpoint_id = self._known.get(key)
            if checkpoint_id is None:
                return None
            if key not in self._ahead:
                rows = self.live.store.fetch(
                    self.live.record.id, self.accepted, from_id=checkpoint_id, limit=_READ_AHEAD
                )
                self._ahead = {row_key: saved for row_id, row_key, saved in rows if self._known.get(row_key) == row_id}
            return self._ahead.get(key)


def current() -> LiveRun | None:
    """The run that a step called now belongs to, or None.

    The context variable, else the only live run of the process: threads that the user started do not inherit the
    context. With several live runs there is no telling, and the call is not kept.
    """
    live = _current.get()
    if live is not None and live in session.live:
        return live
    return session.live[0] if len(session.live) == 1 else None


def begin(name: str, *, steps: Iterable[Step[..., Any]] = (), **options: Any) -> LiveRun:
    """Claim the run ``name``, check ``steps`` for changed code, make it the current run and tell the observers."""
    live = LiveRun(name, **options)
    try:
        for step in steps:
            live.enter(step)
    except BaseException as error:
        live.finish(error)
        raise
    _current.set(live)
    for observer in session.observers:
        observer(live)
    return live


@contextlib.contextmanager
def opened(name: str, **options: Any) -> Iterator[LiveRun]:
    """The run ``name`` for the length of a ``with`` block."""
    outer = _current.get()
    live = begin(name, **options)
    try:
        yield live
    except BaseException as error:
        _current.set(outer)
        live.finish(error)
        raise
    _current.set(outer)
    live.finish()


@contextlib.contextmanager
def joined(name: str, **options: Any) -> Iterator[LiveRun]:
    """The current run, or the run ``name`` if there is none."""
    live = current()
    if live is not None:
        yield live
        return
    with opened(name, **options) as live:
        yield live


def _is_part_of(parts: dict[str, str], saved: dict[str, str]) -> bool:
    """Whether the code is the saved one with something it uses not defined yet (promise N).

    Code that no longer uses a helper differs in its own part; all parts equal and one gone means a global is missing, and
    a call that needs it can only raise NameError: no value can be wrong.
    """
    return parts.keys() < saved.keys() and all(saved[label] == digest for label, digest in parts.items())


def _ending(error: BaseException | None, failed: int) -> tuple[State, str]:
    if error is None:
        return (State.FAILED, f"{failed:,} documents failed") if failed else (State.DONE, "")
    if isinstance(error, RunStopped):
        return State.INTERRUPTED, "stopped; run the cell again to go on"
    asyncio = sys.modules.get("asyncio")  # not imported for this: it costs 20 ms, and without it nobody can cancel
    cancelled = () if asyncio is None else (asyncio.CancelledError,)
    if isinstance(error, (KeyboardInterrupt, GeneratorExit, *cancelled)):
        return State.INTERRUPTED, "interrupted; run the cell again to go on"
    if isinstance(error, CodeChanged):
        return State.FAILED, f"the code of step {error.step!r} changed: keep its results or recompute them?"
    return State.FAILED, f"{type(error).__name__}: {error}".partition("\n")[0][:500]
