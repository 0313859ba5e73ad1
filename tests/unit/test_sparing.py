"""Costly values are read seldom."""

from __future__ import annotations

import pytest

from durable_nb.sparing import Sparing
from durable_nb.testing import frozen_clock


def test_a_costly_value_is_read_for_a_share_of_the_time() -> None:
    """A value that takes 0.1 s to read, with a share of 1 %, is at most 10 s old; a free one is always fresh."""
    with frozen_clock() as time:
        reads = []

        def read() -> int:
            time.move(0.1)
            reads.append(time.at)
            return len(reads)

        costly, free = Sparing(read, share=0.01), Sparing(lambda: time.at, share=0.01)
        seen = []
        for _ in range(250):
            seen.append(costly())
            assert time.at == free()
            time.move(0.1)

    assert [1, 2, 3] == sorted(set(seen))
    assert all(later - sooner >= 10 for sooner, later in zip(reads, reads[1:], strict=False))


def test_an_error_is_not_kept() -> None:
    """What reading raises is raised, and the next call reads again."""
    answers = iter([OSError("away"), "back"])

    def read() -> str:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    sparing = Sparing(read, share=0.01)
    with pytest.raises(OSError, match="away"):
        sparing()

    assert "back" == sparing()
