"""Ends in the middle: a driver that is killed, one that is interrupted; on real engines, with nothing left running."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from typing import TYPE_CHECKING

import psutil

from tests.crash.faults import stored
from tests.executors.engines import Engine, on, script
from tests.kernels import Kernel, lines, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

N, WORKERS = 400, 2
IN_FLIGHT = 2 * WORKERS * 10
"""Tasks that are sent, and calls of 5 ms in each of them (50 ms)."""
_HEAD = """
import json, os, signal, time
from durable_nb import step

def note(text):
    handle = os.open(LOG, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.write(handle, f"{text}\\n".encode())
    os.close(handle)

LOG = os.path.abspath("executed.log")
"""
KILLED = (
    _HEAD
    + """
@step
def square(number):
    time.sleep(0.005)
    note(f"{number} {os.getpid()}")
    return number * number

def main():
    ENGINE
    squares = square.map(range(N), workers=2, executor=executor)
    print("@" + json.dumps([squares == [n * n for n in range(N)], repr(squares)]))

if __name__ == "__main__":
    main()
"""
)
LONGEST_CALLS = 100
"""Of 2 ms, in 0.2 s: after that a worker makes no more of those that it was sent together."""
TOGETHER = (
    _HEAD
    + """
@step
def square(number):
    note(f"begin {number}")
    time.sleep(60 if number == SLOW and not os.path.exists(QUICK) else 0.002)
    note(f"end {number}")
    return number * number

QUICK, SLOW = os.path.abspath("quick"), 215

def main():
    ENGINE
    squares = square.map(range(N), workers=2, executor=executor)
    print("@" + json.dumps([squares == [n * n for n in range(N)], repr(squares)]))

if __name__ == "__main__":
    main()
"""
)
INTERRUPTED = (
    _HEAD
    + """
QUICK = os.path.abspath("quick")

@step
def pause(number):
    time.sleep(0.06)  # no two of them are sent together
    note(number)
    if number >= 10 and not os.path.exists(QUICK):
        time.sleep(60)
    return number

def main():
    ENGINE
    pause.map(range(1), workers=2, executor=executor)
    try:
        pause.map(range(40), workers=2, executor=executor)
    except KeyboardInterrupt:
        print("back", flush=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with open("children", "w") as file:
        json.dump([child.pid for child in psutil.Process().children(recursive=True)], file)
    with open(QUICK, "w"):
        pass
    if executor != "processes" and hasattr(executor, "shutdown"):
        for child in psutil.Process().children(recursive=True):  # a pool is its owner's to end
            child.kill()
        executor = "threads"
    elif executor != "processes":
        executor = "threads"
    again = pause.map(range(40), workers=2, executor=executor)
    print("@" + json.dumps([list(again) == list(range(40)), repr(again)]), flush=True)
    os._exit(0)

import psutil
if __name__ == "__main__":
    main()
"""
)


on_those = on("processes", "spawn", "dask", "ray", "ipyparallel")


def run_to_its_end(folder: Path, source: str, engine: Engine) -> list[object]:
    """What a script printed last."""
    out, err = script(folder, source, engine).communicate(timeout=100)
    printed = next((line for line in out.splitlines() if line.startswith("@")), None)
    assert printed is not None, f"{out}\n{err[-4000:]}"
    found: list[object] = json.loads(printed[1:])
    return found


def end(child: subprocess.Popen[str]) -> None:
    """Nothing of a test outlives it."""
    for process in (child.stdout, child.stderr):
        assert process is not None
        process.close()
    for leftover in (one for one in psutil.process_iter() if _is_in_session(one, child.pid)):
        leftover.kill()
    child.wait()


@on_those
def test_a_killed_driver_costs_what_was_in_flight(engine: Engine, tmp_path: Path) -> None:
    """SIGKILL at 40 %: the next run computes what is missing, what had been sent was at most 50 ms for each task."""
    source = KILLED.replace("range(N)", f"range({N})")
    log = tmp_path / "executed.log"
    child = script(tmp_path, source, engine)
    try:
        wait_until(lambda: len(lines(log)) >= 0.4 * N or child.poll() is not None, describing="40 % are computed")
        assert child.poll() is None, child.communicate()
        child.kill()
        child.wait()
        if engine.name == "processes":
            workers = {int(line.split()[1]) for line in lines(log)}
            wait_until(lambda: not any(map(psutil.pid_exists, workers)), describing="no worker is left", timeout=10)
    finally:
        end(child)
    equal, shown = run_to_its_end(tmp_path, source, engine)

    executed = Counter(line.split()[0] for line in lines(log))
    assert equal
    assert "restored" in str(shown)
    assert set(map(str, range(N))) == set(executed)
    assert sum(executed.values()) <= N + IN_FLIGHT


@on("processes", "spawn")
def test_a_slow_call_costs_a_fifth_of_a_second_of_those_it_was_sent_with(engine: Engine, tmp_path: Path) -> None:
    """Fast calls that were sent together with a slow one are saved when that one ends: if the driver is killed before, what
    they took is computed again, and no more; all others that have ended are saved, whatever the slow one does.
    """
    source = TOGETHER.replace("range(N)", f"range({N})")
    log, address = tmp_path / "executed.log", f"sqlite:///{tmp_path / 'durable.db'}"

    def ended() -> set[str]:
        return {line.removeprefix("end ") for line in lines(log) if line.startswith("end")}

    child = script(tmp_path, source, engine)
    try:
        wait_until(lambda: "begin 215" in lines(log), describing="the slow one is computed")
        wait_until(lambda: len(ended()) >= N - LONGEST_CALLS, describing="the others go on")
        wait_until(lambda: len(ended() - set(stored(address))) <= LONGEST_CALLS, describing="they are saved")
        child.kill()
    finally:
        end(child)
    lost = ended() - set(stored(address))
    (tmp_path / "quick").touch()
    equal, _ = run_to_its_end(tmp_path, source, engine)
    times = Counter(line.removeprefix("end ") for line in lines(log) if line.startswith("end"))
    again = {number for number, count in times.items() if count > 1}

    assert equal
    assert lost <= again
    assert len(again) <= LONGEST_CALLS


@on_those
def test_an_interrupt_gives_control_back(engine: Engine, tmp_path: Path) -> None:
    """Ctrl-C, to all processes of the group, with calls of a minute in flight: back in 2 s, finished results are kept."""
    child = script(tmp_path, INTERRUPTED, engine)
    try:
        assert child.stdout is not None
        wait_until(
            lambda: len(lines(tmp_path / "executed.log")) >= 12 or child.poll() is not None,
            describing="two long calls have begun",
            timeout=180,  # calls of the tests before may go on in the cluster, for a minute each
        )
        assert child.poll() is None, child.communicate()
        pressed = time.monotonic()
        os.killpg(child.pid, signal.SIGINT)
        said = child.stdout.readline()
        seconds = time.monotonic() - pressed
        rest = child.stdout.read()
    finally:
        end(child)

    assert "back\n" == said, rest
    assert seconds <= 2.0 + 2.0  # the machine that runs this may be busy
    equal, shown = json.loads(next(line for line in rest.splitlines() if line.startswith("@"))[1:])
    assert equal
    assert "Results(pause: 40 documents, 10 restored)" == shown
    if engine.name == "processes":
        assert [] == json.loads((tmp_path / "children").read_text())


def test_in_a_notebook(kernel: Callable[..., Kernel], tmp_path: Path) -> None:
    """A durable cell whose function, class and global are of the notebook; ■ while processes compute, then the rest."""
    define = """
%load_ext durable_nb
import os, time
from durable_nb import configure, step
OFFSET = 7
class Doc:
    def __init__(self, number): self.number = number
    def __eq__(self, other): return type(self) is type(other) and self.number == other.number
@step
def add(number):
    time.sleep(0.06)
    with open("executed.log", "a") as file: file.write(f"{number}\\n")
    if number >= 10 and not os.path.exists("quick"): time.sleep(60)
    return Doc(number + OFFSET)
"""
    cell = '%%durable adding\ndocs = add.map(range(30), workers=2, executor="processes")\n'
    first = kernel()
    first.ok(define)
    message = first.start(cell)
    wait_until(lambda: len(lines(tmp_path / "executed.log")) >= 12, describing="two long calls have begun")
    pressed = time.monotonic()
    first.interrupt()
    reply = first.finish(message)
    seconds = time.monotonic() - pressed
    (tmp_path / "quick").touch()
    again = first.ok(cell + "print(docs, docs == [Doc(n + 7) for n in range(30)])")

    assert "KeyboardInterrupt" in reply.traceback
    assert seconds <= 2.0 + 2.0
    assert [] == psutil.Process(first.pid).children(recursive=True)
    assert "Results(add: 30 documents, 10 restored) True" in again.stdout


def _is_in_session(process: psutil.Process, leader: int) -> bool:
    try:
        return os.getsid(process.pid) == leader
    except OSError:
        return False
