"""The canonical form of a value: what `keys` hashes.

Each part starts with a tag that fixes how long it is, and whatever may be long stands there as its own digest, so no two
values write the same bytes. Sharing, order of insertion, memory layout and interning leave no trace; types, dtypes,
shapes and the bits of a float do.

How a type is written is looked up in this order: ``LEAVES`` and ``NODES`` (exact builtin types), ``RULES`` (a type and
its subclasses; open through ``keys.register``), ``durable_nb.arrays`` (numpy, pandas, polars, pyarrow, torch), and at
last ``__reduce_ex__(4)``: what pickle would store, but sorted and without references.
"""

from __future__ import annotations

import io
import struct
import sys
from collections import OrderedDict
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from functools import partial
from pathlib import PurePath
from re import Pattern
from types import BuiltinFunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

import xxhash

from durable_nb import arrays
from durable_nb.errors import Unkeyable
from durable_nb.reductions import AndBeside, attributes, in_slots, is_pythons, left_out, reduction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Memo = dict[int, tuple[object, bytes | None]]
"""Encoded values by id; with the value itself, so that its id is not given to another one meanwhile."""

_hash = xxhash.xxh3_128_digest
_pack_float = struct.Struct("<d").pack
_CHUNK = 1024  # texts joined at a time: bounds the memory that keying a long list takes


class Arguments:
    """The arguments of a call as one value, so that a refusal can say which of them it was."""

    __slots__ = ("args", "kwargs")

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.args, self.kwargs = args, kwargs


def qualified_name(thing: Any) -> str:
    """``module.qualname`` of a class or function, the same for ``__main__`` in a worker process."""
    module = getattr(thing, "__module__", None) or ""
    return f"{'__main__' if module == '__mp_main__' else module}.{getattr(thing, '__qualname__', '')}"


def encode(value: Any, memo: Memo) -> bytes:
    """The canonical form: a few bytes for a scalar, a tag and 16 bytes for anything else. Raises `Unkeyable`."""
    kind = type(value)
    leaf = LEAVES.get(kind)
    if leaf is not None:
        return leaf(value)
    # Without the memo a list that holds one list twice, thirty levels deep, would be walked 2**30 times.
    known = memo.get(id(value))
    if known is not None:
        if known[1] is None:
            raise Unkeyable(kind.__qualname__, "it contains itself")
        return known[1]
    memo[id(value)] = (value, None)
    encoded = (NODES.get(kind) or _writer(kind))(value, memo)
    memo[id(value)] = (value, encoded)
    return encoded


def _int(value: int) -> bytes:
    if -0x8000000000000000 <= value <= 0x7FFFFFFFFFFFFFFF:
        return b"i" + value.to_bytes(8, "little", signed=True)
    return b"I" + _hash(value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True))


def _str(value: str) -> bytes:
    data = value.encode("utf-8", "surrogatepass")
    return b"s%c" % len(data) + data if len(data) < 64 else b"S" + _hash(data)


def _bytes(value: bytes) -> bytes:
    return b"b%c" % len(value) + value if len(value) < 64 else b"B" + _hash(value)


def _float(value: float) -> bytes:
    return b"f" + _pack_float(value)


def sequence(values: list[Any] | tuple[Any, ...], memo: Memo) -> bytes:
    """16 bytes for the values in order; lists of only text, floats or 64-bit integers are hashed in bulk, in C."""
    kinds = set(map(type, values)) if len(values) > 3 else set()
    if len(kinds) == 1:
        kind = kinds.pop()
        if kind is str:
            return _texts(values)
        if kind is float:
            return _hash(b"d" + struct.pack(f"<{len(values)}d", *values))
        if kind is int:
            try:
                return _hash(b"q" + struct.pack(f"<{len(values)}q", *values))
            except struct.error:
                pass  # one of them needs more than 64 bits
    return _hash(b"." + b"".join([encode(value, memo) for value in values]))


def _texts(values: list[str] | tuple[str, ...]) -> bytes:
    hasher = xxhash.xxh3_128(b"u" + struct.pack(f"<{len(values)}q", *map(len, values)))
    for start in range(0, len(values), _CHUNK):
        hasher.update("".join(values[start : start + _CHUNK]).encode("utf-8", "surrogatepass"))
    return hasher.digest()


def _dict(value: dict[Any, Any], memo: Memo) -> bytes:
    if set(map(type, value)) <= {str}:
        keys = sorted(value)
        return b"{" + _hash(sequence(keys, memo) + sequence([value[key] for key in keys], memo))
    return b"}" + _hash(b"".join(_sorted_items(value.items(), memo)))


def _sorted_items(items: Iterable[tuple[Any, Any]], memo: Memo) -> list[bytes]:
    return sorted(encode(key, memo) + encode(value, memo) for key, value in items)


def _unordered(tag: bytes) -> Callable[[Any, Memo], bytes]:
    def write(value: set[Any] | frozenset[Any], memo: Memo) -> bytes:
        if set(map(type, value)) == {str}:
            return tag + sequence(sorted(value), memo)
        return tag + _hash(b"," + b"".join(sorted(encode(member, memo) for member in value)))

    return write


LEAVES: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda _: b"N",
    bool: lambda value: b"T" if value else b"F",
    int: _int,
    float: _float,
    complex: lambda value: b"c" + struct.pack("<dd", value.real, value.imag),
    str: _str,
    bytes: _bytes,
    bytearray: lambda value: b"a" + _hash(value),
}
NODES: dict[type, Callable[[Any, Memo], bytes]] = {
    list: lambda value, memo: b"[" + sequence(value, memo),
    tuple: lambda value, memo: b"(" + sequence(value, memo),
    dict: _dict,
    set: _unordered(b"<"),
    frozenset: _unordered(b">"),
    memoryview: lambda value, memo: b"v" + _hash(encode((value.format, value.shape, value.tobytes()), memo)),
    Arguments: lambda value, memo: b"$" + _hash(encode(value.args, memo) + encode(value.kwargs, memo)),
}
RULES: dict[type, Callable[[Any], object]] = {
    type(Literal[0]): lambda value: value.__args__,  # pickled otherwise from 3.12 on
    type: qualified_name,
    ModuleType: lambda module: module.__name__,
    BuiltinFunctionType: lambda function: (
        qualified_name(function),
        None if isinstance(function.__self__, ModuleType) else function.__self__,
    ),
    MethodType: lambda method: (method.__func__, method.__self__),
    partial: lambda bound: (bound.func, bound.args, bound.keywords, vars(bound)),
    Enum: lambda member: member._value_,
    PurePath: AndBeside(str),
    Pattern: lambda pattern: (pattern.pattern, pattern.flags),
    Decimal: AndBeside(str),
    Fraction: AndBeside(lambda fraction: (fraction.numerator, fraction.denominator)),
    UUID: lambda uuid: uuid.int,
}
ARRAY_LIBRARIES = frozenset({"numpy", "pandas", "polars", "pyarrow", "torch"})
FOUND: dict[type, Callable[[Any, Memo], bytes]] = {}
_LIVE = {  # picklable by accident, or refused for a reason that says more than pickle would
    ("threading", "Thread"): "a thread is something running, not a value",
    ("multiprocessing", "BaseProcess"): "a process is something running, not a value",
    ("multiprocessing", "_ConnectionBase"): "a connection has no value",
    ("subprocess", "Popen"): "a process is something running, not a value",
    ("socket", "socket"): "a connection has no value",
    ("asyncio", "AbstractEventLoop"): "an event loop has no value",
}


def _writer(kind: type) -> Callable[[Any, Memo], bytes]:
    """How values of a type that is in neither table are written; kept by type, except for classes of a notebook."""
    found = FOUND.get(kind)
    if found is not None:
        return found
    found = _choose_writer(kind)
    # A notebook redefines its classes: holding on to the old ones would keep their instances' world alive.
    if getattr(kind, "__module__", "__main__") in sys.modules and kind.__module__ != "__main__":
        FOUND[kind] = found
    return found


def refusal(kind: type) -> str | None:
    """Why no value of this type can be keyed, whatever it contains; None if that depends on the value."""
    for base in kind.__mro__:
        reason = _LIVE.get((base.__module__.partition(".")[0], base.__qualname__))
        if reason is not None:
            return reason
    if issubclass(kind, (io.BytesIO, io.StringIO)):
        return None
    if issubclass(kind, io.IOBase):
        return "an open file is not a value; pass its path or what it contains"
    return "reading it would use it up; pass a list instead" if hasattr(kind, "__next__") else None


def _choose_writer(kind: type) -> Callable[[Any, Memo], bytes]:
    reason = refusal(kind)
    if reason is not None:
        return _refuse(reason)
    for base in kind.__mro__:
        if base in RULES:
            rule = RULES[base]
            if type(rule) is AndBeside and is_pythons(kind):
                rule = rule.rule
            if base is kind or base is PurePath:  # pathlib moved its classes to another module in 3.13
                return _by_rule(rule, base.__name__ if base is kind else f"{base.__name__}:{kind.__name__}")
            return _by_rule(rule, base.__name__, of=kind)
        origin = (base.__module__.partition(".")[0], base.__qualname__)
        if origin in arrays.PARTS:
            return _by_parts(arrays.PARTS[origin], kind)
    if issubclass(kind, (set, frozenset)):
        return _by_rule(_set_parts, "set")
    return _reduced


def _set_parts(value: Any) -> tuple[object, ...]:
    parts = (type(value), frozenset(value), attributes(value))
    return (*parts, slots) if (slots := in_slots(value)) else parts


def _refuse(reason: str) -> Callable[[Any, Memo], bytes]:
    def write(value: object, _: Memo) -> bytes:
        raise Unkeyable(type(value).__qualname__, reason)

    return write


def _by_rule(rule: Callable[[Any], object], name: str, *, of: type | None = None) -> Callable[[Any, Memo], bytes]:
    tag = _str(name)

    def write(value: object, memo: Memo) -> bytes:
        return b"r" + _hash(tag + (b"" if of is None else encode(of, memo)) + encode(rule(value), memo))

    return write


def _by_parts(parts: Callable[[Any], Iterator[object]], kind: type) -> Callable[[Any, Memo], bytes]:
    """Of arrays and tables: raw buffers are hashed as they are, everything else as a value."""
    tag = b"p" + _str(kind.__qualname__)
    is_own = kind.__module__.partition(".")[0] not in ARRAY_LIBRARIES

    def write(value: object, memo: Memo) -> bytes:
        hasher = xxhash.xxh3_128(tag + encode(kind, memo) if is_own else tag)
        for part in parts(value):
            hasher.update(part.buffer if isinstance(part, arrays.Raw) else encode(part, memo))
        return b"A" + hasher.digest()

    return write


def _reduced(value: object, memo: Memo) -> bytes:
    reduced = reduction(value)
    if isinstance(reduced, str):
        return b"g" + _hash(encode((type(value), getattr(value, "__module__", None), reduced), memo))
    rebuild, args, state, members, items, _ = reduced
    parts = [
        encode(type(value), memo),
        encode(_maker(rebuild), memo),
        encode(args, memo),
        encode(left_out(value) if state is None else state, memo),
        sequence(list(members or ()), memo),
        # Two OrderedDicts in another order are unequal, other mappings are not.
        sequence(list(items or ()), memo)
        if isinstance(value, OrderedDict)
        else _hash(b"".join(_sorted_items(items or (), memo))),
    ]
    return b"R" + _hash(b"".join(parts))


def _maker(rebuild: Any) -> object:
    """What a constructor is written as: its name; with it the object whose method it is, or all of it if others have the name."""
    if "<" in getattr(rebuild, "__qualname__", "<"):
        return rebuild
    receiver = getattr(rebuild, "__self__", None)
    named = qualified_name(rebuild)
    return named if receiver is None or isinstance(receiver, (type, ModuleType)) else (named, receiver)
