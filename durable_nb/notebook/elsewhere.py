"""Steps of a durable cell whose calls are made in other processes, which look up and save by themselves."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from durable_nb.errors import StoreError

if TYPE_CHECKING:
    from durable_nb.engine.runs import LiveRun
    from durable_nb.engine.versions import StepInRun
    from durable_nb.notebook.callees import CellStep


class Elsewhere:
    """What was sent to other processes, and what they made of it."""

    def __init__(self, live: LiveRun) -> None:
        self._live = live
        self._sent: dict[StepInRun, tuple[str, int, int]] = {}

    @property
    def is_used(self) -> bool:
        """Whether anything was sent."""
        return bool(self._sent)

    def send(self, step: CellStep) -> tuple[str, int, tuple[int, ...]]:
        """A call of a step is on its way: the address of the store, the run, and the versions that may be restored."""
        entered = self._live.enter(step, fresh=False)
        _, before, sent = self._sent.get(entered) or ("", self._saved(entered, step.name) - entered.calls, 0)
        self._sent[entered] = step.name, before, sent + 1
        return self._live.store.url, self._live.record.id, entered.accepted

    def count(self) -> None:
        """Take what the others have saved into the progress of the run."""
        with contextlib.suppress(StoreError):  # the end of the run says so
            for entered, (name, before, sent) in self._sent.items():
                computed = self._saved(entered, name) - entered.calls - before
                self._live.progress.found_elsewhere(computed, min(before, sent - computed))

    def _saved(self, entered: StepInRun, name: str) -> int:
        versions = self._live.store.versions(self._live.record.id, name)
        return sum(version.saved for version in versions if version.id == entered.step_id)
