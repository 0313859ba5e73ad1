"""``durable-nb`` from a shell: steering a run that a kernel computes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.kernels import ROOT, lines, wait_until
from tests.notebook.cells import LOAD, STEPS, stored

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernels import Kernel
    from tests.notebook.cells import Start


def shell(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One command, to its end."""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "durable_nb.cli", *arguments]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=60)


def asked(folder: Path, *arguments: str) -> Any:
    """What a command that must work answers to a program."""
    done = shell(folder, *arguments, "--json")

    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_live_run_is_paused_and_stopped_from_a_shell(kernel: Start) -> None:
    """pause, unpause and stop reach a kernel that is busy, whatever computes in it, and say whom they asked."""
    one: Kernel = kernel()
    one.ok(LOAD)
    one.ok(STEPS)
    cell = one.start("%%durable shell\nfor n in range(100_000):\n    slow(f'page {n}')")
    log = one.folder / "executed.log"
    wait_until(lambda: len(lines(log)) > 3, describing="the run is under way")

    assert ("shell", "pause") == tuple(asked(one.folder, "pause", "shell")[name] for name in ("run", "action"))
    wait_until(lambda: "paused" in kinds(one.folder), describing="it is paused")
    before = len(lines(log))
    said = shell(one.folder, "unpause", "shell")
    assert f"Asked run 'shell' (pid {one.pid} on" in said.stdout
    wait_until(lambda: len(lines(log)) > before + 1, describing="it goes on")
    assert "stop" == asked(one.folder, "stop", "shell")["action"]
    reply = one.finish(cell)

    assert "RunStopped" in reply.error
    state = stored(one.folder, "shell")
    assert state is not None and "interrupted" == state[0]


@pytest.mark.parametrize("verb", ["pause", "unpause", "stop"])
def test_nobody_to_ask_is_said(tmp_path: Path, verb: str) -> None:
    """A run that is over, a name that is none and a folder without a database are told apart, with exit status 2."""
    script = "from durable_nb import run\nwith run('over'):\n    pass"
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    missing = shell(tmp_path, verb, "over")
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=env, check=True, timeout=60)
    over, unknown = shell(tmp_path, verb, "over"), shell(tmp_path, verb, "nowhere")

    assert [2, 2, 2] == [missing.returncode, over.returncode, unknown.returncode]
    assert "there is no database" in missing.stderr
    assert "nobody is computing run 'over' now (it is done)" in over.stderr
    assert "there is no run 'nowhere'" in unknown.stderr


def kinds(folder: Path) -> set[str]:
    """What the history of the run says."""
    return {event["kind"] for event in asked(folder, "show", "shell")["events"]}
