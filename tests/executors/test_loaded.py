"""Modules of the user in workers: computed is with the code that the result is saved under, or not at all."""

from __future__ import annotations

import importlib
import multiprocessing
from concurrent.futures import Executor, ProcessPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from durable_nb import step
from durable_nb.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType

pytestmark = pytest.mark.usefixtures("store")
EDITS = {
    "function": "def clean(n):\n    return n * {}\n",
    "constant": "FACTOR = {}\ndef clean(n):\n    return n * FACTOR\n",
    "method": "class By:\n    def __call__(self, n):\n        return n * {}\ndef clean(n):\n    return By()(n)\n",
    "attribute": "class By:\n    factor = {}\ndef clean(n):\n    return n * By.factor\n",
    "default": "def clean(n, by={}):\n    return n * by\n",
    "table": "def by(n):\n    return n * {}\nALL = {{'by': by}}\ndef clean(n):\n    return ALL['by'](n)\n",
    "instance": """
class Base:
    def by(self, n):
        return n * {}
class By(Base):
    pass
BY = By()
def clean(n):
    return BY.by(n)
""",
    "decorator": """
def times(by):
    def around(f):
        return lambda n: by * f(n)
    return around
@times({})
def clean(n):
    return n
""",
    "object": """
import threading
class By:
    def __init__(self, by):
        self.by, self.lock = by, threading.Lock()
BY = By({})
def clean(n):
    return n * BY.by
""",
}
LIVELY = """
import functools, os, random, threading, time
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

START, HERE, LOCK, WHO = time.time(), Path(__file__).parent, threading.Lock(), f"{os.getpid()}"
CACHE, SEEN, count = {}, [], 0

class Kind(Enum):
    A = "a"

@dataclass
class Doc:
    n: int
    tags: list = field(default_factory=list)
    made = 0
    def __post_init__(self):
        Doc.made += 1

def memo(f):
    known = {}
    @functools.wraps(f)
    def around(n):
        if n not in known:
            known[n] = f(n)
        return known[n]
    return around

@functools.lru_cache
def half(n):
    return n / 2

@memo
def double(n):
    return 2 * n

DEFAULT, FIRST = Kind.A, Doc(1)
TABLE = {"double": double, "half": half}

def clean(n):
    global count
    count += 1
    CACHE[n] = SEEN.append(n)
    with LOCK:
        return TABLE["double"](Doc(n).n) + half(n) + len(DEFAULT.value) + FIRST.n + (START > 0) + HERE.is_dir()
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Write a module, and load it anew."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")

    def written(text: str) -> ModuleType:
        name = f"of_{tmp_path.name}"
        (tmp_path / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        return importlib.reload(importlib.import_module(name))

    return written


def pool(method: str) -> Executor:
    """One worker."""
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method))


@pytest.mark.parametrize("what", EDITS)
def test_a_worker_that_lives_on_does_not_compute_with_what_it_had(
    what: str, write: Callable[[str], ModuleType]
) -> None:
    """The module was edited and reloaded: an error that says what to do, and a new pool computes."""
    helpers = write(EDITS[what].format(1))

    @step
    def embed(number: int) -> Any:
        return helpers.clean(number)

    with pool("fork") as old:
        assert [1, 2] == list(embed.map([1, 2], executor=old))
        write(EDITS[what].format(1000))
        with pytest.raises(ConfigError, match=r"another one in a worker .* start the workers anew"):
            embed.map([1, 2, 3], executor=old, on_change="recompute")
    with pool("fork") as new:
        assert [1000, 2000, 3000] == list(embed.map([1, 2, 3], executor=new, on_change="recompute"))


def test_an_argument_does_not_arrive_as_one_of_the_class_that_was(write: Callable[[str], ModuleType]) -> None:
    """Its methods are those of this process, also where it stands in a list."""
    text = "class Base:\n    def by(self):\n        return {}\nclass Doc(Base):\n    pass\n"
    helpers = write(text.format(1))

    @step
    def embed(docs: list[Any]) -> Any:
        return docs[0].by()

    with pool("fork") as old:
        assert [1] == list(embed.map([[helpers.Doc()]], executor=old, key=len))
        write(text.format(1000))
        with pytest.raises(ConfigError, match=r"Doc is another one in a worker .* start the workers anew"):
            embed.map([[helpers.Doc()] * 2], executor=old, key=len)
    with pool("fork") as new:
        assert [1000] == list(embed.map([[helpers.Doc()] * 2], executor=new, key=len))


def test_a_fresh_worker_does_not_compute_with_what_was_not_reloaded(
    tmp_path: Path, write: Callable[[str], ModuleType]
) -> None:
    """It would load the file as it is now; after the reload it does."""
    helpers = write("def clean(n):\n    return n\n")
    (tmp_path / f"{helpers.__name__}.py").write_text("def clean(n):\n    return n * 1000\n")

    @step
    def embed(number: int) -> Any:
        return helpers.clean(number)

    with pytest.raises(ConfigError, match="reload it here"):
        embed.map([1, 2], executor="processes")
    importlib.reload(helpers)
    assert [1000, 2000] == list(embed.map([1, 2], executor="processes", on_change="recompute"))


@pytest.mark.parametrize("where", ["fork", "spawn", "processes"])
def test_what_differs_in_every_process_is_no_other_version(where: str, write: Callable[[str], ModuleType]) -> None:
    """Caches and counters that have been filled here, clocks, locks, decorators, classes."""
    helpers = write(LIVELY)

    @step
    def embed(number: int) -> Any:
        return helpers.clean(number)

    expected = [embed.function(number) for number in range(4)]
    executor: Any = where if where == "processes" else pool(where)

    assert expected == list(embed.map(range(4), executor=executor))
    assert expected == list(embed.options(name="again").map(range(4), executor=executor))
    if where != "processes":
        executor.shutdown()
