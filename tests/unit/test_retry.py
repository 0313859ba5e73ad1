"""When what had waited for its next attempt is tried, by the clock of another kernel."""

from __future__ import annotations

import pytest

from durable_nb.records import Backoff
from durable_nb.retry import Retry, left

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


@pytest.mark.parametrize(("retries", "most_s"), [(5, 15.5), (8, 123.5), (10, 243.5), (12, 363.5)])
def test_how_long_an_outage_may_be(retries: int, most_s: float) -> None:
    """All delays of a document together, at most; by chance it is half of that: the numbers of the README."""
    retry, down = Retry(retries), ConnectionError()
    delays = [retry.delay(attempt, down, 1.0) for attempt in range(1, retries + 1)]

    assert most_s == sum(delay for delay in delays if delay is not None)
    assert retry.delay(retries + 1, down, 1.0) is None
