"""A run that a busy kernel computes, watched and steered through a server."""

from __future__ import annotations

import shutil
import struct
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.kernels import Kernel, lines, wait_until
from tests.server.conftest import LOAD, STEPS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.server.servers import Server

SPIN = """
@step
def spin(doc):
    with open("started.log", "a") as log:
        log.write(f"{time.time()}\\n")
    until = time.perf_counter() + 0.02
    while time.perf_counter() < until:
        pass
    return doc
"""
CELL = "%%durable long\nfor n in range(100_000):\n    spin(f'page {n}')"
NOTEBOOK = "busy/a.ipynb"


@pytest.fixture
def busy(root: Path, server: Server, state: str) -> Iterator[Kernel]:
    """A kernel whose main thread computes a long run in pure Python, in a folder of its own."""
    folder = root / "busy"
    folder.mkdir(exist_ok=True)
    with Kernel(folder, XDG_STATE_HOME=state, DURABLE_NB_SERVER="1") as one:
        one.ok(LOAD)
        one.ok(STEPS + SPIN)
        one.start(CELL)
        yield one
        if one.alive:
            one.kill()
    shutil.rmtree(folder)


@pytest.fixture
def at(server: Server, busy: Kernel) -> dict[str, str]:
    """The query of the run of `busy`, once it is under way."""

    def under_way() -> list[str]:
        stores = server.get("runs", notebook=NOTEBOOK).json["stores"]
        return [store["store"] for store in stores if any(run["computed"] > 3 for run in store["runs"])]

    wait_until(lambda: bool(under_way()), describing="the run is under way")
    return {"store": under_way()[0], "notebook": NOTEBOOK, "name": "long"}


def shown(server: Server, at: dict[str, str]) -> dict[str, Any]:
    """The snapshot of the run now."""
    snapshot: dict[str, Any] = server.get("run", **at).json["snapshot"]
    return snapshot


def test_pause_works_while_the_main_thread_is_busy(
    server: Server, busy: Kernel, at: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A click holds the run in a few tenths of a second, Resume lets it go on, and both are shown at once."""
    log, effects, news = busy.folder / "started.log", [], []
    for _ in range(10):
        clicked = time.time()
        assert 202 == server.post("control", action="pause", **at).status
        wait_until(lambda: shown(server, at)["paused"], describing="the run says it is paused")
        news.append(time.time() - clicked)
        started = lines(log)
        effects.append(max(0.0, float(started[-1]) - clicked))
        assert 202 == server.post("control", action="resume", **at).status
        wait_until(lambda: len(lines(log)) > len(started) + 1, describing="calls start again")  # noqa: B023
        wait_until(lambda: not shown(server, at)["paused"], describing="the run says it goes on")
    with capsys.disabled():
        print(f"\npause: last call began {_ms(effects)} after the click, the page could say so {_ms(news)} after it")

    assert sorted(effects)[5] < 1.0
    assert sorted(news)[5] < 2.0


def test_limits_and_stop(server: Server, busy: Kernel, at: dict[str, str]) -> None:
    """Limits are shown as they were asked for, impossible ones refused in a sentence, and Stop ends the cell."""
    assert 202 == server.post("control", action="rate", value="600", **at).status
    assert 202 == server.post("control", action="workers", value=2, **at).status
    wait_until(
        lambda: (shown(server, at)["per_minute"], shown(server, at)["limit_workers"]) == (600, 2), describing="limits"
    )
    refused = [
        server.post("control", action=action, value=value, **at)
        for action, value in (
            ("workers", "many"),
            ("workers", [2]),
            ("rate", -1),
            ("explode", ""),
            ("pause", "x"),
            (None, None),
        )
    ]
    assert [(400, {"message", "hint"})] * 6 == [(answer.status, set(answer.json)) for answer in refused]
    assert 409 == server.post("forget", **at).status
    server.post("control", action="stop", **at)
    wait_until(lambda: shown(server, at)["state"] == "interrupted", describing="the run has ended")

    assert 409 == server.post("control", action="pause", **at).status
    assert {"limited", "stopping", "interrupted"} <= {
        event["kind"] for event in server.get("run", **at).json["history"]
    }


def _ms(seconds: list[float]) -> str:
    return f"{1000 * sorted(seconds)[len(seconds) // 2]:.0f} ms (median of {len(seconds)}, worst {1000 * max(seconds):.0f})"


def test_a_killed_kernel_is_seen(server: Server, busy: Kernel, at: dict[str, str]) -> None:
    """Once the kernel is dead its run is interrupted, and its buttons answer 409."""
    busy.kill()
    wait_until(
        lambda: server.get("run", **at).json["snapshot"]["state"] == "interrupted", describing="interrupted", timeout=6
    )
    answer = server.post("control", action="pause", **at)

    assert 409 == answer.status
    assert "nobody is computing run 'long' now" in answer.json["message"]


def test_mosaic_of_a_live_run_comes_as_changes(server: Server, busy: Kernel, at: dict[str, str]) -> None:
    """After the whole mosaic, a page is sent what changed since the version it has, or all if that is not known any more."""
    wait_until(lambda: server.get("mosaic", **at).status == 200, describing="a mosaic is written")
    first = server.get("mosaic", **at).body
    version, count = struct.unpack_from("<II", first, 1)
    states = bytearray(first[9:])
    assert count == len(states)
    wait_until(lambda: server.get("mosaic", since=version, **at).status == 200, describing="it changed")
    busy.interrupt()
    wait_until(lambda: server.get("run", **at).json["snapshot"]["state"] == "interrupted", describing="it ended")
    changes, whole = server.get("mosaic", since=version, **at).body, server.get("mosaic", since=12345, **at).body
    kind, _, many = struct.unpack_from("<BII", changes)
    if kind == 1:
        positions = struct.unpack_from(f"<{many}I", changes, 9)
        states.extend(bytes(max(0, max(positions) + 1 - len(states))))
        for position, new in zip(positions, changes[9 + 4 * many :], strict=True):
            states[position] = new
    else:
        states = bytearray(changes[9:])

    assert 0 == whole[0]
    assert bytes(states) == whole[9:]
