"""`%%durable NAME --background`: a cell that is computed while the notebook is used; real kernels."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.kernels import wait_until
from tests.matrix import usual
from tests.notebook.cells import LOAD, executed, stored

if TYPE_CHECKING:
    from tests.kernels import Kernel
    from tests.notebook.cells import Start

WORK = """
import random
from concurrent.futures import ThreadPoolExecutor

counter = 0

def work(doc):
    global counter
    counter += 1
    with open("executed.log", "a") as log:
        log.write(f"{doc}\\n")
    if doc.endswith("bad"):
        raise ValueError("bad page")
    until(doc)
    return doc.upper()

def until(doc):
    import os, time
    while "gated" in doc and not os.path.exists(doc.split()[0] + ".go"):
        time.sleep(0.005)

async def awork(doc):
    await asyncio.sleep(0.001)
    until(doc)
    with open("executed.log", "a") as log:
        log.write(f"{doc}\\n")
    return doc.upper()

step_work = step(work)
"""
SHAPES = {
    "loop": "out = []\nfor i in range(5):\n    out.append(work(f'NAME {i}'))\n",
    "comprehension": "docs = [f'NAME {i}' for i in range(5)]\nout = [work(doc) for doc in docs]\nlast = out[-1]\n",
    "function": "def twice(doc):\n    return work(doc) * FACTOR\nFACTOR = 2\nout = [twice(f'NAME {i}') for i in range(5)]\n",
    "helper": "out = {}\nfor i in range(5):\n    out[i] = len(work(str.strip(f' NAME {i} ')))\n",
    "pool": "with ThreadPoolExecutor(2) as pool:\n    out = list(pool.map(work, [f'NAME {i}' for i in range(5)]))\n",
    "step": "out = [step_work(f'NAME {i}') for i in range(5)]\n",
    "map": "out = list(step_work.map([f'NAME {i}' for i in range(5)], workers=2))\n",
    "async": "out = []\nfor i in range(5):\n    out.append(await awork(f'NAME {i}'))\n",
    "gather": "out = await asyncio.gather(*[awork(f'NAME {i}') for i in range(5)])\n",
    "client": "out = [client.ask(f'NAME {i}') for i in range(5)]\n",
    "client inside": "mine = Client('b')\nmine.warm()\nout = [mine.ask(f'NAME {i}') for i in range(5)]\n",
    "model": "class_of = Model('small')\nout = [class_of.ask(f'NAME {i}') for i in range(5)]\n",
}
MODEL = """
class Model:
    def __init__(self, size):
        self.size = size
    def ask(self, doc):
        return work(doc) + self.size

class Client(Model):
    def __init__(self, size):
        super().__init__(size)
        self.lock = threading.Lock()
    def warm(self):
        pass

client = Client("a")

def ask(doc):
    return client.ask(doc)
"""


def prepared(kernel: Start) -> Kernel:
    """A kernel that has the functions of the cells."""
    one = kernel()
    for cell in (LOAD, WORK, MODEL):
        one.ok(cell)
    return one


def gated(name: str, count: int = 6) -> str:
    """A cell whose documents wait until its gate is opened, all but the first two."""
    return (
        f"%%durable {name} --background\nout = []\nfor i in range({count}):\n"
        f"    out.append(work(f'{name}' + (' gated' if i > 1 else '') + f' {{i}}'))\n"
    )


def open_gate(one: Kernel, name: str) -> None:
    """Let the documents of a gated cell through."""
    (one.folder / f"{name}.go").touch()


def begun(one: Kernel, name: str, count: int) -> None:
    """Return when so many calls of a run have begun."""
    wait_until(lambda: len(executed(one, name)) >= count, describing=f"{count} calls of {name} have begun")


def test_the_prompt_is_back_while_the_cell_is_computed(kernel: Start) -> None:
    """The next cell answers while the run goes on; the names appear when it is done, and are told."""
    one = prepared(kernel)
    reply = one.ok(gated("bg"))
    begun(one, "bg", 3)
    meanwhile = one.ok("2 + 2, 'out' in globals(), 'i' in globals()")
    running = stored(one.folder, "bg")
    open_gate(one, "bg")
    one.ok("%durable wait bg")

    assert "4, False, False" in meanwhile.result
    assert running is not None
    assert "running" == running[0]
    assert ("done", 6, 0, 0) == stored(one.folder, "bg")
    assert "%durable wait bg" in reply.stdout
    assert "'BG GATED 5'], 5" in one.ok("out[-1:], i").result


@pytest.mark.parametrize("shape", usual(SHAPES, "loop", "pool", "step", "gather", "client"))
def test_it_comes_to_what_the_cell_comes_to(kernel: Start, shape: str) -> None:
    """The names that a cell sets in the background, and the globals that its calls set, equal those in front, and its results
    are the same calls: run in front by another kernel, a finished cell computes nothing.
    """
    cell = SHAPES[shape].replace("NAME", shape := shape.replace(" ", "-"))
    found = []
    for switch in (" --background", ""):
        one = prepared(kernel)
        one.ok(f"%%durable {shape}{switch}\n{cell}")
        one.ok(f"%durable wait {shape}")
        # What a @step does to globals is not repeated, nor for certain what calls do that run at the same time.
        count = "None" if shape in ("step", "map", "pool") else "counter"
        found.append(one.ok(f"out, globals().get('i'), globals().get('last'), {count}").result)
        one.close()

    assert 5 == len(executed(one, shape))
    assert found[0] == found[1]
    assert ("done", 5, 5, 0) == stored(one.folder, shape)


def test_two_at_a_time_and_a_cell_in_front(kernel: Start) -> None:
    """Two runs in the background and a durable cell in front keep apart what they compute; steps too."""
    one = prepared(kernel)
    for name in ("one", "two"):
        one.ok(gated(name).replace("out", f"out_{name}").replace("work(", "step_work("))
        begun(one, name, 3)
    one.ok("%%durable front\nfront = [step_work(f'front {i}') for i in range(4)]")
    plain = one.ok("step_work('plain 1')").result
    for name in ("one", "two"):
        open_gate(one, name)
        one.ok(f"%durable wait {name}")

    assert "'PLAIN 1'" == plain
    assert ("done", 4, 0, 0) == stored(one.folder, "front")
    assert [("done", 6, 0, 0)] * 2 == [stored(one.folder, name) for name in ("one", "two")]
    assert "6, 6, 4" in one.ok("len(out_one), len(out_two), len(front)").result


def test_steps_in_threads_of_two_runs(kernel: Start) -> None:
    """A step that two cells hand to their pools at the same time is kept by each of them."""
    one = prepared(kernel)
    for name in ("pool1", "pool2"):
        one.ok(
            f"%%durable {name} --background\ndocs = [f'{name} {{i}}' + ' gated' * (i > 1) for i in range(6)]\n"
            f"with ThreadPoolExecutor(2) as pool:\n    {name} = list(pool.map(step_work, docs))\n"
        )
    begun(one, "pool2", 3)
    one.ok(
        "%%durable front\nwith ThreadPoolExecutor(2) as pool:\n    out = list(pool.map(step_work, ['front 1', 'front 2']))"
    )
    for name in ("pool1", "pool2"):
        open_gate(one, name)
        one.ok(f"%durable wait {name}")

    assert [("done", 6, 0, 0)] * 2 == [stored(one.folder, name) for name in ("pool1", "pool2")]
    assert ("done", 2, 0, 0) == stored(one.folder, "front")


def test_killed_in_the_middle(kernel: Start) -> None:
    """After SIGKILL the same cell computes what was in flight and what is missing, in the background or in front."""
    one = prepared(kernel)
    one.ok(gated("kill"))
    begun(one, "kill", 3)
    wait_until(lambda: (stored(one.folder, "kill") or (0, 0))[1] == 2, describing="two results are saved")
    one.kill()
    two = prepared(kernel)
    open_gate(two, "kill")
    two.ok(gated("kill"))
    two.ok("%durable wait kill")

    assert 7 == len(executed(two, "kill"))
    assert ("done", 6, 2, 0) == stored(two.folder, "kill")
    assert "6" == two.ok("len(out)").result


def test_restarting_the_kernel_is_no_death(kernel: Start) -> None:
    """The restart button ends the run as ■ would: it goes on when its cell is run again, and no document is to blame."""
    one = prepared(kernel)
    one.ok("%%durable again --background\nfor i in range(10_000):\n    time.sleep(0.01); work(f'again {i}')")
    begun(one, "again", 3)
    one.restart()

    state = stored(one.folder, "again")
    assert state is not None
    assert "interrupted" == state[0]
    assert history(one, "again").endswith("interrupted: stopped; run the cell again to go on")


def history(one: Kernel, name: str) -> str:
    """The history of a run, read with nothing but sqlite3."""
    question = "SELECT kind, detail FROM events JOIN runs ON runs.id = run_id WHERE name = ? ORDER BY events.id"
    with closing(sqlite3.connect(one.folder / ".durable_nb" / "durable.db")) as connection:
        return "\n".join(": ".join(row) for row in connection.execute(question, (name,)))


def test_stopped_from_another_kernel(kernel: Start) -> None:
    """%durable stop NAME works wherever the run is computed; what is finished is kept, and `wait` says what happened."""
    one, two = prepared(kernel), kernel()
    one.ok(gated("halt"))
    begun(one, "halt", 3)
    two.ok("%load_ext durable_nb")
    asked = two.ok("%durable stop halt")
    wait_until(lambda: "stopping" in history(one, "halt"), describing="the run has heard of it")
    open_gate(one, "halt")
    reply = one.run("%durable wait halt")

    assert "halt" in asked.stdout
    assert "was stopped" in reply.error
    found = stored(one.folder, "halt")
    assert found is not None
    assert "interrupted" == found[0]
    assert 3 <= found[1] < 6
    assert "there is nothing to stop" in two.run("%durable stop halt").text.lower()


def test_stopped_while_it_awaits(kernel: Start) -> None:
    """A background cell that awaits its calls, several at a time, ends when it is stopped, with what was finished."""
    one = prepared(kernel)
    one.ok(
        "%%durable astop --background\nout = []\nfor i in range(500):\n"
        "    out += await asyncio.gather(*[awork(f'astop {i} {j}') for j in range(3)])"
    )
    begun(one, "astop", 4)
    one.ok("%durable stop astop")
    reply = one.run("%durable wait astop")
    state = stored(one.folder, "astop")

    assert "was stopped" in reply.error
    assert state is not None
    assert "interrupted" == state[0]
    assert 4 <= state[1] < 1500


def test_interrupting_the_kernel_does_not_stop_it(kernel: Start) -> None:
    """■ ends the cell in front, not the run in the background."""
    one = prepared(kernel)
    one.ok(gated("quiet"))
    begun(one, "quiet", 3)
    waiting = one.start("open('waiting', 'w').close()\n%durable wait quiet")
    wait_until((one.folder / "waiting").exists, describing="the cell in front runs")
    one.interrupt()
    assert "KeyboardInterrupt" in one.finish(waiting).error
    open_gate(one, "quiet")
    one.ok("%durable wait quiet")

    assert ("done", 6, 0, 0) == stored(one.folder, "quiet")


def test_errors_are_kept_for_who_waits(kernel: Start) -> None:
    """What the cell raises is raised by `wait` with its traceback, and printed into no other cell."""
    one = prepared(kernel)
    one.ok("%%durable worse --background\nout = [work(f'worse {what}') for what in ('good', 'bad')]")
    wait_until(
        lambda: (stored(one.folder, "worse") or ("",))[0] == "failed", describing="the run has failed", timeout=30
    )
    other = one.ok("'quiet'")
    reply = one.run("%durable wait worse")

    assert ("", "") == (other.stdout, other.stderr)
    assert "ValueError: bad page" == reply.error
    assert "work(f'worse {what}')" in reply.traceback
    assert "False" == one.ok("'out' in globals()").result


def test_names_that_were_set_meanwhile_stay(kernel: Start) -> None:
    """A name that the user has set while the cell was computed is not overwritten; the result is handed out by `wait`."""
    one = prepared(kernel)
    one.ok(gated("clash"))
    begun(one, "clash", 3)
    one.ok("out = 'mine'")
    open_gate(one, "clash")
    one.ok("kept = %durable wait clash")

    assert "kept apart, since you have set them meanwhile: out" == one.ok("%durable wait clash").result
    assert "'mine', 5" in one.ok("out, i").result
    assert "6" == one.ok("len(kept['out'])").result


def test_the_second_of_one_name_is_refused(kernel: Start) -> None:
    """While a run is computed in the background, its cell says where, and what to do."""
    one = prepared(kernel)
    one.ok(gated("twice"))
    begun(one, "twice", 3)
    again = [one.run(gated("twice")), one.run(gated("twice").replace(" --background", ""))]
    open_gate(one, "twice")
    one.ok("%durable wait twice")

    for reply in again:
        assert "RunBusy" in reply.error
        assert "%durable wait twice" in reply.text


def test_edited_code_is_asked_about_before_the_prompt_is_back(kernel: Start) -> None:
    """The question comes in the cell itself, and nothing is run."""
    one = prepared(kernel)
    one.ok("%%durable edit --background\nout = [work(f'edit {i}') for i in range(3)]")
    one.ok("%durable wait edit")
    one.ok("def work(doc):\n    return doc.lower()")
    reply = one.run("%%durable edit --background\nout = [work(f'edit {i}') for i in range(3)]")

    assert "CodeChanged" in reply.error
    assert "--on-change keep" in reply.text


@pytest.mark.parametrize(
    ("before", "cell", "says"),
    [
        ("def reads(doc): return doc * SIZE", "SIZE = 3\nout = [reads(d) for d in 'ab']", "`reads` uses `SIZE`"),
        ("def sets(doc):\n    global total\n    total = 1", "out = [sets(d) for d in 'ab']\nn = total", "`sets` sets `total`"),
        ("", "%time out = [work(d) for d in 'ab']", "%time"),
        ("", "class A: pass\nout = [work(d) for d in 'ab']", "class A"),
        ("def inner(d): return d\ndef outer(ds): return [inner(d) for d in ds]", "out = outer('ab')", "--steps inner"),
    ],
)  # fmt: skip
def test_what_cannot_be_in_the_background_is_refused(kernel: Start, before: str, cell: str, says: str) -> None:
    """A cell that would come to something else with names of its own says so before anything runs."""
    one = prepared(kernel)
    one.ok(before)
    named = " --steps inner" if "inner" in says else ""
    reply = one.run(f"%%durable refused --background{named}\n{cell}")

    assert says in reply.error
    assert "Traceback" not in reply.text
    assert stored(one.folder, "refused") is None


@pytest.mark.parametrize("way", ["--background", "--detach"])
def test_output_is_shown_again_in_front_only(kernel: Start, way: str) -> None:
    """What nobody could see below the cell is refused, not left out without a word."""
    one = prepared(kernel)
    reply = one.run(f"%%durable refused {way} --replay-output\nout = [work(d) for d in 'ab']")

    assert "in front" in reply.error
    assert stored(one.folder, "refused") is None


@pytest.mark.parametrize("body", ["return work('a')", "for d in 'ab': work(d)\nawait = 3"])
def test_what_does_not_compile_holds_no_run(kernel: Start, body: str) -> None:
    """A SyntaxError is the cell's, as in front; the run is nobody's."""
    one = prepared(kernel)
    reply = one.run(f"%%durable broken --background\n{body}")

    assert "SyntaxError" in reply.error
    assert stored(one.folder, "broken") is None
    assert [] == executed(one, "a")


def test_imports_in_the_cell_are_no_clash(kernel: Start) -> None:
    """A module that is imported above and in the cell is one module."""
    one = prepared(kernel)
    one.ok("import json\ndef dumps(doc): return json.dumps(doc)")
    one.ok("%%durable imports --background\nimport json\nout = [json.loads(dumps(d)) for d in 'ab']")
    one.ok("%durable wait imports")

    assert "['a', 'b']" == one.ok("out").result


def test_attached_in_another_kernel(kernel: Start) -> None:
    """%durable attach shows the panel of a run that another kernel computes, and keeps it moving until it is done; `wait`
    there runs the saved cell once it is, and restores every call.
    """
    one, two = prepared(kernel), prepared(kernel)
    one.ok(gated("far"))
    begun(one, "far", 3)
    attached = two.ok("%durable attach far")
    waiting = two.start("%durable wait far")
    open_gate(one, "far")
    reply = two.finish(waiting)

    assert "far: running" in attached.displays[0]["data"]["text/plain"]
    assert "ok" == reply.status, reply.text
    assert any("far: done" in shown["data"].get("text/plain", "") for shown in reply.displays)
    assert 6 == len(executed(two, "far"))
    assert "6" == two.ok("len(out)").result
    assert ("done", 6, 6, 0) == stored(two.folder, "far")


def test_restored_calls_set_the_globals_of_the_notebook(kernel: Start) -> None:
    """What a restored call does to a global of the notebook is done to the notebook's, not to the copy that the cell has."""
    counts = []
    for _ in range(2):
        one = prepared(kernel)
        one.ok("%%durable count --background\nout = [work(f'count {i}') for i in range(5)]")
        one.ok("%durable wait count")
        counts.append(one.ok("counter").result)
        one.close()

    assert ["5", "5"] == counts
    assert ("done", 5, 5, 0) == stored(one.folder, "count")


def test_what_is_deleted_meanwhile_is_gone_when_it_is_done(kernel: Start) -> None:
    """A run in the background keeps the notebook's objects for its length and no longer; it is explained all the same."""
    one = prepared(kernel)
    one.ok("import gc, weakref\nlarge = Model('large')\nseen = weakref.ref(large)")
    one.ok(gated("large"))
    begun(one, "large", 3)
    one.ok("del large")
    open_gate(one, "large")
    one.ok("%durable wait large")

    assert "True" == one.ok("gc.collect()\nseen() is None").result
    assert "kept" in one.ok("%durable explain large").result


def test_functions_of_the_cell_see_what_is_set_later(kernel: Start) -> None:
    """A function that a background cell defines is the notebook's when it is done, as if the cell had run in front."""
    one = prepared(kernel)
    one.ok(
        "%%durable late --background\n@step\ndef scaled(d):\n    return work(d) * SCALE\nSCALE = 1\nout = [scaled('late 1')]"
    )
    one.ok("%durable wait late")
    one.ok("SCALE = 3")

    assert "'LATE 2LATE 2LATE 2'" == one.ok("scaled('late 2')").result


def test_unloading_leaves_a_run_alone(kernel: Start) -> None:
    """%unload_ext says what to do first, and the run goes on."""
    one = prepared(kernel)
    one.ok(gated("stay"))
    begun(one, "stay", 3)
    refused = one.run("%unload_ext durable_nb")
    open_gate(one, "stay")
    one.ok("%durable wait stay")
    one.ok("%unload_ext durable_nb")

    assert "%durable stop stay" in refused.text
    assert ("done", 6, 0, 0) == stored(one.folder, "stay")
