"""Which call an expression came to, saved beside the results: `embed(clean(doc))` is known without running `clean`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable_nb import clock, keys
from durable_nb.engine.versions import StepInRun, may_restore
from durable_nb.records import LINK, Checkpoint, State

if TYPE_CHECKING:
    from durable_nb.engine.runs import LiveRun

_DIGEST = 16


class Links:
    """The links of one run."""

    def __init__(self, live: LiveRun) -> None:
        self._live = live
        self._step_id = live.store.step("arguments", fingerprint=LINK, parts={}, source="", kind=LINK)
        self._found = StepInRun(live, self._step_id)
        self._found.accept((self._step_id,), saved=may_restore(live), question=None)

    def of(self, expression: bytes) -> Link:
        """The link of one more evaluation of an expression."""
        return Link(self, expression, self._found.numbers((expression,))[0])

    def find(self, key: bytes) -> tuple[bytes, int] | None:
        """Digest and number of the call that was linked to."""
        saved = self._found.find(key)
        if saved is None:
            return None
        return saved.payload[:_DIGEST], int.from_bytes(saved.payload[_DIGEST:], "little")

    def save(self, key: bytes, digest: bytes, occurrence: int) -> None:
        """Remember what an expression came to."""
        payload = digest + occurrence.to_bytes(8, "little")
        self._live.store.save(
            Checkpoint(
                self._live.record.id, self._step_id, key, State.DONE, 0, "", 1, None, clock.now(), 0.0, LINK, payload
            )
        )

    def give_back(self, expression: bytes, occurrence: int) -> None:
        """As `StepInRun.give_back`."""
        self._found.give_back(expression, occurrence)


class Link:
    """One evaluation of an expression."""

    def __init__(self, links: Links, expression: bytes, occurrence: int) -> None:
        self._links, self.expression, self._occurrence = links, expression, occurrence
        self._key = keys.numbered(expression, occurrence)
        self.target = links.find(self._key)
        """Digest and number of the call, if the expression was evaluated before."""

    def leads_to(self, digest: bytes, occurrence: int) -> None:
        """The expression came to this call, whose value is saved."""
        if self.target != (digest, occurrence):
            self._links.save(self._key, digest, occurrence)
            self.target = digest, occurrence

    def give_back(self) -> None:
        """The evaluation raised: it does not use up its number."""
        self._links.give_back(self.expression, self._occurrence)
