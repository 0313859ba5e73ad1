"""Arrays, tensors and tables ↔ raw bytes: what a payload needs to be read back without pickle.

Called by ``codecs``, which finds the right function for a type and names the codec. Nothing is imported here until a
value of that library is met.
"""

from __future__ import annotations

import functools
import math
import sys
from typing import TYPE_CHECKING, Any

from durable_nb.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np


@functools.lru_cache(maxsize=4096)
def _array_codec(dtype: np.dtype[Any], shape: tuple[int, ...]) -> str | None:
    import numpy as np

    if dtype.hasobject or not dtype.itemsize:  # also true of StringDType, whose bytes are pointers
        return None
    try:
        spec = dtype.str if dtype.names is None else dtype.descr
        exact = bool(np.dtype(spec) == dtype)  # False if fields are padded
    except (TypeError, ValueError):  # fields overlap
        exact = False
    return f"nd:{spec}:{'x'.join(map(str, shape))}" if exact else None


@functools.lru_cache(maxsize=4096)
def layout_of(detail: str) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    """Dtype, shape and number of bytes of '<f4:3x4'."""
    import numpy as np

    spec, _, dims = detail.rpartition(":")
    if spec.startswith("["):
        import ast

        dtype = np.dtype(ast.literal_eval(spec))
    else:
        dtype = np.dtype(spec)
    if dtype.hasobject or not dtype.itemsize:
        raise ValueError(f"{spec!r} is not plain memory")
    shape = _shape(dims)
    return dtype, shape, math.prod(shape) * dtype.itemsize


def _shape(dims: str) -> tuple[int, ...]:
    return tuple(map(int, dims.split("x"))) if dims else ()


def from_buffer(buffer: bytes | bytearray, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """A read-only view of a buffer as an array, or a writable one of a bytearray."""
    np = sys.modules["numpy"]  # imported by layout_of; an import statement would be a tenth of a decode
    if not buffer:
        return np.empty(shape, dtype)  # type: ignore[no-any-return]
    flat = np.frombuffer(buffer, dtype)
    return flat if len(shape) == 1 else flat.reshape(shape)  # type: ignore[no-any-return]


def encode_array(value: Any) -> tuple[str, bytes] | None:
    """Codec and bytes in C order; None for dtypes whose memory is not the value."""
    codec = _array_codec(value.dtype, value.shape)
    return (codec, value.tobytes()) if codec else None


def encode_arrays(values: Sequence[Any]) -> tuple[str, list[bytes]] | None:
    """The same of arrays of one dtype and shape, a payload for each; None if they are not that."""
    dtype, shape = values[0].dtype, values[0].shape
    alike = set(map(type, values)) == {type(values[0])} and all(
        value.dtype == dtype and value.shape == shape for value in values
    )
    codec = _array_codec(dtype, shape) if alike else None
    return (codec, [value.tobytes() for value in values]) if codec else None


def decode_array(detail: str, payload: bytes) -> Any:
    """A fresh, writable array."""
    dtype, shape, size = layout_of(detail)
    if len(payload) != size:
        raise ValueError(f"{size:,} bytes expected")
    return from_buffer(payload, dtype, shape).copy()


def decode_arrays(detail: str, payloads: Sequence[bytes]) -> list[Any] | None:
    """The same of many payloads of one layout; None if one of them is damaged, or the layout not to be had."""
    try:
        dtype, shape, size = layout_of(detail)
    except Exception:  # said by whoever decodes them one by one
        return None
    if set(map(len, payloads)) != {size} or not size:
        return None
    np = sys.modules["numpy"]
    if len(shape) == 1:
        return [np.frombuffer(payload, dtype).copy() for payload in payloads]
    return [np.frombuffer(payload, dtype).reshape(shape).copy() for payload in payloads]


def encode_numpy_scalar(value: Any) -> tuple[str, bytes] | None:
    """Codec and bytes of one number or text."""
    if value.dtype.kind == "U":  # arrays, and numpy's own pickle, lose trailing NULs
        return "np:str", value.encode("utf-8", "surrogatepass")
    if value.dtype.kind == "S":
        return "np:bytes", bytes(value)
    if value.dtype.kind in "OTV":
        return None
    return f"np:{value.dtype.str}", value.tobytes()


def decode_numpy_scalar(spec: str, payload: bytes) -> Any:
    """The scalar, of its numpy type."""
    if spec in ("str", "bytes"):
        import numpy as np

        return np.str_(payload, "utf-8", "surrogatepass") if spec == "str" else np.bytes_(payload)
    return decode_array(f"{spec}:", payload)[()]


def encode_tensor(value: Any) -> tuple[str, bytes] | None:
    """Codec and bytes of a strided tensor; None for the other kinds."""
    torch = sys.modules["torch"]
    if value.layout is not torch.strided or value.is_quantized or value.is_meta or value.is_nested or vars(value):
        return None
    flat = value.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    raw = flat.view(torch.uint8).numpy().tobytes() if len(flat) else b""  # as bytes: numpy has no bfloat16
    codec = f"torch:{str(value.dtype).removeprefix('torch.')}:{'x'.join(map(str, value.shape))}"
    return codec + ":grad" * value.requires_grad, raw


def decode_tensor(detail: str, payload: bytes) -> Any:
    """A leaf tensor on the CPU."""
    import torch

    name, _, rest = detail.partition(":")
    dims, _, grad = rest.partition(":")
    dtype, shape = getattr(torch, name, None), _shape(dims)
    if not isinstance(dtype, torch.dtype) or math.prod(shape) * dtype.itemsize != len(payload):
        raise ValueError("dtype, shape and number of bytes do not belong together")
    flat = torch.frombuffer(bytearray(payload), dtype=dtype) if payload else torch.empty(0, dtype=dtype)
    return flat.reshape(shape).requires_grad_(grad == "grad")


def encode_arrow(value: Any) -> tuple[str, bytes] | None:
    """Codec and Arrow IPC stream of a table, batch or array; None with extension types, and of what Arrow says is not valid."""
    import pyarrow as pa

    kind = type(value).__name__
    if isinstance(value, pa.Array):
        kind, value = "Array", pa.record_batch([value], names=["value"])
    if "extension<" in str(value.schema):  # whether the type is registered where it is read is not ours to know
        return None
    try:
        value.validate(full=True)  # as it is read: a text that is not UTF-8, or half a day, would never be again
    except pa.ArrowInvalid:
        return None
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, value.schema) as stream:
        stream.write(value)
    return f"arrow:{kind}", sink.getvalue().to_pybytes()


def encode_polars(value: Any) -> tuple[str, bytes] | None:
    """The same for a polars frame or series; None for dtypes that would come back as others."""
    # Through pyarrow: on damaged bytes polars' own reader panics (4 of 4,000 mutations) or asks for all memory (once).
    pl = sys.modules["polars"]
    series = isinstance(value, pl.Series)
    frame = value.to_frame() if series else value
    if not frame.width or not all(map(_is_plain_polars, frame.dtypes)):
        return None
    try:
        made = encode_arrow(frame.to_arrow(compat_level=pl.CompatLevel.oldest()))
    except ImportError:  # no pyarrow here
        return None
    return made and (f"arrow:polars.{type(value).__name__}", made[1])


def _is_plain_polars(dtype: Any) -> bool:
    """True of dtypes that come back the same from Arrow; Enum, Categorical, Object and extensions do not."""
    if fields := getattr(dtype, "fields", None):
        return all(_is_plain_polars(field.dtype) for field in fields)
    if inner := getattr(dtype, "inner", None):
        return _is_plain_polars(inner)
    names = "Boolean String Binary Date Datetime Duration Time Float32 Float64 Int8 Int16 Int32 Int64"
    return str(dtype.base_type()).removeprefix("U") in names.split()


def decode_arrow(kind: str, payload: bytes) -> Any:
    """The pyarrow or polars object of the kind that was saved."""
    import pyarrow as pa

    with pa.ipc.open_stream(payload) as stream:
        value: Any = stream.read_next_batch() if kind in ("RecordBatch", "Array") else stream.read_all()
    value.validate(full=True)  # the reader does not check offsets; a damaged one would be read out of bounds
    if kind == "Array":
        return value.column(0)
    if kind.startswith("polars."):
        import polars as pl

        try:
            frame: Any = pl.from_arrow(value)
        except pl.exceptions.PanicException as error:  # a BaseException; field names are not validated by Arrow
            raise ValueError(str(error)) from error
        frame.columns = value.column_names  # from_arrow renames ""
        return frame.to_series() if kind == "polars.Series" else frame
    return value


def matrix(codec: str, payloads: Sequence[bytes]) -> np.ndarray[Any, Any] | None:
    """Payloads of one codec as a writable array of shape (n, *shape); None unless dtype and shape are fixed."""
    kind, _, detail = codec.partition(":")
    lengths = set(map(len, payloads))
    if kind == "f64" and len(lengths) == 1:
        detail = f"<f8:{min(lengths) // 8}"
    elif kind == "np" and detail not in ("str", "bytes"):
        detail += ":"
    elif kind != "nd":
        return None
    try:
        dtype, shape, size = layout_of(detail)
        if not lengths <= {size}:
            raise ValueError(f"payloads of {sorted(lengths)} bytes instead of {size}")
        joined = bytearray().join(payloads)  # not b"": a bytearray is writable without a second copy
        return from_buffer(joined, dtype, (len(payloads), *shape))
    except Exception as error:
        raise StoreError("the store", f"values of codec {codec!r} cannot be joined ({error}).") from error
