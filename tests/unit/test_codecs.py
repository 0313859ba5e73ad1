"""Every value comes back as it was, by the cheapest codec that can do it, and what cannot come back is refused."""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import math
import pickle
import struct
import subprocess
import sys
import textwrap
import threading
import types
import uuid
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from durable_nb import codecs
from durable_nb.codecs import decode, encode, needs_pickle, verify
from durable_nb.errors import StoreError, Unsaveable, UntrustedStore, ValueUnavailable
from durable_nb.layouts import matrix
from durable_nb.proofs import Met


class Invoice(NamedTuple):
    """A class that pickle finds by name."""

    number: int
    vector: Any = None


class Tag(str):
    """A subclass of text: not text."""

    __slots__ = ()


class OneWay:
    """Pickles, but cannot be unpickled: its constructor wants two arguments and is given one.

    Many an exception is so; some libraries, once imported, teach pickle to read those.
    """

    def __init__(self, code: int, text: str) -> None:
        self.code, self.text = code, text

    def __reduce__(self) -> tuple[type[OneWay], tuple[str]]:
        return OneWay, (self.text,)


class Client:
    """Holds a connection-like object."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


def back(value: Any, *, trusted: bool = False) -> Any:
    """The value after a round trip, by default from a stranger."""
    return decode(*encode(value), trusted=trusted)


def own(value: Any) -> Any:
    """The same through a store of one's own: Arrow and pickle need that."""
    return back(value, trusted=True)


def labelled() -> Any:
    """A dict with an attribute, as torch's state_dict() returns."""
    made: Any = collections.OrderedDict(a=1)
    made.version = 2
    return made


PLAIN = [
    None,
    True,
    0,
    -(2**3000),
    -0.0,
    1e-320,
    "",
    "déjà\x00 vu",
    "\ud800\udc00 \udfff",
    b"\x00\xff",
    bytearray(b"abc"),
    complex(-0.0, math.inf),
    (),
    (1, (2.0, [True])),
    {1: "a", "1": "b", False: "c", None: "d", (1, 2): "e"},
    {"b": 1, "a": 2},
    {1, "x"},
    frozenset({b"x", frozenset()}),
    collections.OrderedDict(b=1, a=2),
    dt.date(1, 1, 1),
    dt.time(23, 59, fold=1),
    dt.timedelta(-1, 5, 7),
    dt.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=dt.timezone(dt.timedelta(hours=2), "X")),
    decimal.Decimal("-0.10"),
    uuid.UUID(int=7),
]


@pytest.mark.parametrize("value", PLAIN, ids=lambda value: type(value).__name__)
def test_plain_values_come_back_without_pickle(value: Any) -> None:
    """Plain values keep their type, text form and order, alone and nested, even in a store nobody trusts."""
    nested = [value, {"k": (value,)}]

    assert (type(value), repr(value)) == (type(back(value)), repr(back(value)))
    assert repr(nested) == repr(back(nested))


@pytest.mark.parametrize("bits", [0x7FF8000000000000, 0x7FF0000000000001, 0xFFF800000000BEEF, 1 << 63])
@pytest.mark.parametrize("wrap", [lambda x: [x], lambda x: [x] * 9, lambda x: {"v": x}], ids=["short", "f64", "dict"])
def test_floats_keep_every_bit(bits: int, wrap: Any) -> None:
    """Signs of zero and payloads of NaN survive, signalling ones too."""
    (number,) = struct.unpack("<d", struct.pack("<Q", bits))

    found = back(wrap(number))

    assert struct.pack("<Q", bits) == struct.pack("<d", found["v"] if isinstance(found, dict) else found[0])


def test_shared_and_recursive_parts_stay_so() -> None:
    """Two names for one list are still one list after a restart, and a list may contain itself."""
    inner: list[Any] = []
    inner.append(inner)

    first, second = back([inner, inner])

    assert first is second
    assert first[0] is first


@pytest.mark.parametrize(
    ("codec", "value"),
    [
        ("f64", [float(i) for i in range(8)]),
        ("data", [float(i) for i in range(7)]),
        ("data", [1.0] * 8 + [1]),
        ("data", [1.0] * 8 + [True]),
        ("np:<f4", np.float32(0.1)),
        ("nd:<f4:256", np.zeros(256, "<f4")),
        ("nd:<i8:", np.array(3)),
        ("nd:|b1:0x3", np.zeros((0, 3), bool)),
        ("pickle", Tag("x")),
        ("pickle", Fraction(1, 3)),
        ("pickle", [Invoice(1)]),
        ("pickle", [uuid.UUID(int=1, is_safe=uuid.SafeUUID.safe)]),
        ("pickle", [labelled()]),
        ("cloudpickle", lambda: 1),
    ],
)
def test_each_value_has_its_codec(codec: str, value: Any) -> None:
    """The codec is the cheapest that is exact; only the last two need pickle."""
    assert codec == encode(value)[0]
    assert (codec in {"pickle", "cloudpickle"}) == needs_pickle(codec)


ARRAYS = {
    "big-endian": np.arange(4, dtype=">f4"),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "strided": np.arange(20, dtype="<i2")[::3],
    "read-only": np.broadcast_to(np.float32(2), (2, 2)),
    "0-d": np.array(1.5),
    "empty": np.empty((3, 0, 2), "<u1"),
    "datetime": np.array(["2020-01-01", "NaT"], "M8[25s]"),
    "timedelta": np.array([1, -2], "m8[ns]"),
    "text": np.array(["é", "abc\x00d"]),
    "bytes": np.array([b"a", b"\xff"]),
    "complex": np.array([1j, complex(-0.0, np.nan)]),
    "long double": np.array([1], np.longdouble) / 3,
    "half": np.array([0.1, np.nan], "f2"),
    "fields": np.array([(1, (2, 3))], [("a:b", "<f4"), ("b", "<i8", (2,))]),
    "raw": np.array([b"ab"], "V2"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_come_back_bit_for_bit(name: str) -> None:
    """Arrays keep dtype, byte order, shape and bytes; they are writable and need no pickle, nested or not."""
    array = ARRAYS[name]

    for found in (back(array), back({"v": (array,)})["v"][0]):
        assert (array.dtype, array.dtype.str, array.shape) == (found.dtype, found.dtype.str, found.shape)
        assert array.tobytes() == found.tobytes()
        assert found.flags.writeable


@pytest.mark.parametrize(
    "array",
    [
        np.array([{"a": 1}, None], object),
        np.zeros(2, np.dtype([("a", "i1"), ("b", "f8")], align=True)),
        np.zeros(2, np.dtype({"names": ["a", "b"], "formats": ["i4", "i4"], "offsets": [4, 0]})),
        np.array(["a", "b" * 99], np.dtypes.StringDType()),
        np.zeros(3, "V0"),
        np.ma.masked_array([1, 2], [True, False]),
        np.array([(1,)], [("a", "i4")]).view(np.recarray),
    ],
    ids=["object", "padded", "out of order", "StringDType", "no bytes", "masked", "recarray"],
)
def test_arrays_that_are_more_than_memory_are_pickled(array: Any) -> None:
    """Objects, odd layouts and subclasses keep their type and dtype by way of pickle."""
    codec, payload = encode(array)

    found = decode(codec, payload)

    assert "pickle" == codec
    assert (type(array), array.dtype, repr(array)) == (type(found), found.dtype, repr(found))


@pytest.mark.parametrize(
    "value",
    [np.float64(-0.0), np.float16(0.1), np.int8(-1), np.bool_(True), np.complex64(1j), np.datetime64("NaT", "s")],
    ids=lambda value: type(value).__name__,
)
def test_numpy_scalars_keep_their_type(value: Any) -> None:
    """A numpy scalar is not turned into a Python number, nor into an array."""
    found = back([value])[0]

    assert (type(value), value.dtype, value.tobytes()) == (type(found), found.dtype, found.tobytes())


@pytest.mark.parametrize("value", [np.str_("a\x00\ud800"), np.bytes_(b"a\x00")], ids=["str_", "bytes_"])
def test_numpy_text_scalars_keep_trailing_nuls(value: Any) -> None:
    """Text scalars keep their NULs, which an array, and numpy's own pickle, drop."""
    found = back(value)

    assert (type(value), len(value), value) == (type(found), len(found), found)


def test_pandas_comes_back_equal() -> None:
    """Index, names, dtypes, order of columns and attrs of a frame are kept."""
    pd = pytest.importorskip("pandas")
    index = pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["x", "y"])
    frame = pd.DataFrame({"s": ["é", None], 3: [1.5, np.nan], "c": pd.Categorical(["u", "v"])}, index=index)
    frame["t"] = pd.date_range("2026-01-01", periods=2, tz="Europe/Paris")
    frame.attrs["source"] = "10-K"

    found = back(frame, trusted=True)

    pd.testing.assert_frame_equal(frame, found, check_exact=True, check_freq=True)
    assert {"source": "10-K"} == found.attrs
    pd.testing.assert_series_equal(frame["s"], back(frame["s"], trusted=True))
    assert frame.index.equals(back(frame.index, trusted=True))


def polars_frame() -> Any:
    """A polars frame of every plain kind of column."""
    pl = pytest.importorskip("polars")
    day = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
    return pl.DataFrame(
        {
            "i": pl.Series([1, None, 3], dtype=pl.UInt16),
            "s": ["é", None, ""],
            "f": [1.5, math.inf, None],
            "l": [[[1]], [], None],
            "st": [{"p": 1, "q": ["x"]}, None, {"p": None, "q": []}],
            "t": [day, None, day],
            "b": [b"\x00", None, b""],
            "a": pl.Series([[1, 2], None, [3, 4]], dtype=pl.Array(pl.Int8, 2)),
        }
    )


def test_polars_comes_back_equal_without_pickle() -> None:
    """Frames and series of plain dtypes keep schema, nulls and names; others are pickled and equal too."""
    pytest.importorskip("pyarrow")
    pl = pytest.importorskip("polars")
    frame = polars_frame()
    coded = pl.Series("c", ["u", "v"], dtype=pl.Enum(["u", "v"]))

    found = own({"frame": frame})["frame"]

    assert frame.schema == found.schema
    assert frame.equals(found)
    assert ("", frame["st"].to_list()) == (own(frame["st"].alias("")).name, own(frame["st"]).to_list())
    assert coded.dtype == own(coded).dtype
    assert frame.clear().schema == own(frame.clear()).schema


def test_arrow_comes_back_equal_without_pickle() -> None:
    """Tables, batches and arrays keep schema, metadata, nulls and dictionaries."""
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"v": pa.array([[1.0], None]), "d": pa.array(["x", None]).dictionary_encode()})
    table = table.replace_schema_metadata({"source": "10-K"})

    for value in (table, table.slice(1), table.slice(2), table.to_batches()[0], pa.table({})):
        found = own([value])[0]
        assert type(value) is type(found)
        assert value.equals(found, check_metadata=True)
    for array in (pa.array([1, None], pa.int8()), pa.array([], pa.string()), pa.array([{"a": 1}])):
        assert (type(array), array) == (type(own(array)), own(array))
    assert "pickle" == encode(pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"1" * 16], pa.binary(16))))[0]


@pytest.mark.parametrize("kind", ["text that is not UTF-8", "half a day", "a time before midnight"])
def test_arrow_that_is_not_valid_comes_back_all_the_same(kind: str) -> None:
    """What Arrow makes and would refuse when reading it is pickled, also as a part, and comes back as it was."""
    pa = pytest.importorskip("pyarrow")
    array = {
        "text that is not UTF-8": pa.array([b"caf\xe9"]).view(pa.string()),
        "half a day": pa.array([43_200_000]).view(pa.date64()),
        "a time before midnight": pa.array([-5], pa.int32()).view(pa.time32("s")),
    }[kind]

    for value in (array, pa.table({"a": array}), pa.record_batch([array], ["a"])):
        assert "pickle" == encode(value)[0]
        assert value.equals(own(value))
        assert value.equals(own({"part": value})["part"])


def test_arrow_is_not_read_from_strangers() -> None:
    """A table, also as a part of plain data, needs trust: its buffers may be bombs, and old readers unpickle."""
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"v": [1]})

    for value in (table, {"part": table}):
        with pytest.raises(UntrustedStore, match=r"strange\.db"):
            decode(*encode(value), trusted=False, where="strange.db")


def test_torch_comes_back_bit_for_bit() -> None:
    """Tensors keep dtype, shape, bits and requires_grad, without pickle; parameters and sparse ones are pickled."""
    torch = pytest.importorskip("torch")
    tensors = [
        torch.arange(6.0).reshape(2, 3).T,
        torch.tensor([1.5, float("nan")], dtype=torch.bfloat16),
        torch.tensor(True),
        torch.empty(0, 3, dtype=torch.float16),
        torch.tensor([1j]).conj(),
        torch.tensor([1.0], requires_grad=True),
    ]

    for tensor in tensors:
        found = back({"t": tensor})["t"]
        assert (torch.Tensor, tensor.dtype, tensor.shape) == (type(found), found.dtype, found.shape)
        assert tensor.requires_grad == found.requires_grad
        assert torch.equal(tensor.detach().nan_to_num(7), found.detach().nan_to_num(7))
    for other in (torch.nn.Parameter(torch.ones(2)), torch.ones(2).to_sparse()):
        assert "pickle" == encode(other)[0]
        assert (type(other), other.layout) == (type(back(other, trusted=True)), back(other, trusted=True).layout)


def test_instances_come_back_as_instances_of_the_same_class() -> None:
    """A class is saved by reference, so isinstance still holds; arrays inside stay exact."""
    found = back(Invoice(7, np.arange(3, dtype="f4")), trusted=True)

    assert Invoice is type(found)
    assert b"".join(np.arange(3, dtype="<f4")) == found.vector.tobytes()


def test_instances_of_local_classes_bring_their_code() -> None:
    """A class that cannot be found by name travels by value, under another codec name."""

    class Local:
        x = 3

    codec, payload = encode([Local()])

    assert "cloudpickle" == codec
    assert 3 == decode(codec, payload)[0].x


def generator() -> Iterator[int]:
    """Something with state that no bytes hold."""
    yield 1


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (generator(), "generator"),
        (sys.stdout, "cannot pickle"),
        (Path(__file__).open(encoding="utf-8"), "TextIOWrapper"),  # noqa: SIM115
        (memoryview(b"x"), "memoryview"),
        ({"a": [1, {"client": Client()}]}, "value['a'][1]['client'].lock is a lock"),
        ([[generator()]], "value[0][0] is a generator"),
    ],
    ids=["generator", "stdout", "file", "memoryview", "nested lock", "nested generator"],
)
def test_hidden_state_is_refused_and_named(value: Any, said: str) -> None:
    """What cannot come back is an error that names the part, not a value of another type after the restart."""
    with pytest.raises(Unsaveable) as caught:
        encode(value)

    assert said in str(caught.value)


def test_endless_nesting_is_refused() -> None:
    """A list nested deeper than the stack is refused with our error."""
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]

    with pytest.raises(Unsaveable):
        encode(deep)


def test_pickle_is_not_read_from_a_store_nobody_trusts() -> None:
    """No code of a payload runs, and the error names the store."""
    for value in (Invoice(1), lambda: 1):
        with pytest.raises(UntrustedStore) as caught:
            decode(*encode(value), trusted=False, where="strange.db")

        assert "strange.db" == caught.value.where


def attack(*parts: bytes) -> bytes:
    """A hand-made pickle."""
    return b"\x80\x05" + b"".join(parts) + b"."


def name(text: str) -> bytes:
    """Pickle of a short text."""
    return b"\x8c" + bytes([len(text)]) + text.encode()


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize(
    "payload",
    [
        attack(name("os"), name("getcwd"), b"\x93)R"),
        attack(name("builtins"), name("eval"), b"\x93", name("1"), b"\x85R"),
        attack(b"cos\ngetcwd\n)R"),
        attack(b"(ios\ngetcwd\n"),
        attack(name("uuid"), name("UUID.__init__"), b"\x93"),
        attack(name("durable_nb.codecs"), name("pickle.loads"), b"\x93"),
        attack(name("durable_nb.codecs"), name("revive"), b"\x93", name("pickle"), b"C\x04\x80\x05N.", b"\x86R"),
    ],
    ids=["call", "eval", "GLOBAL", "INST", "dotted", "our own imports", "pickle inside"],
)
def test_data_runs_no_code(payload: bytes, trusted: bool) -> None:
    """A forged `data` payload reaches nothing but the constructors of plain values."""
    with pytest.raises(StoreError):
        decode("data", payload, trusted=trusted)


@pytest.mark.parametrize(
    "payload",
    [
        attack(b"Nr\xff\xff\xff\x7f"),
        attack(name("uuid"), name("UUID"), b"\x93", b"N}", name("hex"), b"Ns\x86b"),
        attack(b"\x96\xff\xff\xff\xff\xff\x00\x00\x00"),
        attack(b"})", 200_000 * b"\x85", b"Ns"),
        attack(b"0"),
    ],
    ids=["memo of 32 GB", "attribute of a class", "bytearray of a terabyte", "deep key", "no stack"],
)
def test_forged_data_harms_nothing_when_not_trusted(payload: bytes) -> None:
    """Opcodes that could fill the memory or alter a class are refused before anything is read."""
    with pytest.raises(StoreError, match="is not data|bytes in a bytearray8|nested more than|stack is empty"):
        decode("data", payload, trusted=False)


@pytest.mark.parametrize(
    ("codec", "payload"),
    [
        ("nd:<f4:256", b"x" * 1023),
        ("nd:<f4:-1x-1", b"x" * 4),
        ("nd:|O:1", b"x" * 8),
        ("nd:[('a', '|O')]:1", b"x" * 8),
        ("nd:nonsense:1", b""),
        ("nd:[__import__('os').getcwd()]:1", b""),
        ("nd:<f4:0x99999999999999999999", b""),
        ("np:<f4", b""),
        ("f64", b"1234567"),
        ("str", b"\xff"),
        ("data", b""),
        ("data", b"\x80\x05K"),
        ("arrow:Table", b"junk"),
        ("pickle", b"junk"),
    ],
)
def test_damaged_payloads_are_an_error_that_names_the_store(codec: str, payload: bytes) -> None:
    """Damage is never a wrong value: the error says where and which codec."""
    with pytest.raises(StoreError) as caught:
        decode(codec, payload, where="corpus.db")

    assert "corpus.db" == caught.value.where
    assert codec in str(caught.value)


def test_damaged_offsets_of_a_table_are_found() -> None:
    """A string that would end outside the table is refused, not read from somebody else's memory."""
    pa = pytest.importorskip("pyarrow")
    codec, payload = encode(pa.table({"s": ["aaaa", "bbbb"]}))
    sound, damaged = struct.pack("<3i", 0, 4, 8), struct.pack("<3i", 0, 4, 1 << 30)

    assert 1 == payload.count(sound)
    with pytest.raises(StoreError):
        decode(codec, payload.replace(sound, damaged))


def test_damaged_names_of_a_frame_are_our_error() -> None:
    """polars panics, with a BaseException, on a field name that is not text; we raise a StoreError."""
    pytest.importorskip("pyarrow")
    pl = pytest.importorskip("polars")
    codec, payload = encode(pl.DataFrame({"a": [{"zzzz": 1}]}))

    assert "arrow:polars.DataFrame" == codec
    with pytest.raises(StoreError):
        decode(codec, payload.replace(b"zzzz", b"\xff" * 4))


def test_an_unknown_codec_says_so() -> None:
    """A codec of a later version is named, and the value is called safe."""
    with pytest.raises(ValueUnavailable, match="'zstd:5'"):
        decode("zstd:5", b"")


def test_a_class_defined_later_is_found_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise N: while the class is missing the error names it; once its cell ran, the same payload is read."""
    notebook = types.ModuleType("notebook_of_yesterday")
    monkeypatch.setitem(sys.modules, notebook.__name__, notebook)
    exec("class Page:\n    n = 4", notebook.__dict__)
    made = encode(notebook.Page())
    page = notebook.__dict__.pop("Page")

    with pytest.raises(ValueUnavailable) as caught:
        decode(*made)
    notebook.__dict__["Page"] = page

    assert "notebook_of_yesterday.Page" == caught.value.missing
    assert page is type(decode(*made))


def test_a_missing_module_is_named() -> None:
    """A value of a library that is not installed here names the library."""
    payload = pickle.dumps(Invoice(1), 5).replace(Invoice.__module__.encode(), b"x" * len(Invoice.__module__))

    with pytest.raises(ValueUnavailable, match=r"xxx\.Invoice"):
        decode("pickle", payload)


def test_verify_finds_what_pickles_but_does_not_unpickle() -> None:
    """The classic trap is caught on the first result, not after the restart."""
    codec, payload = encode(OneWay(3, "late"))

    with pytest.raises(Unsaveable, match="not read back"):
        verify(codec, payload)
    verify(*encode(Invoice(1)))
    verify("data", b"not even looked at")


class Page(NamedTuple):
    """Met in one test only."""

    number: int


class Parcel:
    """Unpacked by whatever it names."""

    def __init__(self, maker: Any) -> None:
        self.maker = maker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return self.maker, ("late",)


def refuse(text: str) -> None:
    """Make nothing."""
    raise ValueError(text)


@pytest.mark.parametrize(
    "trap", [OneWay(3, "late"), [{"error": OneWay(3, "late")}], Parcel(refuse), {"f": lambda: 1, "x": Parcel(refuse)}]
)
def test_a_trap_is_found_at_any_depth(trap: object) -> None:
    """What cannot be read back is refused wherever it stands, also after others of its type and of what holds it."""
    encode([{"error": Page(1)}, OneWay, Parcel(str), lambda: 1], codecs.prove)

    with pytest.raises(Unsaveable, match="not read back"):
        encode(trap, codecs.prove)


def test_a_pickle_is_read_back_once_for_what_is_in_it() -> None:
    """Only what is met for the first time in a process is read back; what needs no pickle is not."""
    proven: list[bool] = []

    def check(codec: str, payload: bytes, met: Met) -> None:
        proven.append(met.is_proven())
        codecs.prove(codec, payload, met)

    for number in range(3):
        encode([{"page": Page(number)}, lambda: number], check)
        encode([1, "a", np.arange(3), dt.date(2020, 1, 1)], check)

    assert [False, True, True] == proven


def test_matrix_joins_payloads_of_one_layout() -> None:
    """Vectors become one writable array without a value being made for each."""
    rows = [np.arange(6, dtype="<i2").reshape(2, 3) + i for i in range(4)]
    made = [encode(row) for row in rows]

    found = matrix(made[0][0], [payload for _, payload in made])

    assert found is not None
    assert found.flags.writeable
    np.testing.assert_array_equal(np.stack(rows), found, strict=True)


@pytest.mark.parametrize(
    ("shape", "codec", "payloads"),
    [
        ((0, 3, 2), "nd:<f4:3x2", []),
        ((2, 0), "nd:<f4:0", [b"", b""]),
        ((2,), "np:<f4", [b"1234", b"1234"]),
        ((2, 8), "f64", [b"12345678" * 8] * 2),
        (None, "f64", [b"12345678" * 8, b"12345678" * 9]),
        (None, "data", [b"N"]),
        (None, "str", []),
        (None, "np:str", [b"a"]),
    ],
)
def test_matrix_shapes(shape: tuple[int, ...] | None, codec: str, payloads: list[bytes]) -> None:
    """There is a matrix exactly if all payloads have one dtype and shape."""
    found = matrix(codec, payloads)

    assert shape == (None if found is None else found.shape)


def test_matrix_refuses_payloads_of_wrong_length() -> None:
    """Two wrong lengths that add up are not taken for two right ones, and no forged layout is believed."""
    for codec in ("nd:<f4:2", "nd:nonsense:2", "nd:|O:2", "np:<f4"):
        with pytest.raises(StoreError):
            matrix(codec, [b"x" * 4, b"x" * 12])
    with pytest.raises(StoreError):
        matrix("nd:<f4:-1", [])


def test_a_redefined_class_is_not_kept_alive() -> None:
    """Saving instances of a class does not hold on to the class: notebooks define it again and again."""
    import gc
    import weakref

    kind = type("Draft", (), {"__module__": __name__, "__reduce__": lambda _: (int, ())})
    encode([kind()])
    gone = weakref.ref(kind)
    del kind
    gc.collect()

    assert gone() is None


def test_importing_codecs_loads_no_library() -> None:
    """The module alone costs nothing to a kernel that saves only plain values."""
    script = """
        import sys, types
        sys.modules["durable_nb"] = package = types.ModuleType("durable_nb")
        package.__path__ = [sys.argv[1]]
        from durable_nb.codecs import decode, encode
        decode(*encode([1, {"a": 2.5}]))
        print(*{"numpy", "pandas", "polars", "pyarrow", "torch", "cloudpickle", "inspect", "asyncio"} & set(sys.modules))
    """
    folder = str(Path(codecs.__file__).parent)
    command = [sys.executable, "-S", "-c", textwrap.dedent(script), folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert ("", "") == (done.stdout.strip(), done.stderr)
