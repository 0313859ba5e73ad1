"""What a restarted kernel must not simply do again: calls during which kernels died.

A death counts for the calls that were running. As long as several were, none of them is set aside for it: in the next
attempt each of those runs alone, so that a further death has one culprit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable_nb.engine import recorder
from durable_nb.engine.recorder import NOBODY, Mark
from durable_nb.records import DEATHS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from durable_nb.store import Store

Name = tuple[int, bytes]
"""Step id and key of a call."""


class Suspects:
    """Calls of one run that ran when a kernel died, and have no result since."""

    def __init__(self, store: Store, run_id: int, dead: Iterable[str]) -> None:
        """``dead`` are tokens of owners that died while they computed the run."""
        self._store, self._run_id = store, run_id
        self.deaths: dict[Name, int]
        self.learn_of(dead)

    def learn_of(self, dead: Iterable[str]) -> None:
        """Count these deaths, and look what others have counted."""
        for token in dead:
            guilty, beside = blame(recorder.left_by(token))
            if guilty:
                self._store.note_death(self._run_id, guilty, beside)
            recorder.discard(token)
        self.deaths = self._store.suspects(self._run_id)

    def alone(self) -> set[Name]:
        """The calls that may run only while no other one does."""
        return {name for name, deaths in self.deaths.items() if deaths < DEATHS}

    def is_aside(self, name: Name) -> bool:
        """Whether a call is not made any more."""
        return self.deaths.get(name, 0) >= DEATHS

    def died(self, name: Name, deaths: int) -> None:
        """Worker processes died during this call, and of it."""
        for _ in range(deaths):
            self._store.note_death(self._run_id, [name], [])
        self.deaths[name] = min(DEATHS, self.deaths.get(name, 0) + deaths)

    def spare(self, step_id: int, keys: Iterable[bytes]) -> list[Name]:
        """Somebody asked for calls; those of them that were set aside may run once more, until the next death."""
        names = [(step_id, key) for key in keys if self.is_aside((step_id, key))]
        if names:
            self._store.spare(self._run_id, names)
            self.deaths.update(dict.fromkeys(names, DEATHS - 1))
        return names


def blame(marks: Sequence[Mark]) -> tuple[list[Name], list[Name]]:
    """Whom a death counts for, and who ran around them; of a call inside of a call, the inner one was at work.

    Several inner calls of one outer call cannot be told apart, and it runs them at a time each time: it is to blame.
    """
    around = {mark.outer for mark in marks}
    inner = [mark for mark in marks if mark.key not in around]
    outermost = [mark for mark in marks if mark.outer == NOBODY]
    guilty = outermost if len(outermost) == 1 and len(inner) > 1 else inner
    names = {(mark.step_id, mark.key) for mark in guilty}
    return sorted(names), sorted({(mark.step_id, mark.key) for mark in marks} - names)
