"""Progress where there is no page: scripts and terminal IPython, in a real terminal and redirected."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.kernels import ROOT

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """
import time
from durable_nb import step

@step
def slow(doc):
    if doc == 7:
        raise ValueError("seven")
    time.sleep(0.02)
    return doc

slow.map(range(60), workers=2, on_error="collect")
"""
IPYTHON = [sys.executable, "-m", "IPython", "--no-banner", "--colors=NoColor"]


def in_terminal(command: list[str], folder: Path, *, columns: int) -> str:
    """What a program writes on a terminal of so many columns."""
    leader, follower = pty.openpty()
    env = {name: value for name, value in os.environ.items() if not name.startswith("DURABLE_NB_")}
    env |= {"PYTHONPATH": str(ROOT), "COLUMNS": str(columns), "IPYTHONDIR": str(folder / ".ipython")}
    process = subprocess.Popen(command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=follower, stderr=follower)
    os.close(follower)
    written = b""
    while True:
        try:
            chunk = os.read(leader, 65536)
        except OSError:  # the other end is closed
            break
        if not chunk:
            break
        written += chunk
    os.close(leader)

    assert process.wait(60) == 0, written.decode()
    return written.decode()


@pytest.mark.parametrize("columns", [30, 100])
def test_a_script_in_a_terminal_shows_a_line(tmp_path: Path, columns: int) -> None:
    """One line rewrites itself, never wider than the terminal, with rate and time left; the end stays there in full."""
    (tmp_path / "script.py").write_text(SCRIPT)
    written = in_terminal([sys.executable, "script.py"], tmp_path, columns=columns)
    drawn = [line.removesuffix("\x1b[K") for line in written.partition("\n")[0].split("\r") if line.strip()]
    moving = [line for line in drawn if line.startswith("slow: running")]

    assert len(moving) >= 3
    assert all(len(line) < columns for line in moving)
    assert "slow: failed  59 / 60 (98%)" in written
    assert "failed: 7: ValueError: seven" in written
    if columns == 100:
        assert any(re.search(r"\d+/s  \d.* left", line) for line in moving)


def test_a_script_whose_output_is_redirected_writes_nothing(tmp_path: Path) -> None:
    """A log is not filled with progress that nobody asked for."""
    (tmp_path / "script.py").write_text(SCRIPT)
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, env=env, capture_output=True, text=True, check=True, timeout=60
    )

    assert ("", "") == (done.stdout, done.stderr)


@pytest.mark.parametrize("terminal", [True, False])
def test_terminal_ipython_shows_a_line_and_a_log_only_the_end(tmp_path: Path, *, terminal: bool) -> None:
    """In terminal IPython a run is one line that moves; where stderr is a file, only its end is written."""
    (tmp_path / "script.ipy").write_text("%load_ext durable_nb\n" + SCRIPT)
    if terminal:
        written = in_terminal([*IPYTHON, "script.ipy"], tmp_path, columns=80)
    else:
        env = os.environ | {"PYTHONPATH": str(ROOT), "IPYTHONDIR": str(tmp_path / ".ipython")}
        command = [*IPYTHON, "script.ipy"]
        written = subprocess.run(
            command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True, timeout=60
        ).stderr

    assert terminal is ("slow: running" in written)
    assert 1 == written.count("slow: failed  59 / 60 (98%)")


BESIDE = """
import time
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
for cell in ("%load_ext durable_nb", "import time\\ndef slow(d):\\n    time.sleep(0.03)\\n    return d",
             "%%durable quiet --background\\nout = [slow(d) for d in range(40)]"):
    shell.run_cell(cell).raise_error()
while "out" not in shell.user_ns:
    time.sleep(0.01)
print(len(shell.user_ns["out"]), "names are there")
"""


def test_a_run_in_the_background_leaves_the_prompt_alone(tmp_path: Path) -> None:
    """In a terminal a line that rewrites itself would run over what is typed: the run is told once, and its end."""
    (tmp_path / "script.py").write_text(BESIDE)
    written = in_terminal([sys.executable, "script.py"], tmp_path, columns=100)

    assert "\x1b[K" not in written
    assert 1 == written.count("quiet: running")
    assert 1 == written.count("quiet: done")
    assert "40 names are there" in written
