"""Fingerprints are the same in every kernel, under every hash seed and Python: what is saved under one is found by all."""

from __future__ import annotations

import json
import linecache
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from durable_nb import syntax
from durable_nb.sources import fingerprint
from tests.kernels import ROOT

GOLDEN = Path(__file__).parents[1] / "fixtures" / "fingerprints.json"
"""Digests as Python 3.11 makes them; ``python -m tests.unit.test_fingerprints`` writes them anew. A digest that changes asks
every user whether to keep what they have saved.
"""
CASES = {
    "open": "def f(p):\n    with open(p) as h: return h.read()",
    "dataclass": "from dataclasses import dataclass, field\n@dataclass(frozen=True, slots=True)\nclass C:\n    a: int = 1\n    b: list = field(default_factory=list)\n    def g(self): return self.a\ndef f(x): return C(x).g()",
    "enum": "import enum\nclass K(enum.Enum):\n    A = 1\n    B = 2\n    def t(self): return self.value\n    @classmethod\n    def d(cls): return cls.A\ndef f(x): return K(x).t()",
    "strenum": "import enum\nclass K(enum.StrEnum):\n    A = enum.auto()\n    B = enum.auto()\ndef f(x): return K(x)",
    "intflag": "import enum\nclass K(enum.IntFlag):\n    A = 1\n    B = 2\ndef f(x): return K.A | K.B",
    "namedtuple": "from typing import NamedTuple\nclass P(NamedTuple):\n    a: int\n    b: int = 2\n    def s(self): return self.a\ndef f(x): return P(x).s()",
    "namedtuple2": "from collections import namedtuple\nP = namedtuple('P', 'a b')\ndef f(x): return P(x, 1)",
    "typeddict": "from typing import TypedDict\nclass T(TypedDict):\n    a: int\ndef f(x): return T(a=x)",
    "protocol": "from typing import Protocol\nclass T(Protocol):\n    def g(self) -> int: ...\ndef f(x: T): return x.g()",
    "generic": "from typing import Generic, TypeVar\nV = TypeVar('V')\nclass B(Generic[V]):\n    def g(self, x: V) -> V: return x\ndef f(x): return B().g(x)",
    "abc": "import abc\nclass A(abc.ABC):\n    @abc.abstractmethod\n    def g(self): ...\nclass B(A):\n    def g(self): return 1\ndef f(x): return B().g()",
    "exception": "class E(ValueError):\n    def __init__(self, x): super().__init__(x); self.x = x\ndef f(x):\n    try: raise E(x)\n    except E as e: return e.x",
    "slots": "class S:\n    __slots__ = ('a',)\n    def __init__(self, a): self.a = a\ndef f(x): return S(x).a",
    "property": "import functools\nclass S:\n    @property\n    def a(self): return 1\n    @functools.cached_property\n    def b(self): return 2\n    @staticmethod\n    def c(): return 3\ndef f(x): return S().a + S().b + S.c()",
    "lru": "import functools\n@functools.lru_cache(maxsize=None)\ndef g(x): return x\n@functools.cache\ndef h(x): return x\ndef f(x): return g(x) + h(x)",
    "partial": "import functools\ndef g(x, y): return x\nh = functools.partial(g, y=2)\ndef f(x): return h(x)",
    "decorated": "import functools\ndef d(fn):\n    @functools.wraps(fn)\n    def w(*a, **k): return fn(*a, **k)\n    return w\n@d\ndef g(x): return x\ndef f(x): return g(x)",
    "closure": "def make(k):\n    def inner(x): return [x**k for _ in range(2)]\n    return inner\nf = make(3)",
    "lambda": "f = lambda x: (lambda y: y + 1)(x)",
    "comprehension": "N = 3\ndef f(x): return {a: [b for b in range(N)] for a in x if a}",
    "regex": "import re\nR = re.compile(r'\\w+', re.I)\ndef f(x): return R.findall(x)",
    "path": "from pathlib import Path\nP = Path('/data')\ndef f(x): return (P / x).read_text()",
    "datetime": "import datetime as dt\nD = dt.datetime(2020,1,1,tzinfo=dt.timezone.utc)\nZ = __import__('zoneinfo').ZoneInfo('UTC')\ndef f(x): return D, Z",
    "decimal": "from decimal import Decimal\nfrom fractions import Fraction\nD = Decimal('1.5'); F = Fraction(1,3)\ndef f(x): return D * x, F",
    "collections": "from collections import Counter, OrderedDict, defaultdict, deque, ChainMap\nA = Counter('ab'); B = OrderedDict(a=1); C = defaultdict(list, a=[1]); D = deque([1], 3)\ndef f(x): return A, B, C, D",
    "match": "def f(x):\n    match x:\n        case {'a': [1, *r]}: return r\n        case str() as s: return s",
    "fstring": "def f(x): return f'{x!r:>10} {x + 1:{x}} ' 'b' f\"{'a'}\"",
    "async": "async def g(x): return x\nasync def f(x):\n    async with x as y:\n        async for z in y: await g(z)\n    return [i async for i in x]",
    "builtins": "def f(x): return sorted(map(str, filter(None, x)), key=len), print, isinstance(x, (int, str)), open",
    "stdlib": "import json, os, math, random, itertools, urllib.request, subprocess, time, uuid, logging\nL = logging.getLogger('x')\ndef f(x): return json.dumps(x), os.path.join('a', x), math.sqrt(2), random.random(), list(itertools.chain([x])), time.time(), uuid.uuid4(), L.info(x)",
    "typing": "from typing import Optional, Union, Callable, Literal\nT = Optional[int]; U = Union[int, str]; L = Literal['a']\nC = list[int] | None\ndef f(x): return T, U, L, C",
    "types": "import types\nN = types.SimpleNamespace(a=1)\nM = types.MappingProxyType({'a': 1})\ndef f(x): return N.a, M['a']",
    "array": "from array import array\nA = array('d', [1.0])\ndef f(x): return A[0]",
    "iter": "import itertools\nC = itertools.count()\ndef f(x): return next(C)",
    "operator": "import operator\nG = operator.itemgetter('a'); H = operator.attrgetter('b.c'); M = operator.methodcaller('upper')\ndef f(x): return G(x), H(x), M(x)",
    "threading": "import threading\nL = threading.Lock()\nE = threading.Event()\ndef f(x):\n    with L: return x",
    "metaclass": "class M(type):\n    def __new__(m, n, b, d): return super().__new__(m, n, b, d)\nclass A(metaclass=M):\n    x = 1\ndef f(x): return A.x",
    "annotated": "class A:\n    x: int\n    y: 'str' = 'a'\ndef f(x): return A.__annotations__",
    "dataclass_kw": "from dataclasses import dataclass\n@dataclass(kw_only=True, order=True)\nclass C:\n    a: int = 1\ndef f(x): return C(a=x) < C()",
    "typealias": "from typing import TypeAlias\nV: TypeAlias = 'list[float]'\ndef f(x) -> V: return [x]",
    "ctx": "import contextlib\n@contextlib.contextmanager\ndef c():\n    yield 1\ndef f(x):\n    with c() as y: return y",
    "singledispatch": "import functools\n@functools.singledispatch\ndef g(x): return 1\n@g.register\ndef _(x: int): return 2\ndef f(x): return g(x)",
    "instance": "class A:\n    def __init__(self): self.x = [1]\n    def g(self): return self.x\na = A()\ndef f(x): return a.g()",
    "uuidc": "import uuid\nU = uuid.UUID(int=5)\ndef f(x): return U",
    "ipaddr": "import ipaddress\nU = ipaddress.ip_network('10.0.0.0/8')\ndef f(x): return U",
    "str_doc": "def f(x):\n    'doc'\n    return x",
    "exc_group": "def f(x):\n    try: return x\n    except* ValueError as e: pass",
    "walrus": "def f(x):\n    while (y := x): x = 0\n    return y",
    "star": "def f(x, /, *a, y=1, **k): return [*a, *x], {**k}",
    "global": "n = 0\ndef f(x):\n    global n\n    n += 1",
    "classmeth": "class M:\n    n = 0\n    @classmethod\n    def g(cls): cls.n += 1\ndef f(x): return M.g()",
}


def digest_of(name: str, *, has_travelled: bool = False) -> str:
    """The digest of ``f`` of a case, as a notebook cell; once its classes have come back from a worker, as they do by value."""
    source, file = CASES[name], f"/tmp/ipykernel_1/{name}.py"
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(source, file, "exec", dont_inherit=True), space)
    with pytest.MonkeyPatch.context() as main:
        for key, value in space.items():
            main.setitem(vars(sys.modules["__main__"]), key, value)
        for cls in [value for value in space.values() if has_travelled and isinstance(value, type)]:
            assert cls is pickle.loads(cloudpickle.dumps(cls))
        return fingerprint(space["f"]).digest


@pytest.mark.parametrize("name", CASES)
def test_a_fingerprint_is_the_same_in_every_python(name: str) -> None:
    """A kernel of another Python minor version, another day, finds what this one saved."""
    assert json.loads(GOLDEN.read_text())[name] == digest_of(name)


@pytest.mark.parametrize(
    "name", [name for name, source in CASES.items() if "class " in source and "cached_property" not in source]
)
def test_a_fingerprint_is_the_same_once_its_class_came_back_from_a_worker(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """joblib, loky and Dask give the class of the notebook all of its methods anew; nobody has edited them."""
    monkeypatch.setattr(syntax, "_homes", {})  # nothing was seen before

    assert json.loads(GOLDEN.read_text())[name] == digest_of(name, has_travelled=True)


def test_fingerprints_do_not_depend_on_the_process() -> None:
    """Another process with another hash seed gives the same fingerprints."""
    script = "import json\nfrom tests.unit import test_fingerprints as t\nprint(json.dumps({n: t.digest_of(n) for n in t.CASES}))"
    found = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env={"PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip

    assert {name: digest_of(name) for name in CASES} == json.loads(found.stdout)


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps({name: digest_of(name) for name in CASES}, indent=0) + "\n")
