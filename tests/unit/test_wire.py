"""What a page is sent: JSON of records, and mosaics as bytes."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_nb import wire
from durable_nb.records import Event, Failure, Group, Mosaic, Run, Snapshot, State, StepVersion

FIXTURE = Path(__file__).parents[1] / "fixtures" / "snapshot.json"

RUNNING = Snapshot(
    name="embed-filings",
    state=State.RUNNING,
    total=10_000,
    restored=1_200,
    computed=2_800,
    failed=2,
    running=8,
    rate=312.4,
    eta_s=19.2,
    elapsed_s=9.5,
    saved_s=180.0,
    commit_age_s=0.04,
    failures=(
        Failure(17, "10-K/ACME & Söhne.txt", "ValueError: <empty> document", 3, "Traceback …\nValueError: <empty>"),
        Failure(42, "10-K/blank.txt", "TimeoutError: 60 s", 1),
    ),
    message="",
    run_id=7,
    store="0f3a5c7e9b1d",
    notebook="/home/ada/filings.ipynb",
    cell="3f2a9c1e",
    attempts=2,
    paused=False,
    workers=8,
    limit_workers=8,
    per_minute=20_000.0,
    heartbeat_age_s=1.5,
    waiting_for="the limit of 20000 calls a minute",
    groups=(Group("TimeoutError: 60 s", 1), Group("ValueError: <empty> document", 1)),
    mosaic_version=321,
    spent=8.4,
    saved_cost=3.6,
)


def test_contract_with_front_end_is_the_fixture() -> None:
    """The front end is tested on exactly what Python sends; when it changes, write snapshot_json(RUNNING) to the file."""
    expected = json.loads(FIXTURE.read_text(encoding="utf-8"))

    assert expected == json.loads(json.dumps(wire.snapshot_json(RUNNING), allow_nan=False))


def test_numbers_json_does_not_know_are_left_out() -> None:
    """A rate or time that is infinite or undefined never breaks the message to the page."""
    nan = float("nan")
    sent = wire.snapshot_json(RUNNING._replace(rate=float("inf"), eta_s=nan, elapsed_s=nan, heartbeat_age_s=nan))

    assert (0.0, None, 0.0, None) == (sent["rate"], sent["eta_s"], sent["elapsed_s"], sent["heartbeat_age_s"])


def test_a_summary_has_no_failures_and_says_when() -> None:
    """A list of a thousand runs does not carry their tracebacks."""
    run = Run(7, "embed", State.RUNNING, "", "", 10, 0, 0, 0, 1, None, 3.0, 1.0, 2.0)
    sent = wire.summary_json(run, RUNNING)

    assert {"failures", "groups"}.isdisjoint(sent)
    assert (1.0, 2.0, 4_000) == (sent["created"], sent["updated"], sent["durable"])


def test_the_version_in_use_is_marked() -> None:
    """Of the versions of each step exactly one is current: the one used last, which stands first."""
    versions = [StepVersion(n, name, f"{n}", {}, "", 5) for n, name in ((3, "embed"), (2, "rank"), (1, "embed"))]
    sent = wire.context_json([Event(1.0, "started", "pid 1")], versions)

    assert [{"at": 1.0, "kind": "started", "detail": "pid 1"}] == sent["history"]
    assert [(3, True), (2, True), (1, False)] == [(version["id"], version["current"]) for version in sent["versions"]]


def applied(message: bytes, states: bytes) -> tuple[int, bytes]:
    """What a page makes of a message when it holds ``states``: version and states."""
    kind, version, count = struct.unpack_from("<BII", message)
    if kind == 0:
        assert len(message) == 9 + count
        return version, message[9:]
    assert len(message) == 9 + 5 * count
    changed = bytearray(states)
    positions = struct.unpack_from(f"<{count}I", message, 9)
    for position, state in zip(positions, message[9 + 4 * count :], strict=True):
        changed.extend(bytes(max(0, position + 1 - len(changed))))
        changed[position] = state
    return version, bytes(changed)


_STATES = st.lists(st.integers(0, 3), max_size=200).map(bytes)


@given(_STATES, _STATES)
def test_a_page_that_applies_the_changes_has_the_mosaic(before: bytes, after: bytes) -> None:
    """Whatever a page holds, what it is sent makes it the new one, longer or shorter."""
    assert (9, after) == applied(wire.mosaic_since(Mosaic(9, after), before), before)


@pytest.mark.parametrize(("changed", "kind"), [(0, 1), (10, 1), (100_000, 0)])
def test_few_changes_are_sent_as_few_bytes(changed: int, kind: int) -> None:
    """Ten new results of 100,000 are 59 bytes; when most changed, all states are fewer bytes than the changes."""
    before, after = bytes(100_000), bytes([2]) * changed + bytes(100_000 - changed)
    message = wire.mosaic_since(Mosaic(1, after), before)

    assert kind == message[0]
    assert len(message) == (9 + 5 * changed if kind else 9 + 100_000)


def test_all_states_are_sent_as_they_are() -> None:
    """The full message is a head of nine bytes, little endian, and one byte a document."""
    assert b"\0\x02\x01\0\0\x03\0\0\0\0\x01\x02" == wire.mosaic_full(Mosaic(258, b"\0\x01\x02"))
