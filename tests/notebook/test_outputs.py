"""What restored calls had printed: one line says that it is missing, ``--replay-output`` shows it, in real kernels."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from tests.kernels import lines, wait_until
from tests.notebook.cells import LOAD, STEPS, stored

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernels import Kernel
    from tests.notebook.cells import Start

SPEAKING = """
import logging, sys, time, warnings
from concurrent.futures import ThreadPoolExecutor
from IPython.display import HTML, display
def speak(n):
    print("number", n)
    print("again", n, end="\\n")
    return n
def whisper(n):
    sys.stderr.write(f"careful {n}\\n")
    return n
def show(n):
    display(HTML(f"<b>{n}</b>"))
    return n
def silent(n):
    return n
"""


def outputs(folder: Path) -> int:
    """How many calls have said something, read with nothing but sqlite3."""
    with closing(sqlite3.connect(folder / ".durable_nb" / "durable.db")) as connection:
        return int(connection.execute("SELECT count(*) FROM outputs").fetchone()[0])


def test_restored_calls_that_had_printed_are_told_of(notebook: Kernel) -> None:
    """One line counts what is not shown again; what the cell prints itself is there, and a first run says nothing."""
    notebook.ok(SPEAKING)
    cell = "%%durable spoken{}\nfor n in range(3):\n    print('cell', speak(n))\n    whisper(n), show(n), silent(n)"
    first = notebook.ok(cell.format(""))
    again = notebook.ok(cell.format(""))

    assert "number 0\nagain 0\ncell 0\nnumber 1\n" in first.stdout
    assert "restored calls" not in first.stdout
    assert "cell 0\ncell 1\ncell 2\n" == again.stdout.partition("durable_nb")[0]
    said = "durable_nb: restored calls printed 9 lines and showed 3 outputs that are not shown again; --replay-output shows them"
    assert [said] == [line for line in again.stdout.splitlines() if line.startswith("durable_nb")]
    assert "careful" not in again.stderr


def test_they_are_shown_again_in_order_when_asked(notebook: Kernel) -> None:
    """Text on both streams and what was displayed comes where the call is restored; nothing is announced then."""
    notebook.ok(SPEAKING)
    cell = "%%durable replayed{}\nfor n in range(3):\n    print('cell', speak(n))\n    whisper(n), show(n)"
    first = notebook.ok(cell.format(""))
    again = notebook.ok(cell.format(" --replay-output"))

    assert first.stdout == again.stdout
    assert first.stderr == again.stderr
    assert [f"<b>{n}</b>" for n in range(3)] == [
        shown["data"]["text/html"] for shown in again.displays if shown["data"].get("text/html", "").startswith("<b>")
    ]
    assert ("done", 9, 9, 0) == stored(notebook.folder, "replayed")


def test_steps_threads_and_coroutines_are_heard(notebook: Kernel) -> None:
    """A map on threads, calls in a pool of the cell and coroutines: each call has what it printed, in the order of the items."""
    notebook.ok(SPEAKING)
    notebook.ok(
        "@step\ndef spoken(n):\n    print('map', n)\n    return n\n"
        "@step\nasync def aspoken(n):\n    await asyncio.sleep(0)\n    print('async', n)\n    return n"
    )
    cell = (
        "%%durable heard{}\nspoken.map(range(4), workers=4)\nawait aspoken.amap(range(2))\n"
        "with ThreadPoolExecutor(3) as pool:\n    list(pool.map(speak, range(5)))"
    )
    notebook.ok(cell.format(""))
    told = notebook.ok(cell.format("")).stdout
    again = notebook.ok(cell.format(" --replay-output")).stdout

    assert "restored calls printed 16 lines that" in told
    assert [f"map {n}" for n in range(4)] + ["async 0", "async 1"] == again.splitlines()[:6]
    for n in range(5):
        assert f"number {n}\nagain {n}\n" in again


def test_a_step_inside_of_a_step(notebook: Kernel) -> None:
    """What the inner call printed is shown with the outer one, which is restored alone; as one in the map of a step."""
    notebook.ok(
        "@step\ndef inner(n):\n    print('inner', n)\n    return n\n"
        "@step\ndef outer(n):\n    print('before', n)\n    inner(n)\n    print('after', n)\n    return n"
    )
    cell = "%%durable nested{}\nfor n in range(2):\n    outer(n)"
    first = notebook.ok(cell.format(""))

    assert first.stdout == notebook.ok(cell.format(" --replay-output")).stdout
    assert "before 0\ninner 0\nafter 0\n" in first.stdout


def test_after_a_kill_the_first_half_is_shown_and_the_second_is_printed(kernel: Start) -> None:
    """A fresh kernel shows what the restored calls had said, then the others say theirs."""
    one: Kernel = kernel()
    one.ok(LOAD)
    one.ok(STEPS)
    speaking = "@step\ndef say(n):\n    slow(n)\n    print('said', n)\n    return n"
    one.ok(speaking)
    one.start("%%durable killed\nfor n in range(20):\n    say(n)")
    wait_until(lambda: len(lines(one.folder / "executed.log")) >= 9, describing="it is under way")
    one.kill()
    two: Kernel = kernel()
    two.ok(LOAD)
    two.ok(STEPS)
    two.ok(speaking)
    reply = two.ok("%%durable killed --replay-output\nfor n in range(20):\n    say(n)")

    assert [f"said {n}" for n in range(20)] == reply.stdout.splitlines()
    state = stored(two.folder, "killed")
    assert state is not None and 8 <= state[2] < 40


def test_an_attempt_that_failed_leaves_nothing(notebook: Kernel) -> None:
    """Of a call that was tried twice the last attempt counts; one that raised is not restored, and says it again."""
    notebook.ok(
        "tries = []\n@step(retries=1)\ndef flaky(n):\n    tries.append(n)\n    print('try', len(tries))\n"
        "    if len(tries) == 1:\n        raise ValueError\n    return n"
    )
    notebook.ok("%%durable flaky\nflaky.map([1])")
    again = notebook.ok("%%durable flaky --replay-output\nflaky.map([1])")

    assert "try 2\n" == again.stdout.partition("Results")[0]


def test_a_call_that_prints_much_is_cut(notebook: Kernel) -> None:
    """64 KB of a call are kept, all of its lines are counted, and the cut is said."""
    notebook.ok("def loud(n):\n    for line in range(5_000):\n        print('x' * 99)\n    return n")
    notebook.ok("%%durable loud\nfor n in range(2):\n    loud(n)")
    told = notebook.ok("%%durable loud\nfor n in range(2):\n    loud(n)").stdout
    again = notebook.ok("%%durable loud --replay-output\nfor n in range(2):\n    loud(n)").stdout

    assert "restored calls printed 10,000 lines" in told
    assert 2 * 64_000 < len(again) < 2 * (64 << 10) + 200
    assert 2 == again.count("[durable_nb: more was printed here than is kept]")


def test_records_for_handlers_of_the_user_are_told_of(notebook: Kernel) -> None:
    """A handler that is defined in the notebook does not hear what restored calls had logged, and that is said."""
    notebook.ok(
        SPEAKING + "class Counting(logging.Handler):\n    n = 0\n    def emit(self, record):\n        self.n += 1\n"
        "logger = logging.getLogger('heard')\nlogger.propagate = False\nlogger.handlers[:] = [Counting()]\n"
        "def work(n):\n    logger.warning('on %s', n)\n    logger.debug('not heard')\n    return n"
    )
    notebook.ok("%%durable logged\nfor n in range(4):\n    work(n)")
    told = notebook.ok("%%durable logged\nfor n in range(4):\n    work(n)").stdout

    assert "restored calls logged 4 records that are not handed to your logging handlers again" in told


def test_nothing_is_left_behind_and_silent_calls_cost_no_row(notebook: Kernel) -> None:
    """Streams, publisher and logging are as before, also after an error; what prints nothing has no row."""
    notebook.ok(SPEAKING)
    state = (
        "(getattr(sys.stdout.write, '__module__', None), 'publish' in vars(get_ipython().display_pub), "
        "'write' in vars(sys.stderr), logging.getLogRecordFactory().__module__)"
    )
    before = notebook.ok(state).result
    rows = outputs(notebook.folder)
    notebook.ok("%%durable quiet\nprint('cell')\n[silent(n) for n in range(9)]")
    notebook.run("%%durable quiet\n[silent(n) for n in range(9)]\n1 / 0")

    assert before == notebook.ok(state).result
    assert rows == outputs(notebook.folder)


def test_what_is_captured_or_ignored_is_not_kept(notebook: Kernel) -> None:
    """Text that the call had captured was shown to nobody; an ignored argument stands in no output."""
    notebook.ok(
        "import contextlib, io\nsecret = 'sk-\"ü-' + '12345'\n@step(ignore='key')\ndef ask(n, key):\n    print('with', key, 'ünï', n)\n"
        "    with contextlib.redirect_stdout(io.StringIO()):\n        print('zebra', 'fish', sep='')\n    return n"
    )
    notebook.ok("%%durable asked\nask(1, key=secret)")
    again = notebook.ok("%%durable asked --replay-output\nask(1, key=secret)")
    bytes_of = b"".join(path.read_bytes() for path in (notebook.folder / ".durable_nb").iterdir())

    assert "with [ignored] ünï 1\n" == again.stdout
    assert (
        b"zebrafish" not in bytes_of
    )  # nor in the source of the function; other tests of this notebook say other words
    assert b"-12345" not in bytes_of


def test_without_labels_nothing_of_a_document_is_kept(kernel: Start) -> None:
    """labels=False counts what was printed and keeps none of it."""
    one: Kernel = kernel(DURABLE_NB_LABELS="0")
    one.ok(LOAD)
    one.ok("def work(d):\n    print('about', d)\n    return len(d)\ndocs = ['secret' + ' document']")
    one.ok("%%durable unlabelled\n[work(d) for d in docs]")
    told = one.ok("%%durable unlabelled --replay-output\n[work(d) for d in docs]").stdout

    assert "printed 1 line that is not shown again; what they said was not saved (labels=False)" in told
    found = b"".join(path.read_bytes() for path in (one.folder / ".durable_nb").iterdir())
    assert b"secret document" not in found


def test_what_we_announce_inside_of_a_call_is_not_its_output(notebook: Kernel) -> None:
    """A sentence of ours that is said while a call is computed is said again by itself, once."""
    notebook.ok("import queue\nq = queue.Queue()\ndef fill(n):\n    q.put(n)\n    print('filled')\n    return n")
    cell = "%%durable filled{}\nfor n in range(2):\n    fill(n)"
    first = notebook.ok(cell.format("")).stdout
    again = notebook.ok(cell.format(" --replay-output")).stdout

    assert (1, 1) == (
        first.count("restored calls do not repeat that"),
        again.count("restored calls do not repeat that"),
    )
    assert 2 == again.count("filled\n")
