"""What %load_ext says of runs that were not finished."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from tests.kernels import Kernel, lines, wait_until
from tests.matrix import usual
from tests.notebook.cells import stored
from tests.notebook.test_load import SHELL, loaded

if TYPE_CHECKING:
    from pathlib import Path

    from tests.notebook.cells import Start

ABOVE = """%load_ext durable_nb
import time
def slow(n):
    with open("executed.log", "a") as log:
        log.write(f"{n}\\n")
    time.sleep(0.02)
    return n"""
CELL = "%%durable slow-ones\nout = [slow(n) for n in range(40)]\nsum(out)"


def killed(kernel: Start) -> Kernel:
    """A kernel that died in the middle of a cell."""
    one = kernel()
    one.ok(ABOVE)
    one.start(CELL)
    wait_until(lambda: len(lines(one.folder / "executed.log")) > 10, describing="it runs")
    one.kill()
    return one


def views(displays: list[dict[str, Any]]) -> list[str]:
    """The ids of the widgets that are shown."""
    return [
        shown["data"]["application/vnd.jupyter.widget-view+json"]["model_id"]
        for shown in displays
        if "application/vnd.jupyter.widget-view+json" in shown["data"]
    ]


def test_a_run_that_was_cut_off_is_told_and_not_begun(kernel: Start) -> None:
    """One line: how far it is, why and since when, and what to type. Nothing runs, and the store is not loaded."""
    killed(kernel)
    two = kernel()
    reply = two.ok("%load_ext durable_nb")
    (said,) = [shown["data"]["text/plain"] for shown in reply.displays if "text/html" in shown["data"]]
    found = stored(two.folder, "slow-ones")
    assert found is not None

    assert said.startswith(f"durable_nb: unfinished slow-ones: {found[1]} of 40 durable, its kernel died ")
    assert said.endswith(" ago. To go on: %durable resume slow-ones")
    assert 1 == len(said.splitlines()) == len(views(reply.displays))
    assert "sqlalchemy" not in loaded(two)
    assert ("running", found[1]) == (stored(two.folder, "slow-ones") or ())[:2]


def test_the_button_resumes(kernel: Start) -> None:
    """A click runs the command as a cell; once."""
    one = killed(kernel)
    before, done = len(lines(one.folder / "executed.log")), (stored(one.folder, "slow-ones") or ("", 0))[1]
    button = "import ipywidgets\n[w.comm.comm_id for w in ipywidgets.Widget._instances.values() if isinstance(w, ipywidgets.Button)]"
    button = button.replace("ipywidgets.Widget._instances", "ipywidgets.widgets.widget._instances")
    two = kernel()
    # Asked before the next cell takes the button away.
    (found,) = json.loads(two.ok("%load_ext durable_nb\n" + button).result.replace("'", '"'))
    client = two._client
    for _ in range(2):
        content = {"comm_id": found, "data": {"method": "custom", "content": {"event": "click"}}}
        client.shell_channel.send(client.session.msg("comm_msg", content))
    wait_until(lambda: (stored(one.folder, "slow-ones") or ("",))[0] == "done", describing="it is resumed")

    assert "780" == two.ok("sum(out)").result
    assert 40 - done == len(lines(one.folder / "executed.log")) - before
    assert ("done", 40) == (stored(one.folder, "slow-ones") or ())[:2]


def test_the_button_goes_with_the_next_cell(kernel: Start) -> None:
    """What is saved of the notebook holds no widget; unloading leaves the shell as it was."""
    killed(kernel)
    two = kernel()
    two.ok("import durable_nb")
    two.ok(SHELL)
    two.ok("%unload_ext autoreload")
    two.ok("before = after = None\nbefore = shell()")
    shown = two.ok("%load_ext durable_nb").displays
    later = two.ok("1").displays
    assert [{"text/plain": ""}] == [one["data"] for one in later]
    assert [one["transient"] for one in shown if one["transient"]] == [one["transient"] for one in later]
    two.ok("%unload_ext durable_nb")
    left = two.ok(
        "after = shell()\n[(name, before[name], after[name]) for name in before if before[name] != after[name]]"
    )

    assert "[]" == left.result


@pytest.mark.parametrize(
    "how", usual(["done", "live", "another notebook", "another program", "none"], "live", "another program")
)
def test_nothing_is_said_where_nothing_is_left(kernel: Start, tmp_path: Path, how: str) -> None:
    """Of a run that is done or alive, of another notebook, or of a file that is no database of ours."""
    other = tmp_path / "one.ipynb"
    other.touch()
    if how in ("done", "live", "another notebook"):
        one = kernel(JPY_SESSION_NAME=str(other))
        one.ok(ABOVE)
        cell = one.start(CELL)
        wait_until(lambda: len(lines(tmp_path / "executed.log")) > 10, describing="it runs")
        if how == "done":
            one.finish(cell)
        elif how == "another notebook":
            one.kill()
    elif how == "another program":
        (tmp_path / ".durable_nb").mkdir()
        with closing(sqlite3.connect(tmp_path / ".durable_nb" / "durable.db")) as conn:
            conn.execute("CREATE TABLE runs (a)")
    two = kernel(JPY_SESSION_NAME=str(tmp_path / "two.ipynb") if how == "another notebook" else "")
    reply = two.ok("%load_ext durable_nb")

    assert ("", []) == (reply.text, reply.displays)
    assert [] == loaded(two)


def test_a_run_is_found_in_a_folder_of_any_name(tmp_path: Path) -> None:
    """One that was cut off is told where the folder's name would mean something in a URL; a detached cell goes on there."""
    (folder := tmp_path / "Why?%41").mkdir()
    one = Kernel(folder)
    one.ok(ABOVE)
    one.start(CELL)
    wait_until(lambda: len(lines(folder / "executed.log")) > 10, describing="it runs")
    one.kill()
    two = Kernel(folder)
    reply = two.ok("%load_ext durable_nb")
    (said,) = [shown["data"]["text/plain"] for shown in reply.displays if "text/html" in shown["data"]]
    two.ok(ABOVE)
    two.ok(CELL.replace("slow-ones", "slow-ones --detach"))
    wait_until(lambda: (stored(folder, "slow-ones") or ("",))[0] == "done", describing="it is done")
    two.close()

    assert said.startswith("durable_nb: unfinished slow-ones: ")
    assert [folder] == list(tmp_path.iterdir())
    assert (folder / ".durable_nb" / "slow-ones.log").is_file()
