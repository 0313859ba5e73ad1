"""Limits as they are written, and when they let a call start."""

from __future__ import annotations

import pytest

from durable_nb.errors import ConfigError
from durable_nb.rates import Flow, parsed


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
