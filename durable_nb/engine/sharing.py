"""A map that several kernels work at, ``embed.map(docs, shared=True)``: each claims some of the missing calls at a time.

What others have ended is read from the database, so that each map returns the whole list.
"""

from __future__ import annotations

from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, Any

from durable_nb import clock
from durable_nb.engine import labels
from durable_nb.engine.batch import Batch
from durable_nb.engine.context import is_inside
from durable_nb.engine.ends import hurry_after
from durable_nb.engine.selection import FromLoop
from durable_nb.errors import ConfigError, StepFailed, StoreError
from durable_nb.records import Checkpoint, Failure, State

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Sequence

    from durable_nb.engine.runs import LiveRun
    from durable_nb.engine.steps import Step
    from durable_nb.records import Call, Saved

_WINDOW = 1_000
"""Missing calls that are looked at with one statement."""

_MOST = 256
_SHORT_S, _LONG_S = 0.1, 0.5
"""How long the calls of one claim shall last: the claim takes 2 ms, and what is claimed nobody else can compute."""

_FIRST_S, _LAST_S, _LOOK_S = 0.01, 0.2, 1.0
"""Pauses while all that is missing is being computed by others, and between two looks whether those are alive."""

_UNKNOWN = (
    "another kernel could not compute it, and a result that cannot be read any more stands where it would say why"
)


class SharedBatch(Batch):
    """One ``map`` in a run that several kernels compute."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        assert self.live.share is not None
        self._share, self._step_id = self.live.share, self.entered.step_id
        self._intake.counted = self._counted
        self._pending: dict[bytes, Call] = {}
        self._claimed: dict[bytes, Call] = {}
        self._size, self._claimed_at, self._looked_at = self.workers, 0.0, clock.monotonic()

    async def run_async(self, items: Iterable[Any] | AsyncIterable[Any]) -> None:
        """As of one kernel; the claims are made on a thread, and each is worked through before the next one."""
        import asyncio

        from durable_nb.executors import aio

        with self._giving_back():
            read = FromLoop(items, asyncio.get_running_loop()) if isinstance(items, AsyncIterable) else items
            units = self._units(read)
            try:
                while (unit := await asyncio.to_thread(next, units, None)) is not None:
                    await aio.run(self._one_async, _only(unit), workers=self.workers, halted=self._halted)
            except BaseException as interrupt:
                hurry_after(self.live, interrupt, is_last=self.live.implicit)
                self.cancel()  # the thread that waits for others
                raise
            finally:
                self._intake.source.close()
                await aio.beside(self.live.store.flush)
            self._check()
            self._intake.source.raise_again()

    def _counted(self, found: dict[bytes, Saved]) -> dict[bytes, Saved]:
        """Without what was claimed in this attempt: that is counted as computed, by whomever."""
        claimed = self._share.known(self._step_id, list(found)) if found else set()
        return {key: saved for key, saved in found.items() if key not in claimed}

    def _units(self, items: Iterable[Any]) -> Iterator[Sequence[Call]]:
        for piece in self._pieces(self._intake.chunks(items)):
            yield from self._intake.grouped(self._intake.as_due([piece]))

    def _pieces(self, chunks: Iterator[Sequence[Call]]) -> Iterator[list[Call]]:
        """Calls that this kernel has claimed, until each call of the map has ended somewhere."""
        pending, pause_s = self._pending, _FIRST_S
        chunk: Sequence[Call] | None = []
        while not self._halted():
            if chunk is not None and len(pending) < _WINDOW:
                chunk = next(chunks, None)
                pending.update((call.key, call) for call in chunk or ())
            self._take_back()
            if not pending and not self._claimed and chunk is None:
                return
            left = len(pending)
            piece = self._claim() if pending else []
            if piece:
                yield piece
            if len(pending) < left or (chunk is not None and len(pending) < _WINDOW):
                pause_s = _FIRST_S
                continue
            clock.wait(self._cancelled, pause_s)
            pause_s = min(2 * pause_s, _LAST_S)
            self._look_after_others()

    def _claim(self) -> list[Call]:
        """Some calls for this kernel; those that have ended elsewhere are settled on the way."""
        window = dict(zip(self._pending, range(_WINDOW), strict=False))
        longest_s = self.step.retry.longest_s
        taken = self._share.take(self._step_id, list(window), self._size, longest_s=longest_s)
        if taken.done:
            self._settle_done([self._pending.pop(key) for key in taken.done])
        if taken.failed:
            self._settle_failed([self._pending.pop(key) for key in taken.failed])
        mine = [self._pending.pop(key) for key in window if key in taken.mine]
        self.live.backoffs.update(((self._step_id, key), backoff) for key, backoff in taken.waited.items())
        if not taken.mine and len(self._pending) > _WINDOW:  # all of the window is in work: look further
            self._pending.update((key, self._pending.pop(key)) for key in list(window) if key in self._pending)
        now = clock.monotonic()
        lasted, self._claimed_at = now - self._claimed_at, now
        if lasted < _SHORT_S and len(mine) == self._size:
            self._size = min(_MOST, 2 * self._size)
        elif lasted > _LONG_S:
            self._size = self.workers
        if self.live.suspects.deaths:
            mine = [call for call in mine if not self._is_aside(call)]
        self._claimed.update((call.key, call) for call in mine)
        return mine

    def _take_back(self) -> None:
        """Of what was claimed, forget what is saved; what others have claimed since is theirs to end."""
        share, claimed = self._share, self._claimed
        kept, share.kept = share.kept, []
        fenced, share.fenced = share.fenced, []
        for _, key in kept:
            claimed.pop(key, None)
        for step_id, key in fenced:
            if step_id == self._step_id and key in claimed:
                self._pending[key] = claimed.pop(key)

    def _settle_done(self, calls: list[Call]) -> None:
        saved = self._intake.look_up([call.key for call in calls])
        gone = next((call for call in calls if call.key not in saved), None)
        if gone is not None:
            raise StoreError(self.live.store.where, f"has lost the result of {gone.label}.", "See `durable-nb check`.")
        self._arrived.put_restored([call.position for call in calls], [saved[call.key] for call in calls])
        for call in calls:
            self.failed.pop(call.position, None)
            self._errors.pop(call.position, None)
        ends = [(call, saved[call.key]) for call in calls]
        self._count([_row(self, call, State.DONE, seconds=end.seconds, codec=end.codec) for call, end in ends])
        self.entered.proven = True

    def _settle_failed(self, calls: list[Call]) -> None:
        noted = self._share.failures(self._step_id, [call.key for call in calls])
        why = {call.key: noted.get(call.key) or Failure(call.position, call.label, _UNKNOWN, 1, "") for call in calls}
        for call in calls:
            failure = why[call.key]
            aside = failure.error.endswith(labels.ASIDE)
            error = StepFailed(self.step.name, call.label, failure.attempts, failure.error, aside=aside)
            self._put_failed(call, error, failure.traceback)
        self._count([_row(self, call, State.FAILED, why=why[call.key]) for call in calls])

    def _count(self, rows: list[Checkpoint]) -> None:
        self.live.progress.committed(rows)

    def _look_after_others(self) -> None:
        """Free what dead kernels had claimed, and remember during which calls they died. Raises what could not be saved."""
        if clock.monotonic() - self._looked_at < _LOOK_S:
            return
        live = self.live
        live.store.flush()  # no call of ours may follow that would raise it, and what was refused is never taken back
        live.suspects.learn_of(self._share.bury())
        live.gate.keep_apart(live.suspects.alone())
        self._looked_at = clock.monotonic()


async def _only(unit: Sequence[Call]) -> AsyncIterator[Sequence[Call]]:
    yield unit


def kind_of(live: LiveRun, step: Step[..., Any], *, shared: bool) -> type[Batch]:
    """How a map is computed in a run.

    Raises
    ------
    ConfigError
        It shall be shared, and cannot be.
    """
    if not shared or is_inside():  # a map inside of a call belongs to whoever has claimed the call
        return Batch
    if live.share is None:
        raise ConfigError(
            f"{step.name}.map(…, shared=True) inside of run {live.name!r}, which this kernel computes alone.",
            "Put the map outside of it: it opens a run of its own, which other kernels can join.",
        )
    if step.transaction:
        raise ConfigError(f"{step.name} has transaction=True, and shared=True does not go with it.", "Leave out one.")
    return SharedBatch


def _row(
    batch: SharedBatch,
    call: Call,
    state: State,
    *,
    seconds: float = 0.0,
    codec: str = "",
    why: Failure | None = None,
) -> Checkpoint:
    """What another kernel saved, under the number that the document has here."""
    error = None if why is None else f"{why.error}\n{why.traceback}"
    attempts = 1 if why is None else why.attempts
    run_id, step_id = batch.live.record.id, batch.entered.step_id
    return Checkpoint(
        run_id, step_id, call.key, state.value, call.document, call.label, attempts, error, 0.0, seconds, codec, None
    )
