"""One version of a step in one attempt of a run: the numbers of its calls, and what is saved of them."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from durable_nb.engine.digests import nothing_yet
from durable_nb.errors import ConfigError
from durable_nb.locks import lock_of
from durable_nb.parts import MISSING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from durable_nb.engine.numbers import Numbers
    from durable_nb.engine.runs import LiveRun
    from durable_nb.engine.steps import Step
    from durable_nb.errors import CodeChanged
    from durable_nb.records import Saved
    from durable_nb.sources import Fingerprint

_READ_AHEAD = 500
_MANY = 100_000  # calls of which a dict is worth its 130 bytes each


class Question(NamedTuple):
    """Results of other code that nobody has decided about yet."""

    error: CodeChanged
    versions: tuple[int, ...]


class StepInRun:
    """One version of a step in one attempt: which calls have been made, and what is saved of them."""

    def __init__(self, live: LiveRun, step_id: int, code: Fingerprint | None = None) -> None:
        self.live, self.step_id, self.saved, self._code = live, step_id, False, code
        self.accepted: tuple[int, ...] = (step_id,)
        """Versions whose results count, the first found wins."""
        self._question: Question | None = None
        self.proven = False
        """A result of this step could be saved."""
        self.documents: dict[bytes, int] = {}
        """Numbers in the run of plain calls that raised, by key: the same call, tried again, is the same document."""
        self.tried: dict[bytes, range] = {}
        """Numbers in the run of the documents of maps that failed, by how those began."""
        self.raised: set[bytes] = set()
        """Keys of calls that raised in this attempt."""
        self._made: dict[bytes, int] = {}
        self._made_once, self._most = nothing_yet(), _MANY
        """Calls that are no longer among these, which are the latest and those made several times."""
        self._given_back: dict[bytes, list[int]] = {}
        self._known: dict[bytes, int] | None = None
        self._ahead: dict[bytes, Saved] = {}
        self.abandoned: deque[Numbers] = deque()
        """Numbers of streams that nobody reads any more."""
        self._lock = lock_of(self)

    def numbers(self, digests: Sequence[bytes]) -> list[int]:
        """For each call, which one of the equal calls of this run it is, from 0."""
        while self.abandoned:
            self.abandoned.popleft().give_back()
        given_back, found = self._given_back, [0] * len(digests)
        with self._lock:
            made = self._made
            once = self._made_once.among(digests) if self._made_once.count else ()
            first = dict.fromkeys(digests, 1) if len(digests) > 1 else {}
            if len(first) == len(digests) and not (given_back or once) and made.keys().isdisjoint(first):
                made.update(first)
            else:
                for n, digest in enumerate(digests):
                    if given_back and (free := given_back.get(digest)):
                        found[n] = free.pop(0)
                        continue
                    occurrence = made.get(digest, 0)
                    if not occurrence and digest in once:
                        occurrence = int(self._made_once.discard(digest))
                    made[digest] = occurrence + 1
                    found[n] = occurrence
            if len(made) > self._most:
                self._made_once.add([digest for digest, count in made.items() if count == 1])
                self._made = {digest: count for digest, count in made.items() if count > 1}
                self._most = _MANY + 2 * len(self._made)
        return found

    def give_back(self, digest: bytes, occurrence: int) -> None:
        """A call that raised does not use up its number: the next equal call is the same call, tried again."""
        with self._lock:
            free = self._given_back.get(digest)
            if not free and self._made.get(digest) == occurrence + 1:
                self._made[digest] = occurrence
            elif occurrence or free or not self._made_once.discard(digest):
                self._given_back.setdefault(digest, []).append(occurrence)
                self._given_back[digest].sort()

    def claim(self, digest: bytes, occurrence: int) -> bool:
        """Take one number of a call out of its turn; False if it is taken."""
        with self._lock:
            made = self._made.get(digest, 0) or int(self._made_once.discard(digest))
            free = self._given_back.setdefault(digest, [])
            self._made[digest] = max(made, occurrence + 1)
            if occurrence < made:
                if occurrence not in free:
                    return False
                free.remove(occurrence)
                return True
            free += range(made, occurrence)
            return True

    @property
    def calls(self) -> int:
        """How many calls were made in this attempt, those that raised not counted."""
        return sum(self._made.values()) + self._made_once.count - sum(map(len, self._given_back.values()))

    def accept(self, accepted: tuple[int, ...], *, saved: bool, question: Question | None) -> None:
        """Results of these versions count from now on. Numbers of calls go on."""
        with self._lock:
            self.accepted, self.saved, self._known, self._question = accepted, saved, None, question
            self.proven = self.proven or saved

    def ask_about(self, missing: Iterable[bytes]) -> None:
        """Raise CodeChanged if calls that are about to be computed have results of code nobody decided about."""
        question = self._question
        if question is not None and (keys := list(missing)):
            found = self.live.store.look_up(self.live.record.id, question.versions, keys)
            if found:
                raise question.error

    def refuse_edited(self, step: Step[..., Any]) -> None:
        """Raise ConfigError if the notebook has other code now than was looked at: which one computed is not known."""
        code = self._code
        if code is None or code.is_current() or step.fingerprint(fresh=False).digest == code.digest:
            return
        raise ConfigError(
            f"the code of step {step.name!r} was edited while run {self.live.name!r} computed with it, so the rest is not "
            "saved. What was saved before is right.",
            "Run the cell again: it asks what to do.",
        )

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
                self.ask_about([key])
                return None
            if key not in self._ahead:
                rows = self.live.store.fetch(
                    self.live.record.id, self.accepted, from_id=checkpoint_id, limit=_READ_AHEAD
                )
                self._ahead = {row_key: saved for row_id, row_key, saved in rows if self._known.get(row_key) == row_id}
            return self._ahead.get(key)


def entered(
    live: LiveRun, step: Step[..., Any], fingerprint: Fingerprint, on_change: str, before: StepInRun | None
) -> StepInRun:
    """What a run knows of ``step`` as its code is now; ``before`` is what it knew of the same code.

    Raises
    ------
    CodeChanged
    """
    run_id, store = live.record.id, live.store
    step_id = store.step(step.name, fingerprint=fingerprint.digest, parts=fingerprint.parts, source=fingerprint.source)
    versions = store.versions(run_id, step.name)
    step_id = next((v.id for v in versions if v.id != step_id and is_part_of(fingerprint.parts, v.parts)), step_id)
    # Versions that were in use side by side in one attempt (a global set in a loop, two functions of one name) are
    # no edits of each other, now or when the cell is run again.
    beside = {other.step_id for name, other in live.named(step.name) if other.step_id != step_id and other.calls}
    for other_id in beside:
        store.choose(run_id, step_id, [other_id], "recompute")
        store.choose(run_id, other_id, [step_id], "recompute")
    older = [version for version in versions if version.id != step_id and version.id not in beside]
    if older and on_change != "ask":
        store.choose(run_id, step_id, [version.id for version in older], on_change, edited=True)
    if older:
        store.choose(run_id, step_id, [step_id], "keep")  # what a later edit may keep is what was in use last
    choices = store.choices(run_id, step_id) if older else {}
    undecided = [version for version in older if version.id not in choices]
    kept = [version.id for version in older if choices.get(version.id) == "keep"]
    saved = any(version.id == step_id or version.id in kept for version in versions)
    question = None
    if undecided:
        error = step.changed(live.name, undecided[0], fingerprint, sum(version.saved for version in undecided))
        if not saved:
            raise live.asked.setdefault(step.name, error)
        # Code that has results of its own here (the user went back to it): ask only about calls it has none for.
        question = Question(error, tuple(version.id for version in undecided))
    live.asked.pop(step.name, None)
    entered = before or StepInRun(live, step_id, fingerprint)
    entered.accept((step_id, *kept), saved=saved, question=question)
    return entered


def may_restore(live: LiveRun) -> bool:
    """Whether anything can have been saved before this attempt, by the run or by what it was forked from."""
    return live.record.attempts > 1 or len(live.store.lineage(live.record.id)) > 1


def is_part_of(parts: dict[str, str], saved: dict[str, str]) -> bool:
    """Whether the code is the saved one with some global not defined yet (promise N).

    Which object each name stands for is a part, so when all others are equal, what is gone was reached through the missing
    names only. A call that needs one can only raise NameError: no value can be wrong.
    """
    missing = {label for label, value in parts.items() if value == MISSING and saved.get(label) != MISSING}
    return bool(missing) and all(saved.get(label) == parts[label] for label in parts.keys() - missing)
