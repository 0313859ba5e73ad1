"""A fingerprint changes when what a function does changes, says what changed, and does not change otherwise."""

from __future__ import annotations

import ast
import functools
import itertools
import json
import linecache
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from durable_nb import keys, provenance, syntax
from durable_nb.provenance import statements_about
from durable_nb.sources import changed, diff, fingerprint

CELL = textwrap.dedent(
    r'''
    import functools, re
    from dataclasses import dataclass

    PATTERN = re.compile(r"\s+")
    MODEL = "m-small"
    STOP = {"a", "the", "of"}

    @dataclass
    class Config:
        dim: int = 8
        lang: str = "en"

        def scale(self, x):
            return x * self.dim

    config = Config()

    def clean(text):
        """Say what."""
        return PATTERN.sub(" ", text).strip()

    def make(k):
        def inner(x, *, pow=2):
            return x ** k + pow
        return inner

    cube = make(3)
    half = lambda v: [x / 2 for x in v]; third = lambda v: [x / 3 for x in v]

    def deco(f):
        @functools.wraps(f)
        def wrapper(*args, **kwargs):
            return f(*args, **kwargs)
        return wrapper

    @deco
    def embed(text: str, n=3) -> list:
        # a comment
        words = [w for w in clean(text).split() if w not in STOP]
        return half([config.scale(cube(len(w))) for w in words][:n] + [f"{MODEL}-{n!r:>5}" and 1])
    '''
)
COUNTER = itertools.count()


def run_cell(source: str, **given: Any) -> dict[str, Any]:
    """The namespace after a cell ran in a fresh kernel: its file name is as new as ipykernel makes it."""
    name = f"/tmp/ipykernel_{next(COUNTER)}/cell.py"
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)
    space: dict[str, Any] = {"__name__": "__main__", **given}
    exec(compile(source, name, "exec", dont_inherit=True), space)
    return space


def parts_of(source: str, name: str = "f") -> dict[str, str]:
    return fingerprint(run_cell(textwrap.dedent(source))[name]).parts


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", ""),
        ("# a comment", "# another\n\n    # two"),
        ('"""Say what."""', '"""Say something else."""'),
        ('        """Say what."""\n', ""),
        ("text: str, n=3) -> list", "text, n=3)"),
        ("import functools, re", "\n\n\nimport re\nimport functools\nUNRELATED = 5"),
        ('"m-small"', "'m-small'"),
        ("(x / 2 for", "((x / 2) for"),
        ("return half([", "return half(  ["),
        ("x / 3", "x / 4"),
        ('{"a", "the", "of"}', '{"of", "the", "a"}'),
        ("    return inner", "\n\n    # spaced\n    return inner"),
    ],
)
def test_what_does_not_matter_keeps_the_fingerprint(old: str, new: str) -> None:
    """Comments, docstrings, annotations, layout, place, and another lambda on the same line do not count."""
    before, after = run_cell(CELL), run_cell(CELL.replace(old, new))

    assert fingerprint(before["embed"]).digest == fingerprint(after["embed"]).digest


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (".strip()", ".strip().lower()", {"def:clean"}),
        ("m-small", "m-large", {"global MODEL: 'm-small' → 'm-large'"}),
        ('"of"}', '"of", "to"}', {"global STOP"}),
        (r"\s+", r"\s*", {"global PATTERN"}),
        ("make(3)", "make(4)", {"closure k of make.inner: 3 → 4"}),
        ("pow=2", "pow=5", {"default pow of make.inner: 2 → 5"}),
        ("x / 2", "x / 4", {"def:half"}),
        ("x * self.dim", "x + self.dim", {"def:Config.scale"}),
        ("dim: int = 8", "dim: int = 9", {"class:Config", "global config"}),
        ("Config()", "Config(9)", {"global config"}),
        ("n=3", "n=4", {"default n of embed: 3 → 4"}),
        ("return f(*args, **kwargs)", "return f(*args, **kwargs) or 0", {"def:deco.wrapper"}),
        ("not in STOP", "in STOP", {"def:embed"}),
        ("!r:>5", "!r:>6", {"def:embed"}),
        ("@deco\n", "", {"def:deco.wrapper (gone)", "closure f of deco.wrapper (gone)", "step: def:deco.wrapper around def:embed → def:embed"}),
        ("class Config:", "class Base:\n    x = 1\n\n@dataclass\nclass Config(Base):", {"class:Base (new)", "class:Config"}),
        ("** k + pow", "** k - pow", {"def:make.inner"}),
    ],
)  # fmt: skip
def test_what_matters_changes_the_fingerprint_and_is_named(old: str, new: str, expected: set[str]) -> None:
    """A change of a helper, constant, closure, default, lambda, method, field or decorator is seen, and named."""
    assert old in CELL
    before, after = fingerprint(run_cell(CELL)["embed"]), fingerprint(run_cell(CELL.replace(old, new))["embed"])

    assert before.digest != after.digest
    assert expected == set(changed(before.parts, after.parts))


def test_two_versions_can_be_shown_as_a_diff() -> None:
    """The difference of two sources shows the edited line of a helper, and no file names."""
    before = fingerprint(run_cell(CELL)["embed"])
    after = fingerprint(run_cell(CELL.replace(".strip()", ".lower()"))["embed"])

    text = diff(before.source, after.source)

    assert before.source.startswith("@deco\ndef embed(")
    assert '-    return PATTERN.sub(" ", text).strip()\n+    return PATTERN.sub(" ", text).lower()' in text
    assert "+++" not in text
    assert "" == diff(before.source, before.source)


@pytest.mark.parametrize("seed", ["1", "77"])
def test_fingerprint_is_the_same_in_another_process(seed: str, tmp_path: Path) -> None:
    """A second process with another hash seed computes the same fingerprint."""
    script = tmp_path / "elsewhere.py"
    script.write_text(CELL + "\nfrom durable_nb.sources import fingerprint\nprint(fingerprint(embed).digest)\n")
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}

    printed = subprocess.run(
        [sys.executable, script], env=environment, capture_output=True, text=True, check=True
    ).stdout

    assert fingerprint(run_cell(CELL)["embed"]).digest == printed.strip()


def test_functions_typed_into_ipython() -> None:
    """Functions defined by ``run_cell`` keep their fingerprint when the cell is run again, moved or commented."""
    program = textwrap.dedent(
        """
        import json, sys
        from IPython.core.interactiveshell import InteractiveShell
        from durable_nb.sources import fingerprint

        shell = InteractiveShell.instance()
        found = []
        for cell in json.load(sys.stdin):
            shell.run_cell(cell, store_history=True).raise_error()
            made = fingerprint(shell.user_ns["embed"])
            found.append([made.digest, made.source.splitlines()[0]])
        print("@@" + json.dumps(found))
        """
    )
    other = CELL.replace(".strip()", ".upper()")
    cells = [CELL, CELL, "!true\n\n# moved\n" + CELL, CELL.replace("# a comment", ""), other, CELL]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}

    done = subprocess.run(
        [sys.executable, "-c", program], input=json.dumps(cells), env=environment, capture_output=True, text=True, check=True
    )  # fmt: skip
    found = json.loads(done.stdout.partition("@@")[2])

    expected = fingerprint(run_cell(CELL)["embed"]).digest
    assert [True, True, True, True, False, True] == [digest == expected for digest, _ in found]
    assert {"@deco"} == {source for _, source in found}


def test_functions_without_source_are_told_apart() -> None:
    """Without source the compiled code decides; the docstring and the line still do not count."""

    def made(text: str) -> str:
        space: dict[str, Any] = {"__name__": "__main__"}
        exec(text, space)
        return fingerprint(space["f"]).digest

    base = made("def f(x):\n    'doc'\n    return [y + 1 for y in x]")

    assert base == made("\n\ndef f(x):\n    'other'\n    return [y + 1 for y in x]")
    assert base != made("def f(x):\n    'doc'\n    return [y + 2 for y in x]")


def test_recursion_ends_and_knows_where_it_started() -> None:
    """Functions that call each other have the same parts whichever is asked, and a fingerprint of their own."""
    space = run_cell(
        "def odd(n): return n and even(n - 1)\ndef even(n): return not n or odd(n - 1)\ndef me(n): return me(n)\n"
    )
    odd, even = fingerprint(space["odd"]), fingerprint(space["even"])

    assert {"def:odd", "def:even", "step"} == set(odd.parts)
    assert ("step: def:odd → def:even",) == changed(odd.parts, even.parts)
    assert odd.digest != even.digest
    assert {"def:me", "step"} == set(fingerprint(space["me"]).parts)


def test_table_of_functions_that_holds_the_function_itself() -> None:
    """Functions inside data are followed, also when the data leads back to the function."""
    source = "def g(x): return x + 1\ndef f(x): return TABLE[x](x)\nTABLE = {'f': f, 'g': g}\n"

    assert {"def:f", "def:g", "global TABLE", "step"} == set(parts_of(source))
    assert {"def:g", "global TABLE"} == set(changed(parts_of(source), parts_of(source.replace("x + 1", "x + 2"))))


def test_state_of_the_function_does_not_count() -> None:
    """Counters and caches that the code itself writes are left out; what it only reads counts."""
    space = run_cell(
        "count, seen, cache, words = 0, [], {}, ['a']\n"
        "def put(x):\n    cache[x] = 1\n"
        "def f(x):\n    global count\n    count += 1\n    seen.append(x)\n    put(x)\n    return cache.get(x), words\n"
    )
    before = fingerprint(space["f"])
    space["f"]("doc")
    after = fingerprint(space["f"])
    space["words"].append("b")

    assert {"def:f", "def:put", "global words", "step"} == set(before.parts)
    assert before.digest == after.digest
    assert ("global words",) == changed(after.parts, fingerprint(space["f"]).parts)


def test_nonlocal_counter_does_not_count() -> None:
    """A closure variable that the function writes is state."""
    space = run_cell(
        "def make():\n    n = 0\n    def f(x):\n        nonlocal n\n        n += 1\n        return x\n    return f\nf = make()\n"
    )
    before = fingerprint(space["f"])
    space["f"](1)

    assert before == fingerprint(space["f"])
    assert {"def:make.f", "step"} == set(before.parts)


@pytest.fixture
def cells(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The executed cells, as the notebook layer would look them up."""
    executed: list[str] = []
    finders = [lambda name, scope: statements_about(executed, name), *provenance.statement_finders]
    monkeypatch.setattr(provenance, "statement_finders", finders)
    return executed


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An installed library with a model that has no value."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    (folder / "fakeai.py").write_text(
        "import threading\n__version__ = '1.2'\n"
        "class Model:\n    def __init__(self, name, **more):\n        self.lock = threading.Lock()\n"
        "class Light:\n    def __init__(self, name):\n        self.name = name\n"
        "def load(name): return Model(name)\n"
        "def retry(f):\n    def call(*a): return f(*a)\n    return call\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    yield
    sys.modules.pop("fakeai", None)


def run_all(cells: list[str], *sources: str) -> dict[str, str]:
    space: dict[str, Any] = {}
    for source in sources:
        cells.append(source)
        space = run_cell(source, **space)
    return fingerprint(space["f"]).parts


STEP = "def f(x): return model, x"


def test_model_is_identified_by_the_statement_that_created_it(cells: list[str], library: Any) -> None:
    """A model made again by the same statement is the same, made by another it is not; its library counts too."""
    first = run_all(cells, "import fakeai", 'model = fakeai.Model("A")', STEP)
    again = run_all(cells, "import fakeai", '# fresh kernel\nx = 1\nmodel = fakeai.Model( "A" )', STEP)
    other = run_all(cells, "import fakeai", 'model = fakeai.Model("B")', STEP)

    assert {"def:f", "global model", "lib:fakeai", "step"} == set(first)
    assert "1.2" == first["lib:fakeai"]
    assert () == changed(first, again)
    assert ("global model",) == changed(first, other)


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ("NAME = 'a'\nmodel = fakeai.Model(NAME)", "NAME = 'b'\nmodel = fakeai.Model(NAME)", "global NAME: 'a' → 'b'"),
        ("CONFIG = {'n': 1}\nmodel = fakeai.Model('a', **CONFIG)", "CONFIG = {'n': 2}\nmodel = fakeai.Model('a', **CONFIG)", "global CONFIG"),
        ("if True:\n    model = fakeai.Model('a')", "if True:\n    model = fakeai.Model('b')", "global model"),
        ("def load(): return fakeai.Model('a')\nmodel = load()", "def load(): return fakeai.Model('b')\nmodel = load()", "def:load"),
        ("model = fakeai.Light('a')", "model = fakeai.Light('b')", "global model"),
    ],
)  # fmt: skip
def test_settings_of_a_model_count(before: str, after: str, named: str, cells: list[str], library: Any) -> None:
    """What the creating statement reads counts as well: a name, a dict of settings, a helper."""
    old = run_all(cells, "import fakeai", before, STEP)
    new = run_all(cells, "import fakeai", after, STEP)

    assert (named,) == changed(old, new)


def test_growing_documents_do_not_change_a_progress_bar(cells: list[str], library: Any) -> None:
    """What a progress bar was made from matters to no result; what a model was made from does."""
    cell = "import logging, fakeai\nclass Bar(logging.Handler): pass\nBar.__module__ = 'logging'\ndocs = [{}]\nmodel = "
    bar = [run_all(cells, cell.format(docs) + "Bar(len(docs))", STEP) for docs in ("'a'", "'a', 'b'")]
    model = [run_all(cells, cell.format(docs) + "fakeai.Model(docs)", STEP) for docs in ("'a'", "'a', 'b'")]

    assert () == changed(*bar)
    assert ("global docs",) == changed(*model)


@pytest.mark.parametrize(
    "source",
    [
        "model = fakeai.Model('{}')\ndef make(m):\n    def f(x): return m, x\n    return f\nf = make(model)",
        "def make():\n    m = fakeai.Model('{}')\n    def f(x): return m, x\n    return f\nf = make()",
        "def make(name):\n    m = fakeai.Light(name)\n    def f(x): return m, x\n    return f\nf = make('{}')",
        "def f(x, m=fakeai.Model('{}')): return m, x",
        "model = fakeai.Model('{}')\ndef f(x, *, m=model): return m, x",
        "import functools\nmodel = fakeai.Model('{}')\ndef g(m, x): return m, x\nf = functools.partial(g, model)",
        (
            "class Embedder:\n    def __init__(self, m): self.m = m\n    def embed(self, x): return self.m, x\n"
            "me = Embedder(fakeai.Model('{}'))\nf = me.embed"
        ),
        (
            "class Embedder:\n    def __init__(self, m): self.m = m\n    def __call__(self, x): return self.m, x\n"
            "me = Embedder(fakeai.Model('{}'))\ndef f(x): return me(x)"
        ),
    ],
)
def test_swapped_model_is_noticed_however_it_is_held(source: str, cells: list[str], library: Any) -> None:
    """A model in a closure, default, partial, bound method or callable object counts as one in a global does."""
    old = run_all(cells, "import fakeai", source.format("a"))
    again = run_all(cells, "import fakeai", source.format("a"))
    new = run_all(cells, "import fakeai", source.format("b"))

    assert () == changed(old, again)
    assert () != changed(old, new)


@pytest.mark.parametrize(
    "cell",
    [
        (
            "import functools\nclass Deco:\n    def __init__(self, f): self.f = f; functools.update_wrapper(self, f)\n"
            "    def __call__(self, *a): return self.f(*a) + VAL\n@Deco\ndef f(x): return x"
        ),
        (
            "import functools\nclass Deco:\n    def __init__(self, n): self.n = n\n    def __call__(self, f): return Made(self.n, f)\n"
            "class Made:\n    def __init__(self, n, f): self.n = n; functools.update_wrapper(self, f)\n"
            "    def __call__(self, x): return self.__wrapped__(x) + self.n\n@Deco(VAL)\ndef f(x): return x"
        ),
        (
            "class C:\n    def __new__(cls):\n        made = super().__new__(cls)\n        made.k = VAL\n        return made\n"
            "def f(x): return C().k"
        ),
        "class Meta(type):\n    @property\n    def k(cls): return VAL\nclass C(metaclass=Meta): pass\ndef f(x): return C.k",
        "import numpy as np\nu = np.frompyfunc(lambda x: x + VAL, 1, 1)\ndef f(x): return u(x)",
        "from pydantic import BaseModel\nclass C(BaseModel):\n    k: int = VAL\ndef f(x): return C().k",
        (
            "from pydantic import BaseModel, Field\nclass C(BaseModel):\n    k: int = Field(default_factory=lambda: VAL)\n"
            "def f(x): return C().k"
        ),
        (
            "from pydantic import BaseModel, Field\nMOST = VAL\nclass C(BaseModel):\n    k: int = Field(default=1, le=MOST)\n"
            "def f(x): return C(k=x)"
        ),
        (
            "from pydantic import BaseModel, PrivateAttr\nclass C(BaseModel):\n    _k: int = PrivateAttr(default=VAL)\n"
            "def f(x): return C()._k"
        ),
        "from pydantic import BaseModel\nclass B(BaseModel):\n    k: int = VAL\nclass C(B): pass\ndef f(x): return C().k",
        "import attrs\n@attrs.define\nclass C:\n    k: int = VAL\ndef f(x): return C().k",
        "import attrs\n@attrs.define\nclass C:\n    k: list = attrs.Factory(lambda: [VAL])\ndef f(x): return C().k",
        (
            "import attr as attrs\ndef conv(x): return x + VAL\n@attrs.s\nclass C:\n    k = attrs.ib(converter=conv)\n"
            "def f(x): return C(x).k"
        ),
        "from pydantic import validate_call\n@validate_call(config={'str_max_length': VAL})\ndef f(x: str): return x",
        (
            "import pydantic\nMOST = VAL\n@pydantic.validate_call(config=pydantic.ConfigDict(str_max_length=MOST))\n"
            "def f(x: str): return x"
        ),
        (
            "from pydantic import validate_call\nlimited = validate_call(config={'str_max_length': VAL})\n@limited\n"
            "def f(x: str): return x"
        ),
        (
            "from pydantic import validate_call\ndef g(x: str): return x\nh = validate_call(config={'str_max_length': VAL})(g)\n"
            "def f(x): return h(x)"
        ),
        "import sqlalchemy as sa\nclass C:\n    k = sa.create_engine(f'sqlite:///{VAL}.db')\ndef f(x): return C.k",
        "import sqlalchemy as sa\nURL = 'sqlite:///VAL.db'\nclass C:\n    k = sa.create_engine(URL)\ndef f(x): return C.k",
        "import sqlalchemy as sa\nclass C: pass\nC.k = sa.create_engine('sqlite:///VAL.db')\ndef f(x): return C.k",
        (
            "from threading import Lock\nclass M:\n    def __init__(self, v): self.v, self.lock = v, Lock()\n"
            "class C:\n    k: object = M(VAL)\ndef f(x): return C.k.v"
        ),
        (
            "import sqlalchemy as sa\ndef made(v):\n    engine = sa.create_engine(f'sqlite:///{v}.db')\n"
            "    def f(x): return engine\n    return f\nf = made(VAL)"
        ),
        (
            "import sqlalchemy as sa\ndef made(engine):\n    def f(x): return engine\n    return f\n"
            "f = made(sa.create_engine('sqlite:///VAL.db'))"
        ),
        (
            "import functools\nimport sqlalchemy as sa\ndef uses(engine):\n    def deco(g):\n        @functools.wraps(g)\n"
            "        def inner(x): return g(x), engine\n        return inner\n    return deco\n"
            "@uses(sa.create_engine('sqlite:///VAL.db'))\ndef f(x): return x"
        ),
        (
            "import sqlalchemy as sa\nfrom sqlalchemy.orm import DeclarativeBase, mapped_column\nclass Base(DeclarativeBase): pass\n"
            "class C(Base):\n    __tablename__ = 'c'\n    id = mapped_column(sa.Integer, primary_key=True)\n"
            "    k = mapped_column(sa.Integer, default=VAL)\ndef f(x): return C(id=x)"
        ),
    ],
)
def test_what_a_class_or_decorator_makes_of_its_text_is_noticed(
    cell: str, cells: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decorators that are objects, ``__new__``, metaclasses, and fields that a library keeps in a way of its own."""
    for library in ("pydantic", "attrs", "numpy"):
        if library in cell:
            pytest.importorskip(library)

    def run_in_main(source: str) -> dict[str, str]:
        cells.append(source)
        main = ModuleType("__main__")
        vars(main).update(run_cell(source))
        monkeypatch.setitem(sys.modules, "__main__", main)
        return fingerprint(vars(main)["f"]).parts

    old = run_in_main(cell.replace("VAL", "10"))
    again = run_in_main("# moved\n\n" + cell.replace("VAL", "10"))
    new = run_in_main(cell.replace("VAL", "25"))

    assert () == changed(old, again)
    assert () != changed(old, new)


UNKEPT = "import tenacity\nimport durable_nb\nfrom durable_nb import step\nfrom pydantic import validate_call\n"
MADE = "import sqlalchemy as sa\ndef made(engine):\n    def f(x): return engine\n    return f\nENGINE = sa.create_engine('sqlite:///')\n"


@pytest.mark.parametrize(
    "cell",
    [
        "@tenacity.retry(stop=tenacity.stop_after_attempt(VAL))\ndef f(x): return x",
        "@step(retries=VAL)\n@validate_call\ndef f(x: int): return x",
        "@durable_nb.step(retries=VAL)\n@validate_call(config={'strict': True})\ndef f(x: int): return x",
        MADE + "f = step(made(ENGINE), retries=VAL)",
        MADE + "f = step(retries=VAL)(made(ENGINE))",
        MADE + "f = tenacity.retry(stop=tenacity.stop_after_attempt(VAL))(made(ENGINE))",
    ],
)
def test_how_often_something_tries_again_is_no_edit(cells: list[str], cell: str) -> None:
    """What only keeps, repeats or waits gives no other values; what stands beside it counts."""
    pytest.importorskip("pydantic")
    old = run_all(cells, UNKEPT + cell.replace("VAL", "3"))
    new = run_all(cells, UNKEPT + cell.replace("VAL", "5"))
    other = run_all(
        cells, UNKEPT + cell.replace("VAL", "3").replace("sqlite:///", "sqlite:///x.db").replace("True", "False")
    )

    assert () == changed(old, new)
    assert (() != changed(old, other)) == ("sqlite" in cell or "True" in cell)


def test_what_a_client_counts_is_no_edit(cells: list[str]) -> None:
    """One that was made in the call which made the function is known by that call, and not by its attributes."""
    cell = "import tenacity\ndef made(client):\n    def f(x):\n        return client\n    return f\nf = made(tenacity.Future(3))"
    old = run_all(cells, cell)
    new = run_all(cells, cell + "\nf(1).attempt_number += 1")

    assert () == changed(old, new)


def test_what_is_computed_from_a_clock_is_no_edit(cells: list[str]) -> None:
    """Its statement stands for it, and how that reads the other."""
    cell = "import time\nT0 = time.time()\nDAY = 3600\nEND = T0 + DAY\nLATER = END * 2\ndef f(x): return END, LATER"
    old = run_all(cells, cell)
    again = run_all(cells, cell.replace("T0 = time.time()", "T0 = time.time()  # later"))
    new = run_all(cells, cell.replace("DAY = 3600", "DAY = 7200"))

    assert () == changed(old, again)
    assert () != changed(old, new)


@pytest.mark.parametrize("seed", ["random.seed(VAL)", "np.random.seed(VAL)"])
def test_another_seed_is_an_edit(cells: list[str], seed: str) -> None:
    """A random number that has one is the same in every kernel, and counts by its value."""
    module = seed.partition(".seed")[0]
    cell = f"import random\nimport numpy as np\n{seed}\nK = {module}.random()\ndef f(x): return K"
    old = run_all(cells, cell.replace("VAL", "1"))
    again = run_all(cells, cell.replace("VAL", "1"))
    new = run_all(cells, cell.replace("VAL", "2"))
    unseeded = [run_all(cells, cell.replace(seed, "")) for _ in range(2)]

    assert () == changed(old, again)
    assert () != changed(old, new)
    assert () == changed(*unseeded)


def test_what_a_decorator_counts_is_no_edit(cells: list[str]) -> None:
    """Its state is not compared, as that of no object is that its own methods write."""
    cell = (
        "import functools\nclass Counted:\n    def __init__(self, f):\n        self.f, self.calls = f, 0\n"
        "        functools.update_wrapper(self, f)\n    def __call__(self, *a):\n        self.calls += 1\n"
        "        return self.f(*a)\n@Counted\ndef f(x): return x"
    )
    old = run_all(cells, cell)
    new = run_all(cells, cell + "\nf(1)")

    assert () == changed(old, new)


def test_a_decorator_around_a_builtin_is_read() -> None:
    """Which has no attributes that could have been copied."""
    parts = parts_of(
        """
        import functools
        class Deco:
            def __init__(self, f, n): self.n = n; functools.update_wrapper(self, f)
            def __call__(self, *a): return self.__wrapped__(*a) + self.n
        size = Deco(len, 2)
        def f(x): return size(x)
        """
    )

    assert any(label.startswith("attribute n of") for label in parts)


@pytest.mark.parametrize("found", ["None", "'text'", "{}", "self"])
def test_an_object_that_has_any_attribute_is_read(found: str) -> None:
    """``class dotdict(dict): __getattr__ = dict.get`` is a common one."""
    parts = parts_of(
        f"""
        class dotdict(dict):
            def __getattr__(self, name): return self.get(name, {found})
        config = dotdict(k=10)
        def f(x): return config.k + x
        """
    )

    assert "global config" in parts


def test_value_that_differs_in_every_kernel_counts_by_its_statement(cells: list[str]) -> None:
    """A start time or run id is identified by its statement, a literal or a conversion by its value."""
    cell = "import time, uuid, os\nT0 = time.time()\nRUN = str(uuid.uuid4())\nHOME = os.environ['HOME']\nDIM = int('8')\ndef f(x): return T0, RUN, HOME, DIM"
    old = run_all(cells, cell)
    again = run_all(cells, cell)
    new = run_all(cells, cell.replace("time.time()", "time.time() + 1"))
    other = run_all(cells, cell.replace("int('8')", "int('9')"))

    assert () == changed(old, again)
    assert ("global T0",) == changed(old, new)
    assert ("global DIM: 8 → 9",) == changed(old, other)


@pytest.mark.parametrize(
    "made",
    ["dict(os.environ)", "os.environ.copy()", "{**os.environ, 'LIMIT': '1'}", "os.environ | {'LIMIT': '1'}"],
)
def test_a_copy_of_the_environment_counts_by_its_statement(
    made: str, cells: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is for the programs that a step starts, and another one in every kernel; what the statement adds counts."""
    cell = f"import os, subprocess\nENV = {made}\ndef f(x): return subprocess.run(x, env=ENV)"
    monkeypatch.setenv("JPY_PARENT_PID", "1")
    old = run_all(cells, cell)
    monkeypatch.setenv("JPY_PARENT_PID", "2")
    again = run_all(cells, cell)
    new = run_all(cells, f"{cell.replace(made, made.replace('1', '2'))}\nENV['PAGES'] = '2'")

    assert () == changed(old, again)
    assert ("global ENV",) == changed(old, new)


def test_what_is_read_from_the_environment_counts_by_its_value(
    cells: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some variables, or settings made from them, are no copy."""
    cell = "import os\nENV = {name: os.environ[name] for name in ('HOME', 'MODEL')}\ndef f(x): return ENV, x"
    monkeypatch.setenv("MODEL", "small")
    old = run_all(cells, cell)
    monkeypatch.setenv("MODEL", "large")
    new = run_all(cells, cell)

    assert ("global ENV",) == changed(old, new)


def test_secrets_are_not_readable() -> None:
    """No key, password or token stands in the parts in readable form, whatever the variable is called."""
    parts = parts_of(
        """
        API_KEY = "hunter2"
        URL = "https://me:hunter2@example.com"
        OTHER = "sk-hunter2hunter2hunter2"
        PLAIN = "small"
        def f(x, password="hunter2"): return API_KEY, URL, OTHER, PLAIN, x
        """
    )

    assert "hunter2" not in json.dumps(parts)
    assert "'small'" == parts["global PLAIN"]


def test_libraries_count_by_version_and_python_not_at_all() -> None:
    """A function of numpy adds its version, one of the standard library only which one it is."""
    import numpy as np

    parts = parts_of(
        """
        import json, math
        import numpy as np
        from numpy.linalg import norm
        from textwrap import dedent
        def f(x): return norm(np.array(json.loads(dedent(x)))), math.sqrt(2), print, len(x)
        """
    )

    assert {
        "def:f": parts["def:f"],
        "global dedent": "textwrap.dedent",
        "global norm": "numpy.linalg.norm",
        "global np": "numpy",
        "lib:numpy": np.__version__,
        "step": "def:f",
    } == parts


def test_decorator_of_a_library_is_seen_through(cells: list[str], library: Any) -> None:
    """A function behind a library's decorator is followed, with or without ``functools.wraps``."""
    cell = "import fakeai\n@fakeai.retry\ndef f(x):\n    return x + 1"

    assert ("def:f",) == changed(run_all(cells, cell), run_all(cells, cell.replace("x + 1", "x + 2")))


@pytest.mark.parametrize(
    "source",
    [
        "import functools\n@functools.lru_cache\ndef g(x): return x + 1\ndef f(x): return g(x)",
        "import functools\ndef g(y, x): return x + 1\nf = functools.partial(g, 3)",
        "class A:\n    def g(self, x): return x + 1\nf = A().g",
        "class A:\n    @staticmethod\n    def g(x): return x + 1\nf = A.g",
        "class A:\n    @classmethod\n    def g(cls, x): return x + 1\nf = A.g",
        "class A:\n    @property\n    def g(self): return 0 + 1\ndef f(x): return A().g",
        "class A:\n    def __call__(self, x): return x + 1\nf = A()",
        "class A:\n    def __init__(self, x): self.x = x + 1\nf = A",
        "class A:\n    def g(self, x): return x + 1\nclass B(A):\n    def g(self, x): return super().g(x)\ndef f(x): return B().g(x)",
        "import enum\nclass E(enum.Enum):\n    A = 0 + 1\ndef f(x): return E[x]",
        "from typing import NamedTuple\nclass P(NamedTuple):\n    a: int = 0 + 1\ndef f(x): return P()",
        "from dataclasses import dataclass, field\n@dataclass(slots=True)\nclass P:\n    a: list = field(default_factory=lambda: [0 + 1])\ndef f(x): return P()",
        "f = (lambda x: lambda y: y + 1)(3)",
        "def f(x):\n    def g(y): return y + 1\n    return g(x)",
        "async def f(x): return x + 1",
        "def f(x):\n    yield x + 1",
        "def f(x): return [h(y) for y in x]\ndef h(y): return y + 1",
    ],
)  # fmt: skip
def test_every_kind_of_callable_is_followed(source: str) -> None:
    """Caches, partials, methods, properties, classes, nested and async functions: an edit inside is seen."""
    digests = [fingerprint(run_cell(text)["f"]).digest for text in (source, source, source.replace(" + 1", " + 2"))]

    assert digests[0] == digests[1]
    assert digests[0] != digests[2]


def test_step_is_followed_as_its_function() -> None:
    """An object with ``__durable_step__`` has the fingerprint of the function inside, as a root and as a helper."""

    class Step:
        __slots__ = ("__durable_step__", "lock")

        def __init__(self, function: Any) -> None:
            self.__durable_step__ = function
            self.lock = threading.Lock()

    source = "def g(x): return x + 1\ndef f(x): return g(x)"
    plain, wrapped = run_cell(source), run_cell(source)
    wrapped["g"] = Step(wrapped["g"])

    assert fingerprint(plain["f"]).digest == fingerprint(wrapped["f"]).digest
    assert fingerprint(plain["g"]).digest == fingerprint(wrapped["g"]).digest


def test_own_module_counts_by_what_is_used_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a module of the user what the code uses counts, through the modules it imports, and nothing else in it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    found = []
    for body in ("return x + 1", "return x + 1  # why", "return x + 1\nOTHER = 3", "return x + 2"):
        (tmp_path / "my_inner.py").write_text(f"def inner(x):\n    {body}\n")
        (tmp_path / "my_tools.py").write_text("import my_inner\ndef tool(x): return my_inner.inner(x)\n")
        for name in ("my_tools", "my_inner"):
            sys.modules.pop(name, None)
        linecache.checkcache()
        found.append(fingerprint(run_cell("import my_tools\ndef f(x): return my_tools.tool(x)")["f"]).parts)

    assert {"def:f", "def:my_tools.tool", "def:my_inner.inner"} <= set(found[0])
    assert found[0] == found[1] == found[2]
    assert ("def:my_inner.inner",) == changed(found[2], found[3])


def test_function_as_an_argument_stands_for_its_code() -> None:
    """As an argument of a call a function is keyed by its fingerprint, so an edited one is another argument."""
    one, same, other = (run_cell(f"def f(x): return x + {n}")["f"] for n in ("1", "1  # same", "2"))

    assert keys.call_digest((one,), {}) == keys.call_digest((same,), {})
    assert keys.call_digest((one,), {}) != keys.call_digest((other,), {})


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["model = A( 'x' )  # comment"], "model = A('x')"),
        (["model = 1", "model = 2", "other = 3"], "model = 2"),
        (["model = 1\nmodel = 2"], "model = 2"),
        (["if x:\n    model = 1\nelse:\n    model = 2"], "x\nmodel = 1\nmodel = 2"),
        (["try:\n    model = 1\nexcept E:\n    pass"], "model = 1"),
        (["with open(p) as model:\n    pass"], "with open(p) as model:\n    pass"),
        (["with lock:\n    model = 1"], "model = 1"),
        (["model = 1\nif x:\n    model = 2"], "model = 1\nx\nmodel = 2"),
        (["model = A()\nmodel = moved(model)"], "model = A()\nmodel = moved(model)"),
        (
            ["model = A()", "model.train()\nmodel.k = 1\nmodel['a'] += 1"],
            "model = A()\nmodel.train()\nmodel.k = 1\nmodel['a'] += 1",
        ),
        (["model = A()", "fit = model.fit(x)", "model = A()"], "model = A()"),
        (["model = A()", "y = model.predict(x)\nprint(model.name)"], "model = A()"),
        (["for model in models:\n    print(model)"], "for model in models:\n    pass"),
        (["a, (model, *c) = load()"], "a, (model, *c) = load()"),
        (["model: A = A()"], "model: A = A()"),
        (["print(model := A())"], "print((model := A()))"),
        (["import numpy as model"], "import numpy as model"),
        (["def f():\n    model = 1"], None),
        (["y = [model for model in x]"], None),
        (["%matplotlib inline\n!pip install x\nmodel?\nmodel = A()"], "model = A()"),
        (["%%time\nmodel = A()"], "model = A()"),
        (["%%durable run\n%%time\nmodel = A()"], "model = A()"),
        (["model = A()", "%%bash\nmodel=3"], "model = A()"),
        (["model = A()", "this is no python"], "model = A()"),
        (["model = !ls -l"], "model = __magic__('!ls -l')"),
        (["model = %env HOME"], "model = __magic__('%env HOME')"),
        (["if x:\n    !ls\nmodel = A()"], "model = A()"),
        ([], None),
    ],
)
def test_statements_about(cells: list[str], expected: str | None) -> None:
    """What binds a name at the top of the cells, and what changes it since, is found, whatever magics stand around it."""
    assert expected == statements_about(cells, "model")


def test_partial_of_library_function_and_builtins() -> None:
    """A builtin, or a partial of one, has a fingerprint too; another one has another."""
    assert fingerprint(len).digest != fingerprint(max).digest
    assert fingerprint(functools.partial(int, base=2)).digest != fingerprint(functools.partial(int, base=3)).digest


def test_name_that_is_not_defined_yet_is_a_part() -> None:
    """A global that is missing is named as missing, one of Python's own is not; defining it is seen."""
    space = run_cell("def f(x): return Vector(abs(x))")
    before = fingerprint(space["f"])
    space["abs"] = len

    assert "missing" == before.parts["global Vector"]
    assert "global abs" not in before.parts
    assert not before.is_current()


def test_large_data_need_not_know_its_length() -> None:
    """A data set whose ``__len__`` raises is read by a step as any other object is."""
    space = run_cell(
        "class Rows:\n    def __init__(self): self.rows = ['x' * 100] * 10_000\n    def __len__(self): raise TypeError('no len()')\n"
        "rows = Rows()\ndef f(x): return rows.rows[x]\n"
    )

    assert fingerprint(space["f"]).is_current()


def test_data_that_changed_inside_is_noticed_without_a_walk() -> None:
    """A dict, list or object that the code reads is compared by value; what the code itself fills is not."""
    space = run_cell(
        "class Own: k = 1\nown, table, seen, count = Own(), {'k': [1]}, [], {'n': 0, 'k': 1}\n"
        "def f(x):\n    seen.append(x)\n    count['n'] += 1\n    return own.k, table['k'], count['k']\n"
    )
    made = fingerprint(space["f"])
    space["f"](1)

    assert made.is_current()
    space["count"]["k"] = 2

    assert not made.is_current()
    made = fingerprint(space["f"])
    space["table"]["k"].append(2)

    assert not made.is_current()
    made = fingerprint(space["f"])
    space["Own"].k = 2

    assert not made.is_current()


def test_instance_as_an_argument_is_keyed_with_the_code_of_its_class() -> None:
    """An edited class makes other arguments of its instances, the same class in another kernel the same ones."""
    source = "import enum\nclass Doc:\n    def text(self): return 1\nclass Kind(enum.Enum):\n    A = 1\n    def text(self): return 1\n"
    one, same, other = (
        run_cell(text) for text in (source, "# restarted\n" + source, source.replace("return 1", "return 2"))
    )

    for make in (lambda space: space["Doc"](), lambda space: space["Doc"], lambda space: space["Kind"].A):
        assert keys.digest(make(one)) == keys.digest(make(same))
        assert keys.digest(make(one)) != keys.digest(make(other))


def test_handle_counts_by_its_statement_and_a_read_text_by_its_value(cells: list[str], tmp_path: Path) -> None:
    """A file descriptor is another number in every kernel and the same code; a text read from a file is data."""
    path = tmp_path / "prompt.txt"
    cell = f"import os\nlog = os.open({str(path)!r}, os.O_RDONLY)\nprompt = open({str(path)!r}).read()\ndef f(x): return log, prompt"
    found = []
    for text in ("one", "one", "two"):
        path.write_text(text)
        found.append(run_all(cells, cell))

    assert () == changed(found[0], found[1])
    assert ("global prompt: 'one' → 'two'",) == changed(found[1], found[2])


def test_a_tree_that_another_thread_disturbed_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.11 raises SystemError where two threads parse at a time: no error of the text, and none of the user's."""
    parse, disturbed = ast.parse, iter([True, True])

    def parsed(text: str) -> ast.Module:
        if next(disturbed, False):
            raise SystemError("AST constructor recursion depth mismatch")
        return parse(text)

    monkeypatch.setattr(ast, "parse", parsed)

    assert "disturbed = 7" == ast.unparse(syntax.parse("disturbed = 7"))
