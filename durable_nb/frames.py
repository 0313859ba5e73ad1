"""Results as tables of pandas, Arrow and polars: named columns of Python values in, their table out."""

from __future__ import annotations

import importlib
from datetime import date, datetime
from numbers import Integral
from typing import TYPE_CHECKING, Any

from durable_nb.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd
    import polars as pl
    import pyarrow as pa

Columns = dict[str, list[Any]]
Row = tuple[Any, str, str | None]
"""A result, the label of its document, and its error; the result is None where there is one."""
_EXACT = 1 << 53
"""Whole numbers up to here are exact as floats."""


def columns_of(rows: Sequence[Row]) -> Columns:
    """``document``, then ``value`` or the keys of results that are dicts, then ``error`` if there is one.

    A column of that name in the results wins; ours begins with an underscore.
    """
    values: list[Any] = [value for value, _, _ in rows]
    errors = [error for _, _, error in rows]
    good = [value for value, error in zip(values, errors, strict=True) if error is None]
    if good and all(isinstance(value, dict) and all(type(key) is str for key in value) for value in good):
        keys = dict.fromkeys(key for value in good for key in value)
        columns = {key: [None if value is None else value.get(key) for value in values] for key in keys}
    else:
        columns = {"value": values}
    ours: Columns = {_free_name("document", columns): [label for _, label, _ in rows]}
    if any(errors):
        columns[_free_name("error", columns)] = errors
    return ours | columns


def telling(parts: Iterable[list[Row]]) -> list[Row]:
    """The few rows whose table has the columns and types of the table of all; any others may follow them.

    Types are not joined by rules of ours: Arrow is asked what it makes of the rows kept so far with those of a part, and
    a row that makes a difference is kept as well.
    """
    found: list[Row] = []
    schema = None
    for part in parts:
        schema = _learned(found, part, schema)
    return found


def _learned(telling: list[Row], rows: list[Row], schema: pa.Schema | None) -> pa.Schema | None:
    """The schema with ``rows``; those that change it are added to the telling ones."""
    after = arrow_table(columns_of(telling + rows)).schema
    if after == schema:
        return schema
    if len(rows) == 1:
        telling += rows
        return after
    middle = len(rows) // 2
    schema = _learned(telling, rows[:middle], schema)
    return _learned(telling, rows[middle:], schema)


def pandas_frame(columns: Columns) -> pd.DataFrame:
    """A DataFrame; whatever has parts stays one object."""
    pandas = library("pandas", "to_pandas()")
    return pandas.DataFrame({name: _pandas_column(pandas, values) for name, values in columns.items()})


def arrow_table(columns: Columns) -> pa.Table:
    """A pyarrow Table; vectors of equal length become fixed-size lists."""
    arrow = library("pyarrow", "to_arrow()")
    return arrow.table({name: _arrow_column(arrow, name, values) for name, values in columns.items()})


def polars_frame(columns: Columns) -> pl.DataFrame:
    """A polars DataFrame by way of Arrow."""
    polars = library("polars", "to_polars()")
    return polars.from_arrow(arrow_table(columns))  # type: ignore[no-any-return]


def library(name: str, what: str) -> Any:
    """A library that is not required; ConfigError says how to get it."""
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
        return pandas.Series(values, dtype=_whole_dtype(values))
    import numpy as np

    objects = np.empty(len(values), object)
    for i, value in enumerate(values):
        objects[i] = value
    return pandas.Series(objects)


def _whole_dtype(values: list[Any]) -> str | None:
    """The type of whole numbers that pandas would make floats of: where one is missing, or they fit no usual type."""
    numbers = [value for value in values if value is not None]
    if not numbers or not all(isinstance(value, Integral) and not isinstance(value, bool) for value in numbers):
        return None
    low, high = int(min(numbers)), int(max(numbers))
    fits, fits_unsigned = low >= -(1 << 63) and high < 1 << 63, low >= 0 and high < 1 << 64
    if max(-low, high) <= _EXACT or (len(numbers) == len(values) and (fits or fits_unsigned)):
        return None
    return "Int64" if fits else "UInt64" if fits_unsigned else "object"


def _arrow_column(arrow: Any, name: str, values: list[Any]) -> Any:
    """A pyarrow array; a fixed-size list if every value is a vector of one length."""
    try:
        if any(getattr(value, "shape", ()) for value in values) or all(map(_is_vector, values)):
            return _arrow_vectors(arrow, values)
        return _arrow_scalars(arrow, values)
    except (arrow.ArrowException, ValueError, TypeError, OverflowError) as error:
        problem = f"the values of column {name!r} do not fit one Arrow type ({error})."
        raise ConfigError(problem, "Use .to_pandas(), or iterate over the results.") from error


def _arrow_scalars(arrow: Any, values: list[Any]) -> Any:
    """An array of these; TypeError where Arrow would make others of them."""
    kinds = set(map(type, values)) - {type(None)}
    times = [value for value in values if isinstance(value, datetime) and type(value).__name__ != "NaTType"]
    if times and date in kinds:
        raise TypeError("some are dates, others have a time of the day")
    if len({value.tzinfo is None for value in times}) > 1:
        raise TypeError("some times have a zone, others none")
    names = {kind.__name__ for kind in kinds if kind.__module__.partition(".")[0] == "pandas"}
    if len(names) == len(kinds) > 0 and names <= {"Timestamp", "Timedelta", "NaTType"}:  # nanoseconds
        return arrow.Array.from_pandas(library("pandas", "to_arrow()").Series(values))
    return arrow.array(values)


def _is_vector(value: Any) -> bool:
    return value is None or (type(value) is list and set(map(type, value)) == {float})


def _arrow_vectors(arrow: Any, values: list[Any]) -> Any:
    import numpy as np

    if any(isinstance(value, np.ma.MaskedArray) for value in values):
        raise TypeError("an array has masked values")
    arrays = [None if value is None else _in_units_of_arrow(np.asarray(value)) for value in values]
    kinds = {(array.shape, array.dtype) for array in arrays if array is not None}
    if len(kinds) == 1:
        shape, dtype = kinds.pop()
        if len(shape) == 1 and shape[0] and dtype.kind in "biufmM":
            flat = np.concatenate([np.zeros(shape, dtype) if array is None else array for array in arrays])
            mask = arrow.array([array is None for array in arrays])
            return arrow.FixedSizeListArray.from_arrays(arrow.array(flat), shape[0], mask=mask)
    return arrow.array([None if array is None else _as_lists(array) for array in arrays])


def _in_units_of_arrow(array: Any) -> Any:
    """Times by the day or shorter, durations by the second or shorter; anything else as it is."""
    if array.dtype.kind not in "mM":
        return array
    import numpy as np

    kind, (unit, _) = array.dtype.kind, np.datetime_data(array.dtype)
    if kind == "M":
        unit = {"Y": "D", "M": "D", "W": "D", "h": "s", "m": "s"}.get(unit, unit)
    else:  # months and years have no length
        unit = {"W": "s", "D": "s", "h": "s", "m": "s", "M": "generic", "Y": "generic"}.get(unit, unit)
    return array if unit == "generic" else array.astype(f"{kind}8[{unit}]")


def _as_lists(array: Any) -> Any:
    """The array as lists, with times as scalars that know their unit: ``tolist`` makes whole numbers of nanoseconds."""
    if array.dtype.kind not in "mM" or array.dtype == "M8[D]":  # Arrow takes no scalar of days in a list
        return array.tolist()
    return [_as_lists(part) for part in array] if array.ndim else array[()]
