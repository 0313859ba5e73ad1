"""Who waits for a database that is away, and who no longer."""

from __future__ import annotations

import pytest

from durable_nb.errors import StoreUnavailable
from durable_nb.store.patience import Patience


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
        assert "done" == patience.keep(attempt)
    else:
        with pytest.raises(StoreUnavailable):
            patience.keep(attempt)

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
        assert "done" == patience.keep(attempt)
    else:
        with pytest.raises(end):
            patience.keep(attempt)

    assert ["the database: is away", ""] == shown.said
