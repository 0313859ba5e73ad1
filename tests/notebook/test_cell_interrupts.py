"""■ in a durable cell, in the shapes in which people run calls at once; each in a real kernel of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.kernels import ROOT, lines, wait_until
from tests.matrix import usual

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernels import Kernel
    from tests.notebook.cells import Start

ITEMS = 40
CALL_S = 0.1
BOUND_S = 6.0
"""Control is back within 0.5 s plus one running call; the machine that runs the tests may be busy. The figures are printed
by ``python -m tests.bench.interrupts``."""
BEGUN = 9
"""■ is pressed when this many calls have begun: the last of them is then in the middle, not about to end."""
SETUP = f"""
import asyncio, time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

def note(what, i):
    with open(what, "a") as log:
        log.write(f"{{i}}\\n")

def slow(i):
    note("begun.log", i)
    time.sleep({CALL_S})
    note("ended.log", i)
    return i * i

async def aslow(i):
    note("begun.log", i)
    await asyncio.sleep({CALL_S})
    note("ended.log", i)
    return i * i
"""
POOL = "with ThreadPoolExecutor(4) as pool:\n    "
SHAPES = {
    "for": f"r = []\nfor i in range({ITEMS}):\n    r.append(slow(i))",
    "pool-map": f"{POOL}r = list(pool.map(slow, range({ITEMS})))",
    "submit-result": f"{POOL}futures = [pool.submit(slow, i) for i in range({ITEMS})]\n"
    "    r = [future.result() for future in futures]",
    "submit-exit": f"{POOL}futures = [pool.submit(slow, i) for i in range({ITEMS})]\n"
    "r = [future.result() for future in futures]",
    "to-thread": f"r = await asyncio.gather(*(asyncio.to_thread(slow, i) for i in range({ITEMS})))",
    "gather": "limit = asyncio.Semaphore(4)\nasync def one(i):\n    async with limit:\n        return await aslow(i)\n"
    f"r = await asyncio.gather(*(one(i) for i in range({ITEMS})))",
    "processes": f"with ProcessPoolExecutor(2) as pool:\n    r = list(pool.map(slow, range({ITEMS})))",
}


PYTHONS_OWN = "RuntimeError: cannot release un-acquired lock"
"""Once in hundreds of times: ■ came while Condition.wait took its lock again. A plain cell raises it too."""


class Stopped(NamedTuple):
    """What became of a cell after ■."""

    error: str
    seconds: float
    ended: int
    """Calls that had ended when control was back."""


def prepared(kernel: Start) -> Kernel:
    """A kernel that has the functions of the cells."""
    one = kernel()
    one.ok("%load_ext durable_nb")
    one.ok(SETUP)
    return one


def interrupted(one: Kernel, cell: str) -> Stopped:
    """Start the cell, press ■ when ``BEGUN`` calls have begun, wait for control."""
    begun, ended = one.folder / "begun.log", one.folder / "ended.log"
    message = one.start(cell)
    wait_until(lambda: len(lines(begun)) >= BEGUN, describing=f"{BEGUN} calls have begun")
    pressed = time.monotonic()
    one.interrupt()
    error = one.finish(message).error
    return Stopped(error, time.monotonic() - pressed, len(lines(ended)))


def run_of(folder: Path, name: str) -> dict:
    """A run, as another process sees it."""
    command = [sys.executable, "-m", "durable_nb.cli", "runs", "--json"]
    found = subprocess.run(command, cwd=folder, env={"PYTHONPATH": str(ROOT)}, capture_output=True, check=True)
    return next(run for run in json.loads(found.stdout) if run["name"] == name)


@pytest.mark.parametrize("shape", usual(SHAPES, "for", "submit-result", "gather", "processes"))
def test_a_cell_stops_and_goes_on(kernel: Start, tmp_path: Path, shape: str) -> None:
    """■ gives control back at once, keeps every call that ended, and the cell run again computes the others once each."""
    one, cell = prepared(kernel), f"%%durable {shape}\n{SHAPES[shape]}"
    stopped = interrupted(one, cell)
    after = run_of(tmp_path, shape)

    assert stopped.error.startswith(("KeyboardInterrupt", "CancelledError", "RunStopped", PYTHONS_OWN)), stopped
    assert BOUND_S > stopped.seconds
    assert ITEMS // 2 > stopped.ended
    assert "interrupted" == after["state"]

    reply = one.ok(f"{cell}\nprint(r)")
    whole = run_of(tmp_path, shape)

    assert f"{[i * i for i in range(ITEMS)]}\n" == reply.stdout
    assert Counter(map(str, range(ITEMS))) == Counter(lines(tmp_path / "ended.log"))
    assert "done" == whole["state"]
    assert (stopped.ended, ITEMS) == (after["done"], whole["done"])


SLOW_TO_SAVE = """
class Answer:
    def __init__(self, i):
        self.i = i

    def __getstate__(self):
        if self.i == 3 and not seen:
            seen.append("saving")
            note("saving.log", self.i)
            time.sleep(0.2)
        return self.__dict__

def ask(i):
    note("ended.log", i)
    return Answer(i)

seen = []
"""


def test_a_call_that_has_ended_is_saved(kernel: Start, tmp_path: Path) -> None:
    """■ that comes while the result of a call is being saved costs nothing: the call is not computed again."""
    one, cell = prepared(kernel), "%%durable saving\nr = []\nfor i in range(6):\n    r.append(ask(i))"
    one.ok(SLOW_TO_SAVE)
    message = one.start(cell)
    wait_until(lambda: lines(tmp_path / "saving.log") != [], describing="the result of the fourth call is being saved")
    one.interrupt()
    reply = one.finish(message)
    after = run_of(tmp_path, "saving")

    assert reply.error.startswith(("KeyboardInterrupt", "RunStopped"))
    assert ("interrupted", 4) == (after["state"], after["done"])

    one.ok(cell)

    assert ["0", "1", "2", "3", "4", "5"] == lines(tmp_path / "ended.log")
    assert "[0, 1, 2, 3, 4, 5]" == one.ok("[answer.i for answer in r]").result


def test_worker_processes_outlive_an_interrupt_between_calls(kernel: Start, tmp_path: Path) -> None:
    """■ that reaches a worker while it waits for work neither ends it nor leaves the pool's pipe locked."""
    one = prepared(kernel)
    one.ok("pool = ProcessPoolExecutor(2)")
    one.ok("%%durable first\nr = list(pool.map(slow, range(4)))")
    one.interrupt()
    one.ok("%%durable second\nr += list(pool.map(slow, range(4, 8)))")

    assert "[0, 1, 4, 9, 16, 25, 36, 49]" == one.ok("r").result
    assert sorted(map(str, range(8))) == sorted(lines(tmp_path / "ended.log"))


AWAITED = {
    "threads": "@step\ndef long(i):\n    slow(i)\n    return i",
    "loop": "@step\nasync def long(i):\n    note('begun.log', i)\n    await asyncio.sleep(20 if i > 4 else 0.01)\n"
    "    note('ended.log', i)\n    return i",
}


@pytest.mark.parametrize("kind", AWAITED)
def test_a_plain_cell_that_awaits_a_map_stops(kernel: Start, tmp_path: Path, kind: str) -> None:
    """Also without the magic, in a kernel whose loop would sleep on: no further call begins, what has ended is kept."""
    one = prepared(kernel)
    one.ok(f"from durable_nb import step\n{AWAITED[kind]}")
    cell = one.start("r = await long.amap(range(80), workers=2)")
    wait_until(lambda: len(lines(tmp_path / "begun.log")) >= 7, describing="calls have begun")
    began = time.monotonic()
    one.interrupt()
    reply = one.finish(cell)
    took = time.monotonic() - began
    begun = len(lines(tmp_path / "begun.log"))
    one.ok("time.sleep(0.5)")

    assert reply.error
    assert took < BOUND_S / 2
    assert len(lines(tmp_path / "begun.log")) == begun < 40


PACKING = """
import os, signal, sys

session, heard = get_ipython().kernel.session, []
pack = session.pack

def interrupted_pack(message):
    try:
        frame = sys._getframe()
        while frame is not None and frame.f_code.co_filename != PANEL:
            frame = frame.f_back
        if frame is not None:
            os.kill(os.getpid(), signal.SIGINT)
            heard.append("pressed")
        return pack(message)
    except KeyboardInterrupt:
        heard.append("inside")
        raise

def double(n):
    return n + n
"""


@pytest.mark.parametrize("module", ["comm", "widget"])
def test_no_message_of_the_panel_is_interrupted(kernel: Start, module: str) -> None:
    """■ while the panel appears is heard after it: an interrupted message may end the kernel, or arrive in part."""
    one = prepared(kernel)
    one.ok(f"import durable_nb.notebook.{module}\nPANEL = durable_nb.notebook.{module}.__file__\n{PACKING}")
    one.ok("session.pack = interrupted_pack")
    reply = one.run("%%durable panel\nr = [double(n) for n in range(3)]")

    assert reply.error.startswith("KeyboardInterrupt")

    one.ok("session.pack = pack")
    assert "{'pressed'}" == one.ok("set(heard)").result
    one.ok("%%durable panel\nr = [double(n) for n in range(3)]")
    assert "[0, 2, 4]" == one.ok("r").result


def test_a_second_interrupt_while_calls_land_ends_the_run(kernel: Start, tmp_path: Path) -> None:
    """It does not wait for them, and the cell goes on when it is run again."""
    one = prepared(kernel)
    one.ok("def longer(i):\n    note('begun.log', i)\n    time.sleep(1.5)\n    note('ended.log', i)\n    return i")
    cell = (
        "%%durable twice\npool = ThreadPoolExecutor(4)\nfutures = [pool.submit(longer, i) for i in range(8)]\n"
        "r = [future.result() for future in futures]"
    )
    message = one.start(cell)
    wait_until(lambda: len(lines(tmp_path / "begun.log")) >= 4, describing="calls have begun")
    one.interrupt()
    time.sleep(0.5)
    one.interrupt()
    reply = one.finish(message)

    assert reply.error.startswith("KeyboardInterrupt")
    assert "Error in callback" not in reply.text
    assert "interrupted" == run_of(tmp_path, "twice")["state"]

    one.ok(cell)

    assert "[0, 1, 2, 3, 4, 5, 6, 7]" == one.ok("r").result


def test_an_interrupt_while_a_cell_ends_leaves_nothing_half_done(kernel: Start) -> None:
    """The end waits for a call of a stream that is held: a cell in the background still delivers its names afterwards."""
    one = prepared(kernel)
    one.ok("from durable_nb import step\n@step\ndef long(n):\n    time.sleep(n)\n    return n")
    message = one.start(
        "%%durable held\narriving = long.stream([0, 1.2, 1.2], workers=1)\nfirst = next(arriving)\ntime.sleep(0.3)\n"
        "open('ending', 'w').close()"
    )
    wait_until((one.folder / "ending").exists, describing="the cell ends")
    time.sleep(0.2)
    one.interrupt()
    reply = one.finish(message)
    one.ok("%%durable behind --background\nv = [slow(i) for i in range(3)]")

    def is_there() -> bool:
        return one.ok("'v' in globals()").result == "True"

    assert reply.error.startswith("KeyboardInterrupt")
    wait_until(is_there, timeout=20, describing="the names are there")
    assert "default_int_handler" in one.ok("import signal\nsignal.getsignal(signal.SIGINT)").result


def test_an_interrupt_while_a_library_is_imported_spoils_no_later_cell(kernel: Start) -> None:
    """One that is imported half would fail at each later use."""
    one = kernel()
    one.ok("%load_ext durable_nb\nimport os, signal, sys, threading\ndef double(n):\n    return n + n")
    one.ok(
        "def press():\n    while 'sqlalchemy.dialects' not in sys.modules:\n        pass\n"
        "    os.kill(os.getpid(), signal.SIGINT)\nthreading.Thread(target=press).start()"
    )
    cell = "%%durable one\nr = [double(i) for i in range(5)]"

    assert one.run(cell).error.startswith("KeyboardInterrupt")

    one.ok(cell)
    assert "[0, 2, 4, 6, 8]" == one.ok("r").result


def test_an_interrupt_while_the_extension_is_loaded_marks_no_cell_twice(kernel: Start) -> None:
    """It comes while unfinished runs are told of, which is what takes time; loading it again is as loading it once."""
    one = kernel()
    one.ok(
        "from durable_nb.notebook import unfinished\nannounce = unfinished.announce\n"
        "def interrupted(shell):\n    raise KeyboardInterrupt\nunfinished.announce = interrupted"
    )

    assert one.run("%load_ext durable_nb").error.startswith("KeyboardInterrupt")

    one.ok("unfinished.announce = announce\n%load_ext durable_nb\ndef double(n):\n    return n + n")
    one.ok("%%durable one\nr = [double(i) for i in range(5)]")
    assert "[0, 2, 4, 6, 8]" == one.ok("r").result
