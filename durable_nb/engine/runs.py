"""Begin, use and finish a run; the current run is a context variable."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any

from durable_nb import config
from durable_nb.engine import context, versions
from durable_nb.engine.context import inside, refuse_inside
from durable_nb.engine.controls import Poller, obey
from durable_nb.engine.ends import AtWork, current_task, ending, hurry_after, keep_counts, tell_all
from durable_nb.engine.recorder import Recorder
from durable_nb.engine.recovery import Suspects
from durable_nb.engine.saving import Saving
from durable_nb.engine.session import current as session
from durable_nb.engine.versions import StepInRun
from durable_nb.errors import CodeChanged, LeaseLost, RunStopped, StoreError
from durable_nb.limits import Gate
from durable_nb.locks import lock_of
from durable_nb.progress import Progress
from durable_nb.records import Run, State
from durable_nb.signals import Latch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from durable_nb.engine.outputs import Outputs
    from durable_nb.engine.steps import Step
    from durable_nb.store import Share, Store

_current, current = context.run_here, context.current_run


class LiveRun:
    """One attempt of a run, in the process that computes it."""

    def __init__(
        self,
        name: str,
        *,
        source: str = "",
        on_change: str | None = None,
        url: str | None = None,
        implicit: bool = False,
        shared: bool = False,
        apart: bool = False,
        fork: str = "",
    ) -> None:
        self.name = config.run_name(name)
        if fork is not None and not (isinstance(fork, str) and fork.isprintable()):
            config.run_name(fork)
        self.store: Store = session.store(url=url)
        from durable_nb.store import owner_of_this_process  # SQLAlchemy: after the session has imported it in its way

        self.settings = session.settings(on_change=on_change)
        self.owner = owner_of_this_process(session.kernel)
        self.finished: list[Callable[[], None]] = []
        """Called once the run has ended, its end state known."""
        self.retries: list[Callable[[], object]] = []
        """What Retry failed would call: one for each map that had failures."""
        self.saving, self.over = Saving(), False
        self.outputs: Outputs | None = None  # what its calls print, if somebody listens
        self.implicit, self.apart = implicit, apart
        """Opened by a map for itself, or computed in the background: calls of other threads are not its own."""
        self.outer = current()
        self.at_work = AtWork()
        self._stop, self._lock = Latch(), lock_of(self)
        self._task, self._has_refused = current_task(), False
        self._versions: dict[tuple[str, str], StepInRun] = {}
        self._seen: dict[Step[..., Any], StepInRun] = {}
        self.asked: dict[str, CodeChanged] = {}  # by step, what nobody has answered
        with self.store.claiming(self.owner):
            self._begin(source, shared=shared, fork=fork)
            self._attend()

    def _begin(self, source: str, *, shared: bool, fork: str) -> None:
        before = self.store.run(self.name)
        begin_or_join = self.store.join if shared else functools.partial(self.store.begin, fork=fork)
        begun = begin_or_join(self.name, owner=self.owner, notebook=session.notebook, cell=session.cell, source=source)
        self.share: Share | None
        self.record, self.share = (begun, None) if isinstance(begun, Run) else (begun.run, begun)
        self._before = before if self.share is None else self.share.before
        dead = [before.owner.token] if before is not None and before.owner is not None else []
        about = self.store.snapshot(self.name)
        assert about is not None
        self.recorder = Recorder(self.owner.token)
        self.suspects = Suspects(self.store, self.record.id, dead if self.share is None else self.share.dead)
        self.backoffs = self.store.backoffs(self.record.id)
        """Calls that a dead kernel would have made again; each is taken out when it is."""
        self.gate = Gate()
        self.gate.keep_apart(self.suspects.alone())
        self.progress = Progress(about, self.gate)
        self._poller = Poller(self)

    def _attend(self) -> None:
        """From now on it is live; not if ■ comes meanwhile: then nobody could end it."""
        try:
            self.store.watch(self.record.id, owner=self.owner, ledger=self.progress, share=self.share)
            self._poller.start()
            session.live.append(self)
        except BaseException:
            self._poller.stop()
            self.store.unwatch(self.record.id)
            self.recorder.close()
            raise

    def enter(self, step: Step[..., Any], *, on_change: str | None = None, fresh: bool = True) -> StepInRun:
        """What this run knows of ``step`` as its code is now; not ``fresh`` may trust what it saw before in this run.

        Raises
        ------
        CodeChanged
            When results of other code are saved and nobody has chosen yet what to do with them.
        """
        if self.apart and step in self._seen:
            self._seen[step].refuse_edited(step)
        fingerprint = step.fingerprint(fresh=fresh or step not in self._seen)
        version = (step.name, fingerprint.digest)
        entered = self._versions.get(version)
        if entered is None or on_change is not None:
            refuse_inside(inside.get())
            with self._lock:
                before = self._versions.get(version)
                entered = versions.entered(self, step, fingerprint, on_change or self.settings.on_change, before)
                self._versions[version] = self._seen[step] = entered
        return entered

    def adopt(self) -> None:
        """The calling thread and task compute it from now on."""
        self._task = current_task()

    @property
    def calls(self) -> int:
        """How many calls of steps were made in this attempt, those that raised not counted."""
        return sum(entered.calls for entered in self._versions.values())

    def versions_of(self, name: str) -> int:
        """How many versions of a step's code were used in this attempt."""
        return len(self.named(name))

    def calls_of(self, name: str) -> int:
        """How many of them were calls of one step."""
        return sum(entered.calls for _, entered in self.named(name))

    def named(self, name: str) -> list[tuple[str, StepInRun]]:
        """The versions of a step's code that were used in this attempt."""
        return [(step_name, entered) for (step_name, _), entered in self._versions.items() if step_name == name]

    def preflight(self, steps: Iterable[Step[..., Any]]) -> None:
        """Raise CodeChanged for all of ``steps`` together, before anything runs."""
        changed = []
        for step in steps:
            try:
                self.enter(step)
            except CodeChanged as error:
                changed.append(error)
        if changed:
            raise changed[0].together(changed[1:])

    def stop(self) -> None:
        """Start no further call; running ones end and are saved. Safe from any thread."""
        self._stop.set()
        self.recorder.excuse()
        self.store.hurry(self.record.id)
        self.gate.wake()

    def control(self, action: str, value: str = "") -> None:
        """Do what somebody asks, as `Store.control` words it; does not wait. Safe from any thread.

        Raises
        ------
        ConfigError
            Nobody can do that.
        """
        obey(self, action, value)

    @property
    def stopping(self) -> Latch:
        """Set once ``stop`` was called."""
        return self._stop

    @property
    def halted(self) -> bool:
        """Whether no further call may start."""
        return self.over or self._stop.is_set() or self.store.lost(self.record.id)

    def check(self) -> None:
        """Raise if no further call may start, saying why."""
        if self.over or self._stop.is_set():
            raise self.refusal()
        if self.store.lost(self.record.id):
            raise LeaseLost(self.name)

    def refusal(self) -> BaseException:
        """What a call raises that may not start.

        A task beside the one that opened the run is cancelled: nobody may ever ask what it raised.
        """
        self._has_refused = True
        task = current_task()
        if self._task is None or task is None or task is self._task:
            return RunStopped(self.name)
        import asyncio

        return asyncio.CancelledError(str(RunStopped(self.name)))

    def finish(self, error: BaseException | None = None) -> None:
        """Flush, write the end state, release the lease; a store that fails here is an error in the cell."""
        hurry_after(self, error, is_last=True)
        try:
            is_complete = self.at_work.end() and not self._has_refused  # whether somebody caught it or not
        except BaseException as interrupt:  # ■ while it waits for them: it ends all the same
            hurry_after(self, interrupt)
            self._end(interrupt)
            raise
        self._end(RunStopped(self.name) if error is None and not is_complete else error)

    def _end(self, error: BaseException | None) -> None:
        state, message = ending(error, self.progress.failed)
        keep_counts(self, error, self._before)
        try:
            if error is None:
                self.store.flush()
                state, message = ending(error, self.progress.failed)  # only now what failed a moment ago is counted
            self.progress.about_to_end(is_complete=error is None)
            self._poller.stop()
            self.gate.end()
            self.store.finish(self.record.id, owner=self.owner, state=state, message=message)
        except StoreError as failure:
            if state is not State.INTERRUPTED:
                state, message = State.FAILED, str(failure)
            raise
        finally:
            self.over = True  # first what nobody else can do if ■ comes meanwhile
            if _current.get() is self:
                _current.set(None)
            with contextlib.suppress(ValueError):
                session.live.remove(self)
            self.store.owe_end(self.record.id, state=state, message=message)
            self.recorder.close()
            self.progress.end(state, message)
            tell_all(self.finished)


def begin(name: str, *, steps: Iterable[Step[..., Any]] = (), **options: Any) -> LiveRun:
    """Claim the run ``name``, check ``steps`` for changed code, make it the current run and tell the observers."""
    live = claimed(name, steps=steps, **options)
    try:
        for observer in session.observers:
            observer(live)
    except BaseException as error:
        live.finish(error)
        raise
    _current.set(live)
    return live


def claimed(name: str, *, steps: Iterable[Step[..., Any]] = (), **options: Any) -> LiveRun:
    """The same for a run that is computed elsewhere: it is current nowhere, and nobody is told."""
    live = LiveRun(name, **options)
    try:
        live.preflight(steps)
    except BaseException as error:
        live.finish(error)
        raise
    return live


@contextlib.contextmanager
def opened(name: str, **options: Any) -> Iterator[LiveRun]:
    """The run ``name`` for the length of a ``with`` block."""
    outer = _current.get()
    live = begin(name, **options)
    try:
        yield live
    except BaseException as error:
        live.finish(error)
        raise
    else:
        live.finish()
    finally:
        _current.set(outer)


@contextlib.contextmanager
def joined(name: str, **options: Any) -> Iterator[LiveRun]:
    """The current run, or the run ``name`` if there is none."""
    live = current()
    if live is not None:
        yield live
        return
    with opened(name, **{"implicit": True} | options) as live:
        yield live
