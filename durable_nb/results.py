"""What ``.map()`` returns: a sequence of the step's results in input order, and its ways into numpy, pandas and Arrow."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex, overload

from durable_nb import frames
from durable_nb.errors import ConfigError
from durable_nb.layouts import matrix
from durable_nb.records import STORED
from durable_nb.slots import NOTHING, Slots

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from durable_nb.records import Failure, Saved

_CHUNK = 256  # results decoded at a time while iterating: a loop that stops early pays for few of them


class Results(Slots, Sequence[Any]):
    """Results of a step for every document, in input order.

    Reads like a list: ``len``, ``[i]``, slices, iteration, ``==``. A restored result is decoded when it is first asked
    for, and that object is kept; of more than 104 MB the rest stays in the database, and is read each time it is asked for.
    With ``on_error="collect"`` the place of a document that failed holds its StepFailed exception, as with
    ``asyncio.gather(return_exceptions=True)``. ``labels`` says what the documents are called.
    """

    def __init__(
        self,
        step: str,
        *,
        where: str = "",
        retry: Callable[[Results], None] | None = None,
        fetch: Callable[[list[bytes]], dict[bytes, Saved]] | None = None,
    ) -> None:
        super().__init__(step, where=where, fetch=fetch)
        self._retry = retry

    @property
    def failed(self) -> list[Failure]:
        """The documents that gave up, in input order."""
        return [failure for _, failure in sorted(self._failures.items())]

    @property
    def ok(self) -> list[Any]:
        """The results of the documents that have one, in input order."""
        with self._lock:
            missing = self._failures
            return self._read(i for i, codec in enumerate(self._codecs) if codec != NOTHING and i not in missing)

    @property
    def pending(self) -> list[int]:
        """Indices of the documents that have neither a result nor failed: the map was stopped."""
        return [i for i, codec in enumerate(self._codecs) if codec == NOTHING]

    @property
    def errors(self) -> dict[int, BaseException]:
        """By index the StepFailed of each document that gave up; its ``__cause__`` is what the function raised."""
        return {i: self._values[i] for i in sorted(self._failures)}

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
        np = frames.library("numpy", "to_numpy()")
        self._refuse_gaps()
        if not self._values:
            return np.empty((0,), dtype)  # type: ignore[no-any-return]
        with self._lock:
            codecs = set(self._codecs)
            codec = codecs.pop()
            array = None if codec in (None, NOTHING, STORED) or codecs else matrix(codec, self._values)
        if array is None and STORED in self._codecs:
            array = self._filled(np)
        array = self._stack(np, list(self)) if array is None else array
        return array if dtype is None else array.astype(dtype, copy=False)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        if copy is False:
            raise ValueError("results are separate objects: an array of them is always a copy")
        return self.to_numpy(dtype)

    def to_pandas(self) -> pd.DataFrame:
        """A DataFrame with a row for each document, in input order.

        Columns are ``document`` (its label, as in `labels`: a text is cut to 60 characters, and what is no text may be a
        number), then ``value`` (or, when every result is a dict, its keys), then ``error`` if a document failed. A column
        of that name in the results wins; ours then begins with an underscore.
        """
        return frames.pandas_frame(self._columns())

    def to_polars(self) -> pl.DataFrame:
        """A polars DataFrame with the columns of `to_pandas`; needs pyarrow too."""
        return frames.polars_frame(self._columns())

    def to_arrow(self) -> pa.Table:
        """A pyarrow Table with the columns of `to_pandas`; vectors of equal length become fixed-size lists.

        Raises
        ------
        ConfigError
            The values of a column have no Arrow type in common, or are whole numbers beyond 64 bits; the text names the column.
        """
        return frames.arrow_table(self._columns())

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The table of `to_arrow` for whoever speaks the Arrow PyCapsule interface: polars, duckdb, pandas."""
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write the table of `to_arrow` to a Parquet file; what was there stays if that cannot be written.

        Raises
        ------
        ConfigError
            For results that Parquet has no place for, such as a dict without keys.
        """
        parquet, part = frames.library("pyarrow.parquet", "to_parquet()"), f"{os.fspath(path)}.part"
        try:
            parquet.write_table(self.to_arrow(), part)
        except NotImplementedError as error:
            problem = f"Parquet has no place for these results ({error})"
            raise ConfigError(f"{problem}.", "Use .to_arrow(), or iterate over the results.") from error
        os.replace(part, path)

    def iter_batches(self, rows: int = 1000) -> Iterator[pa.RecordBatch]:
        """Record batches of at most so many documents, all with the columns and types of `to_arrow`.

        What was restored is decoded for its batch only and not kept, so that ten million vectors go to a database or a
        file in the memory of a thousand. Where not all are arrays of one shape and dtype, the results are read twice:
        the columns and types depend on every one of them.
        """
        if isinstance(rows, bool) or not isinstance(rows, int) or rows < 1:
            raise ConfigError(f"rows={rows!r} is not possible.", "Give a whole number from 1.")
        parts = [range(start, min(start + rows, len(self))) for start in range(0, len(self), rows)]
        is_told = len(parts) < 2 or self._are_arrays_of_one_layout()
        telling = [] if is_told else frames.telling(self._rows(part, keep=False) for part in parts)
        for part in parts:
            table = frames.arrow_table(frames.columns_of(telling + self._rows(part, keep=False)))
            yield from table.slice(len(telling)).combine_chunks().to_batches()

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
        pending = (self._codecs.count(NOTHING), "pending")
        counts = ((sum(self._restored), "restored"), (len(self._failures), "failed"), pending)
        noun = "document" if len(self) == 1 else "documents"
        return f"Results({self._step}: {len(self):,} {noun}{''.join(f', {n:,} {what}' for n, what in counts if n)})"

    def __reduce__(self) -> tuple[type[list[Any]], tuple[list[Any]]]:
        return list, (list(self),)  # whoever reads the pickle needs neither the store nor this library

    def _columns(self) -> frames.Columns:
        """Columns of the tables."""
        return frames.columns_of(self._rows(range(len(self))))

    def _rows(self, positions: range, *, keep: bool = True) -> list[frames.Row]:
        """Rows of the tables; None where a document failed."""
        values = self._read(positions, keep=keep)
        failures = list(map(self._failures.get, positions))
        values = [value if failure is None else None for value, failure in zip(values, failures, strict=True)]
        errors = [one and one.error for one in failures]
        return list(zip(values, map(self._label, positions), errors, strict=True))

    def _are_arrays_of_one_layout(self) -> bool:
        """Whether that can be seen without reading them."""
        with self._lock:
            first = self._codecs[0] or ""
            return first.startswith("nd:") and self._codecs.count(first) == len(self)

    def _filled(self, np: Any) -> Any:
        """One array, filled a part at a time from the database; None unless all results have one shape and dtype."""
        array = None
        for start in range(0, len(self), _CHUNK):
            part = self._read(range(start, min(start + _CHUNK, len(self))), keep=False)
            try:
                block = np.asarray(part)
            except ValueError:
                return None
            if array is None:
                array = np.empty((len(self), *block.shape[1:]), block.dtype)
            if block.shape[1:] != array.shape[1:] or block.dtype != array.dtype:
                return None
            array[start : start + len(part)] = block
        return array

    def _stack(self, np: Any, values: list[Any]) -> Any:
        """np.stack that names the document which does not fit."""
        if set(map(type, values)) <= {bool, int, float}:
            return np.asarray(values)
        arrays = []
        for i, value in enumerate(values):
            try:
                arrays.append(np.asanyarray(value) if isinstance(value, np.ma.MaskedArray) else np.asarray(value))
            except ValueError as error:  # a ragged list
                self._refuse(i, f"is not an array: {error}.", "Use .to_pandas(), or iterate over the results.")
            if arrays[i].shape != arrays[0].shape:
                problem = f"has shape {arrays[i].shape}, but the first ({self._label(0)}) has {arrays[0].shape}."
                self._refuse(i, problem, "Use .to_pandas(), or iterate over the results.")
        is_masked = any(isinstance(array, np.ma.MaskedArray) for array in arrays)
        return np.ma.stack(arrays) if is_masked else np.stack(arrays)

    def _refuse_gaps(self) -> None:
        if self._failures:
            first = self.failed[0]
            problem = f"failed ({first.error}), so it has no row in an array."
            self._refuse(first.position, problem, "Use .retry(), or np.stack(results.ok) for the others.")
