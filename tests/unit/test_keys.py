"""A value has one key, in every process and however it was made; what is no value has none."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import copyreg
import ctypes
import dataclasses
import datetime as dt
import functools
import json
import os
import socket
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pydantic
import pytest
from xxhash import xxh3_128_digest

from durable_nb import keys
from durable_nb.canonical import encode
from durable_nb.errors import Unkeyable
from durable_nb.reductions import unread

# Evaluated in the test process and in two others: what the expressions may use.
SETUP = textwrap.dedent(
    """
    import array, collections, dataclasses, datetime, decimal, enum, fractions, functools, io, json, pathlib, pickle
    import re, types, typing, uuid, zoneinfo
    import attrs, numpy as np, pandas as pd, polars as pl, pyarrow as pa, pydantic
    from durable_nb import keys, sources

    @dataclasses.dataclass
    class Point:
        x: int
        y: str

    @dataclasses.dataclass(frozen=True, slots=True)
    class Slotted:
        x: int

    class Plain:
        def __init__(self, value):
            self.value = value

    class Slots:
        __slots__ = ("a", "b")
        def __init__(self, a, b):
            self.a, self.b = a, b

    class Colour(enum.Enum):
        RED = 1
        BLUE = 2

    class Level(enum.IntFlag):
        LOW = 1
        HIGH = 2

    class Text(str):
        pass

    class Number(int):
        pass

    class Bag(set):
        pass

    @attrs.define
    class Attrs:
        x: int

    class Model(pydantic.BaseModel):
        name: str
        tags: list[str] = []

    Pair = collections.namedtuple("Pair", "a b")

    def helper(x):
        return x + 1

    def two(make):
        inner = make()
        return [inner, inner]

    def readonly(a):
        a.setflags(write=False)
        return a

    def copied(text):
        return "".join(list(text))

    big = "abc" * 20
    a32 = np.arange(24, dtype=np.float32).reshape(4, 6)
    frame = pd.DataFrame({"a": [1, 2], "s": ["x", None], "t": pd.to_datetime(["2020", "2021"])})
    longer = pd.DataFrame({"a": [1, 2, 3], "s": ["x", None, "z"], "t": pd.to_datetime(["2020", "2021", "2022"])})
    words = [f"k{i}" for i in range(20)]
    """
)

SAME = {  # the table of FIELD_NOTES.md first
    "list with shared vs copied str": ("[big, big]", "[big, copied(big)]"),
    "list with shared vs copied inner list": ("two(lambda: [1, 2])", "[[1, 2], [1, 2]]"),
    "dict insertion order": ("{'a': 1, 'b': 2}", "{'b': 2, 'a': 1}"),
    "ndarray view vs copy": ("a32[:, ::2]", "a32[:, ::2].copy()"),
    "ndarray read-only vs writable": ("readonly(a32.copy())", "a32"),
    "DataFrame vs slice copy": ("frame", "longer.iloc[:2]"),
    "set of str, two processes": ("set(words)", "set(reversed(words))"),
    "frozenset inside a dict, two processes": ("{'a': frozenset(words)}", "{'a': frozenset(reversed(words))}"),
    "C versus F order": ("a32", "np.asfortranarray(a32)"),
    "transposed twice, reversed twice": ("a32", "a32[::-1].copy()[::-1].T.copy().T"),
    "object array view": ("np.array(['a', None, 1], dtype=object)", "np.array(['a', 0, None, 0, 1], object)[::2]"),
    "structured array with padding": (
        "np.zeros(3, np.dtype([('a', 'i1'), ('b', 'f8')], align=True))",
        "np.zeros((3, 2), np.dtype([('a', 'i1'), ('b', 'f8')], align=True))[:, 0]",
    ),
    "DataFrame pickled": ("frame", "pickle.loads(pickle.dumps(frame))"),
    "DataFrame with RangeIndex vs the same integers": ("frame", "frame.set_axis([0, 1], axis=0)"),
    "DataFrame made by row or column": (
        "pd.DataFrame({'a': [1.0], 'b': [2.0]})",
        "pd.DataFrame([[1.0, 2.0]], columns=list('ab'))",
    ),
    "dict pickled": (
        "{'k': [big, big], 'z': (1, 'k')}",
        "pickle.loads(pickle.dumps({'k': [big, big], 'z': (1, 'k')}))",
    ),
    "dict through JSON": ("{'k': ['abc', 'abc']}", "json.loads(json.dumps({'k': ['abc', 'abc']}))"),
    "dict of mixed keys": ("{1: 'a', 'b': 2, None: 3}", "{None: 3, 'b': 2, 1: 'a'}"),
    "set of mixed members": ("{1, 'a', None, (2, 3)}", "{(2, 3), None, 'a', 1}"),
    "Arrow chunks": ("pa.chunked_array([[1, 2], [3]])", "pa.chunked_array([[1], [2, 3]])"),
    "Arrow texts sliced": ("pa.array(['a', None, 'ccc'])", "pa.array(['x', 'a', None, 'ccc', 'y'])[1:4]"),
    "Arrow numbers sliced": ("pa.array([1, None, 3])", "pa.array([0, 1, None, 3, 9])[1:4]"),
    "polars chunks": (
        "pl.Series('a', ['x', 'y', None])",
        "pl.concat([pl.Series('a', ['x']), pl.Series('a', ['y', None])])",
    ),
    "nullable integers": ("pd.array([1, None, 3], 'Int64')", "pd.array([0, 1, None, 3], 'Int64')[1:]"),
    "function defined twice": ("lambda x: x + 1", "lambda x:   (x + 1)  # the same"),
    "NaN": ("float('nan')", "np.nan"),
}

ALONE = [  # all different from each other, and the same in every process
    "None", "True", "False", "1", "1.0", "1 + 0j", "np.int64(1)", "np.float64(1)", "np.float32(1)", "np.bool_(True)", "2**80", "-2**80",
    "0.0", "-0.0", "0", "''", "b''", "bytearray()", "memoryview(b'')", "()", "[]", "{}", "set()", "frozenset()", "'a'", "b'a'", "bytearray(b'a')",
    "'1'", "'\\ud800'", "'x' * 100", "b'x' * 100", "[1]", "(1,)", "{1}", "frozenset({1})", "[[1]]", "[1, [2]]", "[[1], 2]", "['ab', 'c']", "['a', 'bc']",
    "['ab', 'c', '', '']", "['a', 'bc', '', '']", "[1, 2, 3, 4]", "[1.0, 2.0, 3.0, 4.0]", "[True, 2, 3, 4]", "[1, 2, 3, 2**70]", "(1, 2, 3, 4)",
    "{'a': 1}", "{'a': '1'}", "{'a': None}", "{b'a': 1}", "{1: 'a'}", "range(3)", "range(0, 3, 2)", "slice(3)", "Ellipsis", "NotImplemented",
    "Text('a')", "Number(1)", "Bag({1})", "collections.OrderedDict(a=1, b=2)", "collections.OrderedDict(b=2, a=1)", "collections.defaultdict(list, a=1)",
    "collections.defaultdict(int, a=1)", "collections.Counter('aab')", "collections.deque([1])", "collections.deque([1], 5)", "Pair(1, 2)", "(1, 2)",
    "datetime.datetime(2024, 1, 1)", "datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)", "datetime.datetime(2024, 1, 1, tzinfo=zoneinfo.ZoneInfo('Europe/Berlin'))",
    "datetime.date(2024, 1, 1)", "datetime.time(1)", "datetime.timedelta(1)", "zoneinfo.ZoneInfo('Europe/Berlin')", "decimal.Decimal('1.5')", "decimal.Decimal('1.50')",
    "fractions.Fraction(3, 2)", "uuid.UUID(int=1)", "pathlib.Path('/tmp/x')", "pathlib.PureWindowsPath('/tmp/x')", "'/tmp/x'", "Colour.RED", "Colour.BLUE", "Level.LOW",
    "Level.LOW | Level.HIGH", "Point(1, 'a')", "Point(1, 'b')", "Slotted(1)", "Plain([1, 2])", "Plain([1, 3])", "Slots(1, 2)", "Slots(2, 1)", "Attrs(1)",
    "Model(name='a')", "Model(name='b')", "re.compile('a+b')", "re.compile('a+b', re.I)", "int", "Point", "json", "types.SimpleNamespace(a=1)", "list[int]",
    "functools.partial(helper, 2)", "functools.partial(helper, 3)", "helper", "lambda x: x - 1", "len", "'abc'.upper", "np.mean", "io.BytesIO(b'x')",
    "array.array('i', [1])", "array.array('l', [1])", "np.random.default_rng(1)", "np.random.default_rng(2)",
    "np.array(1)", "np.array([1])", "np.array([[1]])", "np.array([1], np.int32)", "np.array([1], '>i8')", "np.array([], np.float32)", "np.array([], np.float64)",
    "np.zeros((0, 3))", "np.zeros((3, 0))", "np.zeros((2, 3))", "np.zeros((3, 2))", "-np.zeros((3, 2))", "np.array(['a'], object)", "np.array(['a'])",
    "np.array(['2020'], 'M8[D]')", "np.array(['2020'], 'M8[s]')", "np.array([(1, 2.0)], [('a', 'i4'), ('b', 'f8')])", "np.ma.array([1, 2], mask=[0, 1])", "np.ma.masked", "[np.ma.masked]", "np.matrix([[1]])",
    "np.dtype('f4')", "np.add", "np.longdouble(1)",
    "frame", "frame[['a']]", "frame['a']", "frame.rename(columns={'a': 'b'})", "frame.set_axis([0, 5], axis=0)", "frame.index", "pd.Index([1.0])", "frame.astype({'a': 'int32'})",
    "pd.Series([1], name='x')", "pd.Series([1], name='y')", "pd.Timestamp('2024')", "pd.Timestamp('2024', tz='UTC')", "pd.NaT", "pd.NA", "pd.Categorical(['a', 'b'])",
    "pd.Categorical(['a', 'b'], ordered=True)", "pd.Categorical(['a', 'b'], ['b', 'a'])", "pd.DataFrame({'c': pd.Categorical(['a', 'b'])})", "pd.Series([1], dtype='Int64')",
    "pd.Series(['a'], dtype=object)", "pd.Series(['a'], dtype='str')", "pd.Series(['a'], dtype='category')", "pd.Series([[1]])", "pd.MultiIndex.from_product([[1, 2], ['a']])",
    "pd.Series(pd.period_range('2020', periods=2))", "pd.Series(pd.interval_range(0, 2))",
    "pl.DataFrame({'a': [1]})", "pl.DataFrame({'a': [1.0]})", "pl.Series('a', [1])", "pl.Series('b', [1])", "pl.Series('a', [1], pl.Int128)", "pl.Series('a', [2**100], pl.Int128)", "pl.Series('a', ['x'], dtype=pl.Categorical)", "pl.Series('a', [[1]])",
    "pa.table({'a': [1]})", "pa.table({'a': ['x', None]})", "pa.table({'a': [[1], None]})", "pa.record_batch({'a': [1]})", "pa.array([1])", "pa.array([1, None])",
    "pa.array([True, None])", "pa.array(['a'])", "pa.array([b'a'])", "pa.array(['a']).dictionary_encode()",
]  # fmt: skip

CHILD = SETUP + "import sys\nprint(json.dumps({text: keys.digest(eval(text)).hex() for text in json.load(sys.stdin)}))"


@pytest.fixture(scope="module")
def digests(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """The digest of every expression of this file, from two processes with different hash seeds."""
    texts = json.dumps(ALONE + [text for pair in SAME.values() for text in pair])
    children = []
    for seed in ("1", "77"):
        script = tmp_path_factory.mktemp("keys") / "child.py"
        script.write_text(CHILD)
        children.append(
            subprocess.Popen(
                [sys.executable, script],
                env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )
        )  # fmt: skip
    return [json.loads(child.communicate(texts, timeout=60)[0]) for child in children]


@pytest.mark.parametrize("case", SAME)
def test_equal_values_have_one_key(case: str, digests: list[dict[str, str]]) -> None:
    """Values that are equal have one key, however they were made, in processes with different hash seeds."""
    left, right = SAME[case]

    assert 1 == len({digests[0][left], digests[0][right], digests[1][left], digests[1][right]})


@pytest.mark.parametrize("text", ALONE)
def test_key_is_the_same_in_another_process(text: str, digests: list[dict[str, str]]) -> None:
    """A value has the same key in two processes with different hash seeds."""
    assert digests[0][text] == digests[1][text]


def test_different_values_have_different_keys(digests: list[dict[str, str]]) -> None:
    """No two of the values in the list share a key: type, dtype, shape, zone, sign of zero and nesting all count."""
    by_digest = collections.defaultdict(set)
    for text in ALONE:
        by_digest[digests[0][text]].add(text)

    assert [] == [texts for texts in by_digest.values() if len(texts) > 1]


def refused() -> dict[str, Any]:
    class Holder:
        def __init__(self) -> None:
            self.clients = [{"lock": threading.Lock()}]

    class Broken:
        def __reduce__(self) -> Any:
            raise ValueError("not today")

    async def coroutine() -> None: ...

    waiting = coroutine()
    waiting.close()
    return {
        "lock": (threading.Lock(), ""),
        "thread": (threading.Thread(), ""),
        "generator": ((i for i in range(3)), ""),
        "iterator": (iter([1]), ""),
        "map": (map(len, []), ""),
        "coroutine": (waiting, ""),
        "open file": (Path(os.devnull).open(), ""),  # noqa: SIM115
        "socket": (socket.socket(), ""),
        "connection": (sqlite3.connect(":memory:"), ""),
        "frame": (sys._getframe(), ""),
        "pointer": (ctypes.pointer(ctypes.c_int(1)), ""),
        "event loop": (asyncio.new_event_loop(), ""),
        "process": (subprocess.Popen([sys.executable, "-c", ""]), ""),
        "failing reduce": (Broken(), ""),
        "in a list in a dict": ([1, 2, 3, {"lock": threading.Lock()}], "[3]['lock']"),
        "in an object": (Holder(), ".clients[0]['lock']"),
        "in an object array": ({"a": (0, Holder())}, "['a'][1].clients[0]['lock']"),
        "in a set": ({1: frozenset([len, Broken()])}, "[1]{…}"),
        "executor": ([ThreadPoolExecutor()], "[0]"),
    }


def test_whole_numbers_inside_a_column_that_arrow_lacks_are_refused() -> None:
    """A list of 128-bit integers has no key, and the error names its type."""
    pl = pytest.importorskip("polars")

    with pytest.raises(Unkeyable, match="Int128"):
        keys.digest([pl.Series([[1]], dtype=pl.List(pl.Int128))])


@pytest.mark.parametrize("case", refused())
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_what_is_no_value_is_refused(case: str) -> None:
    """A lock, a generator, an open file and the like are refused, and the error says where in the argument they are."""
    value, where = refused()[case]

    with pytest.raises(Unkeyable) as caught:
        keys.digest(value)

    assert caught.value.where.startswith(where)
    assert where != "" or caught.value.type_name == type(value).__qualname__


def test_refusal_names_the_argument() -> None:
    """With several arguments the error names the one that cannot be keyed."""
    with pytest.raises(Unkeyable) as by_position:
        keys.call_digest((1, [threading.Lock()]), {})
    with pytest.raises(Unkeyable) as by_name:
        keys.call_digest((1,), {"config": {"lock": threading.Lock()}})

    assert ("lock", "args[1][0]") == (by_position.value.type_name, by_position.value.where)
    assert "config['lock']" == by_name.value.where


def test_cycles_and_depth_are_refused() -> None:
    """A value that contains itself, or is nested thousands deep, is refused with a clear error and never hangs."""
    cycle: list[Any] = [1]
    cycle.append({"me": cycle})
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]

    with pytest.raises(Unkeyable, match="contains itself"):
        keys.digest(cycle)
    with pytest.raises(Unkeyable, match="too deeply"):
        keys.digest(deep)


def test_sharing_does_not_multiply_the_work() -> None:
    """A list that holds one list twice, a hundred levels deep, is keyed at once."""
    nested: list[Any] = [1]
    for _ in range(100):
        nested = [nested, nested]

    assert 16 == len(keys.digest(nested))


def test_call_digest_tells_arguments_apart() -> None:
    """Position, keyword, nesting and type of the arguments each give another key; the order of keywords does not."""
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        ((), {}), (("a",), {}), ((b"a",), {}), ((("a",),), {}), ((["a"],), {}), (("a", "a"), {}), (("aa",), {}), ((), {"x": "a"}),
        (("x", "a"), {}), (({"x": "a"},), {}), ((None,), {}), (("a",), {"x": 1}), ((("a",), {"x": 1}), {}), ((), {"x": 1, "y": 2}),
    ]  # fmt: skip

    assert len(calls) == len({keys.call_digest(*call) for call in calls})
    assert keys.call_digest((), {"x": 1, "y": 2}) == keys.call_digest((), {"y": 2, "x": 1})


def test_occurrences_have_their_own_keys() -> None:
    """Equal calls of one run are told apart by number; the first keeps the plain digest."""
    digest = keys.call_digest(("joke",), {})

    assert digest == keys.numbered(digest, 0)
    assert 1000 == len({keys.numbered(digest, occurrence) for occurrence in range(1000)})


def test_registered_type_and_subclasses_stand_for_their_rule() -> None:
    """A registered rule decides what of a type counts, for its subclasses too, whose name still counts."""

    class Tokenizer:
        def __init__(self, name: str) -> None:
            self.name, self.lock = name, threading.Lock()

    class Other(Tokenizer):
        pass

    keys.register(Tokenizer, lambda tokenizer: tokenizer.name)

    assert keys.digest(Tokenizer("a")) == keys.digest(Tokenizer("a"))
    assert 3 == len({keys.digest(value) for value in (Tokenizer("a"), Tokenizer("b"), Other("a"))})


class Money(Decimal):
    """A number with a unit."""


class Page(type(Path())):  # type: ignore[misc]
    """A path with a number."""


class Half(Fraction):
    """Of something."""


class Stamp(dt.datetime):
    """A time, and whose."""


class Found(set[int]):
    """Numbers, and where, in a slot."""

    __slots__ = ("of",)


class Book:
    """What its pages are made again by."""

    def __init__(self, of: object) -> None:
        self.of = of

    def page(self, number: int) -> Leaf:
        return Leaf(self, number)


class Leaf:
    """Stored as a call of a method of its book."""

    def __init__(self, book: Book, number: int) -> None:
        self.book, self.number = book, number

    def __reduce__(self) -> tuple[Any, tuple[int]]:
        return self.book.page, (self.number,)


class Cached(Page):
    """Leaves out what it has looked up."""

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self),)


def with_attribute(value: Any, of: object) -> Any:
    value.of = of
    return value


MAKERS: dict[str, Callable[[], Any]] = {
    "Decimal": lambda: Money("1.50"),
    "Path": lambda: Page("a.pdf"),
    "Fraction": lambda: Half(1, 2),
    "datetime": lambda: Stamp(2024, 1, 1),
    "set": lambda: Found({1}),
    "defaultdict": lambda: type("Tally", (collections.defaultdict,), {"__module__": __name__})(int, a=1),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_attributes_beside_a_value_count(kind: str) -> None:
    """What an instance of a user's class carries beside a value of Python's own tells it from others, as from one without."""
    make = MAKERS[kind]
    values = [make(), with_attribute(make(), "a"), with_attribute(make(), "b")]

    assert 3 == len({keys.digest(value) for value in values})
    assert keys.digest(values[1]) == keys.digest(with_attribute(make(), "a"))
    assert keys.digest(values[0]) == keys.digest(make())


def test_instances_without_attributes_keep_the_keys_that_they_had() -> None:
    """Values of classes derived from Python's own are found under the keys of databases written before attributes counted."""

    def written(name: str, *parts: object) -> bytes:
        form = b"r" + xxh3_128_digest(b"".join(encode(part, {}) for part in (name, *parts)))
        return xxh3_128_digest(form)

    saved = {
        "Decimal": written("Decimal", Money, "1.50"),
        "Path": written("PurePath:Page", "a.pdf"),
        "Fraction": written("Fraction", Half, (1, 2)),
        "set": written("set", (Found, frozenset({1}), None)),
    }

    assert saved == {kind: keys.digest(MAKERS[kind]()) for kind in saved}


class Refusal(ValueError):
    """An error of the user's."""


@pytest.mark.parametrize("kind", [Refusal, ValueError, OSError])
def test_an_error_has_one_key_whoever_has_looked_at_it(kind: type[Exception]) -> None:
    """Python makes the attributes of an error when they are first asked for; having none is what it was before."""
    error = kind("a")
    fresh = keys.digest(error)

    assert {} == vars(error)
    assert fresh == keys.digest(error) == keys.digest(kind("a"))
    assert fresh != keys.digest(with_attribute(error, "b"))


def test_an_object_whose_method_makes_a_value_counts() -> None:
    """Values that are stored as a call of a method of another object are told apart by that object."""
    values = [Leaf(Book("a"), 0), Leaf(Book("b"), 0), Leaf(Book("a"), 1)]

    assert 3 == len({keys.digest(value) for value in values})
    assert keys.digest(values[0]) == keys.digest(Leaf(Book("a"), 0))


def test_attributes_that_a_class_leaves_out_do_not_count() -> None:
    """A class that says itself what there is to its instances may carry what has no value."""
    assert keys.digest(with_attribute(Cached("a"), threading.Lock())) == keys.digest(with_attribute(Cached("a"), 1))


class Lazy:
    """Reads itself when it is asked."""

    def __init__(self, path: str) -> None:
        self.path = path

    @functools.cached_property
    def text(self) -> str:
        return self.path.upper()

    @functools.cached_property
    def lock(self) -> Any:
        return threading.Lock()


class LazyAlone(Lazy):
    """Has nothing but what it has read."""

    def __init__(self, path: str) -> None:
        """Its path is the same for all."""

    path = "a"


class LazyInSlots(Lazy):
    """Has a slot as well."""

    __slots__ = ("size",)

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.size = 1


class LazyStating(Lazy):
    """Says itself what there is to it."""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "version": 1}


class LazyPath(type(Path())):  # type: ignore[misc]
    """A path that reads itself."""

    text = Lazy.text
    lock = Lazy.lock
    path = "a"


class LazyError(ValueError):
    """An error that explains itself."""

    text = Lazy.text
    lock = Lazy.lock
    path = "a"


class LazySet(set[str]):
    """Texts that are joined once."""

    text = Lazy.text
    lock = Lazy.lock
    path = "a"


class LazyModel(pydantic.BaseModel):
    """A model with what it has computed of itself."""

    path: str

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @functools.cached_property
    def text(self) -> str:
        return self.path.upper()

    lock = Lazy.lock


@dataclasses.dataclass(frozen=True)
class LazyRecord:
    """A record with the same."""

    path: str
    text = Lazy.text
    lock = Lazy.lock


LAZY: dict[str, Callable[[], Any]] = {
    "object": lambda: Lazy("a"),
    "without attributes": lambda: LazyAlone("a"),
    "with slots": lambda: LazyInSlots("a"),
    "with __getstate__": lambda: LazyStating("a"),
    "Path": lambda: LazyPath("a"),
    "error": lambda: LazyError("a"),
    "set": lambda: LazySet("a"),
    "pydantic": lambda: LazyModel(path="a"),
    "dataclass": lambda: LazyRecord("a"),
}


@pytest.mark.parametrize("kind", LAZY)
def test_what_a_cached_property_keeps_is_no_change(kind: str) -> None:
    """A document that has been read is the one that it was, also where what it keeps has no value."""
    fresh, read = LAZY[kind](), LAZY[kind]()
    name = keys.call_digest(([fresh], 1), {})

    assert "A" == read.text
    assert not read.lock.locked()
    assert {"text", "lock"} <= vars(read).keys()
    with unread(frozenset()):
        assert name == keys.call_digest(([read], 1), {})
    with pytest.raises(Unkeyable):
        keys.call_digest(([read], 1), {})


def test_an_error_has_the_key_that_it_has_without_dask(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing Dask registers how errors are pickled: with the place where they were raised."""
    support = pytest.importorskip("tblib.pickling_support")
    errors = [ValueError("a", 1), LazyError("a"), OSError(2, "gone")]
    before = [keys.digest([error]) for error in errors]
    monkeypatch.setattr(copyreg, "dispatch_table", dict(copyreg.dispatch_table))
    support.install()
    for error in errors:
        with contextlib.suppress(Exception):
            raise error

    assert before == [keys.digest([error]) for error in errors]


def test_what_is_assigned_in_place_of_a_cached_property_counts() -> None:
    """From outside of the class nobody can tell it from what was derived: two texts must not get one result."""
    documents = [Lazy("a"), Lazy("a"), Lazy("a")]
    documents[1].text, documents[2].text = "b", "c"

    assert 3 == len(set(map(keys.digest, documents)))


def test_redefined_notebook_class_keeps_the_key() -> None:
    """An instance of a class that was defined again, as when a cell is run again, keeps its key."""
    made = []
    for _ in range(2):
        space: dict[str, Any] = {"__name__": "__main__"}
        exec("class Config:\n    def __init__(self):\n        self.size = 3\nconfig = Config()", space)
        made.append(keys.digest(space["config"]))

    assert made[0] == made[1]


def test_repr_of_user_objects_is_never_called() -> None:
    """Keying runs no code of the user's classes but what pickle would: neither repr nor properties nor ``==``."""

    class Loud:
        def __init__(self) -> None:
            self.lock = threading.Lock()

        def __repr__(self) -> str:
            raise AssertionError("repr was called")

        __str__ = __repr__

        def __eq__(self, other: object) -> bool:
            raise AssertionError("== was called")

        def __hash__(self) -> int:
            return 1

    with pytest.raises(Unkeyable):
        keys.digest([{Loud(): Loud()}])
