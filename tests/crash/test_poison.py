"""Documents that kill the process that computes them, and documents that only were there: real deaths, counted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from durable_nb import keys, step
from durable_nb.engine import recorder
from durable_nb.engine.context import inside
from durable_nb.engine.recovery import blame
from durable_nb.store import Store
from tests.kernels import ROOT, Kernel, lines, wait_until
from tests.matrix import usual

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DIES = {
    "SIGKILL": "os.kill(os.getpid(), signal.SIGKILL)",
    "segfault": "ctypes.string_at(0)",
    "abort": "os.abort()",
    "out of memory": (
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 31, 1 << 31)); faulthandler.disable()\n"
        "        try: held = [bytearray(1 << 24) for _ in range(1000)]\n"
        "        except MemoryError: os.kill(os.getpid(), signal.SIGKILL)  # as the kernel of the system does"
    ),
}
MAPS = {
    "threads": "squares = square.map(range(40), workers=8, on_error='collect')",
    "inline": "squares = square.map(range(40), workers=1, on_error='collect')",
    "asyncio": "squares = asyncio.run(asquare.amap(range(40), workers=8, on_error='collect'))",
    "an iterator": "squares = square.map(iter(range(40)), workers=8, on_error='collect')",
}
HEAD = """
import asyncio, ctypes, faulthandler, os, resource, signal, sys, threading, time
from durable_nb import configure, current_call, run, step, StepFailed

resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
log = os.open("executed.log", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
def note(text): os.write(log, f"{text}\\n".encode())
"""
SQUARES = """
def work(number):
    note(number)
    if number == 17 and not os.path.exists("cured"):
        DIE
    return number * number

@step
def square(number):
    time.sleep(PAUSE)
    return work(number)

@step(name="square")
async def asquare(number):
    await asyncio.sleep(PAUSE)
    return work(number)
"""
SHOW = """
print(squares.ok == [n * n for n in range(40) if n != 17], [(f.label, f.attempts, f.error) for f in squares.failed])
"""
ASIDE = "True [('17', 3, 'the kernel died each time it was computed')]\n"


def script(folder: Path, source: str, address: str | None = None) -> subprocess.Popen[str]:
    """A process of the user that computes something."""
    (folder / "script.py").write_text(HEAD + textwrap.dedent(source))
    env = os.environ | {"PYTHONPATH": str(ROOT), "DURABLE_NB_URL": address or f"sqlite:///{folder / 'durable.db'}"}
    return subprocess.Popen(
        [sys.executable, "script.py"], cwd=folder, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def until_it_ends(folder: Path, source: str, address: str | None = None, *, at_most: int = 6) -> tuple[int, str]:
    """Run a script again and again until it dies no more; how often it died, and what it printed then."""
    for deaths in range(at_most):
        child = script(folder, source, address)
        out, err = child.communicate(timeout=120)
        if child.returncode >= 0:
            assert child.returncode == 0, err
            return deaths, out
    raise AssertionError(f"it died {at_most} times")


def squares(how: str, *, die: str = "SIGKILL", pause: float = 0.0) -> str:
    """A script whose document 17 kills it."""
    return SQUARES.replace("DIE", DIES[die]).replace("PAUSE", str(pause)) + MAPS[how] + SHOW


@pytest.mark.parametrize("how", usual(MAPS, "threads", "asyncio"))
def test_a_document_that_kills_is_set_aside_after_three_deaths(tmp_path: Path, how: str) -> None:
    """The fourth attempt ends: all others have their results, and the one is named with its three deaths."""
    found = until_it_ends(tmp_path, squares(how, pause=0.01))

    times = Counter(lines(tmp_path / "executed.log"))
    assert (3, ASIDE) == found
    assert 3 == times.pop("17")
    assert set(map(str, range(40))) - {"17"} == set(times)
    # Who ran beside the killer the first time.
    assert sum(times.values()) <= 39 + 7


@pytest.mark.parametrize("die", usual(DIES, *list(DIES)[:2]))
def test_it_does_not_matter_how_it_kills(tmp_path: Path, die: str) -> None:
    """SIGKILL, a segmentation fault, an abort and memory that runs out, among calls too fast to be committed one by one."""
    assert (3, ASIDE) == until_it_ends(tmp_path, squares("threads", die=die))


def test_deaths_are_counted_in_either_database(tmp_path: Path, address: str) -> None:
    """On SQLite and on PostgreSQL."""
    assert (3, ASIDE) == until_it_ends(tmp_path, squares("threads", pause=0.01), address)


def test_who_runs_beside_a_killer_is_not_set_aside(tmp_path: Path) -> None:
    """Eight long documents in flight at each death: the seven innocent ones run alone after the first, and are done."""
    source = """
    @step
    def square(number):
        note(number)
        time.sleep(0.05 if number == 3 else 0.3)
        if number == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return number * number

    squares = square.map(range(8), workers=8, on_error="collect")
    print([f.label for f in squares.failed], squares.ok == [n * n for n in range(8) if n != 3])
    """
    # The first missing document goes alone, as ever: the killer has seven beside it.
    found = until_it_ends(tmp_path, source)

    times = Counter(lines(tmp_path / "executed.log"))
    assert (3, "['3'] True\n") == found
    assert 3 == times["3"]
    assert max(times.values()) <= 3


@pytest.mark.parametrize("batch", [None, 2])
def test_who_waits_for_a_commit_is_not_beside(store: Store, batch: int | None) -> None:
    """A document that runs alone may start while the one before it is being committed, and then dies without a witness."""
    release, beside = threading.Event(), list[bytes]()

    def hold_the_database() -> None:
        with store._database._lock:
            release.wait(30)

    def square(number: int) -> int:
        computation = inside.get()[0]  # type: ignore[index]
        live, suspect = computation.live, keys.call_digest((9,), {})
        if number == 0:
            live.gate.keep_apart([(computation.entered.step_id, suspect)])
        if number == 3:
            threading.Thread(target=hold_the_database).start()
            time.sleep(0.01)  # long enough for a commit of its own
        if number == 9:
            beside.extend(mark.key for mark in recorder.left_by(live.record.owner.token))
            release.set()
        return number * number

    def squares(numbers: list[int]) -> list[int]:
        return [square(number) for number in numbers]

    computed = step(square) if batch is None else step(name="square", batch=batch)(squares)
    numbers = [0, 1, 2, 3, 9]

    assert [number * number for number in numbers] == list(computed.map(numbers, workers=2))
    assert [keys.call_digest((9,), {})] == beside


def test_kills_from_outside_poison_nobody(tmp_path: Path) -> None:
    """Three SIGKILLs during different documents, then the run ends with all results."""
    source = """
    @step
    def square(number):
        note(number)
        time.sleep(0.03)
        return number * number

    print(square.map(range(60), workers=4) == [n * n for n in range(60)])
    """
    log = tmp_path / "executed.log"
    for goal in (10, 30, 50):
        child = script(tmp_path, source)
        wait_until(lambda goal=goal: len(lines(log)) >= goal, describing=f"{goal} executions")
        child.kill()
        child.communicate(timeout=60)
    found = until_it_ends(tmp_path, source)

    assert (0, "True\n") == found
    assert len(lines(log)) <= 60 + 3 * 4


def test_it_is_retried_only_on_request(tmp_path: Path) -> None:
    """Running it again does not try it; ``retry()`` does, once: what still kills is set aside by the very next death."""
    source = squares("threads", pause=0.01)
    until_it_ends(tmp_path, source)
    until_it_ends(tmp_path, source)
    assert 3 == lines(tmp_path / "executed.log").count("17")

    died = script(tmp_path, source + "\nsquares.retry()\n")
    died.communicate(timeout=60)

    assert -signal.SIGKILL == died.returncode
    assert (0, ASIDE) == until_it_ends(tmp_path, source)
    assert 4 == lines(tmp_path / "executed.log").count("17")

    (tmp_path / "cured").touch()
    found = until_it_ends(tmp_path, source + "\nsquares.retry(); print(squares == [n * n for n in range(40)])\n")

    assert (0, ASIDE + "True\n") == found


def test_edited_code_is_given_another_chance(tmp_path: Path) -> None:
    """Deaths count for a version of the code: who mends the function need not ask for the document."""
    until_it_ends(tmp_path, squares("threads", pause=0.01))
    mended = squares("threads", pause=0.01).replace("if number == 17 and", "if number == -1 and")
    mended = mended.replace("on_error=", "on_change='keep', on_error=")

    found = until_it_ends(tmp_path, mended + "\nprint(list(squares) == [n * n for n in range(40)])")

    assert found[1].endswith("True\n"), found
    assert 0 == found[0]


PLAIN = (
    SQUARES.replace("DIE", DIES["SIGKILL"]).replace("PAUSE", "0.01")
    + """
found, failed = [], []
with run("plain"):
    for number in range(40):
        try:
            found.append(square(number))
        except StepFailed as error:
            failed.append(error)
print(found == [n * n for n in range(40) if n != 17], failed[0])
"""
)


def test_a_loop_that_handles_failures_finishes_the_others(tmp_path: Path) -> None:
    """A plain call that was set aside raises StepFailed, naming the document and what to do."""
    deaths, out = until_it_ends(tmp_path, PLAIN)

    assert 3 == deaths
    assert "True square failed on 17 after 3 attempts: the kernel died each time it was computed." in out
    assert "tried again only when you ask" in out


def test_the_inner_call_is_to_blame(tmp_path: Path) -> None:
    """A step that kills inside of another one is set aside itself; the outer one can do without it."""
    source = """
    @step
    def page(number):
        note(number)
        time.sleep(0.01)
        if number == 7:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    @step
    def pages(first):
        found = []
        for number in range(first, first + 4):
            try:
                found.append(page(number))
            except StepFailed:
                found.append(None)
        return found

    print(list(pages.map(range(0, 20, 4), workers=4))[1])
    """
    assert (3, "[4, 5, 6, None]\n") == until_it_ends(tmp_path, source)
    assert 3 == lines(tmp_path / "executed.log").count("7")


def test_threads_inside_of_a_suspect_do_not_hang(tmp_path: Path) -> None:
    """After a death a document runs alone; inner calls in threads of its own, which cannot know that, run all the same."""
    source = """
    from concurrent.futures import ThreadPoolExecutor

    @step
    def page(number):
        note(number)
        return number

    @step
    def pages(first):
        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(page, (first, first + 1)))
        if first == 4 and not os.path.exists("cured"):
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    with run("pages"):
        print(list(pages.map(range(0, 12, 2), workers=4))[2])
    """
    script(tmp_path, source).communicate(timeout=60)
    (tmp_path / "cured").touch()

    assert (0, "[4, 5]\n") == until_it_ends(tmp_path, source)


def test_a_death_after_an_interrupt_counts_for_nobody(tmp_path: Path) -> None:
    """Restart in Jupyter sends SIGINT before it kills: a document that was running then is not to blame."""
    source = """
    from durable_nb.engine.session import current
    @step
    def slow(number):
        note(number)
        if os.path.exists("cured"):
            return number
        current.live[0].stop()  # what the interrupt of a durable cell does
        os.kill(os.getpid(), signal.SIGKILL)

    print(list(slow.map([1])))
    """
    for _ in range(3):
        script(tmp_path, source).communicate(timeout=60)
    (tmp_path / "cured").touch()

    assert (0, "[1]\n") == until_it_ends(tmp_path, source)
    assert 4 == len(lines(tmp_path / "executed.log"))


def test_a_durable_cell_names_the_document(kernel: Callable[..., Kernel], tmp_path: Path) -> None:
    """Three real kernels die in an ordinary loop; the fourth says which document it was, and finishes the others. It is
    tried again once somebody asks."""
    prepare = (
        "%load_ext durable_nb\nimport os, signal, time\n"
        "def embed(doc):\n"
        "    open('executed.log', 'a').write(f'{doc}\\n')\n"
        "    time.sleep(0.01)\n"
        "    if doc == 'poison' and not os.path.exists('cured'): os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return doc.upper()\n"
        "docs = ['a', 'b', 'poison', 'c', 'd']"
    )
    cell = (
        "%%durable embed-docs\nvectors, failed = [], []\nfor doc in docs:\n"
        "    try:\n        vectors.append(embed(doc))\n"
        "    except Exception as error:\n        failed.append(str(error))"
    )
    for _ in range(3):
        one = kernel()
        one.ok(prepare)
        one.start(cell)
        wait_until(lambda one=one: not one.alive, describing="the document has killed the kernel")
    last = kernel()
    last.ok(prepare)
    last.ok(cell)

    assert "['A', 'B', 'C', 'D']" == last.ok("vectors").result
    assert "embed failed on poison after 3 attempts" in last.ok("failed[0]").result
    assert {"a": 1, "b": 1, "poison": 3, "c": 1, "d": 1} == Counter(lines(tmp_path / "executed.log"))
    store = Store.read_only(f"sqlite:///{tmp_path / '.durable_nb' / 'durable.db'}")
    shown = store.snapshot("embed-docs")
    told = [event.detail for event in store.events(shown.run_id) if event.kind == "set aside"]
    store.close()

    assert [("poison", 3)] == [(failure.label, failure.attempts) for failure in shown.failures]
    assert "KernelDied" in shown.failures[0].error
    assert ["embed on poison"] == told

    (tmp_path / "cured").touch()

    assert "1 document that was set aside" in last.ok("%durable retry embed-docs").stdout

    last.ok(cell)

    assert "['A', 'B', 'POISON', 'C', 'D']" == last.ok("vectors").result
    assert "Nothing is set aside" in last.ok("%durable retry embed-docs").stdout
    assert "no run 'other'" in last.run("%durable retry other").text


def test_restart_in_jupyter_poisons_nobody(kernel: Callable[..., Kernel], tmp_path: Path) -> None:
    """A document that runs for long may see its kernel restarted three times: it is computed all the same."""
    prepare = (
        "%load_ext durable_nb\nimport os, time\n"
        "def long(doc):\n"
        "    open('executed.log', 'a').write(f'{doc}\\n')\n"
        "    while not os.path.exists('cured'):\n"
        "        try: time.sleep(60)\n"
        "        except KeyboardInterrupt: pass  # as a library does that retries\n"
        "    return doc.upper()"
    )
    cell, log = "%%durable long-docs\nfound = [long(doc) for doc in ['a']]", tmp_path / "executed.log"
    one = kernel()
    for restarts in range(3):
        one.ok(prepare)
        one.start(cell)
        wait_until(lambda restarts=restarts: len(lines(log)) > restarts, describing="the document is being computed")
        one.restart()
    (tmp_path / "cured").touch()
    one.ok(prepare)
    one.ok(cell)

    assert "['A']" == one.ok("found").result


TOKEN, OTHER = "00000000deadbeef", "00000000deadbee0"
A, B = bytes(range(16)), bytes(range(16, 32))


@pytest.fixture
def notes() -> Iterator[recorder.Recorder]:
    """The notes of a claim of this process."""
    one = recorder.Recorder(TOKEN)
    yield one
    one.close()


def enter(notes: recorder.Recorder, step_id: int, key: bytes, outer: bytes = recorder.NOBODY) -> slice:
    """Note a call as a computation does it."""
    place = notes.places.pop() if notes.places else recorder.UNREAD
    notes.memory[place] = recorder.mark_of(step_id) + key + outer
    return place


def test_notes_of_the_dead_are_read_and_gone_once_counted(notes: recorder.Recorder) -> None:
    """A claim's notes hold the calls that run; closed, excused or another's, there are none."""
    gone = enter(notes, 1, A)
    enter(notes, 2, B, A)
    notes.memory[gone] = recorder.FREE

    assert [(2, B, A)] == recorder.left_by(TOKEN)
    assert [] == recorder.left_by(OTHER)

    notes.excuse()

    assert [] == recorder.left_by(TOKEN)

    notes.close()

    assert [] == recorder.left_by(TOKEN)
    assert [] == recorder.left_by("../../etc/passwd")


def test_more_calls_than_there_is_room_for_run_without_a_note(notes: recorder.Recorder) -> None:
    """What is beyond 512 calls at a time is not noted, and nothing else happens to it, however many there are."""
    for n in range(6_000):
        enter(notes, 1, n.to_bytes(16, "big"))

    assert recorder.SLOTS == len(recorder.left_by(TOKEN))


def test_a_forked_child_leaves_the_notes_of_its_parent_alone(notes: recorder.Recorder) -> None:
    """What a child writes is not in the parent's notes."""
    place = enter(notes, 1, A)
    child = os.fork()
    if not child:
        notes.memory[place] = recorder.FREE
        os._exit(0)
    os.waitpid(child, 0)

    assert [(1, A, recorder.NOBODY)] == recorder.left_by(TOKEN)


def test_whom_a_death_counts_for() -> None:
    """The innermost call; the outer one if it had several of them at a time, and everybody if nothing tells them apart."""
    a, b, c, d = (bytes([n]) * 16 for n in range(1, 5))
    no = recorder.NOBODY
    mark = recorder.Mark

    assert ([], []) == blame([])
    assert ([(1, a)], []) == blame([mark(1, a, no)])
    assert ([(1, a), (1, b)], []) == blame([mark(1, b, no), mark(1, a, no)])
    assert ([(2, b)], [(1, a)]) == blame([mark(1, a, no), mark(2, b, a)])
    assert ([(1, a)], [(2, b), (2, c)]) == blame([mark(1, a, no), mark(2, b, a), mark(2, c, a)])
    assert ([(2, b), (2, d)], [(1, a), (1, c)]) == blame([mark(1, a, no), mark(2, b, a), mark(1, c, no), mark(2, d, c)])
