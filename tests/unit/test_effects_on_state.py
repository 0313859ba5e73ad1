"""Globals that a call assigns or fills, and random numbers that it draws, are so after a restored call."""

from __future__ import annotations

import importlib
import linecache
import random
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from durable_nb import codecs, keys
from durable_nb.notebook.effects import Watch, repeat
from durable_nb.notebook.exposed import Exposed
from durable_nb.notebook.generators import Generators
from durable_nb.sources import fingerprint

NUMBERS = count()


def cell(source: str) -> dict[str, Any]:
    """The namespace of a notebook after a cell."""
    name = f"/tmp/ipykernel_{next(NUMBERS)}/effects.py"
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)
    module = ModuleType("__main__")
    space = vars(module)
    space["module"] = module
    exec(compile(source, name, "exec", dont_inherit=True), space)
    return space


def called(
    space: dict[str, Any], *args: Any, alone: bool = True, again: dict[str, Any] | None = None
) -> tuple[dict[str, Any], list[str]]:
    """What ``f`` of a namespace did, as it comes out of the store in the kernel of ``again``, and what is not repeated."""
    known = fingerprint(space["f"])
    watch = Watch(dict(enumerate(args)), known, Exposed.of(known))
    space["f"](*args)
    found, left_out = watch.effects(alone=alone)
    with pytest.MonkeyPatch.context() as main:
        main.setitem(sys.modules, "__main__", space["module"])
        codec, payload = codecs.encode(found)
        main.setitem(sys.modules, "__main__", (again or space)["module"])
        return codecs.decode(codec, payload, trusted=True, where="memory"), left_out


FILLED = {
    "a number": ("n = 0", "global n; n += 1"),
    "a new global": ("pass", "global n; n = [1]"),
    "a list": ("n = []", "n.append(1)"),
    "a list by another name": ("n = []\nother = n", "other.append(1)"),
    "a list by a local name": ("n = []", "here = n; here.append(1)"),
    "a list in a dict": ("n = {'a': []}", "n['a'].append(1)"),
    "a dict": ("n = {}", "n['a'] = n.get('a', 0) + 1"),
    "a set": ("n = set()", "n.add(1)"),
    "a list of a helper": ("n = []\ndef g(rows): rows.append(1)", "g(n)"),
    "a deque": ("import collections\nn = collections.deque(maxlen=2)", "n.append(1)"),
    "a Counter": ("import collections\nn = collections.Counter()", "n.update('ab')"),
    "an array": ("import numpy as np\nn = np.zeros(3)", "n[0] += 1"),
    "a table": ("import pandas as pd\nn = pd.DataFrame({'a': [1]})", "n.loc[0, 'a'] = 5"),
    "an instance": ("class S: n = 0\nn = S()", "n.n += 1"),
    "a name in globals()": ("n = 0", "globals()['n'] += 1"),
    "a method": ("class S:\n    def add(self): self.n = 1\nn = S()", "n.add()"),
}


@pytest.mark.parametrize("body", ["S.n += 1", "S.log.append(1)", "T.n += 1"])
def test_what_a_call_changes_of_a_class_was_what_it_is_before_the_call(body: str) -> None:
    """An attribute is put back before the class around it is looked at: that is no other class for it."""
    source = f"class S:\n    n, log = 0, []\nclass T(S): pass\ndef f(): {body}"
    first, again = cell(source), cell(source)
    found, left_out = called(first, again=again)

    assert [] == left_out
    assert [] == repeat(found, {}, again)
    assert (first["S"].n, first["S"].log, first["T"].n) == (again["S"].n, again["S"].log, again["T"].n)


@pytest.mark.parametrize("name", FILLED)
def test_a_global_is_assigned_or_filled_again(name: str) -> None:
    """Counters, caches and collections of the notebook are after a restored call what they are after a call."""
    above, body = FILLED[name]
    source = f"{above}\ndef f(): {body}"
    first, again = cell(source), cell(source)
    same, other = again.get("n"), again.get("other")
    found, left_out = called(first, again=again)
    repeat(found, {}, again)
    shown = (lambda one: vars(one)) if name in ("an instance", "a method") else (lambda one: keys.digest(one))

    assert [] == left_out
    assert shown(first["n"]) == shown(again["n"])
    assert isinstance(same, (int, type(None))) or same is again["n"]
    assert other is again.get("other")


COUNTED = {
    "by its name": "class S:\n    n = 0\n    rows = []\ndef f(): S.n += 1; S.rows.append(1)",
    "by a class method": "class S:\n    n = 0\n    rows = []\n    @classmethod\n    def add(cls): cls.n += 1; cls.rows.append(1)\nf = S.add",
    "by another class method": "class S:\n    n = 0\n    rows = []\n    @classmethod\n    def add(cls): cls.n += 1; cls.rows.append(1)\n"
    "    @classmethod\n    def put(cls): cls.add()\ndef f(): S.put()",
}


@pytest.mark.parametrize("source", COUNTED.values(), ids=COUNTED)
def test_what_code_counts_on_a_class_is_repeated_and_no_edit(source: str) -> None:
    """A class attribute that code assigns or fills is state: repeated by a restored call, and no part of the fingerprint."""
    first, again = cell(source), cell(source)
    rows, before = again["S"].rows, fingerprint(first["f"]).digest
    found, left_out = called(first, again=again)
    repeat(found, {}, again)

    assert before == fingerprint(first["f"]).digest
    assert [] == left_out
    assert (1, [1]) == (again["S"].n, again["S"].rows)
    assert rows is again["S"].rows


LIBRARY = """
import random
class Client:
    def __init__(self): self.asked, self.seen, self.open = 0, [], print
    def ask(self): self.asked += 1; self.seen.append("x"); return self.asked
    def close(self): self.open = len
"""


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], Any]:
    """Makes an object of an installed library."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    (folder / "fakeclient.py").write_text(LIBRARY)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "fakeclient", raising=False)
    return importlib.import_module("fakeclient").Client  # type: ignore[no-any-return]


def test_attributes_of_a_library_object_are_repeated(client: Callable[[], Any]) -> None:
    """A counter or list inside of a client is after a restored call what it is after a call, read as a global or given."""
    for source in ("def f(): client.ask()", "def f(one): one.ask()"):
        first, again = cell(source), cell(source)
        first["client"], again["client"] = client(), client()
        given = (first["client"],) if "one" in source else ()
        seen = again["client"].seen
        found, left_out = called(first, *given, again=again)
        repeat(found, dict(enumerate([again["client"]] if given else [])), again)

        assert [] == left_out
        assert (1, ["x"]) == (again["client"].asked, again["client"].seen)
        assert seen is again["client"].seen


def test_what_cannot_be_repeated_inside_a_library_object_is_told(client: Callable[[], Any]) -> None:
    """An attribute that is no data, or that changes while other calls run, is named and left alone."""
    space = cell("def f(one): one.close()")

    assert ({}, ["the Client that it is given"]) == called(space, client())

    space = cell("def f(): client.ask()")
    space["client"] = client()

    assert ({}, ["client"]) == called(space, alone=False)


@pytest.mark.parametrize(
    ("source", "alone", "told"),
    [
        ("n = ['x' * 5000]\ndef f(): n.append(1)", True, "n"),
        ("n = 'x' * 5000\ndef f():\n    global n\n    n += 'y'", True, "n"),
        ("n = 0\ndef f():\n    global n\n    n += 1", False, "n"),
        ("n = []\ndef f(): n.append(1)", False, "n"),
        ("n = 1\ndef f():\n    global n\n    del n", True, "n"),
    ],
)
def test_what_is_not_repeated_is_told(source: str, alone: bool, told: str) -> None:
    """Large globals, and those that change while other calls run, are named and left alone."""
    assert ({}, [told]) == called(cell(source), alone=alone)


@pytest.mark.parametrize(
    "source",
    [
        "def f(): f.n = getattr(f, 'n', 0) + 1",
        "def f(cache={}): cache[len(cache)] = 1",
        "def make():\n    rows = []\n    def f(): rows.append(1)\n    return f\nf = make()",
        "def make():\n    n = 0\n    def f():\n        nonlocal n\n        n += 1\n    return f\nf = make()",
        "rows = iter(range(9))\ndef f(): next(rows)",
    ],
)
def test_state_that_a_function_carries_is_told(source: str) -> None:
    """Nothing that a call changes is dropped in silence."""
    found, left_out = called(cell(source))

    assert found or left_out


def test_a_list_of_a_class_is_filled_again() -> None:
    """What a class holds is data like any other."""
    source = "class S: rows = []\ndef f(): S.rows.append(1)"
    again = cell(source)
    repeat(called(cell(source), again=again)[0], {}, again)

    assert [1] == again["S"].rows


def test_a_counter_of_a_class_is_counted_again() -> None:
    """A counter of a class is one of the notebook; objects stay instances of that class."""
    source = "class S: n = 0\none = S()\ndef f(): S.n += 1"
    again = cell(source)
    repeat(called(cell(source), again=again)[0], {}, again)

    assert 1 == again["S"].n
    assert isinstance(again["one"], again["S"])


DRAWS = {
    "random": ("import random", "random.random(), random.randrange(9)", "random.random()"),
    "random.gauss": ("import random", "random.gauss(0, 1)", "random.gauss(0, 1)"),
    "random.seed": ("import random", "random.seed(3)", "random.random()"),
    "numpy": ("import numpy as np", "np.random.rand()", "np.random.rand()"),
    "numpy randn": ("import numpy as np", "np.random.randn()", "np.random.randn()"),
    "numpy seed": ("import numpy as np", "np.random.seed(3)", "np.random.rand()"),
    "a Random": ("import random\nrng = random.Random(5)", "rng.gauss(0, 1)", "rng.gauss(0, 1)"),
    "a Generator": ("import numpy as np\nrng = np.random.default_rng(5)", "rng.integers(9, dtype='uint32')", "rng.integers(99, dtype='uint32')"),
    "a RandomState": ("import numpy as np\nrng = np.random.RandomState(5)", "rng.randn()", "rng.randn()"),
}  # fmt: skip


def seeded() -> None:
    """Both modules as they are above a cell."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002


@pytest.mark.parametrize("name", DRAWS)
def test_the_next_random_number_is_the_same(name: str) -> None:
    """What is drawn after a restored call is what is drawn after a call, spare numbers included."""
    above, body, following = DRAWS[name]
    first, again = cell(f"{above}\ndef f(): {body}"), cell(f"{above}\ndef f(): {body}")
    seeded()
    found, left_out = called(first)
    expected = [eval(following, first) for _ in range(3)]
    seeded()
    repeat(found, {}, again)

    assert [] == left_out
    assert {"random"} == set(found)
    assert expected == [eval(following, again) for _ in range(3)]


@pytest.mark.parametrize(
    ("make", "draw"),
    [
        (lambda: random.Random(1), lambda rng: rng.gauss(0, 1)),
        (lambda: np.random.default_rng(1), lambda rng: rng.standard_normal()),
        (lambda: np.random.default_rng(1), lambda rng: int(rng.integers(99, dtype="uint32"))),
        (lambda: np.random.RandomState(1), lambda rng: rng.randn()),
        (lambda: np.random.RandomState(1), lambda rng: rng.rand()),
    ],
)
def test_a_generator_that_is_an_argument(make: Any, draw: Any) -> None:
    """A generator that is handed over is moved as the call moved it, and stays the same object."""
    first, again = make(), make()
    found, _ = called({**cell("pass"), "f": draw}, first)
    repeat(found, {0: again}, {})

    assert "arguments" in found
    assert [draw(first) for _ in range(3)] == [draw(again) for _ in range(3)]


def test_random_numbers_while_other_calls_run_are_told() -> None:
    """Nobody knows which of several calls drew; the state is not saved then, and that is said."""
    assert ({}, ["the state of random numbers"]) == called(cell("import random\ndef f(): random.random()"), alone=False)


def test_a_spare_number_of_numpy_from_above(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that takes the spare number which the cell has left is seen."""
    monkeypatch.setattr(Generators, "_numpy_seen", None)
    quiet = cell("def f(): pass")
    for _ in range(5):
        called(quiet)
    np.random.seed(0)  # noqa: NPY002
    np.random.randn()  # noqa: NPY002

    assert "random" in called(cell("import numpy as np\ndef f(): np.random.randn()"))[0]  # noqa: NPY002
