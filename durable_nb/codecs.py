"""Values to bytes and back, exactly; each payload is stored beside the name of its codec.

=====================  ==================================================================================
codec                  value
=====================  ==================================================================================
``str``, ``bytes``     text (lone surrogates too), bytes
``f64``                list of 8 or more floats
``nd:<f4:3x4``         numpy array: dtype and shape in the name, raw bytes in C order
``np:<f4``             numpy scalar
``torch:float32:3x4``  torch tensor; comes back on the CPU, as a leaf (``…:grad`` if it requires grad)
``arrow:Table``        pyarrow table, batch or array; polars frame or series of plain dtypes
``data``               nestings of None, bool, int, float, complex, str, bytes, bytearray, list, tuple, dict,
                       OrderedDict, set, frozenset, dates and times, Decimal, UUID, and everything above
``outcome+…``          a value and the effects of the call that returned it, as a tuple in the codec named behind it
``pickle``             the rest, classes by reference: an instance comes back as one of *this* class
``cloudpickle``        lambdas and what belongs to a local class: the code travels inside the payload
``foreign+…``          as behind it, from somebody the user has not vouched for; never stored, the store says so
=====================  ==================================================================================

Only the last two above can run code when read. ``data`` has the *format* of a pickle, read by an unpickler that knows the
constructors in ``_DATA`` and nothing else. JSON and a tagged binary walk take 11 and 16 times as long to write (1,000
dicts: 2.5 and 3.5 ms against 0.22), and this form alone keeps shared parts shared. pandas is pickled: Arrow takes 8
times as long.
"""

from __future__ import annotations

import io
import pickle
import sys
from array import array
from collections.abc import Callable, Sequence
from typing import Any

from durable_nb import foreign, layouts
from durable_nb.byvalue import by_value_after
from durable_nb.errors import DurableError, StoreError, Unsaveable, UntrustedStore, ValueUnavailable
from durable_nb.proofs import Met
from durable_nb.records import Outcome

Encoder = Callable[[Any], "tuple[str, bytes] | None"]  # None: this one value needs pickle after all
Check = Callable[[str, bytes, Met], None]

OUTCOME = "outcome+"
FOREIGN = "foreign+"
_PICKLED = frozenset({"pickle", "cloudpickle", f"{OUTCOME}pickle", f"{OUTCOME}cloudpickle"})
RISKY = ("pickle", "cloudpickle", OUTCOME, "arrow")
"""How codecs begin that may do more to whoever reads them than give a value: run code, or put effects into effect. (Arrow's
buffers may be compressed bombs, and its readers before 14.0.1 unpickle.)"""

_LONGEST_NAME = 100_000  # a numpy dtype with thousands of fields is spelt out in it
_DATA = frozenset(
    {("builtins", "complex"), ("collections", "OrderedDict"), ("decimal", "Decimal"), ("uuid", "UUID")}
    | {("datetime", name) for name in ("date", "datetime", "time", "timedelta", "timezone")}
)
_SHORTEST_F64 = 8 if sys.byteorder == "little" else sys.maxsize  # shorter lists are smaller and faster as `data`


def encode(value: object, check: Check | None = None) -> tuple[str, bytes]:
    """Name of the codec and payload of a value; a pickle is shown to ``check`` first, with what it is made of.

    Raises
    ------
    Unsaveable
        The value, or the part of it that the text names, holds state that no bytes can bring back.
    """
    encoder = _ENCODERS.get(type(value)) or _library_encoder(type(value))
    if encoder is not None and (encoded := encoder(value)) is not None:
        return encoded
    if type(value) is Outcome:
        codec, payload = encode(tuple(value), check)
        return OUTCOME + codec, payload
    return _encode_by_pickle(value, check)


def encode_arrays(values: Any) -> tuple[str, list[bytes]] | None:
    """As `encode`, of several values, if they are a list of arrays of one dtype and shape, or the rows of one; None if not."""
    numpy = sys.modules.get("numpy")
    if numpy is None or type(values) not in (list, tuple, numpy.ndarray) or not len(values):
        return None
    return layouts.encode_arrays(values) if type(values[0]) is numpy.ndarray else None


def decode(codec: str, payload: bytes, *, trusted: bool = True, where: str = "") -> Any:
    """The value, equal to the saved one in type and bits; arrays are fresh and writable.

    Parameters
    ----------
    codec, payload : str, bytes
        As `encode` made them.
    trusted : bool
        False refuses payloads that could run code when read, as ``foreign+`` before the codec does.
    where : str
        The store, for error texts.

    Raises
    ------
    UntrustedStore
        The codec needs trust, and nobody has vouched for this payload.
    ValueUnavailable
        A class, module or codec does not exist in this kernel (yet).
    StoreError
        The payload is damaged, or its class refuses it.
    """
    if codec.startswith((OUTCOME, FOREIGN)):
        return outcome(codec, payload, trusted=trusted, where=where).value
    kind, _, detail = codec.partition(":")
    if not trusted and codec.startswith(RISKY):
        raise UntrustedStore(where)
    decoder = _DECODERS.get(kind)
    if decoder is None or len(codec) > _LONGEST_NAME:
        raise ValueUnavailable(f"codec {codec[:100]!r}, which this version of durable_nb does not know")
    try:
        return decoder(detail, payload) if trusted or kind != "data" else _foreign_data(payload, where)
    except DurableError:
        raise
    except ImportError as error:
        raise ValueUnavailable(error.name or str(error)) from error
    except Exception as error:
        problem = f"a value of {len(payload):,} bytes ({codec!r}) cannot be read ({type(error).__name__}: {error})."
        raise StoreError(where or "the store", problem) from error


def decode_arrays(codec: str, payloads: Sequence[bytes]) -> list[Any] | None:
    """As `decode`, of many payloads of one codec, if they are intact arrays; None if they are not."""
    kind, _, detail = codec.partition(":")
    return layouts.decode_arrays(detail, payloads) if kind == "nd" and len(codec) <= _LONGEST_NAME else None


def outcome(codec: str, payload: bytes, *, trusted: bool = True, where: str) -> Outcome:
    """As `decode`, with the effects of the call."""
    inner = codec.removeprefix(FOREIGN)
    trusted = trusted and inner is codec
    inner, is_outcome = inner.removeprefix(OUTCOME), inner.startswith(OUTCOME)
    if is_outcome and not trusted:  # its effects would set variables
        raise UntrustedStore(where)
    if inner.startswith((OUTCOME, FOREIGN)):
        raise ValueUnavailable(f"codec {codec[:100]!r}, which this version of durable_nb does not know")
    whole = decode(inner, payload, trusted=trusted, where=where)
    if not is_outcome:
        return Outcome(whole, {})
    if type(whole) is not tuple or len(whole) != 2 or type(whole[1]) is not dict:
        raise StoreError(where or "the store", f"a value of {len(payload):,} bytes ({codec[:100]!r}) is no outcome.")
    return Outcome(*whole)


def needs_pickle(codec: str) -> bool:
    """True if reading such a payload can run code."""
    return codec in _PICKLED


def revive(codec: str, payload: bytes) -> Any:
    """An array, tensor or table inside a container. Saved payloads name this function: never move or rename it."""
    kind, _, detail = codec.partition(":")
    if kind not in ("nd", "np", "torch", "arrow"):
        raise pickle.UnpicklingError(f"a part of codec {codec[:100]!r} is not data")
    return _DECODERS[kind](detail, payload)


def verify(codec: str, payload: bytes) -> None:
    """Raise Unsaveable if a pickled payload cannot be read back here: some classes pickle but do not unpickle."""
    try:
        if needs_pickle(codec):
            decode(codec, payload)
    except DurableError as error:
        why = error if error.__cause__ is None else error.__cause__
        raise Unsaveable("value", f"it can be pickled but not read back ({why})") from error


def prove(codec: str, payload: bytes, met: Met) -> None:
    """As `verify`, of pickles in which something is met for the first time in this process."""
    if not met.is_proven():
        verify(codec, payload)
        met.prove()


def _encode_list(value: list[Any]) -> tuple[str, bytes] | None:
    if len(value) < _SHORTEST_F64 or type(value[0]) is not float or set(map(type, value)) != {float}:
        return None
    return "f64", array("d", value).tobytes()


class _Pickler(pickle.Pickler):
    """Notes whether a value needs more than ``_DATA``; the hook is never called for plain types, so those cost nothing."""

    met: Met
    foreign = False

    def reducer_override(self, part: Any) -> Any:
        cls = type(part)
        encoder = _ENCODERS.get(cls) or _library_encoder(cls)
        if made := encoder and encoder(part):
            return revive, made
        name = (cls.__module__, cls.__qualname__)
        if name == ("uuid", "UUID") and part.is_safe.value is None:
            return cls, (part.hex,)
        if cls is type:  # a constructor about to be written, or a class that is itself a value
            known = (part.__module__, part.__qualname__) in _DATA
        else:
            known = name in _DATA and name[0] != "uuid" and not getattr(part, "__dict__", None)
        if known or part is revive:
            return NotImplemented
        self.foreign = True
        return self.met.note(part)


def _encode_by_pickle(value: object, check: Check | None) -> tuple[str, bytes]:
    buffer, met = io.BytesIO(), Met()
    pickler = _Pickler(buffer, 5)
    pickler.met = met
    try:
        pickler.dump(value)
    except MemoryError:
        raise
    except Exception as error:
        codec, payload = "cloudpickle", by_value_after(error, value, met.note)
    else:
        codec, payload = "pickle" if pickler.foreign else "data", buffer.getvalue()
    if check is not None and codec != "data":
        check(codec, payload, met)
    return codec, payload


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return super().find_class(module, name)
        except (ImportError, AttributeError) as error:
            raise ValueUnavailable(f"{module}.{name}") from error


class _DataUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _DATA or (module, name) == (__name__, "revive"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} is not data")


class _ForeignUnpickler(_DataUnpickler):
    where = ""

    def find_class(self, module: str, name: str) -> Any:
        return self._revive if super().find_class(module, name) is revive else super().find_class(module, name)

    def _revive(self, codec: str, payload: bytes) -> Any:
        if codec.startswith(RISKY):
            raise UntrustedStore(self.where)
        return revive(codec, payload)


def _foreign_data(payload: bytes, where: str) -> Any:
    foreign.refuse_strange(payload)
    unpickler = _ForeignUnpickler(io.BytesIO(payload))
    unpickler.where = where
    return unpickler.load()


def _library_encoder(cls: type) -> Encoder | None:
    """Encoder of a library's type, without importing the library; classes of the user are not kept alive by a table."""
    root = str(cls.__module__).partition(".")[0]
    library: Any = sys.modules.get(root)
    encoder: Encoder | None = None
    if root == "numpy":
        encoder = layouts.encode_array if cls is library.ndarray else None
        encoder = layouts.encode_numpy_scalar if issubclass(cls, library.generic) else encoder
    elif root == "torch" and cls is library.Tensor:
        encoder = layouts.encode_tensor
    elif root == "polars" and cls in (library.DataFrame, library.Series):
        encoder = layouts.encode_polars
    elif root == "pyarrow" and (cls in (library.Table, library.RecordBatch) or issubclass(cls, library.Array)):
        encoder = layouts.encode_arrow
    if encoder is not None:
        _ENCODERS[cls] = encoder
    return encoder


def _encode_atom(value: object) -> tuple[str, bytes]:
    return "data", pickle.dumps(value, 5)


_ENCODERS: dict[type, Encoder] = {
    str: lambda value: ("str", value.encode("utf-8", "surrogatepass")),
    bytes: lambda value: ("bytes", value),
    list: _encode_list,
    **dict.fromkeys((type(None), bool, int, float), _encode_atom),
}

_DECODERS: dict[str, Callable[[str, bytes], Any]] = {
    "str": lambda _, payload: str(payload, "utf-8", "surrogatepass"),
    "bytes": lambda _, payload: bytes(payload),
    "f64": lambda _, payload: array("d", payload).tolist(),
    "nd": layouts.decode_array,
    "np": layouts.decode_numpy_scalar,
    "torch": layouts.decode_tensor,
    "arrow": layouts.decode_arrow,
    "data": lambda _, payload: _DataUnpickler(io.BytesIO(payload)).load(),
    "pickle": lambda _, payload: _Unpickler(io.BytesIO(payload)).load(),
    "cloudpickle": lambda _, payload: _Unpickler(io.BytesIO(payload)).load(),
}
