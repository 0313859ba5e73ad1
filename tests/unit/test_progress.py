"""What is known of a run while it is under way: counts, figures, the mosaic."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from durable_nb.limits import Gate
from durable_nb.progress import Progress
from durable_nb.records import (
    COMPUTED,
    GAVE_UP,
    LINK,
    RESTORED,
    WAITING,
    Checkpoint,
    Costed,
    Group,
    Snapshot,
    State,
)
from durable_nb.testing import frozen_clock


def done(document: int, **changes: Any) -> Checkpoint:
    row = Checkpoint(1, 1, b"%016d" % document, "done", document, f"doc {document}", 1, None, 0.0, 0.1, "raw", b"")
    return row._replace(**changes)


def gave_up(document: int, error: str = "ValueError: no", **changes: Any) -> Checkpoint:
    return done(document, **{"state": "failed", "error": f"{error}\nTraceback", "payload": None, "codec": ""} | changes)


def states(progress: Progress) -> list[int]:
    mosaic = progress.mosaic()
    return [] if mosaic is None else list(mosaic.states)


def test_each_document_has_its_square() -> None:
    """Restored, computed, failed and waiting documents of two maps and a plain call stand where their numbers are."""
    progress = Progress()
    first, plain, second = progress.expect(3), progress.number(), progress.expect(2)
    progress.restore([first, first + 2], 1.0)
    progress.committed([done(plain), gave_up(second + 1)])

    assert [RESTORED, WAITING, RESTORED, COMPUTED, WAITING, GAVE_UP] == states(progress)


def test_a_failure_that_succeeds_later_is_no_failure() -> None:
    """Its square, its group and its line go, also when it was computed under another number."""
    progress = Progress()
    progress.expect(4)
    progress.committed([gave_up(0), gave_up(1)])
    progress.committed([done(0), done(3, key=b"%016d" % 1)])

    assert [COMPUTED, COMPUTED, WAITING, COMPUTED] == states(progress)
    assert () == progress.snapshot().groups == progress.snapshot().failures


def test_counts_ahead_of_a_commit_are_those_after_it() -> None:
    """What is written with a batch is what the batch leads to, failures that end or come in it included."""
    progress = Progress()
    progress.expect(9)
    for batch in (
        [done(0), gave_up(1), gave_up(2)],
        [gave_up(1), done(2), done(3)],
        [done(1), gave_up(1, key=b"%016d" % 1), gave_up(4), done(4)],
        [],
    ):
        ahead = progress.counts_after(batch)
        progress.committed(batch)

        assert (9, progress.computed, 0, progress.failed) == ahead


ENDS = st.tuples(st.sampled_from(["done", "failed", "link", "paid"]), st.integers(0, 7))


def ended(kind: str, document: int) -> Checkpoint:
    if kind == "paid":
        row = Costed(*done(document))
        row.cost = 2.0**document
        return row
    return gave_up(document) if kind == "failed" else done(document, codec=LINK if kind == "link" else "raw")


@settings(max_examples=300, deadline=None)
@given(st.lists(ENDS, max_size=12), st.integers(1, 12))
@example([("done", 2), ("done", 3), ("done", 4)], 3)  # one after the other
@example([("done", 4), ("done", 2), ("done", 3)], 3)
def test_it_does_not_matter_which_results_share_a_commit(ends: list[tuple[str, int]], size: int) -> None:
    """Results in any order, failures, links and costs come to the same, many at a time or each by itself."""
    rows = [ended(*end) for end in ends]
    together, alone = Progress(), Progress()
    for progress, batches in (
        (together, [rows[n : n + size] for n in range(0, len(rows), size)]),
        (alone, [[row] for row in rows]),
    ):
        progress.expect(8)
        for batch in batches:
            progress.committed(batch)

    assert states(alone) == states(together)
    assert (alone.computed, alone.failed, alone.spent) == (together.computed, together.failed, together.spent)
    assert alone.snapshot().groups == together.snapshot().groups


def test_links_are_no_documents() -> None:
    """What an expression came to is saved beside the results and has no square."""
    progress = Progress()
    progress.number()
    progress.committed([done(0, codec=LINK)])

    assert ([WAITING], 0) == (states(progress), progress.computed)


def test_announced_documents_have_squares_before_anything_is_known() -> None:
    """A guess and a map make the mosaic as large as they say, but a billion documents take no gigabyte."""
    progress = Progress()
    progress.guess(5)

    assert [WAITING] * 5 == states(progress)

    progress.expect(10**9)
    mosaic = progress.mosaic()
    assert mosaic is not None
    assert 1_000_000 == len(mosaic.states)
    assert sys.getsizeof(progress._states) < 1_000


def test_documents_of_other_processes_have_squares() -> None:
    """What worker processes did is counted and drawn, after what is known better."""
    progress = Progress()
    progress.number()
    progress.committed([done(0)])
    progress.found_elsewhere(2, 1)

    assert [COMPUTED, COMPUTED, COMPUTED, RESTORED] == states(progress)
    assert (3, 1) == (progress.computed, progress.restored)


def test_the_version_says_whether_the_mosaic_changed() -> None:
    """It is the same while nothing changes, and grows with every change, also above what the attempt before has shown."""
    progress = Progress(Snapshot("a", State.RUNNING, None, 0, 0, 0, 0, 0.0, None, 0.0, 0.0, None, mosaic_version=7))
    progress.number()
    progress.committed([done(0)])
    first = progress.snapshot().mosaic_version
    mosaic = progress.mosaic()
    assert mosaic is not None

    assert first == mosaic.version > 7

    progress.committed([done(1)])
    assert first < progress.snapshot().mosaic_version


def test_what_failed_is_tried_again_under_its_number() -> None:
    """A retry in an attempt of its own shows the others as restored and counts them."""
    progress = Progress()
    progress.go_on_from(bytes([RESTORED, COMPUTED, GAVE_UP, COMPUTED]))

    assert [RESTORED, RESTORED, WAITING, RESTORED] == states(progress)
    assert (4, 3) == (progress.total, progress.restored)


def test_figures_are_json_and_hold_for_a_moment() -> None:
    """They say what the gate does, when the last commit was, and never what JSON does not know."""
    gate = Gate()
    with frozen_clock(1_000.0) as frozen:
        progress = Progress(gate=gate)
        progress.expect(10)
        progress.workers = 8
        gate.running.update((3, 4))
        gate.limit(workers=2, per_minute=60)
        gate.pause()
        frozen.move(1)
        progress.committed([done(0), gave_up(1)])
        frozen.move(1)
        figures = json.loads(json.dumps(progress.figures(), allow_nan=False))

    expected = {
        "running": 2, "rate": 0.5, "eta_s": None, "saved_s": 0.0, "paused": True, "workers": 2, "limit_workers": 2,
        "per_minute": 60, "waiting_for": "somebody to press Resume", "groups": [["ValueError: no", 1]],
        "committed": 1_001.0, "renumbered": False, "spent": 0.0, "saved_cost": 0.0,
    }  # fmt: skip

    assert expected == figures


def test_failures_are_grouped_by_their_error() -> None:
    """The most frequent reasons stand first, at most twenty of them."""
    progress = Progress()
    progress.committed([gave_up(n, f"ValueError: {n % 30}" if n < 60 else "TimeoutError") for n in range(65)])
    groups = progress.snapshot().groups

    assert (20, Group("TimeoutError", 5)) == (len(groups), groups[0])
    assert [Group("ValueError: 0", 2), Group("ValueError: 1", 2)] == list(groups[1:3])


def test_a_heartbeat_is_not_a_commit() -> None:
    """A renewed lease makes the run look alive, and its last result no younger."""
    with frozen_clock() as frozen:
        progress = Progress()
        progress.committed([done(0)])
        frozen.move(10)
        progress.committed([])
        frozen.move(2)
        now = progress.snapshot()

    assert (2.0, 12.0) == (now.heartbeat_age_s, now.commit_age_s)


@pytest.mark.parametrize("failing", [False, True])
def test_a_commit_costs_what_is_in_it(failing: bool) -> None:
    """One more result takes as many steps of Python after 200,000 documents, failed ones too, as after 2,000."""

    def steps(count: int) -> int:
        progress = Progress()
        progress.expect(count)
        make = gave_up if failing else done
        progress.committed([make(n, **({"error": f"E: {n}"} if failing else {})) for n in range(count - 1)])
        progress.figures()
        batch, seen = [done(count - 1)], [0]

        def trace(frame: Any, event: str, _: Any) -> Any:
            seen[0] += 1
            return trace

        sys.settrace(trace)
        progress.counts_after(batch)
        progress.committed(batch)
        progress.figures()
        sys.settrace(None)
        return seen[0]

    assert steps(200_000) <= steps(2_000) + 20


def test_squares_that_were_only_guessed_are_gone_at_the_end() -> None:
    """A loop over what says ten and gives seven: who has seen ten squares is sent seven."""
    progress = Progress()
    progress.guess(10)
    progress.restore([progress.number() for _ in range(7)], 0.0)
    before = progress.mosaic()
    progress.about_to_end(is_complete=True)
    progress.end(State.DONE)
    after = progress.mosaic()

    assert before is not None
    assert after is not None
    assert (10, 7) == (len(before.states), len(after.states))
    assert after.version > before.version
