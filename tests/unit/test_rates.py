"""Limits as they are written, and when they let a call start."""

from __future__ import annotations

import pytest

from durable_nb.errors import ConfigError
from durable_nb.rates import Flow, parsed
from durable_nb.testing import frozen_clock


@pytest.mark.parametrize(
    ("written", "per_s"),
    [
        ("20/s", 20.0),
        ("3000/min", 50.0),
        ("3_000 / minute", 50.0),
        ("1M/min", 1e6 / 60),
        ("90k/hour", 25.0),
        ("0.5/sec", 0.5),
    ],
)
def test_a_limit_is_a_number_in_a_time(written: str, per_s: float) -> None:
    """As the price lists write it."""
    assert per_s == pytest.approx(parsed(written, "rate_limit"))


@pytest.mark.parametrize("written", ["", "20", "20/fortnight", "0/s", "-1/s", "/s", 20, None, "20/s or so"])
def test_what_is_no_limit_is_refused_with_an_example(written: object) -> None:
    """It says which option, and how to write it."""
    with pytest.raises(ConfigError, match=r"token_limit=.*3000/min"):
        parsed(written, "token_limit")


def test_tokens_and_their_limit_belong_together() -> None:
    """One without the other would limit nothing."""
    with pytest.raises(ConfigError, match="belong together"):
        Flow(token_limit="1M/min")
    with pytest.raises(ConfigError, match="belong together"):
        Flow(tokens=len)
    with pytest.raises(ConfigError, match="acquire"):
        Flow(rate=object())


class Refusal(Exception):  # noqa: N818 - as clients name it
    """An answer of 429."""

    def __init__(self, wait_s: float) -> None:
        self.status_code, self.headers = 429, {"retry-after": str(wait_s)}


def test_a_quota_is_waited_out() -> None:
    """A service that asks to wait for an hour, again and again, is asked once an hour: no document has failed."""
    flow = Flow()
    with frozen_clock() as frozen:
        for hour in range(1, 4):
            for _ in range(8):
                assert flow.refused(Refusal(3600))
            waits = flow.waits()
            for seconds in waits:
                frozen.move(seconds)

            assert 3600 * hour == pytest.approx(frozen.at - 1_000_000, abs=150)


def test_a_wait_of_days_is_a_failure() -> None:
    """Nobody leaves a cell waiting for that; nor is it asked to wait a second for an hour."""
    with frozen_clock() as frozen:
        assert not Flow().refused(Refusal(90_000))
        flow = Flow()
        answers = []
        for _ in range(720):
            answers.append(flow.refused(Refusal(1)))
            frozen.move(1.0)

        assert answers[:500] == [True] * 500
        assert not any(answers[650:])
