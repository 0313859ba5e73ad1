"""When what had waited for its next attempt is tried, by the clock of another kernel."""

from __future__ import annotations

import pytest

from durable_nb.records import Backoff
from durable_nb.retry import left

NOW = 1_000.0


@pytest.mark.parametrize(
    ("since", "delay_s", "expected"),
    [
        (995.0, 8.0, 3.0),
        (1_000.0, 8.0, 8.0),
        (900.0, 8.0, 0.0),
        (1_002.0, 8.0, 8.0),  # clocks of two machines
        (9e10, 8.0, 8.0),  # set back by years
        (1_000.0, 9e10, 60.0),  # written by nobody of us
        (9e10, 9e10, 60.0),
        (1_000.0, -5.0, 0.0),
        (-9e10, 8.0, 0.0),
    ],
)
def test_what_is_left_of_a_delay(since: float, delay_s: float, expected: float) -> None:
    """Never less than nothing, than the delay more, or more than the longest of these retries."""
    assert expected == left(Backoff(2, since, delay_s), NOW, 60.0)
