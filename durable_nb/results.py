"""What ``.map()`` returns: a sequence of the step's results in input order, and its ways into numpy, pandas and Arrow."""

from __future__ import annotations

import contextlib
import gc
import importlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, SupportsIndex, overload

from durable_nb.codecs import decode
from durable_nb.errors import ConfigError
from durable_nb.layouts import matrix

if TYPE_CHECKING:
    import os

    import numpy as np
    import pandas as pd
    import pyarrow as pa

    from durable_nb.records import Failure, Saved

_CHUNK = 256  # results decoded at a time while iterating: a loop that stops early pays for few of them
_PENDING = object()


class Results(Sequence[Any]):
    """Results of a step for every document, in input order.

    Reads like a list: ``len``, ``[i]``, slices, iteration, ``==``. A restored result is decoded when it is first asked
    for, and that object is kept. With ``on_error="collect"`` the place of a document that failed holds its StepFailed
    exception, as with ``asyncio.gather(return_exceptions=True)``. ``labels`` says what the documents are called.
    """

    def __init__(
        self, step: str, *, where: str = "", trusted: bool = True, retry: Callable[[Results], None] | None = None
    ) -> None:
        self._step, self._where, self._trusted, self._retry = step, where, trusted, retry
        self.labels: list[str] = []
        # Parallel lists rather than a record per slot: to fill one is a few list stores, and all codecs are one set().
        self._values: list[Any] = []
        self._codecs: list[str | None] = []  # None: the value is an object; otherwise it is a payload of that codec
        self._restored = bytearray()
        self._failures: dict[int, Failure] = {}
        self._lock = threading.RLock()  # re-entrant: unpickling may run code that reads this very sequence

    def grow(self, n: int) -> None:
        """Make room for ``n`` documents in all."""
        with self._lock:
            more = n - len(self._values)
            if more > 0:
                self.labels += [""] * (n - len(self.labels))
                self._restored += bytes(more)
                self._codecs += [None] * more
                self._values += [_PENDING] * more

    def put_restored(self, found: Iterable[tuple[int, Saved]]) -> None:
        """Fill slots with restored results, still encoded."""
        values, codecs, restored = self._values, self._codecs, self._restored
        with self._lock:
            for position, saved in found:
                values[position] = saved.payload
                codecs[position] = saved.codec
                restored[position] = 1

    def put_value(self, position: int, value: object) -> None:
        """Fill a slot with a computed result."""
        with self._lock:
            self._values[position] = value
            self._codecs[position] = None
            self._restored[position] = 0
            self._failures.pop(position, None)

    def put_failure(self, failure: Failure, exception: BaseException) -> None:
        """Fill the slot of a document that gave up; the exception is what the slot holds."""
        with self._lock:
            self.put_value(failure.position, exception)
            self._failures[failure.position] = failure

    @property
    def failed(self) -> list[Failure]:
        """The documents that gave up, in input order."""
        return [failure for _, failure in sorted(self._failures.items())]

    @property
    def ok(self) -> list[Any]:
        """The results of the documents that have one, in input order."""
        with self._lock:
            missing = self._failures
            return self._read(i for i, value in enumerate(self._values) if value is not _PENDING and i not in missing)

    def retry(self) -> Results:
        """Try the failed documents again; the same object, with what now succeeded in its place."""
        if self._failures and self._retry is not None:
            self._retry(self)
        return self

    def to_numpy(self, dtype: Any = None) -> np.ndarray[Any, Any]:
        """The results as one new array of shape (n, *shape of one result); (0,) if there are none.

        Raises
        ------
        ConfigError
            The shapes differ or a document failed; the text names the first such document.
        """
        np = _library("numpy", "to_numpy()")
        self._refuse_gaps()
        if not self._values:
            return np.empty((0,), dtype)  # type: ignore[no-any-return]
        with self._lock:
            codecs = set(self._codecs)
            codec = codecs.pop()
            array = None if codec is None or codecs else matrix(codec, self._values)
        array = self._stack(np, list(self)) if array is None else array
        return array if dtype is None else array.astype(dtype, copy=False)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        if copy is False:
            raise ValueError("results are separate objects: an array of them is always a copy")
        return self.to_numpy(dtype)

    def to_pandas(self) -> pd.DataFrame:
        """A DataFrame with a row for each document, in input order.

        Columns are ``document``, then ``value`` (or, when every result is a dict, its keys), then ``error`` if a
        document failed. A column of that name in the results wins; ours then begins with an underscore.
        """
        pandas = _library("pandas", "to_pandas()")
        return pandas.DataFrame({name: _pandas_column(pandas, values) for name, values in self._columns().items()})

    def to_arrow(self) -> pa.Table:
        """A pyarrow Table with the columns of `to_pandas`; vectors of equal length become fixed-size lists."""
        arrow = _library("pyarrow", "to_arrow()")
        return arrow.table({name: _arrow_column(arrow, name, values) for name, values in self._columns().items()})

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write the table of `to_arrow` to a Parquet file."""
        parquet = _library("pyarrow.parquet", "to_parquet()")
        parquet.write_table(self.to_arrow(), path)

    def __len__(self) -> int:
        return len(self._values)

    @overload
    def __getitem__(self, index: SupportsIndex) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        if isinstance(index, slice):
            return self._read(range(len(self._values))[index])
        try:
            return self._read((range(len(self._values))[index],))[0]
        except IndexError:
            raise IndexError(f"{self!r} has no index {index}") from None

    def __iter__(self) -> Iterator[Any]:
        for start in range(0, len(self._values), _CHUNK):
            yield from self._read(range(len(self._values))[start : start + _CHUNK])

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (list, Results)):
            return list(self) == list(other)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        pending = sum(value is _PENDING for value in self._values)
        counts = ((sum(self._restored), "restored"), (len(self._failures), "failed"), (pending, "pending"))
        noun = "document" if len(self) == 1 else "documents"
        return f"Results({self._step}: {len(self):,} {noun}{''.join(f', {n:,} {what}' for n, what in counts if n)})"

    def __reduce__(self) -> tuple[type[list[Any]], tuple[list[Any]]]:
        return list, (list(self),)  # whoever reads the pickle needs neither the store nor this library

    def _read(self, positions: Iterable[int]) -> list[Any]:
        """Values of these slots, decoded in place."""
        found = []
        with self._lock, _paused_gc():
            for i in positions:
                if (codec := self._codecs[i]) is not None:
                    self._values[i] = decode(codec, self._values[i], trusted=self._trusted, where=self._where)
                    self._codecs[i] = None
                found.append(self._values[i])
                if found[-1] is _PENDING:
                    self._refuse(i, "has no result yet.", "Run the cell again to go on.")
        return found

    def _columns(self) -> dict[str, list[Any]]:
        """Columns of the tables; None where a document failed."""
        values = [None if i in self._failures else value for i, value in enumerate(self)]
        good = self.ok
        if good and all(isinstance(value, dict) and all(type(key) is str for key in value) for value in good):
            keys = dict.fromkeys(key for value in good for key in value)
            columns = {key: [None if value is None else value.get(key) for value in values] for key in keys}
        else:
            columns = {"value": values}
        ours: dict[str, list[Any]] = {_free_name("document", columns): [self._label(i) for i in range(len(self))]}
        if self._failures:
            errors = [failure and failure.error for failure in map(self._failures.get, range(len(self)))]
            columns[_free_name("error", columns)] = errors
        return ours | columns

    def _stack(self, np: Any, values: list[Any]) -> Any:
        """np.stack that names the document which does not fit."""
        if set(map(type, values)) <= {bool, int, float}:
            return np.asarray(values)
        arrays = []
        for i, value in enumerate(values):
            try:
                arrays.append(np.asarray(value))
            except ValueError as error:  # a ragged list
                self._refuse(i, f"is not an array: {error}.", "Use .to_pandas(), or iterate over the results.")
            if arrays[i].shape != arrays[0].shape:
                problem = f"has shape {arrays[i].shape}, but the first ({self._label(0)}) has {arrays[0].shape}."
                self._refuse(i, problem, "Use .to_pandas(), or iterate over the results.")
        return np.stack(arrays)

    def _label(self, position: int) -> str:
        label = self.labels[position] if position < len(self.labels) else ""
        return label or f"document {position}"

    def _refuse_gaps(self) -> None:
        if self._failures:
            first = self.failed[0]
            problem = f"failed ({first.error}), so it has no row in an array."
            self._refuse(first.position, problem, "Use .retry(), or np.stack(results.ok) for the others.")

    def _refuse(self, position: int, problem: str, remedy: str) -> NoReturn:
        raise ConfigError(f"{self._step}: {self._label(position)} {problem}", remedy)


@contextlib.contextmanager
def _paused_gc() -> Iterator[None]:
    """No cyclic collections: 100,000 small dicts unpickle in 144 ms instead of 348."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _library(name: str, what: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise ConfigError(f"{what} needs {package}, which is not installed here.", f"pip install {package}") from error


def _free_name(name: str, taken: Iterable[str]) -> str:
    while name in taken:
        name = f"_{name}"
    return name


def _pandas_column(pandas: Any, values: list[Any]) -> Any:
    """A Series; whatever has parts goes in as one object, since pandas would try to align or unpack it."""
    if not any(hasattr(value, "__len__") and not isinstance(value, (str, bytes)) for value in values):
        return pandas.Series(values)
    import numpy as np

    objects = np.empty(len(values), object)
    for i, value in enumerate(values):
        objects[i] = value
    return pandas.Series(objects)


def _arrow_column(arrow: Any, name: str, values: list[Any]) -> Any:
    """A pyarrow array; a fixed-size list if every value is a vector of one length."""
    try:
        if any(getattr(value, "shape", ()) for value in values) or all(map(_is_vector, values)):
            return _arrow_vectors(arrow, values)
        return arrow.array(values)
    except (arrow.ArrowException, ValueError, TypeError) as error:
        problem = f"the values of column {name!r} are not of one Arrow type ({error})."
        raise ConfigError(problem, "Use .to_pandas(), or iterate over the results.") from error


def _is_vector(value: Any) -> bool:
    return value is None or (type(value) is list and set(map(type, value)) == {float})


def _arrow_vectors(arrow: Any, values: list[Any]) -> Any:
    import numpy as np

    arrays = [None if value is None else np.asarray(value) for value in values]
    kinds = {(array.shape, array.dtype) for array in arrays if array is not None}
    if len(kinds) == 1:
        shape, dtype = kinds.pop()
        if len(shape) == 1 and shape[0] and dtype.kind in "biuf":
            flat = np.concatenate([np.zeros(shape, dtype) if array is None else array for array in arrays])
            mask = arrow.array([array is None for array in arrays])
            return arrow.FixedSizeListArray.from_arrays(arrow.array(flat), shape[0], mask=mask)
    return arrow.array([None if array is None else array.tolist() for array in arrays])
