"""Steps that write to the database that their checkpoints are kept in, ``@step(transaction=True)``: both commit together."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from durable_nb import clock, codecs
from durable_nb.engine.computations import Computation
from durable_nb.engine.context import inside
from durable_nb.errors import ConfigError, Unsaveable

if TYPE_CHECKING:
    from concurrent.futures import Future

    from durable_nb.engine.computations import Save
    from durable_nb.records import Call, Checkpoint
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
        """The function's value, committed with what the function wrote.

        If somebody else has committed this call meanwhile (a kernel that took the run over), what was written here is
        rolled back, and the value is theirs.
        """
        __tracebackhide__ = True
        found, store, thread = inside.get(), self.live.store, threading.get_ident()
        assert found is not None
        with store.transactions.open() as transaction:
            started, before = clock.now(), clock.stopwatch()
            value = self._function(*call.args, **call.kwargs, **{CONNECTION: transaction.connection})
            self._open[thread] = transaction
            try:
                super()._succeeded(call, value, found[2], started, clock.stopwatch() - before, save=self._settle)
            finally:
                del self._open[thread]
        if transaction.is_settled:
            self.live.progress.committed([transaction.checkpoint])
            return value
        saved = store.look_up(self._run_id, (self._step_id,), (call.key,))[call.key]
        return codecs.decode(saved.codec, saved.payload, where=store.where)

    def _settle(self, checkpoint: Checkpoint) -> None:
        """A result goes into the transaction of its thread; a failure has none, and is saved as others are."""
        if checkpoint.payload is None:
            self.live.store.save(checkpoint)
        else:
            outputs = self.live.outputs
            self._open[threading.get_ident()].settle(outputs.beside(checkpoint) if outputs else checkpoint)

    def _failed(self, call: Call, error: Exception, attempt: int, started: float, seconds: float) -> float | None:
        """As of others; but what is wrong with the step itself would be wrong, and paid for, once more."""
        if isinstance(error, (ConfigError, Unsaveable)):
            self._give_up(error, call, attempt, started, seconds)
            return None
        return super()._failed(call, error, attempt, started, seconds)

    def _succeeded(
        self, call: Call, value: Any, attempt: int, started: float, seconds: float, *, save: Save | None = None
    ) -> Future[None] | None:
        """It has been saved."""
