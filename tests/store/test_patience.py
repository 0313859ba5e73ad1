"""Who waits for a database that is away, and who no longer."""

from __future__ import annotations

import pytest

from durable_nb.errors import StoreUnavailable
from durable_nb.store.patience import PATIENCE_S, Patience
from durable_nb.testing import FrozenClock, frozen_clock


class Shown:
    """Where a run shows what it waits for."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def held_up(self, by: str) -> None:
        """Noted here."""
        self.said.append(by)


@pytest.mark.parametrize(("hurried", "tries"), [((1,), 3), ((1, 2), 1), ((), 3)])
def test_stopping_one_run_leaves_the_other_its_patience(hurried, tries):
    """A database that is away is waited for until no run of this process is left that may wait."""
    patience, made = Patience(), []
    for run in (1, 2):
        patience.watch(run, Shown())
    for run in hurried:
        patience.hurry(run)

    def attempt() -> str:
        made.append("tried")
        if len(made) < 3:
            raise StoreUnavailable("here", "is away.", may_pass=True)
        return "done"

    if tries == 3:
        assert "done" == patience.keep(attempt, "read")
    else:
        with pytest.raises(StoreUnavailable):
            patience.keep(attempt, "read")

    assert tries == len(made)


@pytest.mark.parametrize("end", [ValueError, KeyboardInterrupt, None])
def test_a_run_is_held_up_no_longer_once_an_attempt_ends(end):
    """However it ends: with a value, an error of something else, or ■."""
    patience, shown, ends = Patience(), Shown(), iter([StoreUnavailable("here", "is away.", may_pass=True), end])
    patience.watch(1, shown)

    def attempt() -> str:
        error = next(ends)
        if error is not None:
            raise error
        return "done"

    if end is None:
        assert "done" == patience.keep(attempt, "read")
    else:
        with pytest.raises(end):
            patience.keep(attempt, "read")

    assert ["the database: is away", ""] == shown.said


class Away:
    """A database that is not there, and a run that is under way."""

    def __init__(self, clock: FrozenClock) -> None:
        self.patience, self._clock = Patience(), clock
        self.patience.watch(1, Shown())

    def waited(self, kind: str) -> float:
        """Seconds until an attempt of this kind is given up."""
        before = self._clock.now()
        with pytest.raises(StoreUnavailable):
            self.patience.keep(self._fail, kind)
        return self._clock.now() - before

    def _fail(self) -> None:
        raise StoreUnavailable("here", "is away.", may_pass=True)


@pytest.fixture
def away():
    """It, in frozen time."""
    with frozen_clock() as clock:
        yield Away(clock)


def test_ten_minutes_are_waited_in_all(away):
    """Not by each who asks: after the first has given up, the others try once, until the database was there again."""
    assert PATIENCE_S <= away.waited("read") < PATIENCE_S + 10
    assert [0, 0] == [away.waited("save"), away.waited("read")]
    away.patience.keep(lambda: None, "read")

    assert PATIENCE_S <= away.waited("read") < PATIENCE_S + 10


def test_what_can_be_read_gives_a_save_no_more_time(away):
    """A full disk is waited for ten minutes, though everything is read meanwhile."""
    assert PATIENCE_S <= away.waited("save") < PATIENCE_S + 10
    away.patience.keep(lambda: None, "read")

    assert 0 == away.waited("save")
    assert PATIENCE_S <= away.waited("read") < PATIENCE_S + 10


def test_a_run_that_begins_may_wait_anew(away):
    """It could be begun, so the database was there."""
    away.waited("save")
    away.patience.watch(2, Shown())

    assert PATIENCE_S <= away.waited("save") < PATIENCE_S + 10
