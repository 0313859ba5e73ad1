"""One call written as ``embed(doc)``: its name, what is saved of it, and its document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable_nb import codecs, keys
from durable_nb.engine import labels
from durable_nb.engine.context import made_here, within
from durable_nb.engine.failures import own_digest
from durable_nb.records import Call

if TYPE_CHECKING:
    from durable_nb.engine.computations import Computation
    from durable_nb.records import Outcome


class PlainCall:
    """One call written as ``embed(doc)``: found, or computed under its number among the equal calls of the run."""

    def __init__(
        self,
        computation: Computation,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        digest: bytes | None = None,
        occurrence: int | None = None,
    ) -> None:
        self.computation, self.entered = computation, computation.entered
        self.args, self.kwargs, self._made, self._own = args, kwargs, None, None
        if digest is None:
            ignored = computation.step.ignored
            counting = (args, kwargs) if ignored is None else ignored.without(args, kwargs)
            self._own = keys.call_digest(*counting)
            digest = within(self._own)
            self._made = made_here(self.entered)
        self.digest = digest
        self.occurrence = self.entered.numbers((self.digest,))[0] if occurrence is None else occurrence
        self.key = keys.numbered(self.digest, self.occurrence)
        self.saved = self.entered.find(self.key)

    def restored(self) -> Any:
        """The saved value, decoded."""
        return self.outcome().value

    def outcome(self) -> Outcome:
        """The saved value, decoded, and what else the call did."""
        assert self.saved is not None
        live = self.entered.live
        found = codecs.outcome(self.saved.codec, self.saved.payload, where=live.store.where)
        number = live.progress.number()
        priced = self.computation.step.cost is not None
        cost = live.store.cost_of(live.record.id, [(self.saved.step_id, self.key)]) if priced else 0.0
        live.progress.restore((number,), self.saved.seconds, renumbered=self.saved.position != number, cost=cost)
        if live.outputs is not None:
            live.outputs.restored([(self.saved.step_id, self.key)])
        if self._made is not None:
            self._made.add((self.digest,), (self.occurrence,))
        return found

    def __enter__(self) -> Call:
        self.entered.live.check()
        entered = self.entered
        before = entered.documents.pop(self.key, None) if entered.documents else None
        number = self._document = entered.live.progress.number() if before is None else before
        start, step, own = self.computation.unlabelled, self.computation.step, self._own
        ignored = step.ignored
        if not entered.live.settings.labels:
            label = f"#{number}"
        elif ignored is None:
            label = labels.of_arguments(self.args[start:], self.kwargs, number)
        else:
            label = labels.of_arguments(*ignored.without(self.args, self.kwargs, start=start), number)
        if own is not None and step.bound:
            own = own_digest(step, self.args, self.kwargs)
        call = Call(number, self.key, label, self.args, self.kwargs, number, own)
        if entered.live.suspects.deaths and (aside := self.computation.set_aside(call)) is not None:
            self.__exit__(type(aside), aside, None)
            raise aside
        return call

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if kind is not None:
            self.entered.give_back(self.digest, self.occurrence)
            self.entered.documents[self.key] = self._document
            self.entered.raised.add(self.key)
        elif self._made is not None:
            self._made.add((self.digest,), (self.occurrence,))
