"""`%%durable NAME --detach`: a cell that goes on without its kernel; real kernels, really killed."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.kernels import wait_until
from tests.notebook.cells import LOAD, executed, stored
from tests.notebook.test_background import MODEL, WORK, begun, gated, history, open_gate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernels import Kernel
    from tests.notebook.cells import Start


@pytest.fixture
def detached(kernel: Start) -> Iterator[Kernel]:
    """A kernel that has the functions of the cells; processes that it has left behind are ended."""
    one = kernel()
    for cell in (LOAD, WORK, MODEL):
        one.ok(cell)
    yield one
    for log in one.folder.glob("*.pid"):
        try:
            os.kill(int(log.read_text()), signal.SIGKILL)
        except ProcessLookupError:
            continue


def cell(name: str) -> str:
    """A gated cell that is detached and notes its process."""
    noted = f"import os\nopen('{name}.pid', 'w').write(str(os.getpid()))\nprint('printed by', {name!r})\n"
    head, _, body = gated(name).partition("\n")
    return f"{head.replace('--background', '--detach')}\n{noted}{body}"


def state(one: Kernel, name: str) -> str:
    """Of a run."""
    return (stored(one.folder, name) or ("",))[0]


def test_it_survives_its_kernel(detached: Kernel, kernel: Start) -> None:
    """After SIGKILL of the kernel the run goes on to its end; `wait` in another kernel brings its names there, and nothing is
    computed twice. The log is beside the database, for its user alone.
    """
    reply = detached.ok(cell("night"))
    begun(detached, "night", 3)
    busy = detached.run(cell("night"))
    log = detached.folder / ".durable_nb" / "night.log"
    assert str(log) in reply.stdout
    assert "night: running" in reply.displays[0]["data"]["text/plain"]
    detached.kill()
    open_gate(detached, "night")
    wait_until(lambda: state(detached, "night") == "done", describing="the run is done")
    two = kernel()
    two.ok("%load_ext durable_nb")
    two.ok("%durable wait night")
    assert "" == two.ok("%durable wait night").stdout  # nothing is run a second time

    assert "RunBusy" in busy.error
    assert "'NIGHT GATED 5'], 5" in two.ok("out[-1:], i").result
    assert 6 == len(executed(detached, "night"))
    assert "printed by night" in log.read_text()
    assert 0o600 == log.stat().st_mode & 0o777


def test_interrupted_kernel_waits_and_stops(detached: Kernel) -> None:
    """■ while one waits ends the waiting alone; %durable stop ends the run, and `wait` says how it ended."""
    detached.ok(cell("halt"))
    begun(detached, "halt", 3)
    waiting = detached.start("open('waiting', 'w').close()\n%durable wait halt")
    wait_until((detached.folder / "waiting").exists, describing="the cell in front runs")
    detached.interrupt()
    interrupted = detached.finish(waiting)
    still = state(detached, "halt")
    detached.ok("%durable stop halt")
    wait_until(lambda: history(detached, "halt").count("stopping") == 1, describing="the run has heard of it")
    open_gate(detached, "halt")
    reply = detached.run("%durable wait halt")

    # Not `.error`: where ■ meets an instruction without a line, IPython prints the traceback in a way of its own.
    assert "KeyboardInterrupt" in interrupted.text
    assert "running" == still
    assert "has ended as interrupted" in reply.text
    assert "halt.log" in reply.text


def test_what_cannot_be_captured_is_told_first(detached: Kernel) -> None:
    """A cell that needs what no other process can have is an error that names it and its cell; nothing was computed."""
    detached.ok("lock = threading.Lock()")
    reply = detached.run("%%durable locked --detach\nwith lock:\n    out = [work(f'locked {i}') for i in range(3)]")

    assert "cannot go on without this kernel" in reply.text
    assert "lock = threading.Lock()" in reply.text
    assert [] == executed(detached, "locked")
    assert "interrupted" == state(detached, "locked")


def test_edited_code_is_asked_about_in_the_cell(detached: Kernel) -> None:
    """The question comes before any process is started, and the answer on the line holds for it."""
    detached.ok("%%durable edit --detach\nout = [work(f'edit {i}') for i in range(3)]")
    detached.ok("%durable wait edit")
    detached.ok("def work(doc):\n    return doc.lower()")
    line = "%%durable edit --detach{}\nout = [work(f'edit {{i}}') for i in range(4)]"
    asked = detached.run(line.format(""))
    detached.ok(line.format(" --on-change keep"))
    detached.ok("%durable wait edit")

    assert "CodeChanged" in asked.error
    assert "['EDIT 0', 'EDIT 1', 'EDIT 2', 'edit 3']" == detached.ok("out").result
