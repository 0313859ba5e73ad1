"""What cells do to an object without a value, by way of functions that it is handed to and of objects that hold it."""

from __future__ import annotations

import linecache
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from durable_nb import origins
from durable_nb.mutations import are_possible
from durable_nb.provenance import statements_about

if TYPE_CHECKING:
    from collections.abc import Iterator

LIBRARY = """
class Model:
    def __init__(self, name=""):
        self.name = name
    def fit(self, *args):
        return self
    def encode(self, text):
        return text
class Trainer:
    def __init__(self, *args, **options):
        pass
    def train(self):
        pass
    def fit(self, *args):
        pass
    def report(self):
        pass
def configure(model, name=""):
    model.name = name
def measured(model):
    return 1
"""
NOTEBOOK = """
import fakelab
from fakelab import Model, Trainer, configure, measured
def rename(one, name):
    one.name = name
def rename_all(name, *, these):
    rename(these, name)
def train(model, docs, epochs=1):
    for _ in range(epochs):
        model.fit(docs)
def tune(model):
    Trainer(model).fit(model)
def ask(model, docs):
    return [model.encode(doc) for doc in docs]
def load(name):
    global model
    model = Model(name)
def lazily():
    global model
    if model is None:
        model = Model()
def count():
    global counted
    counted = 1
class Lab:
    def train(self, model):
        model.fit(1)
    def ask(self, model):
        return model.encode("x")
lab, docs = Lab(), ["a"]
trainer = Trainer()
"""


@pytest.fixture(scope="module")
def scope() -> Iterator[dict[str, Any]]:
    """The names of a notebook that uses a library."""
    library = ModuleType("fakelab")
    library.__file__ = "/env/lib/site-packages/fakelab.py"
    exec(LIBRARY, vars(library))
    sys.modules["fakelab"] = library
    name = "/tmp/ipykernel_0/mutations.py"
    linecache.cache[name] = (len(NOTEBOOK), None, NOTEBOOK.splitlines(True), name)
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(NOTEBOOK, name, "exec"), space)
    space["model"] = library.Model()
    yield space
    del sys.modules["fakelab"]
    origins._ORIGINS.pop("fakelab", None)


@pytest.mark.parametrize(
    "cell",
    [
        "setattr(model, 'name', 'v')",
        "delattr(model, 'name')",
        "vars(model).update(name='v')",
        "vars(model)['name'] = 'v'",
        "configure(model, 'v')",
        "fakelab.configure(model, name='v')",
        "configure(model=model)",
        "_ = configure(model)",
        "await configure(model)",
        "rename(model, 'v')",
        "old = rename(model, 'v')",
        "rename_all('v', these=model)",
        "for name in docs:\n    rename(model, name)",
        "history = train(model, docs, epochs=3)",
        "tune(model)",
        "trainer.fit(model, docs)",
        "done = trainer.fit(model, docs)",
        "result = lab.train(model)",
        "lazily()",
        "other = model\nother.name = 'v'",
        "mine = Trainer(model=model, epochs=3)\nmine.train()",
        "mine = Trainer(model.encode)\nfor _ in docs:\n    mine.train()",
    ],
)
def test_what_others_change_is_found(scope: dict[str, Any], cell: str) -> None:
    """A cell that changes the object by another name, or by a function, belongs to what made it."""
    found = statements_about(["model = Model()", cell], "model", scope)

    assert found is not None
    assert found.splitlines()[0] == "model = Model()"
    assert len(found.splitlines()) > 1


@pytest.mark.parametrize(
    "cell",
    [
        "print(model)",
        "model",
        "len(model)",
        "names = [type(one) for one in (model, 1)]",
        "vector = ask(model, docs)",
        "ask(model, docs)",
        "lab.ask(model)",
        "size = measured(model)",
        "if measured(model):\n    print(1)",
        "while not measured(model):\n    pass",
        "mine = Trainer(model)\nmine.report()",
        "other = model\nprint(other.name)",
        "hasattr(model, 'name')",
        "count()",
        "gone(model)",
        "def use():\n    configure(model)",
        "use = lambda: configure(model)",
        "setattr(docs, 'model', model)",
    ],
)
def test_what_only_asks_is_not(scope: dict[str, Any], cell: str) -> None:
    """A cell that uses the object does not, or each that somebody tries would be a question after a restart."""
    assert statements_about(["model = Model()", cell], "model", scope) == "model = Model()"


def test_a_function_that_binds_the_object_makes_it_anew(scope: dict[str, Any]) -> None:
    """What was before it does not matter."""
    cells = ["model = Model()", "load('v')", "configure(model, 'w')", "load('v')"]

    assert statements_about(cells, "model", scope) == "load('v')"
    assert statements_about([*cells, "lazily()"], "model", scope) == "load('v')\nlazily()"


def test_what_a_notebook_showed_was_asked_for(scope: dict[str, Any]) -> None:
    """A call of a library whose value the notebook showed is taken for a question; the same in the middle of a cell is not."""
    cells = ["model = Model()", "measured(model)", "measured(model)\nprint()"]

    assert statements_about(cells, "model", scope, {1, 2}) == "model = Model()\nmeasured(model)"


def test_only_objects_without_a_value_are_looked_at(scope: dict[str, Any]) -> None:
    """Code and data have a value, and need no statements."""
    assert are_possible(scope["model"])
    assert are_possible(scope["lab"])  # it may hold a lock, and then has none
    assert not any(map(are_possible, [scope["load"], scope["Model"], fakelab(), [1], "text", 1.0, None]))


def fakelab() -> ModuleType:
    """The library."""
    return sys.modules["fakelab"]
