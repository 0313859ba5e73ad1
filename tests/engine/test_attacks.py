"""Attacks: what an expert tried in order to get a wrong value, lose a result, hang a map or read a false sentence."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import linecache
import multiprocessing
import os
import queue
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from durable_nb import CodeChanged, StepFailed, configure, run, step
from durable_nb.cli import main
from durable_nb.engine import runs
from durable_nb.engine.session import current as session
from durable_nb.errors import ConfigError, DurableError, StoreError, Unkeyable, Unsaveable
from durable_nb.loads import note_loads
from durable_nb.records import State
from durable_nb.store import Store
from durable_nb.testing import assert_restored
from tests.kernels import ROOT, Kernel, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("store")

CELLS = itertools.count()
F = "@step\ndef f(x):\n    return "
MULTIPLY = "from functools import partial\ndef multiply(k, x=1):\n    return k * x\n"
UP_DOWN = "def up(x): return x + 1\ndef down(x): return x - 1\n"
SCALED = "class Scaled:\n    def __init__(self, k): self.k = k\n    def by(self, x): return self.k * x\n"
TWO_CLASSES = "class A: k = 1\nclass B: k = 2\n"
TWICE = (
    "import functools\ndef twice(function):\n    @functools.wraps(function)\n    def wrapper(x):\n"
    "        return 2 * function(x)\n    return wrapper\n@step\n"
)
PROMPTED = (
    "def load(name): return f'prompt {name}: '\n"
    "def make(name):\n    prompt = load(name)\n    def f(x): return prompt + x\n    return f\n"
)
MODEL = "import random, threading\ndef moved(model): return model\n"
DRAW = f"{F}repr(model.getstate()[1][:3])"


def cell(source: str, **given: Any) -> dict[str, Any]:
    """The namespace after a cell ran in a fresh kernel."""
    source = f"from durable_nb import run, step\n{textwrap.dedent(source)}\n"
    name = f"/tmp/ipykernel_attacks/{next(CELLS)}.py"
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)
    space: dict[str, Any] = {"__name__": "__main__", "__file__": name, **given}
    exec(compile(source, name, "exec", dont_inherit=True), space)
    return space


def answer(compute: Callable[[], Any], true_value: Any) -> Any:
    """What ``compute`` gives; asking whether changed code matters is as good as the true value."""
    try:
        return compute()
    except CodeChanged:
        return true_value


def in_run(name: str, call: Callable[[], Any], **options: Any) -> Any:
    """What ``call`` returns inside of a run."""
    with run(name, **options):
        return call()


def script(folder: Path, source: str) -> subprocess.CompletedProcess[str]:
    """A script of the user, run to its end in a process of its own."""
    path = folder / "script.py"
    path.write_text(textwrap.dedent(source))
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, path], cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False
    )


# 1. Wrong values: what a fingerprint misses. HERE is what the user edits before the cell is run again.


def edited(what: str, template: str, old: object, new: object, argument: Any = 1) -> Any:
    cells = (template.replace("HERE", str(edit)) for edit in (old, new))
    return pytest.param(*cells, argument, id=what)


@pytest.mark.parametrize(
    ("old", "new", "argument"),
    [
        edited("function of Python", f"from math import HERE as g\n{F}g(x)", "floor", "ceil", 1.5),
        edited("function of numpy", f"from numpy import HERE as g\n{F}float(g(x))", "mean", "median", [1, 2, 9]),
        edited("default", "import numpy\n@step\ndef f(x, g=numpy.HERE): return float(g(x))", "min", "max", [1, 2]),
        edited("class", f"from collections import HERE as K\n{F}list(K(x))", "Counter", "deque", "aab"),
        edited("module", f"import HERE as m\n{F}str(m.sqrt(x))", "math", "cmath", 4),
        edited("decorator removed", f"{TWICE}HEREdef f(x): return x", "@twice\n", ""),
        edited("partial removed", f"{MULTIPLY}f = step(HERE, name='f')", "partial(multiply, x=5)", "multiply", 3),
        edited("helper to builtin", f"HERE\n{F}abs(x)", "def abs(x): return x", "", -3),
        edited("helper to library", f"HERE\n{F}g(x)", "def g(x): return x", "from math import sqrt as g", 4),
        edited("one lambda of two", f"t = [lambda x: x + 1, lambda x: x + HERE]\n{F}t[1](x)", 2, 1),
        edited("lambdas exchanged", f"t = [HERE]\n{F}t[0](x)", "lambda x: x, lambda x: -x", "lambda x: -x, lambda x: x"),
        edited("closures exchanged", f"def make(k): return lambda x: x * k\nt = [HERE]\n{F}t[0](x)", "make(1), make(2)", "make(2), make(1)"),
        edited("partials exchanged", f"{MULTIPLY}a, b = (partial(multiply, k) for k in (HERE))\n{F}a(x) - b(x)", "2, 3", "3, 2"),
        edited("methods exchanged", f"{SCALED}a, b = (Scaled(k).by for k in (HERE))\n{F}a(x) - b(x)", "2, 3", "3, 2"),
        edited("helper by another name", f"{UP_DOWN}g = HERE\n{F}(g(x), up(x), down(x))", "up", "down"),
        edited("classes exchanged", f"{TWO_CLASSES}a, b = HERE\n{F}a.k - b.k", "A, B", "B, A"),
        edited("text of a file", f"from pathlib import Path\nPath('p').write_text('HERE')\np = Path('p').read_text()\n{F}p", "one", "two"),
        edited("statistic of data", f"from statistics import fmean\ntrain = [1, 2, HERE]\nmean = fmean(train)\n{F}x - mean", 3, 30),
        edited("environment", f"import os\nos.environ['ATTACK'] = 'HERE'\nlevel = os.environ['ATTACK']\n{F}level", "low", "high"),
        edited("closure", f"{PROMPTED}f = step(make('HERE'), name='f')", "a", "b", "x"),
        edited("model moved", f"{MODEL}model = random.Random(HERE)\nmodel = moved(model)\n{DRAW}", 1, 2),
        edited("model configured", f"{MODEL}model = random.Random(1)\nmodel.seed(HERE)\n{DRAW}", 1, 2),
        edited("model of a long list", f"{MODEL}seeds = list(range(HERE))\nmodel = random.Random(sum(seeds))\n{DRAW}", 100, 101),
        edited("settings with a lock", f"{MODEL}own = {{'lock': threading.Lock()}}\nown['k'] = HERE\n{F}own['k']", 1, 2),
        edited("setdefault", "own = {'k': HERE}\n@step\ndef f(x):\n    own.setdefault('n', 0)\n    return own['k']", 1, 2),
        edited("counter in settings", "own = {'k': HERE, 'n': 0}\n@step\ndef f(x):\n    own['n'] += 1\n    return own['k']", 1, 2),
        edited("docstring", "@step\ndef f(x):\n    'HERE'\n    return f.__doc__", "Summarise.", "Translate."),
        edited("docstring of a class", f"class Prompt:\n    'HERE'\n{F}Prompt.__doc__", "Summarise.", "Translate."),
        edited("annotation", "@step\ndef f(x: HERE): return f.__annotations__['x'](x)", "int", "str"),
        edited("attribute of a function", f"def g(x): return x * g.k\ng.k = HERE\n{F}g(x)", 1, 2),
        edited("method by another name", f"class K:\n    def a(self): return 1\n    def b(self): return 2\n    m = HERE\n{F}K().m()", "a", "b"),
        edited("kind of method", f"class K:\n    @HERE\n    def m(*given): return len(given)\n{F}K.m(x)", "staticmethod", "classmethod"),
        edited("options of a dataclass", f"from dataclasses import dataclass\n@dataclass(eq=HERE)\nclass D: k: int = 1\n{F}D() == D()", True, False),
    ],
)  # fmt: skip
def test_an_edit_is_never_answered_with_the_old_value(
    old: str, new: str, argument: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an edit that changes the result, map asks or gives the new result."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ATTACK", "")
    cell(old)["f"].map([argument])
    edited = cell(new)["f"]
    true_value = [edited.function(argument)]

    assert true_value == answer(lambda: list(edited.map([argument])), true_value)


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file of a module of the user, imported as ``attacked``."""
    path = tmp_path / "attacked.py"
    path.write_text("K = 2\ndef scale(x):\n    return x * K\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield path
    sys.modules.pop("attacked", None)


def test_a_setting_put_into_a_module_of_the_user(own_module: Path) -> None:
    """``config.K = 3`` in a cell changes what a step computes that reads ``config.K``."""
    space = cell(f"import attacked\n{F}attacked.scale(x)")
    space["f"].map([1])
    space["attacked"].K = 3

    assert [3] == answer(lambda: list(space["f"].map([1])), [3])


def test_a_file_edited_but_not_reloaded(own_module: Path) -> None:
    """What old code computes is never saved as a result of the new code."""
    source = f"from attacked import scale\n{F}scale(x)"
    space = cell(source)
    own_module.write_text("K = 2\ndef scale(x):\n    return x * 1000\n")
    space["f"].map([1])  # computes with the code that was loaded: 2
    importlib.reload(sys.modules["attacked"])
    restarted = cell(source)["f"]

    assert [1000] == answer(lambda: list(restarted.map([1])), [1000])


CLIENT = """
import threading
class Client:
    def __init__(self, by):
        self.by, self.lock = by, threading.Lock()
client = Client(HERE)
"""


@pytest.mark.parametrize(
    ("text", "source"),
    [
        (CLIENT, f"from attacked import client\n{F}client.by * x"),
        (CLIENT.replace("self.by", "self.of").replace("= by,", "= [by],"), f"from attacked import *\n{F}client.of[0] * x"),
        ("K = HERE\n", "@step\ndef f(x):\n    import attacked\n    return attacked.K * x"),
    ],
    ids=["an object made there", "all of a module", "imported inside the step"],
)  # fmt: skip
def test_what_old_data_gives_is_not_saved_under_an_edit_that_was_not_reloaded(
    text: str, source: str, own_module: Path
) -> None:
    """After the reload nothing of it is found."""
    own_module.write_text(text.replace("HERE", "2"))
    cell(source)["f"].map([1])
    note_loads()  # as after a cell
    own_module.write_text(text.replace("HERE", "1000"))
    assert [2, 4] == list(cell(source)["f"].map([1, 2], on_change="recompute"))
    importlib.reload(sys.modules["attacked"])

    assert [1000, 2000] == answer(lambda: list(cell(source)["f"].map([1, 2])), [1000, 2000])


def test_a_module_imported_inside_the_step(own_module: Path) -> None:
    """A helper that the step imports itself counts like one that is imported above."""
    source = "@step\ndef f(x):\n    from attacked import scale\n    return scale(x)"
    cell(source)["f"].map([1])
    own_module.write_text("def scale(x):\n    return 'edited, and longer'\n")
    importlib.reload(sys.modules["attacked"])
    edited = ["edited, and longer"]

    assert edited == answer(lambda: list(cell(source)["f"].map([1])), edited)


def test_a_folder_with_the_name_of_what_is_imported(own_module: Path) -> None:
    """The function that the step imports itself is looked for in its module, and nowhere else."""
    source = "@step\ndef f(x):\n    from attacked import scale\n    return scale(x)"
    (own_module.parent / "scale").mkdir()

    assert [2] == list(cell(source)["f"].map([1]))
    assert {"def:f", "module:attacked", "step"} == cell(source)["f"].fingerprint().parts.keys()


def test_a_dict_changed_between_two_runs() -> None:
    """Plain calls of a new run see what changed inside of a global since the run before."""
    space = cell(f"own = {{'k': 2}}\n{F}x * own['k']")
    in_run("plain", lambda: space["f"](1))
    space["own"]["k"] = 3

    assert 3 == answer(lambda: in_run("plain", lambda: space["f"](1)), 3)


def test_a_dict_changed_during_a_run() -> None:
    """A result is never restored under settings other than those it was computed with."""
    source = f"own = {{'k': 2}}\n{F}x * own['k']"
    space = cell(source)
    with run("plain"):
        space["f"](1)
        space["own"]["k"] = 3
        space["f"](5)
    restarted = cell(source)["f"]

    assert 10 == answer(lambda: in_run("plain", lambda: restarted(5)), 10)


@pytest.mark.parametrize(
    ("source", "call"),
    [
        ("class Doc:\n    def text(self): return HERE\n@step\ndef f(doc): return doc.text()", "f(Doc())"),
        ("class Model:\n    k = HERE\n@step\ndef f(kind): return kind().k", "f(Model)"),
        (
            "class Model:\n    def part(self): return HERE\n    @step\n    def f(self): return self.part()",
            "Model().f()",
        ),
    ],
    ids=["instance", "class", "self"],
)
def test_the_class_of_an_argument_was_edited(source: str, call: str) -> None:
    """The code of a notebook class counts wherever its instances come in."""
    for value in (1, 2):
        space = cell(source.replace("HERE", str(value)))

        assert value == answer(lambda space=space: in_run("plain", lambda: eval(call, space)), value)


def test_map_of_a_step_on_an_instance() -> None:
    """``model.embed.map(docs)`` calls the method of that model, or says that it cannot."""
    space = cell("class Model:\n    k = 7\n    @step\n    def f(self, x=0): return (type(self).__name__, x)")
    with contextlib.suppress(ConfigError):
        assert [("Model", 5)] == list(space["Model"]().f.map([5]))


TWO_OF_A_NAME = "def make(k):\n    @step\n    def f(x): return x * k\n    return f\none, two = make(1), make(2)"


def test_two_steps_of_one_name_do_not_answer_for_each_other() -> None:
    """on_change="keep" keeps results of older code, not those of another function that is also in use."""
    space = cell(TWO_OF_A_NAME)
    with run("both", on_change="keep"):
        assert [[5], [10]] == [list(space[name].map([5])) for name in ("one", "two")]


def test_a_cell_that_succeeded_can_be_run_again() -> None:
    """A global assigned in the middle of the cell makes two versions of a step, in the re-run as in the first run."""
    source = "out = []\nwith run('mid'):\n    for SCALE in (1, 2, 3):\n        out.append(f(10))"
    for _ in range(2):
        space = cell(f"{F}x * SCALE\n{source}")

        assert [10, 20, 30] == space["out"]


def version_of(letter: str) -> Any:
    """The step ``f`` as it is after an edit."""
    return cell(f"{F}'{letter}'")["f"]


def test_keep_keeps_what_was_in_use_last() -> None:
    """A, edited to B and computed again, back to A, edited to C with keep: A's results, which the user saw last."""
    for letter, choice in (("A", "ask"), ("B", "recompute"), ("A", "keep")):
        assert [letter] == list(version_of(letter).map([1], on_change=choice))

    assert ["A"] == list(version_of("C").map([1], on_change="keep"))


def test_all_edited_steps_of_a_cell_are_named_together() -> None:
    """Two steps were edited: the question about a durable cell names both, so that its answer is about both."""
    source = "@step\ndef a(): return 1\n@step\ndef b(): return HERE\ndef both(): return a(), b()"
    in_run("two", cell(source.replace("HERE", "1"))["both"])
    edited = cell(source.replace("HERE", "2").replace("return 1", "return 2"))

    with pytest.raises(CodeChanged, match="(?s)step 'a'.*Changed too: b"):
        runs.begin("two", steps=[edited["a"], edited["b"]])


def test_recompute_that_was_stopped_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recompute, stopped half-way: run again it asks nothing, and every value is the new code's."""
    source = (
        "import os\n@step\ndef f(x):\n    if os.environ['ATTACK'] == str(x): raise KeyboardInterrupt\n    return 'HERE'"
    )
    old, new = (cell(source.replace("HERE", letter))["f"] for letter in "AB")
    monkeypatch.setenv("ATTACK", "")
    old.map(range(100), workers=1)
    monkeypatch.setenv("ATTACK", "50")
    with pytest.raises(KeyboardInterrupt):
        new.map(range(100), workers=1, on_change="recompute")
    monkeypatch.setenv("ATTACK", "")

    assert ["B"] * 100 == list(new.map(range(100)))


def test_on_change_does_not_restart_the_numbers_of_equal_calls() -> None:
    """Two maps of equal items in one run are different calls, whatever on_change says."""
    drawn = itertools.count()
    draw = step(lambda _: next(drawn), name="draw")
    with run("draws"):
        out = [list(draw.map(["joke"] * 2, workers=1, on_change="keep")) for _ in range(2)]

    assert [[0, 1], [2, 3]] == out


def test_equal_inner_calls_keep_their_numbers_when_outer_calls_are_restored() -> None:
    """A sample drawn inside of document 2 is its own, also when documents 0 and 1 are restored."""
    drawn = itertools.count()
    draw = step(lambda _: next(drawn), name="draw")
    outer = step(lambda _: draw("joke"), name="outer")
    in_run("nested", lambda: list(outer.map([0, 1], workers=1)))

    assert [0, 1, 2] == in_run("nested", lambda: list(outer.map([0, 1, 2], workers=1)))


def test_a_name_given_by_key_is_no_argument() -> None:
    """The result of the document *named* 'x' is not the result for the argument 'x'."""
    shown = step(lambda doc: str(doc), name="shown")
    shown.map([{"id": "x"}], key=lambda doc: doc["id"])

    assert ["x"] == list(shown.map(["x"]))


def test_functions_as_arguments_are_told_apart_by_what_they_hold() -> None:
    """A pipeline that holds two closures is another argument once they are exchanged."""

    def power(k: int) -> Any:
        return lambda x: x**k

    def pipeline(*parts: Any) -> Any:
        return lambda x: parts[0](x) - parts[1](x)

    call = step(lambda function: function(2), name="call")
    call.map([pipeline(power(2), power(3))])

    assert [4] == list(call.map([pipeline(power(3), power(2))]))


def test_results_are_not_shared() -> None:
    """What a caller does to a returned value changes neither the saved one nor the one of another read."""
    listed = step(lambda x: [x], name="listed")
    for _ in range(3):
        found = in_run("plain", lambda: listed(1))

        assert [1] == found
        found.append("spoilt")
    results = listed.map([1])
    results[0].append("spoilt")

    assert [[1]] == list(listed.map([1]))


# 2. Lost or double work


class OneWay:
    """Can be pickled, and not unpickled: the classic trap."""

    def __init__(self, code: int, text: str) -> None:
        self.code, self.text = code, text

    def __reduce__(self) -> tuple[type[OneWay], tuple[str]]:
        return OneWay, (self.text,)


def test_a_later_result_that_cannot_be_read_back() -> None:
    """A result that bytes cannot bring back is refused when it is saved, whichever it is; never a dead run."""
    executed: list[int] = []

    @step
    def f(x: int) -> Any:
        executed.append(x)
        return OneWay(1, "bad page") if x else "ok"

    for _ in range(2):
        with pytest.raises(Unsaveable, match="not read back"):
            f.map(range(3), workers=1)

    assert [0, 1, 1] == executed


@pytest.mark.parametrize("executor", [None, "processes"])
def test_a_later_part_that_cannot_be_read_back(executor: str | None) -> None:
    """A result inside of which something cannot be read back is refused, though others of its type have been saved."""

    @step
    def f(x: int) -> Any:
        return {"id": x, "error": OneWay(1, "bad page") if x == 2 else ValueError("x")}

    with pytest.raises(Unsaveable, match="not read back"):
        f.map(range(3), workers=1, executor=executor)


def test_a_pool_inside_a_run_inside_a_run() -> None:
    """Calls in the user's threads are kept, in the innermost run, or refused; never silently computed each time."""
    executed: list[int] = []
    f = step(executed.append, name="f")
    for _ in range(2):
        with run("outer"), run("inner"), ThreadPoolExecutor(2) as pool:
            list(pool.map(f, range(5)))

    assert 5 == len(executed)


def test_two_maps_in_two_threads(store: Store) -> None:
    """Maps in two threads have a run each: the end of one is not the end of the other, and inner calls are kept."""
    joined, first_may_end, second_may_end = threading.Event(), threading.Event(), threading.Event()
    first = step(lambda _: first_may_end.wait(10), name="first")
    inner = step(lambda x: x, name="inner")

    def wait_and_call(x: int) -> int:
        joined.set()
        second_may_end.wait(10)
        return inner(x)  # type: ignore[no-any-return]

    second = step(wait_and_call, name="second")
    threads = [threading.Thread(target=one.map, args=([1],)) for one in (first, second)]
    threads[0].start()
    wait_until(lambda: bool(session.live), describing="the first map has begun")
    threads[1].start()
    joined.wait(10)
    first_may_end.set()
    threads[0].join()
    opened = store.run("second")
    second_may_end.set()
    threads[1].join()

    assert opened is not None
    assert State.RUNNING == opened.state
    assert {"second", "inner"} == {version.name for version in store.contents(opened.id)}


def test_a_late_thread_does_not_call_into_the_next_run(store: Store) -> None:
    """What goes on after a timeout belongs to the run it was started in, or to none."""
    go_on, done = threading.Event(), threading.Event()
    inner = step(lambda x: x, name="inner")

    def slow(_: int) -> None:
        go_on.wait(10)
        inner("late")
        done.set()

    late = step(slow, name="late", timeout=0.05)
    with run("a"):
        late.map([1], on_error="collect")
    with run("b") as live:
        go_on.set()
        done.wait(10)

    assert [] == store.contents(live.record.id)


def test_a_panel_that_fails_does_not_hold_the_run(store: Store) -> None:
    """When an observer raises, the run is ended and let go of."""

    def bad_panel(live: runs.LiveRun) -> None:
        raise RuntimeError("no display")

    f = step(lambda x: x, name="f")
    session.observers.append(bad_panel)
    try:
        with contextlib.suppress(RuntimeError):
            f.map([1])

        assert [] == session.live
    finally:
        session.observers.remove(bad_panel)
        for live in list(session.live):
            live.finish()
        runs._current.set(None)


def failing_once() -> tuple[Any, list[int]]:
    """A step that fails until the list is cleared."""
    broken_now = [1]

    @step
    def f(x: int) -> int:
        if broken_now:
            raise OSError("not yet")
        return x

    return f, broken_now


@pytest.mark.parametrize("elsewhere", ["database", "run"])
def test_retry_saves_where_the_map_saved(elsewhere: str, tmp_path: Path, store: Store) -> None:
    """``results.retry()`` completes the run that the results are of."""
    f, broken_now = failing_once()
    url = f"sqlite:///{tmp_path / 'other.db'}" if elsewhere == "database" else store.url
    with run("first", url=url):
        results = f.map([1, 2], on_error="collect")
    broken_now.clear()
    with contextlib.nullcontext() if elsewhere == "database" else run("second"):
        results.retry()
    opened = Store.open(url)
    found = opened.run("first")
    opened.close()

    assert found is not None
    assert (State.DONE, 2) == (found.state, found.done)


def test_a_deleted_database_is_noticed(tmp_path: Path) -> None:
    """After ``rm -r .durable_nb`` the next run says so or makes a new file; it does not save into a ghost."""
    executed: list[int] = []
    f = step(executed.append, name="f")
    f.map(range(5))
    for path in tmp_path.glob("durable.db*"):
        path.unlink()
    with contextlib.suppress(StoreError):
        f.map(range(5))

        assert (tmp_path / "durable.db").exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_step_called_in_a_forked_child(store: Store) -> None:
    """A call in a forked child is kept when the child has ended well."""
    f = step(lambda x: x, name="f")
    ended = []
    with run("forked") as live:
        for number in range(5):
            child = multiprocessing.get_context("fork").Process(target=f, args=(number,))
            child.start()
            child.join(10)
            ended.append(child.exitcode)

    assert ended.count(0) == sum(version.saved for version in store.contents(live.record.id))


def test_the_first_item_of_a_slow_iterator_is_not_kept_waiting() -> None:
    """An iterator that needs the result of its first item to produce the second one gets it."""
    computed: queue.Queue[str] = queue.Queue()
    f = step(computed.put, name="f")

    def documents() -> Iterator[str]:
        yield "first"
        try:
            yield computed.get(timeout=0.3)
        except queue.Empty:
            yield "nothing was computed"

    assert ["first", "first"] == f.map(documents()).labels


def test_an_unkeyable_item_is_found_before_anything_runs() -> None:
    """Unkeyable is raised before anything ran, as the docstring of map says."""
    executed: list[Any] = []
    f = step(executed.append, name="f")
    with pytest.raises(Unkeyable):
        f.map([*range(600), threading.Lock()])

    assert [] == executed


INTERRUPTED = """
import os, signal, sqlite3, threading
from durable_nb import run, step

ended = threading.Event()
def press_again_and_again():
    while not ended.wait(0.1):
        os.kill(os.getpid(), signal.SIGINT)

@step
def f(x):
    if x == 3 and not ended.is_set():
        viewer.execute("BEGIN IMMEDIATE")
        threading.Thread(target=press_again_and_again).start()
        ended.wait(5)
    return x

with run("another"):
    pass
viewer = sqlite3.connect(".durable_nb/durable.db", isolation_level=None)
try:
    try:
        f.map(range(10), workers=1)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
except KeyboardInterrupt:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
ended.set()
viewer.execute("COMMIT")
print(list(f.map(range(10), workers=1)))
"""
FULL = """
import os, resource
from durable_nb import step
from durable_nb.errors import StoreUnavailable

@step
def f(x):
    return os.urandom(20_000)

resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
try:
    f.map(range(100))
except StoreUnavailable as error:
    print("run the cell again" in str(error))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(len(list(f.map(range(100)))))
"""


@pytest.mark.parametrize(
    ("source", "expected"),
    [(INTERRUPTED, f"{list(range(10))}\n"), (FULL, "True\n100\n")],
    ids=["interrupted while ending", "disk was full"],
)
def test_a_run_that_could_not_be_ended_can_be_run_again(source: str, expected: str, tmp_path: Path) -> None:
    """Interrupted again while the run is being ended, or full disk: "run the cell again" works at once."""
    done = script(tmp_path, source)

    assert expected == done.stdout, done.stderr


# 3. Deadlocks


def test_maps_inside_maps_do_not_wait_for_each_other() -> None:
    """Each map has its own workers: two of them suffice for thirty maps inside a map."""
    inner = step(lambda x: x, name="inner")
    outer = step(lambda n: sum(inner.map(range(10 * n, 10 * n + 10), workers=2)), name="outer")

    assert sum(range(300)) == sum(outer.map(range(30), workers=2))


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_exit_in_a_worker_ends_the_map(error: type[BaseException], store: Store) -> None:
    """A BaseException in a worker is raised by the map; what finished before is saved."""

    @step
    def f(x: int) -> int:
        if x == 20:
            raise error
        return x

    with pytest.raises(error):
        f.map(range(100), workers=4)
    found = store.run("f")

    assert found is not None
    assert 20 <= found.done


def test_stop_iteration_is_a_failure_like_any_other() -> None:
    """A step that raises StopIteration neither ends the map early nor hangs it."""

    @step(timeout=5)
    def f(x: int) -> int:
        raise StopIteration

    assert 3 == len(f.map(range(3), on_error="collect").failed)


# 4. and 5. Sentences that are not true


def test_attempts_are_counted_not_assumed() -> None:
    """An error that is not in retry_on was tried once, and the message says so."""

    @step(retries=3, retry_on=OSError)
    def f(x: int) -> int:
        raise ValueError("bad page")

    with pytest.raises(StepFailed, match="after 1 attempt:"):
        f.map([1])


def test_a_timeout_names_the_document_that_was_too_slow() -> None:
    """The error of a document without a name says which one it is, as its slot does."""
    hang = threading.Event()
    f = step(lambda x: hang.wait(10), name="f", timeout=0.05)
    failed = f.map([(0,), (1,)], on_error="collect").failed
    hang.set()

    assert ["on #0", "on #1"] == [failure.error[-5:] for failure in failed]


def test_a_run_inside_of_itself_says_so() -> None:
    """Nothing can be waited for when the block that holds the run is the one that is running."""
    with run("a"), pytest.raises(DurableError) as raised, run("a"):
        pass

    assert "Wait for it" not in str(raised.value)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda f: f.map([{"id": 1}], key="id"),
        lambda f: f.options(timeout="60"),
        lambda f: run(5).__enter__(),  # type: ignore[arg-type]
        lambda f: configure(trust="no"),  # type: ignore[arg-type]
        lambda f: f.options(retires=3),
    ],
    ids=["key is no function", "timeout is text", "name is a number", "trust is text", "unknown option"],
)
def test_a_wrong_option_is_a_config_error(wrong: Callable[[Any], object]) -> None:
    """An option of the wrong type is refused with what to type instead; trust="no" does not mean yes."""
    with pytest.raises(ConfigError):
        wrong(step(lambda x: 1, name="f"))


def test_assert_restored_counts_its_own_step() -> None:
    """Another step in the same run does not disturb the count."""
    f, g = step(lambda x: x, name="f"), step(lambda x: x, name="g")
    for expected in (contextlib.nullcontext(), assert_restored(f, 2)):
        with expected, run("both"):
            f.map([1, 2])
            g.map([1, 2, 3])


@pytest.mark.parametrize("command", ["runs", "check", "doctor"])
def test_looking_at_a_database_does_not_make_it(command: str, tmp_path: Path) -> None:
    """A mistyped --db is told, and no file appears."""
    main([command, "--db", str(tmp_path / "typo" / "x.db")])

    assert not (tmp_path / "typo").exists()


def test_doctor_shows_no_password(capsys: pytest.CaptureFixture[str]) -> None:
    """What is pasted into an issue holds no secret."""
    main(["doctor", "--json", "--db", "postgresql://me@localhost:1/x?password=hunter2"])

    assert "hunter2" not in capsys.readouterr().out


def test_a_cell_that_failed_made_no_model(kernel: Callable[..., Kernel], tmp_path: Path) -> None:
    """``model = load("b")`` raises and the old model stays: what it computes is not saved as model b's."""
    one = kernel()
    one.ok("%load_ext durable_nb\nimport os, random\nfrom durable_nb import step")
    one.ok(
        "def load(name):\n    if name == 'b' and not os.path.exists('online'): raise OSError(name)\n    return random.Random(name)"
    )
    one.ok(f"model = load('a')\n{DRAW}")
    one.run("model = load('b')")
    one.ok("%%durable model\nf.map([1])")  # with model a
    (tmp_path / "online").touch()
    one.ok("model = load('b')")
    reply = one.run("%%durable model\nlist(f.map([1])) == [f.function(1)]")

    assert "CodeChanged" in reply.error or reply.result == "True"
