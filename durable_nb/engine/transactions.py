"""Steps that write to the database that their checkpoints are kept in, ``@step(transaction=True)``: both commit together."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from durable_nb import clock, codecs
from durable_nb.engine.computations import Computation
from durable_nb.engine.context import inside
from durable_nb.errors import ConfigError, StepFailed, StoreUnavailable, Unsaveable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from durable_nb.engine.computations import Save
    from durable_nb.records import Call, Checkpoint, Saved
    from durable_nb.store.transactions import Transaction

CONNECTION = "connection"
"""The parameter that the function is handed its connection by."""


class TransactionComputation(Computation):
    """How calls of such a step are computed, and saved with what they wrote."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._has_deadline = True  # it has none, but its function is not just called either
        self._open: dict[int, Transaction] = {}
        self._save = self._settle

    def _limited(self, call: Call) -> Any:
        """The function's value, committed with what the function wrote; computed again when the server was away."""
        __tracebackhide__ = True
        return self.live.store.transactions.keep(partial(self._once, call, [], []), "transaction")

    def _once(self, call: Call, sent: list[Checkpoint], troubles: list[StoreUnavailable]) -> Any:
        """The same, by one transaction; ``sent`` are checkpoints that earlier ones ended with, their answers lost.

        ``troubles`` are what these ended with: the function has been called, and may have changed its document.

        If somebody else has committed this call meanwhile (a kernel that took the run over), what was written here is
        rolled back, and the value is theirs.
        """
        __tracebackhide__ = True
        found, store, thread = inside.get(), self.live.store, threading.get_ident()
        assert found is not None
        if sent and (saved := self._saved(call)):  # the commit was made: do not even try to write once more
            self.live.progress.committed(sent[:1])
            return self._decoded_of(saved)
        if troubles:
            self._refuse_changed(call, troubles[-1], found[2])
        with _noting(troubles), store.transactions.open() as transaction:
            started, before = clock.now(), clock.stopwatch()
            value = self._function(*call.args, **call.kwargs, **{CONNECTION: transaction.connection})
            self._open[thread] = transaction
            try:
                super()._succeeded(call, value, found[2], started, clock.stopwatch() - before, save=self._settle)
            finally:
                del self._open[thread]
            if transaction.is_settled:
                sent.append(transaction.checkpoint)
        self.live.progress.committed(sent[:1])  # none if another kernel counts it
        return value if transaction.is_settled else self._decoded_of(self._saved(call))

    def _saved(self, call: Call) -> dict[bytes, Saved]:
        return self.live.store.look_up(self._run_id, (self._step_id,), (call.key,))

    def _decoded_of(self, found: dict[bytes, Saved]) -> Any:
        (saved,) = found.values()
        return codecs.decode(saved.codec, saved.payload, where=self.live.store.where)

    def _settle(self, checkpoint: Checkpoint) -> None:
        """A result goes into the transaction of its thread; a failure has none, and is saved as others are."""
        if checkpoint.payload is None:
            self.live.store.save(checkpoint)
        else:
            outputs = self.live.outputs
            self._open[threading.get_ident()].settle(outputs.beside(checkpoint) if outputs else checkpoint)

    def _failed(self, call: Call, error: Exception, attempt: int, started: float, seconds: float) -> float | None:
        """As of others; but what is wrong with the step itself would be wrong, and paid for, once more."""
        if isinstance(error, StoreUnavailable):
            return None  # no document is to blame
        if isinstance(error, StepFailed) and (error.step, error.label) == (self.step.name, call.label):
            return None  # it has been noted
        if isinstance(error, (ConfigError, Unsaveable)):
            self._give_up(error, call, attempt, started, seconds)
            return None
        return super()._failed(call, error, attempt, started, seconds)

    def _succeeded(
        self, call: Call, value: Any, attempt: int, started: float, seconds: float, *, save: Save | None = None
    ) -> Future[None] | None:
        """It has been saved."""


@contextmanager
def _noting(troubles: list[StoreUnavailable]) -> Iterator[None]:
    try:
        yield
    except StoreUnavailable as trouble:
        troubles.append(trouble)
        raise
