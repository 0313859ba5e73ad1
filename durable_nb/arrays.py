"""Arrays and tables → what is hashed of them: dtype, shape and the numbers in C order, never how they lie in memory.

``PARTS`` names a type by its library and qualified name, so that no library is imported to recognise its objects. What
stands there yields values, and ``Raw`` buffers whose length the values before them tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from durable_nb.errors import Unkeyable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_BLOCK_BYTES = 1 << 20  # copied at a time when not contiguous: 2.7 GB/s on a transposed matrix, a whole copy 0.4


class Raw(NamedTuple):
    """A buffer to hash as it is; what was yielded before it must say how long it is."""

    buffer: Any


def ndarray(array: Any) -> Iterator[object]:
    """Of a numpy array or scalar."""
    import numpy as np

    array, original = np.asarray(array), array
    dtype = array.dtype
    yield (dtype.str, array.shape)
    if dtype.names:  # field by field: the bytes between fields are whatever was there before
        for name in dtype.names:
            yield name
            yield from ndarray(array[name])
    elif dtype.hasobject:
        yield array.ravel().tolist()
    elif dtype.char in "gG":  # of the 16 bytes of a long double only 10 are defined
        yield [repr(number) for number in array.ravel()]
    elif array.size:
        yield from _buffers(array)
    if not isinstance(original, np.memmap) and type(original) is not np.ndarray:
        yield getattr(original, "__dict__", None)  # a subclass keeps its unit, mask or name there


def _buffers(array: Any) -> Iterator[Raw]:
    """The bytes of an array in C order, without a second copy of all of it."""
    import numpy as np

    if array.flags.c_contiguous:
        yield Raw(array.reshape(-1).view(np.uint8))
        return
    row_bytes = array.nbytes // len(array)
    if row_bytes > _BLOCK_BYTES and array.ndim > 1:
        for row in array:
            yield from _buffers(row)
        return
    rows = max(1, _BLOCK_BYTES // row_bytes)
    for start in range(0, len(array), rows):
        yield Raw(np.ascontiguousarray(array[start : start + rows]).reshape(-1).view(np.uint8))


def masked(array: Any) -> Iterator[object]:
    """Of a numpy masked array: what lies under the mask does not count."""
    import numpy as np

    yield from ndarray(np.ma.filled(array, array.dtype.type()) if not array.dtype.names else np.asarray(array))
    yield from ndarray(np.ma.getmaskarray(array))
    yield from ndarray(array.fill_value)


def frame(table: Any) -> Iterator[object]:
    """Of a pandas DataFrame: column names, index, columns in order, and what a subclass adds."""
    yield from index(table.columns)
    yield from index(table.index)
    for position in range(table.shape[1]):
        yield from _column(table.iloc[:, position].array)
    yield _extras(table)


def series(column: Any) -> Iterator[object]:
    """Of a pandas Series."""
    yield column.name
    yield from index(column.index)
    yield from _column(column.array)
    yield _extras(column)


def index(labels: Any) -> Iterator[object]:
    """Of a pandas Index; a RangeIndex is the integers it stands for."""
    yield (list(labels.names), getattr(labels, "freqstr", None))
    for level in range(labels.nlevels):
        yield from _column(labels.get_level_values(level).array)


def _extras(table: Any) -> tuple[object, ...]:
    return (dict(table.attrs), *[getattr(table, name, None) for name in table._metadata])  # noqa: SLF001 - pandas documents it for subclasses


def _column(values: Any) -> Iterator[object]:
    """Of a pandas extension array."""
    dtype = values.dtype
    yield (str(dtype), len(values))
    if type(values).__name__ == "NumpyExtensionArray":
        yield from ndarray(values.to_numpy())
    elif hasattr(values, "categories"):
        yield bool(values.ordered)
        yield from index(values.categories)
        yield from ndarray(values.codes)
    elif hasattr(values, "asi8"):  # datetimes with or without zone, timedeltas, periods
        yield from ndarray(values.asi8)
    elif hasattr(values, "__arrow_array__") and hasattr(values, "_pa_array"):
        yield from chunked(values._pa_array)  # noqa: SLF001 - __arrow_array__ would copy
    elif hasattr(values, "_mask"):  # nullable numbers: what lies under the mask does not count
        missing = values.isna()
        yield from ndarray(missing)
        yield from ndarray(values.to_numpy(dtype=dtype.numpy_dtype, na_value=dtype.type(0)))
    else:
        yield list(values)


def polars_series(column: Any) -> Iterator[object]:
    """Of a polars Series."""
    yield (column.name, str(column.dtype), len(column))
    if str(column.dtype) in ("Object", "Int128", "UInt128"):  # Arrow has none of them
        yield column.to_list()
    else:
        yield from arrow(_exported(column))


def _exported(column: Any) -> Any:
    import pyarrow as pa

    try:
        return column.to_arrow()
    except pa.ArrowException as error:
        # A list of what Arrow lacks: as Python objects, times beside it would be rounded.
        raise Unkeyable("Series", f"Arrow cannot hold its {column.dtype} ({error})") from error


def polars_frame(table: Any) -> Iterator[object]:
    """Of a polars DataFrame."""
    yield table.shape
    for column in table.get_columns():
        yield from polars_series(column)


def arrow_table(table: Any) -> Iterator[object]:
    """Of a pyarrow Table or RecordBatch; the metadata of the schema does not count."""
    yield (table.num_rows, list(table.schema.names))
    for column in table.columns:
        yield from chunked(column)


def chunked(column: Any) -> Iterator[object]:
    """Of a pyarrow ChunkedArray or Array: how it is cut into chunks does not count."""
    if hasattr(column, "combine_chunks"):
        column = column.combine_chunks()
    yield from arrow(column)


def arrow(array: Any) -> Iterator[object]:
    """Of a pyarrow Array: type, which values are missing, and the others."""
    import pyarrow as pa

    kind = array.type
    yield (str(kind), len(array), array.null_count)
    if isinstance(array, pa.ExtensionArray):
        yield from arrow(array.storage)
        return
    if pa.types.is_dictionary(kind):
        yield bool(kind.ordered)
        yield from arrow(array.dictionary_decode())
        return
    if array.null_count:
        yield from ndarray(array.is_valid().to_numpy(zero_copy_only=False))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or str(kind) == "string_view":
        yield from _arrow_texts(array.cast(pa.large_string()).fill_null(""))
    elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        yield from _arrow_texts(array.cast(pa.large_binary()).fill_null(b""))
    elif pa.types.is_boolean(kind):
        yield from ndarray(array.fill_null(False).to_numpy(zero_copy_only=False))
    elif pa.types.is_primitive(kind) or pa.types.is_decimal(kind) or pa.types.is_fixed_size_binary(kind):
        yield from _arrow_numbers(array)
    else:
        yield array.to_pylist()


def _arrow_numbers(array: Any) -> Iterator[object]:
    import numpy as np

    width = array.type.bit_width // 8
    buffer = array.buffers()[1]
    if not len(array) or not width or buffer is None:
        return
    numbers = np.frombuffer(buffer, np.uint8)[array.offset * width : (array.offset + len(array)) * width]
    if array.null_count:  # what lies under a null is whatever was there before
        numbers = numbers.reshape(-1, width) * array.is_valid().to_numpy(zero_copy_only=False)[:, None]
    yield from _buffers(numbers)


def _arrow_texts(array: Any) -> Iterator[object]:
    import numpy as np

    if not len(array):
        return
    _, offsets_buffer, data = array.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int64)[array.offset : array.offset + len(array) + 1]
    yield from _buffers(np.diff(offsets))
    if data is not None and offsets[-1] > offsets[0]:
        yield Raw(np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]])


def tensor(array: Any) -> Iterator[object]:
    """Of a torch Tensor, on whichever device it is; a gradient does not count."""
    import torch  # type: ignore[import-not-found,unused-ignore]

    plain = array.detach().cpu().contiguous()
    yield (str(plain.dtype), tuple(plain.shape))
    if plain.numel():
        yield Raw(plain.reshape(-1).view(torch.uint8).numpy())  # numpy knows no bfloat16, bytes it does


PARTS: dict[tuple[str, str], Callable[[Any], Iterator[object]]] = {
    ("numpy", "MaskedConstant"): lambda _: iter(()),  # there is one
    ("numpy", "MaskedArray"): masked,
    ("numpy", "ndarray"): ndarray,
    ("numpy", "generic"): ndarray,
    ("pandas", "DataFrame"): frame,
    ("pandas", "Series"): series,
    ("pandas", "Index"): index,
    ("pandas", "Categorical"): _column,
    ("pandas", "ExtensionArray"): _column,
    ("polars", "DataFrame"): polars_frame,
    ("polars", "Series"): polars_series,
    ("pyarrow", "Table"): arrow_table,
    ("pyarrow", "RecordBatch"): arrow_table,
    ("pyarrow", "ChunkedArray"): chunked,
    ("pyarrow", "Array"): arrow,
    ("torch", "Tensor"): tensor,
}
