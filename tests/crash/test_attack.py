"""Idioms of real notebooks, each killed at 40 % and resumed: the cells of `hazards_of_attack`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.crash.test_hazards import (  # noqa: F401
    FAKEAI,
    durably,
    known_to_fail,
    library,
    plain_kernel,
    plainly,
    pytestmark,
    verdict_of,
)
from tests.notebook.hazards import OUTSIDE, REFUSED, SAME, Hazard
from tests.notebook.hazards_of_attack import OF_ATTACK
from tests.notebook.hazards_of_attack_open import OPEN

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernels import Kernel


@pytest.mark.parametrize("hazard", [*OF_ATTACK, *map(known_to_fail, OPEN)], ids=lambda hazard: hazard.title)
def test_attack(hazard: Hazard, plain_kernel: Kernel, library: Path, tmp_path: Path) -> None:  # noqa: F811
    """A resumed cell ends as the plain one, or says in which way it does not, or is refused with the way out."""
    plain = plainly(plain_kernel, hazard, tmp_path / "plain")
    first = durably(hazard, tmp_path / "durable", library, crash_at=max(2, plain.executed * 2 // 5))
    if first.reply is not None:
        assert hazard.verdict == verdict_of(plain, first) == REFUSED, f"NOT KILLED {first}\n\nplain: {plain}"
        assert hazard.says in first.reply.traceback + first.reply.error
        assert first.executed <= 2
        return
    resumed = durably(hazard, tmp_path / "durable", library, crash_at=0)
    assert resumed.reply is not None
    shown = f"plain: {plain}\n\nresumed: {resumed}"

    assert (SAME if hazard.verdict == OUTSIDE else hazard.verdict) == verdict_of(plain, resumed), shown
    assert hazard.says in resumed.said, shown
    assert resumed.executed <= plain.executed + hazard.extra, shown
