"""``durable-nb`` from a shell: steering a run that a kernel computes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from durable_nb.records import DEATHS
from durable_nb.store import Store
from tests.kernels import ROOT, lines, wait_until
from tests.matrix import usual
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


@pytest.mark.parametrize("verb", usual(["pause", "unpause", "stop"], "stop"))
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


def made(folder: Path, home: str) -> dict[str, str]:
    """A run of three results that need pickle, computed by the user of a home; the environment of that user."""
    script = (
        "from durable_nb import step\nimport pathlib\n@step\ndef where(doc):\n    return pathlib.PurePath(doc)\n"
        "where.map(['a', 'b', 'c'])"
    )
    env = os.environ | {"PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(folder / home)}
    subprocess.run([sys.executable, "-c", script], cwd=folder, env=env, check=True, timeout=60)
    return env


def test_what_was_set_aside_is_tried_again_from_a_shell(tmp_path: Path) -> None:
    """retry says how many documents that concerns; of a run that is not there, so."""
    made(tmp_path, "stranger")
    store = Store.open(f"sqlite:///{tmp_path / '.durable_nb' / 'durable.db'}")
    run = store.run("where")
    assert run is not None
    for _ in range(DEATHS):
        store.note_death(run.id, [(store.contents(run.id)[0].id, bytes(16))], ())
    store.close()

    assert {"run": "where", "spared": 1} == asked(tmp_path, "retry", "where")
    assert "Nothing is set aside" in shell(tmp_path, "retry", "where").stdout
    assert "there is no run 'other'" in shell(tmp_path, "retry", "other").stderr


def test_a_database_of_somebody_else_is_vouched_for_from_a_shell(tmp_path: Path) -> None:
    """check says that its results are not read, trust signs them, and then it is whole."""
    made(tmp_path, "stranger")
    found = shell(tmp_path, "check")
    assert (1, True) == (found.returncode, "3 results that could run code" in found.stdout)
    database = str(tmp_path / ".durable_nb" / "durable.db")

    assert 3 == asked(tmp_path, "trust", database)["signed"]
    assert "there was nothing left to sign" in shell(tmp_path, "trust").stdout
    assert (0, f"{database}: whole.\n") == (shell(tmp_path, "check").returncode, shell(tmp_path, "check").stdout)


def test_a_run_is_dropped_sent_and_taken_over_from_a_shell(tmp_path: Path) -> None:
    """export, import and gc say in words what they did; limits are written as people write them."""
    made(tmp_path, "stranger")
    assert "run 'where' with 3 checkpoints" in shell(tmp_path, "export", "where", "where.run").stdout
    taken = shell(tmp_path, "import", "where.run", "--as", "copy").stdout
    assert "run 'copy' with 3 checkpoints" in taken and "not read before you vouch for them" in taken
    assert 2 == shell(tmp_path, "import", "where.run").returncode
    assert [] == asked(tmp_path, "gc", "--older", "30d", "--max-size", "2GB", "--dry-run")["runs"]
    assert ["where", "copy"] == asked(tmp_path, "gc", "--max-size", "1 kB")["runs"]
    assert 2 == shell(tmp_path, "gc", "--older", "soon").returncode
    assert [] == asked(tmp_path, "runs")


def test_what_is_intact_is_saved_from_a_shell(tmp_path: Path) -> None:
    """check --repair copies a database, and refuses to write over one."""
    made(tmp_path, "stranger")

    assert 3 == asked(tmp_path, "check", "--repair", "new.db")["results"]
    assert "3 results are in it" in shell(tmp_path, "check", "--repair", "newer.db").stdout
    assert "is there already" in shell(tmp_path, "check", "--repair", "new.db").stderr


@pytest.mark.parametrize("command", [["show"], ["export"], ["history"], ["diff", "where"]])
def test_a_name_that_is_no_text_is_no_run(tmp_path: Path, command: list[str]) -> None:
    """Bytes that are no UTF-8 on a command line: a sentence and status 2, as of any name that is none."""
    made(tmp_path, "home")
    asked_for = shell(tmp_path, *command, "n\udcff", *(["file"] if command == ["export"] else []))

    assert (2, True) == (asked_for.returncode, "there is no run 'n\\udcff'" in asked_for.stderr)


@pytest.mark.parametrize("name", usual(["Why?1", "My%20Project"], "Why?1"))
def test_a_folder_may_be_called_anything(tmp_path: Path, name: str) -> None:
    """A shell finds what a script in that folder has saved, by the folder and by a path; nothing is made elsewhere."""
    folder = tmp_path / name
    folder.mkdir()
    made(folder, "home")
    database = str(folder / ".durable_nb" / "durable.db")

    assert ["where"] == [run["name"] for run in asked(folder, "runs")]
    assert ["where"] == [run["name"] for run in asked(tmp_path, "runs", "--db", f"{name}/.durable_nb/durable.db")]
    assert database == asked(tmp_path, "trust", database)["where"] == asked(folder, "doctor")["store"]["where"]
    assert 3 == asked(folder, "check", "--repair", "new?.db")["results"]
    assert f"no database at {tmp_path / 'none?.db'} yet" in shell(tmp_path, "runs", "--db", "none?.db").stderr
    assert [folder] == list(tmp_path.iterdir())
    assert {".durable_nb", "home", "new?.db", ".gitignore"} >= {path.name for path in folder.iterdir()}
