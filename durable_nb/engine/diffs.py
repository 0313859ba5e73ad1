"""Two runs beside each other, or two versions of one: code, what results took, and which of them differ by how much."""

from __future__ import annotations

import itertools
import reprlib
from typing import TYPE_CHECKING, Any, NamedTuple

from durable_nb import sources
from durable_nb.codecs import decode
from durable_nb.engine import distances
from durable_nb.engine.readings import Reading, StepRead, reading
from durable_nb.errors import DurableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from durable_nb.records import Saved
    from durable_nb.store import Store
    from durable_nb.store.histories import Spent

_TOGETHER = 500
_SHOWN = 10
_NOTHING = object()


class Example(NamedTuple):
    """One document that differs."""

    label: str
    how: str


class StepDiff(NamedTuple):
    """One step in both."""

    step: str
    versions: tuple[int, int]
    """Numbers of the last versions that count; 0 where the step has no results."""
    code: str
    """A unified diff; '' if the text is the same."""
    parts: tuple[str, ...]
    """What is not the same of what the code uses."""
    results: tuple[int, int]
    spent: tuple[Spent, Spent]
    only: tuple[int, int]
    equal: int
    different: int
    unread: int
    """Pairs that differ in bytes, and of which one cannot be read here."""
    why_unread: str
    by_label: int
    """Pairs whose arguments differ, paired because they bear the same label."""
    far: distances.Far | None
    """How far vectors are apart that differ."""
    examples: tuple[Example, ...]
    """The most different ones first, at most 10."""
    missing: tuple[tuple[str, ...], tuple[str, ...]]
    """Labels of results that only one side has, at most 10 each."""


class Diff(NamedTuple):
    """Both, step by step."""

    names: tuple[str, str]
    sides: tuple[Reading, Reading]
    steps: tuple[StepDiff, ...]


def diff(store: Store, first: str, second: str) -> Diff:
    """Compare NAME or NAME@2 with another one. Keys of all results are held in memory, values of some hundred.

    Raises
    ------
    ConfigError
        One of them is not there.
    """
    sides = (reading(store, first), reading(store, second))
    names = sorted(sides[0].steps.keys() | sides[1].steps.keys())
    return Diff((first, second), sides, tuple(_Comparison(store, sides, name).outcome() for name in names))


class _Comparison:
    """The results of one step on both sides."""

    def __init__(self, store: Store, sides: tuple[Reading, Reading], step: str) -> None:
        self._store, self._step = store, step
        self._runs = [side.run.id for side in sides]
        self._read: list[StepRead | None] = [side.steps.get(step) for side in sides]
        self._accepted = [() if one is None else one.accepted for one in self._read]
        self._known = [
            store.known(run, ids) if ids else {} for run, ids in zip(self._runs, self._accepted, strict=True)
        ]
        self._equal = self._unread = 0
        self._why = ""
        self._others: list[tuple[int, Example]] = []
        self._different = 0
        self._far = distances.Measure(_SHOWN)

    def outcome(self) -> StepDiff:
        """Compare all."""
        left, right = self._known
        both = left.keys() & right.keys()
        self._equal += sum(left[key] == right[key] for key in both)  # one row, which a fork takes from the other
        self._compare([(key, key) for key in both if left[key] != right[key]])
        alone = [[key for key in mine if key not in both] for mine in self._known]
        labels = [self._labels(side, keys) for side, keys in enumerate(alone)]
        paired = _paired(labels[0], labels[1])
        self._compare(paired)
        taken = [{pair[side] for pair in paired} for side in (0, 1)]
        rest = [[label for key, label in one if key not in taken[side]] for side, one in enumerate(labels)]
        measured = self._far.far()
        versions = [None if one is None else one.version.version for one in self._read]
        texts = ["" if one is None else one.source for one in versions]
        parts = [{} if one is None else one.parts for one in versions]
        is_both = None not in versions
        spent = [self._store.spent(run, ids) for run, ids in zip(self._runs, self._accepted, strict=True)]
        return StepDiff(
            step=self._step,
            versions=_two([0 if one is None else one.version.number for one in self._read]),
            code=sources.diff(texts[0], texts[1]) if is_both else "",
            parts=sources.changed(parts[0], parts[1]) if is_both else (),
            results=(len(left), len(right)),
            spent=_two(spent),
            only=(len(rest[0]), len(rest[1])),
            equal=self._equal,
            different=self._different + measured.vectors,
            unread=self._unread,
            why_unread=self._why,
            by_label=len(paired),
            far=measured if measured.vectors else None,
            examples=self._examples(),
            missing=(tuple(rest[0][:_SHOWN]), tuple(rest[1][:_SHOWN])),
        )

    def _compare(self, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        ordered = sorted(pairs, key=lambda pair: self._known[0][pair[0]])  # as they lie in the database
        for some in _chunks(ordered):
            found = [
                self._store.look_up(run, ids, [pair[side] for pair in some])
                for side, (run, ids) in enumerate(zip(self._runs, self._accepted, strict=True))
            ]
            for pair in some:
                self._pair(pair, found[0].get(pair[0]), found[1].get(pair[1]))
            self._far.measure()

    def _pair(self, pair: tuple[bytes, bytes], one: Saved | None, other: Saved | None) -> None:
        if one is None or other is None:
            self._unread, self._why = self._unread + 1, self._why or "a result has been dropped meanwhile"
            return
        if one[:2] == other[:2]:
            self._equal += 1
            return
        try:
            values = [decode(saved.codec, saved.payload, where=self._store.where) for saved in (one, other)]
        except DurableError as error:
            self._unread, self._why = self._unread + 1, self._why or str(error)
            return
        if distances.is_same(*values):
            self._equal += 1
        elif not self._far.take(self._known[0][pair[0]], *values):
            self._different += 1
            if len(self._others) < _SHOWN:
                self._others.append((self._known[0][pair[0]], Example("", " → ".join(map(reprlib.repr, values)))))

    def _examples(self) -> tuple[Example, ...]:
        found = [*self._far.farthest(), *((number, example.how) for number, example in self._others)][:_SHOWN]
        by_id = {
            self._known[0][key]: label for key, label in self._labels(0, self._keys(number for number, _ in found))
        }
        return tuple(Example(by_id.get(number, ""), how) for number, how in found)

    def _keys(self, ids: Iterator[int]) -> list[bytes]:
        wanted = set(ids)
        return [key for key, number in self._known[0].items() if number in wanted] if wanted else []

    def _labels(self, side: int, keys: Sequence[bytes]) -> list[tuple[bytes, str]]:
        """(key, label), in the order of the documents."""
        known = self._known[side]
        return [(key, label) for key, label, _ in self._store.labelled(known[key] for key in keys)]


def _paired(left: list[tuple[bytes, str]], right: list[tuple[bytes, str]]) -> list[tuple[bytes, bytes]]:
    """Keys of the documents whose label stands once on each side; a number (#12) is no label."""
    one, other = _unique(left), _unique(right)
    return [(one[label], other[label]) for label in one if label in other]


def _unique(labels: list[tuple[bytes, str]]) -> dict[str, bytes]:
    found: dict[str, Any] = {}
    for key, label in labels:
        found[label] = _NOTHING if label in found else key
    return {label: key for label, key in found.items() if key is not _NOTHING and label and not label.startswith("#")}


def _chunks(pairs: Sequence[tuple[bytes, bytes]]) -> Iterator[list[tuple[bytes, bytes]]]:
    remaining = iter(pairs)
    while some := list(itertools.islice(remaining, _TOGETHER)):
        yield some


def _two(pair: list[Any]) -> tuple[Any, Any]:
    return pair[0], pair[1]
