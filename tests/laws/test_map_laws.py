"""However the calls of a step are made, tried again and looked up, each has one result, computed once."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections import Counter
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from durable_nb import StepFailed, run, step
from durable_nb.engine.session import current as session
from durable_nb.testing import temporary_store
from tests.matrix import IS_WHOLE

DOCUMENTS = st.integers(0, 3)
LISTS = st.lists(DOCUMENTS, max_size=8)
BROKEN = st.just(set[int]()) | st.sets(DOCUMENTS, max_size=2)
KINDS = st.sampled_from(["one", "many"])
HOW = st.fixed_dictionaries(
    {"way": st.sampled_from(["list", "iterator", "stream", "amap"]), "workers": st.sampled_from([1, 3])}
)
Name = tuple[int, int]
"""A document, and which one of its equal calls."""


class Attempt:
    """What one attempt of a run has to make of its calls: how often each document was asked for, and gave a result."""

    def __init__(self, saved: dict[Name, int | None], broken: set[int]) -> None:
        self.saved, self.broken, self.asked = saved, broken, Counter[int]()

    def names(self, documents: list[int]) -> list[Name]:
        """The calls that a map of these documents makes."""
        counted, names = self.asked.copy(), []
        for document in documents:
            names.append((document, counted[document]))
            counted[document] += 1
        return names

    def fails(self, name: Name) -> bool:
        """Whether a call gives no result."""
        return name not in self.saved and name[0] in self.broken


class EachCallIsComputedOnce(RuleBasedStateMachine):
    """``saved`` is what the database has to hold: calls of each run, with their result where somebody has read it.

    A result is the number of the execution that gave it, so that no two are equal and a result of another call is seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.saved: dict[str, dict[Name, int | None]] = {}
        self.broken: set[int] = set()
        self.executed: dict[int, int] = {}
        self.expected, self.numbers = 0, itertools.count()
        self.folder = tempfile.TemporaryDirectory(prefix="laws-")
        self.opened = temporary_store(self.folder.name)
        self.opened.__enter__()
        self.steps = {
            "one": step(self.one, name="one", version="1"),
            "many": step(self.many, name="many", version="1", batch=3),
        }

    def teardown(self) -> None:
        """Nothing stays."""
        self.opened.__exit__(None, None, None)
        self.folder.cleanup()

    def one(self, document: int) -> tuple[int, int]:
        """The document, and a number that no other execution has."""
        if document in self.broken:
            raise ValueError(document)
        number = next(self.numbers)
        self.executed[number] = document
        return document, number

    def many(self, documents: list[int]) -> list[tuple[int, int]]:
        """The same of a list, which fails as a whole."""
        if self.broken & set(documents):
            raise ValueError(documents)
        return [self.one(document) for document in documents]

    def begin(self, name: str, broken: set[int]) -> Attempt:
        """An attempt of a run in which these documents raise."""
        self.broken = broken
        return Attempt(self.saved.setdefault(name, {}), broken)

    @rule()
    def reopen(self) -> None:
        """As another kernel finds it."""
        session.close()

    @rule(
        kind=KINDS,
        broken=BROKEN,
        documents=LISTS,
        how=HOW,
        limit=st.none() | st.integers(1, 5),
        raises=st.booleans(),
    )
    def map(
        self, kind: str, broken: set[int], documents: list[int], how: dict[str, Any], limit: int | None, raises: bool
    ) -> None:
        """A map by itself is an attempt of the run that has its name."""
        attempt = self.begin(kind, broken)
        self.maps(attempt, kind, documents, how, raises=raises, limit=limit)

    @rule(kind=KINDS, broken=BROKEN, documents=LISTS, workers=st.sampled_from([1, 3]))
    def try_again(self, kind: str, broken: set[int], documents: list[int], workers: int) -> None:
        """What failed is computed once it can be, into the results that it is missing from."""
        attempt = self.begin(kind, broken)
        names = attempt.names(documents)
        results = self.steps[kind].map(documents, on_error="collect", workers=workers)
        missing = [name for name in names if attempt.fails(name)]

        assert len(missing) == len(results.failed)
        self.broken = set()
        results.retry()
        self.expected += len({name for name in names if name not in attempt.saved})
        self.take(attempt, names, list(results))

    @rule(kind=KINDS, broken=BROKEN, documents=LISTS, workers=st.sampled_from([1, 3]), read=st.integers(0, 8))
    def leave(self, kind: str, broken: set[int], documents: list[int], workers: int, read: int) -> None:
        """Of a stream that is not read to its end the first calls are made, and kept."""
        attempt = self.begin(kind, broken)
        before = len(self.executed)
        stream = self.steps[kind].stream(documents, workers=workers, on_error="collect")
        list(itertools.islice(stream, read))
        stream.close()
        made = Counter(list(self.executed.values())[before:])
        self.expected += made.total()
        for name in attempt.names(documents):
            if made[name[0]] and name not in attempt.saved:
                made[name[0]] -= 1
                attempt.saved[name] = None

        assert not made.total()

    @rule(
        kind=KINDS,
        broken=BROKEN,
        parts=st.lists(st.tuples(LISTS, HOW, st.booleans()) | DOCUMENTS, min_size=1, max_size=4),
        name=st.sampled_from(["a", "b"]),
    )
    def cell(self, kind: str, broken: set[int], parts: list[Any], name: str) -> None:
        """Maps and calls in one run: equal calls are told apart through all of them, those that raised not counted."""
        attempt, before = self.begin(f"{name}-{kind}", broken), len(self.executed)
        with run(f"{name}-{kind}") as live:
            for part in parts:
                if isinstance(part, int):
                    self.calls(attempt, kind, part)
                else:
                    self.maps(attempt, kind, part[0], part[1], raises=part[2])
        shown = live.progress.snapshot()

        assert len(self.executed) - before == shown.computed
        assert (shown.total or 0) >= shown.restored + shown.computed + shown.failed

    def calls(self, attempt: Attempt, kind: str, document: int) -> None:
        """One call, written as one."""
        (name,) = attempt.names([document])
        fails = attempt.fails(name)
        try:
            result = self.steps[kind]([document])[0] if kind == "many" else self.steps[kind](document)
        except (ValueError, StepFailed):
            assert fails
            return
        assert not fails
        self.expected += name not in attempt.saved
        self.take(attempt, [name], [result])
        attempt.asked[document] += 1

    def maps(
        self,
        attempt: Attempt,
        kind: str,
        documents: list[int],
        how: dict[str, Any],
        *,
        raises: bool,
        limit: int | None = None,
    ) -> None:
        """A map, and whether it gives what it has to."""
        documents = documents if limit is None else documents[:limit]
        names = attempt.names(documents)
        failing = [name for name in names if attempt.fails(name)]
        self.expected += len([name for name in names if name not in attempt.saved and name not in failing])
        given = {"workers": how["workers"], "on_error": "raise" if raises else "collect", "limit": limit}
        try:
            results = self.results(self.steps[kind], documents, how["way"], given)
        except StepFailed as error:
            assert raises
            assert error.others == len(failing) - 1
            for name in names:
                if name not in failing:
                    attempt.saved.setdefault(name, None)
            return
        assert not (raises and failing)
        if how["way"] == "stream":
            assert Counter(documents) == Counter(document for document, _ in results)
            assert len(failing) == sum(isinstance(result, StepFailed) for _, result in results)
            for name in names:
                if name not in failing:
                    attempt.saved.setdefault(name, None)
            assert all(isinstance(result, StepFailed) or result[0] == document for document, result in results)
        else:
            self.take(attempt, names, results)
        attempt.asked.update(documents)

    def results(self, embed: Any, documents: list[int], way: str, given: dict[str, Any]) -> list[Any]:
        """What a map gives."""
        if way == "amap":
            return list(asyncio.run(embed.amap(documents, **given)))
        items = documents if way == "list" else iter(documents)
        return list(embed.stream(items, **given) if way == "stream" else embed.map(items, **given))

    def take(self, attempt: Attempt, names: list[Name], results: list[Any]) -> None:
        """Each result is that of its call: the one it had before, else one that nobody had."""
        assert len(names) == len(results)
        for name, result in zip(names, results, strict=True):
            if isinstance(result, StepFailed):
                assert attempt.fails(name)
                continue
            document, number = result
            assert name[0] == document == self.executed[number]
            known = attempt.saved.get(name)
            if known is None:
                assert number not in attempt.saved.values()
                attempt.saved[name] = number
            assert attempt.saved[name] == number

    @invariant()
    def nothing_twice(self) -> None:
        """No call was executed that had a result."""
        assert self.expected == len(self.executed)


TestEachCallIsComputedOnce = EachCallIsComputedOnce.TestCase
TestEachCallIsComputedOnce.__doc__ = "Maps, streams, calls and retries of a step are one book of results."
TestEachCallIsComputedOnce.settings = settings(
    max_examples=20 if IS_WHOLE else 8, stateful_step_count=12, deadline=None
)
