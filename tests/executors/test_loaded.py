"""Modules of the user in workers: computed is with the code that the result is saved under, or not at all."""

from __future__ import annotations

import importlib
import json
import multiprocessing
import sys
from concurrent.futures import Executor, ProcessPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from durable_nb import step
from durable_nb.errors import ConfigError
from tests.matrix import usual

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
    "member": "from enum import Enum\nclass By(Enum):\n    A = {}\ndef clean(n):\n    return n * By.A.value\n",
    "words": "BY = 'by ' + '{}'.strip()\ndef clean(n):\n    return n * int(BY[3:])\n",
    "method's default": "class By:\n    def of(self, n, *, by={}):\n        return n * by\ndef clean(n):\n    return By().of(n)\n",
    "decorator": """
def times(f):
    return lambda n: {} * f(n)
@times
def clean(n):
    return n
""",
    "decorated": """
def same(f):
    return lambda n: f(n)
@same
def clean(n):
    return n * {}
""",
}
MADE = {
    "dict": "BY = {{'by': {}}}\ndef clean(n):\n    return n * BY['by']\n",
    "filled dict": "BY = {{}}\nBY['by'] = {}\ndef clean(n):\n    return n * BY['by']\n",
    "computed": "FACTOR = abs({})\ndef clean(n):\n    return n * FACTOR\n",
    "computed of a constant": "SIZE = {}\nFACTOR = abs(SIZE)\ndef clean(n):\n    return n * FACTOR\n",
    "made by a function": "def make():\n    return [{}]\nBY = make()\ndef clean(n):\n    return n * BY[0]\n",
    "argument of a decorator": """
def times(by):
    def around(f):
        return lambda n: by * f(n)
    return around
@times({})
def clean(n):
    return n
""",
    "object": """
class By:
    def __init__(self, by):
        self.by = by
BY = By({})
def clean(n):
    return n * BY.by
""",
    "attribute that is a dict": "class By:\n    of = {{'by': {}}}\ndef clean(n):\n    return n * By.of['by']\n",
}
DIFFERENT = {
    "lazy property": """
class Embedder:
    def __init__(self):
        self._model = None
    @property
    def model(self):
        self._model = self._model or {"loaded": True}
        return self._model
embedder = Embedder()
def clean(n):
    return n * len(embedder.model)
""",
    "cached property": """
from functools import cached_property
class Embedder:
    @cached_property
    def model(self):
        return {"loaded": True}
embedder = Embedder()
def clean(n):
    return n * len(embedder.model)
""",
    "cache": """
CACHE = {}
def put(cache, key, value):
    cache[key] = value
def clean(n):
    put(CACHE, n, n)
    return CACHE[n]
""",
    "singleton": """
class Only:
    _it = None
    def __new__(cls):
        if cls._it is None:
            cls._it = super().__new__(cls)
        return cls._it
def clean(n):
    return n * (Only() is Only())
""",
    "session": "import uuid\nBY = {'X-Session': uuid.uuid4().hex}\ndef clean(n):\n    return n * len(BY)\n",
    "folder of today": """
from datetime import datetime
from pathlib import Path
NOW = datetime.now()
OUT = Path("out") / NOW.strftime("%H%M%S%f")
def clean(n):
    return n * len(OUT.parts) / 2
""",
    "temporary folder": """
import tempfile
from pathlib import Path
TMP = Path(tempfile.gettempdir(), next(tempfile._get_candidate_names()))
CACHE = TMP / "cache"
def clean(n):
    return n * (CACHE.name == "cache")
""",
    "program": "import sys\nNAME = sys.argv[0]\ndef clean(n):\n    return n * isinstance(NAME, str)\n",
    "default": """
import uuid
def traced(f, run=uuid.uuid4().hex):
    return lambda n: f(n) * bool(run)
@traced
def clean(n):
    return n
""",
    "device": """
import json
DEVICE = "cuda" if json.JSONDecoder is json.JSONEncoder else "cpu"
def clean(n):
    return n * len(DEVICE and "x")
""",
    "set by another function": """
import sys
MODE = "cold"
def warm():
    sys.modules[__name__].MODE = "warm"
def clean(n):
    warm()
    return n * len(MODE) / 4
""",
    "class of a library": "from json import JSONDecoder as Bar\ndef clean(n):\n    return n * callable(Bar)\n",
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


@pytest.mark.parametrize("whence", usual(["here", "from", "import"], "from"))
@pytest.mark.parametrize("what", MADE)
def test_what_is_made_when_a_module_is_loaded_is_compared_by_its_text(
    what: str, whence: str, tmp_path: Path, write: Callable[[str], ModuleType]
) -> None:
    """A pool that lives on, and a fresh one beside a module that was not reloaded; what is edited beside it is no matter."""
    helpers = write(MADE[what].format(1))
    lines = {
        "here": "",
        "from": f"from {helpers.__name__} import clean as there\ndef clean(n):\n    return there(n)\n",
        "import": f"import {helpers.__name__} as there\ndef clean(n):\n    return there.clean(n)\n",
    }
    if lines[whence]:
        (tmp_path / f"by_{tmp_path.name}.py").write_text(lines[whence])
        outer = importlib.import_module(f"by_{tmp_path.name}")
    else:
        outer = helpers

    @step
    def embed(number: int) -> Any:
        return outer.clean(number)

    def load(text: str) -> None:
        write(text)
        importlib.reload(outer)

    with pool("fork") as old:
        assert [1, 2] == list(embed.map([1, 2], executor=old))
        load("BESIDE = [2]  # a comment\n" + MADE[what].format(1))
        assert [1, 2, 3] == list(embed.map([1, 2, 3], executor=old, on_change="recompute"))
        (tmp_path / f"{helpers.__name__}.py").write_text(MADE[what].format(1000))
        with pytest.raises(ConfigError, match=rf"{helpers.__name__}\.\w+ is another one .* reload it here"):
            embed.map([1, 2, 3, 4], executor="processes", on_change="recompute")
        load(MADE[what].format(1000))
        with pytest.raises(ConfigError, match=r"another one in a worker .* start the workers anew"):
            embed.map([1, 2, 3], executor=old, on_change="recompute")
    with pool("fork") as new:
        assert [1000, 2000, 3000] == list(embed.map([1, 2, 3], executor=new, on_change="recompute"))


@pytest.mark.parametrize("what", DIFFERENT)
def test_what_another_process_need_not_share_is_no_other_version(
    what: str, write: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is computed, drawn, filled or chosen when a module is loaded or used, and classes of libraries."""
    monkeypatch.setattr("json.JSONDecoder", json.JSONEncoder)
    helpers = write(DIFFERENT[what])

    @step
    def embed(number: int) -> Any:
        return helpers.clean(number)

    assert 5 == embed(5)
    assert [1, 2] == list(embed.map([1, 2], executor="processes"))


def test_a_module_that_only_workers_have_loaded_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The step imports it when it is called: a pool that lives on has it as it was before the edit."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    name = f"only_{tmp_path.name}"
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(f"def embed(number):\n    from {name} import clean\n    return clean(number)", scope)
    embed = step(scope["embed"])

    (tmp_path / f"{name}.py").write_text("def clean(n):\n    return n\n")
    with pool("fork") as old:
        assert [1, 2] == list(embed.map([1, 2], executor=old))
        assert [1, 2, 3] == list(embed.map([1, 2, 3], executor=old))
        (tmp_path / f"{name}.py").write_text("def clean(n):\n    return n * 1000\n")
        with pytest.raises(ConfigError, match=rf"{name} is another one in a worker .* start the workers anew"):
            embed.map([1, 2, 3], executor=old, on_change="recompute")
    with pool("fork") as new:
        assert [1000, 2000, 3000] == list(embed.map([1, 2, 3], executor=new, on_change="recompute"))
    assert name not in sys.modules


def test_a_constant_that_is_imported_by_name_is_compared(tmp_path: Path, write: Callable[[str], ModuleType]) -> None:
    """It is a literal in the module that it comes from."""
    settings = f"settings_{tmp_path.name}"
    (tmp_path / f"{settings}.py").write_text("FACTOR = 1\n")
    text = f"from {settings} import FACTOR as BY\ndef clean(n):\n    return n * BY\n"
    helpers = write(text)

    @step
    def embed(number: int) -> Any:
        return helpers.clean(number)

    (tmp_path / f"{settings}.py").write_text("FACTOR = 1000\n")
    with pytest.raises(ConfigError, match=r"\.BY is another one in a worker"):
        embed.map([1, 2], executor="processes")
    importlib.reload(importlib.import_module(settings))
    write(text)
    assert [1000, 2000] == list(embed.map([1, 2], executor="processes", on_change="recompute"))


def test_a_constant_that_was_set_in_the_notebook_is_compared(write: Callable[[str], ModuleType]) -> None:
    """A worker would compute with what stands in the file."""
    helpers = write("FACTOR = 1\ndef clean(n):\n    return n * FACTOR\n")
    vars(helpers)["FACTOR"] = 1000

    @step
    def embed(number: int) -> Any:
        return helpers.clean(number)

    with pytest.raises(ConfigError, match=r"FACTOR is another one in a worker"):
        embed.map([1, 2], executor="processes")


def test_a_class_that_changed_in_place_is_compared_as_it_is_now(
    tmp_path: Path, write: Callable[[str], ModuleType]
) -> None:
    """As a notebook patches it, and as autoreload updates it; whatever was sent before."""
    text = "class Doc:\n    def by(self):\n        return {}\n"
    helpers = write(text.format(1))

    @step
    def embed(docs: list[Any]) -> Any:
        return docs[0].by()

    docs = [helpers.Doc()]
    assert [1] == list(embed.map([docs], executor="processes", key=len))
    scope: dict[str, Any] = {"__name__": helpers.__name__}
    exec(text.format(1000), scope)
    helpers.Doc.by = scope["Doc"].by
    with pytest.raises(ConfigError, match=r"Doc is another one in a worker"):
        embed.map([docs * 2], executor="processes", key=len)
    (tmp_path / f"{helpers.__name__}.py").write_text(text.format(1000))
    assert [1000] == list(embed.map([docs * 2], executor="processes", key=len))


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
        with pytest.raises(ConfigError, match=r"Base is another one in a worker .* start the workers anew"):
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
