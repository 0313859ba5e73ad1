"""Results read like a list in input order, decode when asked, and become arrays and tables."""

from __future__ import annotations

import datetime as dt
import gc
import pickle
import sys
import threading
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from durable_nb import frames
from durable_nb.codecs import encode
from durable_nb.errors import ConfigError, StepFailed, StoreError, UntrustedStore, ValueUnavailable
from durable_nb.records import Failure, Saved
from durable_nb.results import Results


def put_saved(made: Results, position: int, codec: str, payload: bytes) -> None:
    """Fill one slot as a look-up does."""
    made.put_restored([position], [Saved(codec, payload, 0.0, 1)])


def results(*values: Any, saved: bool = False, **options: Any) -> Results:
    """Results of a step `embed` over a.txt, b.txt, …; exceptions stand for documents that failed."""
    made = Results("embed", **options)
    made.expect(0, values, [f"{chr(97 + i)}.txt" for i in range(len(values))])
    for i, value in enumerate(values):
        if isinstance(value, Exception):
            fail(made, i, value)
        elif saved:
            put_saved(made, i, *encode(value))
        else:
            made.put_value(i, value)
    return made


def fail(made: Results, position: int, error: Exception) -> None:
    """Give one document up."""
    text = f"{type(error).__name__}: {error}"
    failure = Failure(position, made.labels[position], text, 1)
    made.put_failure(failure, StepFailed("embed", made.labels[position], 1, text))


@pytest.fixture(params=[False, True], ids=["computed", "restored"])
def saved(request: pytest.FixtureRequest) -> bool:
    """Whether the results come from this kernel or from the store: nobody may be able to tell."""
    return bool(request.param)


def test_restored_results_may_come_in_any_order():
    """Other kernels and priorities hand over results as they are found: each goes to its document."""
    made = Results("embed")
    made.grow(4)
    order = (0, 2, 1, 3)
    made.put_restored(order, [Saved(*encode(position), 0.0, 1) for position in order])

    assert [0, 1, 2, 3] == list(made)


@pytest.mark.parametrize("shape", [(3,), (2, 2), (), (0,)], ids=str)
def test_arrays_of_one_layout_are_read_together(shape: tuple[int, ...]) -> None:
    """Each is its own array, writable, kept once it was read; one that is damaged is told of, and spoils no other."""
    arrays = [np.full(shape, n, ">f4") for n in range(5)]
    made = results(*arrays, saved=True)
    for read, array in zip(made, arrays, strict=True):
        assert (array.dtype, array.shape, array.tobytes()) == (read.dtype, read.shape, read.tobytes())
        assert read.flags.writeable and read.base is None
    assert all(made[n] is read for n, read in enumerate(made))

    put_saved(made, 1, encode(arrays[1])[0], b"damaged")
    for n in (0, 2, 3, 4):
        put_saved(made, n, *encode(arrays[n]))
    with pytest.raises(StoreError, match="cannot be read"):
        list(made)
    assert [array.tobytes() for array in (arrays[0], *arrays[2:])] == [made[n].tobytes() for n in (0, 2, 3, 4)]


def test_reads_like_a_list(saved: bool) -> None:
    """Length, indexes, slices, iteration, membership and equality are those of a list of the values."""
    plain = ["a", (1,), None, {"k": 2.5}, "a"]
    made = results(*plain, saved=saved)

    assert plain == made
    assert (5, plain[0], plain[-1]) == (len(made), made[0], made[np.int64(-1)])
    assert plain[1:4] == made[1:4]
    assert plain[::-2] == made[::-2]
    assert list is type(made[:2])
    assert (plain, list(reversed(plain))) == (list(made), list(reversed(made)))
    assert (2, 1, True) == (made.count("a"), made.index((1,)), None in made)
    assert made != plain[:-1]
    assert results(*plain) == made


@pytest.mark.parametrize("index", [3, -4])
def test_an_index_outside_is_an_index_error(index: int) -> None:
    """Wrong indexes raise IndexError, as loops and unpacking expect."""
    with pytest.raises(IndexError):
        results(1, 2, 3)[index]


def test_a_result_is_one_object(saved: bool) -> None:
    """What is changed in place stays changed: each result is decoded once."""
    made = results([1], [2], saved=saved)

    made[0].append(9)

    assert made[0] is made[0]
    assert [[1, 9], [2]] == made


def test_slots_are_filled_in_any_order_by_many_threads() -> None:
    """The order is that of the input, whoever finishes first."""
    made = Results("embed")
    made.grow(4000)

    def fill(start: int) -> None:
        for i in reversed(range(start, 4000, 4)):
            put_saved(made, i, *encode(i)) if i % 2 else made.put_value(i, i)

    threads = [threading.Thread(target=fill, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert list(range(4000)) == made


def test_many_readers_get_one_object() -> None:
    """Threads that ask for the same restored result at once are given the same object."""
    made = results(*[[i] for i in range(2000)], saved=True)
    read: list[list[Any]] = []
    start = threading.Barrier(4)

    def read_all() -> None:
        start.wait()
        read.append([made[i] for i in range(2000)])

    threads = [threading.Thread(target=read_all) for _ in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # so that threads do meet inside one slot
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(interval)

    assert 4 == len(read)
    assert all(a is b is c is d for a, b, c, d in zip(*read, strict=True))


def test_growing_keeps_what_is_there() -> None:
    """Documents of an endless input may be added later; the size never shrinks."""
    made = results(1, 2)

    made.grow(3)
    made.grow(1)
    made.put_value(2, 3)

    assert [1, 2, 3] == made
    assert ["a.txt", "b.txt", ""] == made.labels


def test_decoding_waits_until_the_value_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise N: a class of a later cell is only missed, and by name, when its value is asked for."""
    notebook = types.ModuleType("a_notebook")
    monkeypatch.setitem(sys.modules, "a_notebook", notebook)
    exec("class Page: pass", notebook.__dict__)
    made = results("first", notebook.Page(), saved=True)
    page = notebook.__dict__.pop("Page")

    assert (2, "first") == (len(made), made[0])
    with pytest.raises(ValueUnavailable, match=r"a_notebook\.Page"):
        made[1]
    notebook.__dict__["Page"] = page
    assert page is type(made[1])


def test_trust_reaches_the_values() -> None:
    """Results of a store nobody trusts do not run its code, and name it."""
    made = results({1: 2}, where="strange.db")
    made.grow(2)
    codec, payload = encode(ValueError)
    put_saved(made, 1, f"foreign+{codec}", payload)

    assert {1: 2} == made[0]
    with pytest.raises(UntrustedStore, match=r"strange\.db"):
        made[1]


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_is_left_as_it_was(enabled: bool) -> None:
    """Reading pauses the cyclic collector and puts it back, also when a value cannot be read."""
    made = results({"a": 1}, saved=True)
    made.grow(2)
    put_saved(made, 1, "from the future", b"")
    (gc.enable if enabled else gc.disable)()
    try:
        with pytest.raises(ValueUnavailable):
            list(made)

        assert enabled == gc.isenabled()
    finally:
        gc.enable()


def test_repr_counts() -> None:
    """The text says how many there are, were restored, failed and are missing, on one short line."""
    made = results("x", ValueError("bad"), "z")
    made.grow(12_000)
    for i in range(3, 4_003):
        put_saved(made, i, "str", b"y")

    assert "Results(embed: 12,000 documents, 4,000 restored, 1 failed, 7,997 pending)" == repr(made)
    assert "Results(embed: 1 document)" == repr(results(np.zeros(3)))


def test_a_missing_result_is_not_a_value() -> None:
    """A document that never ran raises an error that names it, instead of giving None."""
    made = results(1, 2)
    made.grow(3)

    with pytest.raises(ConfigError, match="document 2 has no result yet"):
        list(made)
    assert [1, 2] == made.ok


def test_failures_are_in_their_places() -> None:
    """A failed document's slot holds its exception; `failed` and `ok` tell them apart, in input order."""
    made = results(1, 2, 3, 4)
    fail(made, 3, ValueError("late"))
    fail(made, 1, KeyError("early"))

    assert StepFailed is type(made[1])
    assert [(1, "b.txt"), (3, "d.txt")] == [(failure.position, failure.label) for failure in made.failed]
    assert [1, 3] == made.ok


def test_a_returned_exception_is_a_value() -> None:
    """A step may return an exception without having failed."""
    made = Results("check")
    made.grow(1)
    made.put_value(0, ValueError("found"))

    assert [] == made.failed
    assert ValueError is type(made.ok[0])


def test_retry_runs_only_if_something_failed() -> None:
    """`retry` asks the engine once, returns the same object, and does nothing when nothing failed."""
    asked = []

    def again(made: Results) -> None:
        asked.append([failure.position for failure in made.failed])
        made.put_value(1, "b")

    made = results("a", ValueError("bad"), retry=again)

    assert made.retry().retry() is made
    assert ["a", "b"] == made
    assert ([[1]], []) == (asked, made.failed)
    assert 1 == len(results(ValueError("bad")).retry().failed)


def test_pickles_as_a_list(saved: bool) -> None:
    """A pickle of results is a plain list, readable without this library."""
    found = pickle.loads(pickle.dumps(results({"a": 1}, (2,), saved=saved)))

    assert list is type(found)
    assert [{"a": 1}, (2,)] == found


@pytest.mark.parametrize(
    ("values", "dtype", "shape"),
    [
        ([np.arange(3, dtype="f4"), np.ones(3, "f4")], "f4", (2, 3)),
        ([np.zeros((2, 2)), np.ones((2, 2))], "f8", (2, 2, 2)),
        ([np.arange(3, dtype="f4"), np.ones(3, "f8")], "f8", (2, 3)),
        ([[float(i) for i in range(9)], [0.5] * 9], "f8", (2, 9)),
        ([[0.5], [1.5]], "f8", (2, 1)),
        ([1, 2], "i8", (2,)),
        ([np.float32(1), np.float32(2)], "f4", (2,)),
        (["a", "bcd"], "U3", (2,)),
        ([True], "?", (1,)),
        ([], "f8", (0,)),
    ],
)
def test_to_numpy_has_a_row_for_each(values: list[Any], dtype: str, shape: tuple[int, ...], saved: bool) -> None:
    """The array has shape (n, *shape) and the dtype of the results, and belongs to the caller."""
    made = results(*values, saved=saved)

    found = made.to_numpy()

    assert (np.dtype(dtype), shape) == (found.dtype, found.shape)
    assert found.flags.writeable
    for row, value in zip(found, values, strict=True):
        np.testing.assert_array_equal(value, row)
    if values:
        found[:] = found[::-1].copy()
        np.testing.assert_array_equal(values[0], made[0])


def test_to_numpy_of_a_resumed_run() -> None:
    """Some results restored and some computed give the same array as all computed."""
    rows = [np.full(4, i, "f4") for i in range(6)]
    made = results(*rows)
    put_saved(made, 2, *encode(rows[2]))

    np.testing.assert_array_equal(np.stack(rows), made.to_numpy(), strict=True)


def test_numpy_functions_take_results(saved: bool) -> None:
    """`np.asarray(results)` is the array, a dtype may be asked for, and a view is refused."""
    made = results(np.ones(2, "f4"), np.zeros(2, "f4"), saved=saved)

    assert ((2, 2), np.dtype("f4")) == (np.asarray(made).shape, np.asarray(made).dtype)
    assert np.dtype("f2") == np.asarray(made, "f2").dtype == made.to_numpy("f2").dtype
    with pytest.raises(ValueError, match="copy"):
        np.array(made, copy=False)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([np.zeros(3), np.zeros(3), np.zeros(4)], r"c\.txt has shape \(4,\), but the first \(a\.txt\) has \(3,\)"),
        ([[1.0], [[1.0], 2]], r"b\.txt is not an array"),
        ([np.zeros(3), ValueError("NaN")], r"b\.txt failed \(ValueError: NaN\)"),
    ],
    ids=["shapes", "ragged", "failed"],
)
def test_to_numpy_names_the_document_that_does_not_fit(values: list[Any], said: str, saved: bool) -> None:
    """What has no row in the array is an error with its label, not an array of objects."""
    with pytest.raises(ConfigError, match=said):
        results(*values, saved=saved).to_numpy()


def test_to_pandas_of_dicts(saved: bool) -> None:
    """Dict results become a column per key, in order, beside the document; a missing key is a gap."""
    pd = pytest.importorskip("pandas")
    made = results({"kind": "10-K", "pages": 3}, {"kind": "8-K", "score": 0.5}, saved=saved)

    found = made.to_pandas()

    expected = {"document": ["a.txt", "b.txt"], "kind": ["10-K", "8-K"], "pages": [3, None], "score": [None, 0.5]}
    pd.testing.assert_frame_equal(pd.DataFrame(expected), found)


def test_to_pandas_of_values(saved: bool) -> None:
    """Other results become the column `value`, whole, with numbers as numbers."""
    pytest.importorskip("pandas")
    vectors = [np.ones(3), np.ones((2, 2))]

    found = results(*vectors, saved=saved).to_pandas()

    assert ["document", "value"] == list(found.columns)
    for vector, value in zip(vectors, found["value"], strict=True):
        np.testing.assert_array_equal(vector, value, strict=True)
    assert "int64" == results(1, 2, saved=saved).to_pandas()["value"].dtype
    tweets = results({"id": 1234567890123456789}, {"n": 1}, saved=saved).to_pandas()
    assert 1234567890123456789 == tweets["id"][0]  # beside a gap
    assert [[1], [2]] == results([1], [2], saved=saved).to_pandas()["value"].tolist()
    assert (0, 2) == results().to_pandas().shape


def test_to_pandas_shows_failures() -> None:
    """Only when a document failed there is a column of errors; a result's own columns keep their names."""
    pytest.importorskip("pandas")

    found = results({"error": 7, "document": "x"}, OSError("gone")).to_pandas()

    assert ["_document", "error", "document", "_error"] == list(found.columns)
    assert [True, False] == found["_error"].isna().tolist()
    assert "OSError: gone" == found["_error"][1]
    assert ["a.txt", "b.txt"] == found["_document"].tolist()


def test_to_arrow_makes_fixed_size_lists(saved: bool) -> None:
    """Vectors of one length become a fixed-size list of their dtype; a failed document is null."""
    pa = pytest.importorskip("pyarrow")
    failed = results(np.ones(2, "f4"), ValueError("x"), np.zeros(2, "f4"), saved=saved).to_arrow()

    assert pa.list_(pa.float32(), 2) == failed.schema.field("value").type
    assert [[1, 1], None, [0, 0]] == failed["value"].to_pylist()
    assert [None, "ValueError: x", None] == failed["error"].to_pylist()
    assert pa.list_(pa.float64(), 8) == results([0.5] * 8, [1.5] * 8, saved=saved).to_arrow()["value"].type


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([np.ones(2), np.ones(3)], "list<item: double>"),
        ([[0.5], [1.5, 2.5]], "list<item: double>"),
        ([np.ones((2, 2)), np.ones((2, 2))], "list<item: list<item: double>>"),
        ([np.float32(1), np.float32(2)], "float"),
        (["a", "b"], "string"),
        ([b"a", None], "binary"),
        ([np.array(["a"]), np.array(["b"])], "list<item: string>"),
        ([], "null"),
    ],
)
def test_to_arrow_types(values: list[Any], kind: str, saved: bool) -> None:
    """Each kind of result has the Arrow type one expects, and the same values."""
    pytest.importorskip("pyarrow")

    found = results(*values, saved=saved).to_arrow()["value"]

    assert kind == str(found.type).replace("element", "item")
    assert [getattr(value, "tolist", lambda value=value: value)() for value in values] == found.to_pylist()


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [
        ("M8[ns]", "timestamp[ns]"),
        ("M8[us]", "timestamp[us]"),
        ("M8[s]", "timestamp[s]"),
        ("M8[25m]", "timestamp[s]"),
        ("M8[D]", "date32[day]"),
        ("M8[Y]", "date32[day]"),
        ("m8[ns]", "duration[ns]"),
        ("m8[h]", "duration[s]"),
        ("m8[7D]", "duration[s]"),
    ],
)
def test_vectors_of_times_stay_times(dtype: str, kind: str, saved: bool) -> None:
    """Also of different lengths, and with gaps; units that Arrow lacks become the next shorter one."""
    pa = pytest.importorskip("pyarrow")
    one, two = np.array([1, 2], dtype), np.array([3, "NaT"], dtype)

    alike = results(one, two, saved=saved).to_arrow()["value"]
    uneven = results(one, two[1:], saved=saved).to_arrow()["value"]
    square = results(np.array([one, two]), saved=saved).to_arrow()["value"]

    assert alike.type == pa.list_(alike.type.value_type, 2)
    kinds = [alike.type.value_type, uneven.type.value_type, square.type.value_type.value_type]
    assert [kind] * 3 == [str(found) for found in kinds]
    first, second = alike.to_pylist()
    assert [first, [None]] == uneven.to_pylist()
    assert [[first, second]] == square.to_pylist()
    assert [True, True, True, False] == [time is not None for time in first + second]
    assert first[0] < first[1] < second[0]


@pytest.mark.parametrize("method", ["to_arrow", "to_polars"])
@pytest.mark.parametrize(
    "values", [[1, 2**64], [{"value": -(2**70)}], [[2**64]], [np.ones(1, "m8")], [np.ones(1, "m8[M]")]], ids=str
)
def test_what_no_arrow_type_holds_is_refused(values: list[Any], method: str) -> None:
    """A whole number beyond 64 bits, or a duration without a unit, is an error that names the column."""
    pytest.importorskip("pyarrow")
    pytest.importorskip("polars")

    with pytest.raises(ConfigError, match="'value'"):
        getattr(results(*values), method)()


def test_to_arrow_of_mixed_values_is_refused() -> None:
    """Values of several types are an error that names the column."""
    pytest.importorskip("pyarrow")

    with pytest.raises(ConfigError, match="'kind'"):
        results({"kind": 1}, {"kind": "x"}).to_arrow()


def test_to_parquet_writes_the_table(tmp_path: Path, saved: bool) -> None:
    """The Parquet file holds what to_arrow gives."""
    parquet = pytest.importorskip("pyarrow.parquet")
    made = results({"id": 1, "v": np.ones(2, "f4")}, {"id": 2, "v": np.zeros(2, "f4")}, saved=saved)

    made.to_parquet(tmp_path / "out.parquet")

    assert made.to_arrow().equals(parquet.read_table(tmp_path / "out.parquet"))


def test_what_parquet_has_no_place_for_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    """A dict without keys is a column without fields: the error says so, and the file of before is still there."""
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "out.parquet"
    results({"a": 1}).to_parquet(path)

    with pytest.raises(ConfigError, match=r"Parquet has no place.*Use \.to_arrow"):
        results({"a": {}}).to_parquet(path)
    assert [1] == parquet.read_table(path)["a"].to_pylist()


@pytest.mark.parametrize(
    ("method", "library"),
    [("to_numpy", "numpy"), ("to_pandas", "pandas"), ("to_arrow", "pyarrow"), ("to_polars", "polars")],
)
def test_a_missing_library_is_named(method: str, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the library the error says what to install."""
    monkeypatch.setitem(sys.modules, library, None)

    with pytest.raises(ConfigError, match=f"pip install {library}"):
        getattr(results(1), method)()


def test_to_polars_has_the_same_columns(saved: bool) -> None:
    """Vectors become an Array column; what speaks Arrow can also take the results themselves."""
    pl = pytest.importorskip("polars")
    made = results({"id": 1, "v": np.ones(2, "f4")}, ValueError("x"), saved=saved)

    found = made.to_polars()

    assert ["document", "id", "v", "error"] == found.columns
    assert pl.Array(pl.Float32, 2) == found.schema["v"]
    assert [1, None] == found["id"].to_list()
    assert made.to_arrow().equals(pytest.importorskip("pyarrow").table(made))


def test_batches_have_all_rows_in_order_and_keep_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A million vectors go to a file a thousand at a time: what a batch decodes is dropped with it."""
    pa = pytest.importorskip("pyarrow")
    made = results(*(np.full(2, i, "f4") for i in range(26)), saved=True)

    batches = list(made.iter_batches(rows=10))

    assert [10, 10, 6] == [batch.num_rows for batch in batches]
    assert made.to_arrow().equals(pa.Table.from_batches(batches))
    made = results(1, 2, saved=True)
    list(made.iter_batches(rows=1))
    decoded: list[str] = []
    monkeypatch.setattr("durable_nb.slots.decode", lambda codec, *_, **__: decoded.append(codec))
    list(made)
    assert 2 == len(decoded)


UNEVEN: dict[str, list[Any]] = {
    "a column that begins with gaps": [{"id": i, "score": None if i < 8 else i / 2} for i in range(12)],
    "a failure late": [*range(11), ValueError("bad")],
    "failures early": [ValueError("bad"), ValueError("bad"), *"abc"],
    "nothing but failures": [ValueError("bad")] * 5,
    "nothing but None": [None] * 5,
    "whole numbers, then others": [1, 2, 3, 4, 0.5],
    "others, then whole numbers": [0.5, 2, 3, 4],
    "texts, then bytes": ["a", "b", "c", b"d"],
    "other keys": [{"a": 1}, {"a": 2}, {"b": "x"}, {"c": [1.5], "a": None}, {"c": [1.5, 2.5]}],
    "our names as keys late": [{"a": 1}, {"a": 2}, {"a": 3}, {"error": 1, "document": 2}, OSError("gone")],
    "dicts, then None": [{"a": 1}, {"a": 2}, {"b": 1}, {"b": 0.5}, None],
    "dicts, then other keys": [{"a": {"x": 1}}, {"a": {"x": 2}}, {"a": {"y": "z", "x": None}}],
    "vectors of one length, then of another": [np.ones(2, "f4"), np.ones(2, "f4"), np.ones(2, "f4"), np.ones(3, "f4")],
    "vectors of one length": [np.full(2, i, "f4") for i in range(7)],
    "vectors, None, lists": [np.ones(2), None, None, [1.0, 2.0], [1.0, 2.0]],
    "vectors and failures": [np.ones(2), ValueError("bad"), ValueError("bad"), ValueError("bad"), np.ones(2)],
    "lists, then vectors": [[1, 2], [3, 4], [5, 6], np.arange(2)],
    "lists of floats": [[0.5], [1.5], [], [2.5, 3.5]],
    "vectors of two dtypes": [np.ones(2, "f4"), np.ones(2, "f4"), np.ones(2, "f8")],
    "matrices": [np.ones((2, 2)), np.ones((2, 2)), None],
    "scalars of numpy": [np.float32(1), np.float32(2), 3.5, np.float32(4)],
    "dates": [dt.date(2020, 1, 1), None, dt.date(2020, 1, 2), None],
    "nested": [[{"a": 1}], [], [], [{"b": 0.5}]],
}


@pytest.mark.parametrize("values", UNEVEN.values(), ids=UNEVEN)
@pytest.mark.parametrize("rows", [1, 2, 3, 100])
def test_all_batches_have_one_schema(values: list[Any], rows: int, saved: bool) -> None:
    """Columns and types are those of the whole table, so that a file is written to its end."""
    pa = pytest.importorskip("pyarrow")
    made = results(*values, saved=saved)
    whole = made.to_arrow()

    batches = list(results(*values, saved=saved).iter_batches(rows=rows))

    assert [whole.schema] * len(batches) == [batch.schema for batch in batches]
    assert whole.equals(pa.Table.from_batches(batches))


def test_batches_of_one_layout_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The codec says that the first batch speaks for all; what else there is, is read twice."""
    pytest.importorskip("pyarrow")
    read: list[range] = []
    plain = Results._read
    monkeypatch.setattr(Results, "_read", lambda made, part, **how: read.append(part) or plain(made, part, **how))

    list(results(*np.ones((4, 2)), saved=True).iter_batches(rows=2))
    vectors = len(read)
    list(results("a", "b", "c", "d", saved=True).iter_batches(rows=2))

    assert (2, 4) == (vectors, len(read) - vectors)


def test_batches_of_mixed_values_are_refused_before_the_first() -> None:
    """What has no table is told before anything is written."""
    pytest.importorskip("pyarrow")

    with pytest.raises(ConfigError, match="'value'"):
        next(results(1, 2, 3, "x").iter_batches(rows=1))


@pytest.mark.parametrize("rows", [0, -1, 1.5, True, "10"])
def test_batches_of_no_rows_are_refused(rows: Any) -> None:
    """A number of rows, or a sentence that says so."""
    with pytest.raises(ConfigError, match="rows="):
        list(results(1).iter_batches(rows=rows))


def test_errors_and_pending_say_where() -> None:
    """Indices into the results, as they are asked for."""
    made = results(1, OSError("gone"), 3)
    made.grow(5)

    assert [3, 4] == made.pending
    assert [1] == list(made.errors)
    assert made.errors[1] is made[1]


_LARGE = (1 << 53) + 1


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([np.int64(_LARGE), None], "Int64"),
        ([_LARGE, np.int32(3), None], "Int64"),
        ([(1 << 63) + 1, None], "UInt64"),
        ([(1 << 63) + 1, -1], "object"),
        ([(1 << 63) + 1, 1], "uint64"),
        ([_LARGE, 1], "int64"),
        ([1, None], "float64"),
        ([True, None], "object"),
    ],
    ids=repr,
)
def test_whole_numbers_are_not_rounded(values: list[Any], dtype: str) -> None:
    """Of whatever kind they are, beside what is missing and beyond 64 bits."""
    pytest.importorskip("pandas")
    column = frames.columns_of(
        [(value, f"#{n}", None if value is not None else "E: x") for n, value in enumerate(values)]
    )
    found = frames.pandas_frame(column)["value"]

    assert dtype == str(found.dtype)
    assert [value for value in values if value is not None] == [int(value) for value in found.dropna()]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([dt.date(2020, 1, 1), dt.datetime(2020, 1, 1, 17, 30)], "some are dates, others have a time of the day"),
        ([dt.datetime(2020, 1, 1, 17, 30), dt.date(2020, 1, 1)], "some are dates, others have a time of the day"),
        (
            [dt.datetime(2020, 1, 1, 12), dt.datetime(2020, 1, 1, 12, tzinfo=dt.UTC)],
            "some times have a zone, others none",
        ),
        ([np.ma.array([1.0, -999.0], mask=[False, True])], "an array has masked values"),
    ],
    ids=repr,
)
def test_what_arrow_would_make_something_else_of_is_refused(values: list[Any], said: str) -> None:
    """Half of a time, another zone, or a number that was masked is no result of anybody's."""
    pytest.importorskip("pyarrow")

    with pytest.raises(ConfigError, match=f"column 'value' do not fit one Arrow type .{said}"):
        frames.arrow_table({"value": values})


def test_nanoseconds_of_pandas_arrive_in_arrow() -> None:
    """A Timestamp is a datetime, of which Arrow would take the microseconds."""
    pd, _ = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    moment, span = pd.Timestamp("2020-01-01 00:00:00.123456789"), pd.Timedelta("1 day 00:00:00.000000001")
    table = frames.arrow_table({"at": [moment, None], "for": [span, None]})

    assert [moment, None] == table["at"].to_pylist()
    assert [span, None] == table["for"].to_pylist()


def test_what_is_no_time_of_pandas_has_no_zone() -> None:
    """NaT beside times of a zone is a gap."""
    pd, _ = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    moment = pd.Timestamp("2020-01-01 12:00", tz="UTC")

    assert [moment, None] == frames.arrow_table({"at": [moment, pd.NaT]})["at"].to_pylist()


def test_a_masked_array_stays_one() -> None:
    """What was masked is not shown as a number."""
    masked = np.ma.array([1.0, -999.0], mask=[False, True])

    assert [[1.0, None], [1.0, None]] == results(masked, masked).to_numpy().tolist()
