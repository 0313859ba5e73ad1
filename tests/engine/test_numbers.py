"""Which of the equal calls of a run a call is, also of very many calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from durable_nb import keys, run, step
from durable_nb.engine import digests, versions
from durable_nb.engine.digests import Digests, SortedDigests
from durable_nb.engine.versions import StepInRun
from durable_nb.errors import StepFailed

if TYPE_CHECKING:
    from collections.abc import Iterator


class NumbersAreCounts(RuleBasedStateMachine):
    """However calls are made, given back and claimed, each digest has each number once, the lowest free one first."""

    @initialize(most=st.sampled_from([0, 3, 10]), kind=st.sampled_from([Digests, SortedDigests]))
    def begin(self, most: int, kind: type[Digests | SortedDigests]) -> None:
        """With more or fewer of them in the dict."""
        self.step = StepInRun(None, 1)  # type: ignore[arg-type]
        self.step._most, self.step._made_once = most, kind()
        self.taken: dict[bytes, set[int]] = {}

    @rule(documents=st.lists(st.integers(0, 30), max_size=12))
    def make(self, documents: list[int]) -> None:
        """Some calls."""
        digests = [digest(n) for n in documents]
        expected = []
        for one in digests:
            taken = self.taken.setdefault(one, set())
            expected.append(next(n for n in range(100) if n not in taken))
            taken.add(expected[-1])

        assert expected == self.step.numbers(digests)

    @rule(document=st.integers(0, 30), data=st.data())
    def raises(self, document: int, data: Any) -> None:
        """One of them."""
        if taken := self.taken.get(digest(document)):
            number = data.draw(st.sampled_from(sorted(taken)))
            taken.remove(number)
            self.step.give_back(digest(document), number)

    @rule(document=st.integers(0, 30), number=st.integers(0, 3))
    def claim(self, document: int, number: int) -> None:
        """A number out of its turn."""
        taken = self.taken.setdefault(digest(document), set())

        assert (number not in taken) == self.step.claim(digest(document), number)
        taken.add(number)

    @invariant()
    def counts(self) -> None:
        """What was not given back."""
        if hasattr(self, "step"):
            assert sum(map(len, self.taken.values())) == self.step.calls


TestNumbersAreCounts = NumbersAreCounts.TestCase
TestNumbersAreCounts.__doc__ = "Numbers of calls are counts, wherever they are kept."
TestNumbersAreCounts.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)


def digest(n: int) -> bytes:
    """16 bytes for a number; some differ in the last of the first eight only, which choose no place of the table."""
    return (n % 4 << 56 | n // 4 << 2).to_bytes(8, "little") + bytes(8)


@pytest.mark.parametrize("kind", [Digests, SortedDigests])
def test_many_are_told_apart(kind: type[Digests | SortedDigests], monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred thousand digests are found, those taken out are not until they are back, and it has grown on the way."""
    monkeypatch.setattr(digests, "_MANY", 20_000)
    many = kind()
    names = [keys.digest(n) for n in range(100_000)]
    for start in range(0, len(names), 9_000):
        many.add(names[start : start + 9_000])
    gone = names[::3]

    assert all([many.discard(name) for name in gone])
    assert not any([many.discard(name) for name in gone])
    assert set(names) - set(gone) == many.among(names)
    assert len(names) - len(gone) == many.count
    assert set() == many.among([keys.digest(-n) for n in range(1, 1_000)])
    many.add(gone)
    assert set(names) == many.among(names)
    assert len(names) == many.count


@pytest.mark.parametrize("kind", [Digests, SortedDigests])
def test_nothing_can_be_taken_in_and_everything_out(
    kind: type[Digests | SortedDigests], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where all calls are made several times there is nothing to take in, and afterwards perhaps nothing left."""
    monkeypatch.setattr(digests, "_MANY", 1)
    some, names = kind(), [keys.digest(n) for n in range(3)]
    some.add([])

    assert set() == some.among(names)
    some.add(names)
    assert all([some.discard(name) for name in names])
    assert set() == some.among(names)
    some.add(names)
    assert set(names) == some.among(names)
    assert len(names) == some.count


@pytest.mark.usefixtures("store")
def test_a_map_of_many_that_failed_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """It gives back the numbers of all its calls; they are taken again, and once more for the calls of the next map."""
    monkeypatch.setattr(versions, "_MANY", 300)
    monkeypatch.setattr(versions, "nothing_yet", SortedDigests)
    broken = [0]
    embed = step(lambda n: n // (n not in broken), name="embed", version="1")

    with run("documents"):
        for _ in range(2):
            with pytest.raises(StepFailed):
                embed.map(range(1_000), workers=1)
        broken.clear()

        assert list(range(1_000)) == list(embed.map(range(1_000), workers=1))
        assert list(range(1_000)) == list(embed.map(range(1_000), workers=1))


class Counted:
    """Documents of a data set that says how many it has."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        return iter(range(self._count))


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("documents", [list, iter, len], ids=["list", "iterator", "data set"])
@pytest.mark.parametrize("options", [{}, {"batch": 7}], ids=["one by one", "batches"])
def test_a_map_that_is_tried_again_has_the_same_documents(options: dict[str, Any], documents: Any) -> None:
    """They are counted once: what was computed before it failed is not restored, and there are not twice as many."""
    broken = {3, 700}

    def one(n: int) -> int:
        if n in broken:
            raise ValueError(n)
        return n

    embed = step(lambda some: list(map(one, some)) if options else one(some), name="embed", version="1", **options)

    def items() -> Any:
        return Counted(1_000) if documents is len else documents(range(1_000))

    with run("documents") as live:
        for left in ({3, 700}, {700}, set()):
            broken = left
            if left:
                with pytest.raises(StepFailed):
                    embed.map(items(), workers=2)
                seen = live.progress.snapshot()

                assert (1_000, 0, len(left)) == (seen.total, seen.restored, seen.failed)
            else:
                assert list(range(1_000)) == list(embed.map(items(), workers=2))
        after = live.progress.snapshot()
        squares = live.progress.mosaic()

    assert (1_000, 0, 1_000, 0, 0.0) == (after.total, after.restored, after.computed, after.failed, after.saved_s)
    assert squares is not None
    assert bytes([2]) * 1_000 == squares.states


@pytest.mark.usefixtures("store")
def test_other_documents_after_a_map_that_failed_are_others() -> None:
    """A map of them, and the first one once more, which was not the last to take numbers."""
    broken = [5]
    embed = step(lambda n: n // (n not in broken), name="embed", version="1")

    with run("documents"):
        embed.map(range(500, 510), workers=1)
    with run("documents") as live:
        with pytest.raises(StepFailed):
            embed.map(range(10), workers=1)
        embed.map(range(500, 510), workers=1)
        broken.clear()
        embed.map(range(10), workers=1)
        after = live.progress.snapshot()

    assert (20, 10, 10, 0) == (after.total, after.restored, after.computed, after.failed)


@pytest.mark.usefixtures("store")
def test_an_iterator_that_gives_more_when_it_is_tried_again_has_more_documents() -> None:
    """Those that it had are counted once."""
    broken = [5]
    embed = step(lambda n: n // (n not in broken), name="embed", version="1")

    with run("documents") as live:
        with pytest.raises(StepFailed):
            embed.map(iter(range(100)), workers=1)
        broken.clear()
        embed.map(iter(range(150)), workers=1)
        after = live.progress.snapshot()

    assert (150, 0, 150, 0) == (after.total, after.restored, after.computed, after.failed)


@pytest.mark.usefixtures("store")
def test_a_source_that_has_fewer_documents_than_it_says() -> None:
    """As a progress bar with another total: what there was is what was wanted."""

    class Bar(Counted):
        def __len__(self) -> int:
            return 100

    with run("documents") as live:
        embed = step(lambda n: n, name="embed", version="1")
        embed.map(Bar(90), workers=1)
        embed.map(Bar(0), workers=1)

        assert 90 == live.progress.total == live.progress.snapshot().computed
