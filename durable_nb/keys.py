"""Values → 16-byte digests that name a call: the same in every process, under every hash seed.

``canonical`` says how a value is written down, this module hashes it with xxh3_128. A path stands for its text: the
*content* of the file is not read. A class, module or enum stands for its name; a function for its code, once
``sources`` has been imported. A tensor stands for its numbers, on whichever device they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import xxhash

from durable_nb import canonical
from durable_nb.canonical import Arguments, encode, qualified_name
from durable_nb.errors import Unkeyable
from durable_nb.reductions import reduction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["call_digest", "digest", "digests", "joined", "numbered", "qualified_name", "register"]

_hash, _int = xxhash.xxh3_128_digest, canonical.LEAVES[int]
_ONE_STR, _ONE_BYTES, _CALL, _NUMBERED, _JOINED = (
    1,
    2,
    3,
    4,
    5,
)  # seeds: cheaper than a copy of a long text with a tag before it


def digest(value: object) -> bytes:
    """16 bytes that name the value of any Python object, in every process.

    Equal for copies, views and slices of equal content, whatever the order of insertion of dicts and sets. Different
    for ``1``, ``1.0`` and ``True``, ``"a"`` and ``b"a"``, lists and tuples, dtypes, shapes, ``0.0`` and ``-0.0``.

    Raises
    ------
    Unkeyable
        For a lock, generator, open file, connection or anything pickle refuses, and for what contains itself;
        ``where`` is the way to it inside the value, such as ``[3]['lock']``.
    """
    leaf = canonical.LEAVES.get(type(value))
    return _hash(_encode(value) if leaf is None else leaf(value))


def call_digest(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    """16 bytes that name the arguments of a call; the order of the keyword arguments does not matter.

    ``f(1)`` and ``f(x=1)`` have two names: the signature is not consulted.

    Raises
    ------
    Unkeyable
        As for `digest`; with several arguments ``where`` starts with ``args[1]`` or the name of the keyword.
    """
    if len(args) == 1 and not kwargs:
        value = args[0]
        kind = type(value)
        if kind is str:
            return _hash(value.encode("utf-8", "surrogatepass"), _ONE_STR)
        if kind is bytes:
            return _hash(value, _ONE_BYTES)
        leaf = canonical.LEAVES.get(kind)
        return _hash(_encode(value) if leaf is None else leaf(value), _CALL)
    return _hash(_encode(Arguments(args, kwargs)), _CALL)


def digests(items: Iterable[Any]) -> list[bytes]:
    """`call_digest` of each item as the only argument; of texts and numbers in a quarter less time."""
    return [
        _hash(item.encode("utf-8", "surrogatepass"), _ONE_STR)
        if (kind := type(item)) is str
        else _hash(_int(item), _CALL)
        if kind is int
        else call_digest((item,), {})
        for item in items
    ]


def numbered(digest: bytes, occurrence: int) -> bytes:
    """The key of the ``occurrence``-th (from 0) of several equal calls; the first keeps the digest itself."""
    return digest if occurrence == 0 else _hash(digest + occurrence.to_bytes(8, "little"), _NUMBERED)


def joined(digests: Iterable[bytes]) -> bytes:
    """16 bytes that name several digests in order; how many there are has to follow from the first."""
    return _hash(b"".join(digests), _JOINED)


def register(kind: type, rule: Callable[[Any], object]) -> None:
    """Let values of ``kind`` and its subclasses stand for ``rule(value)``, a plainer value that says all that matters.

    The name of the type is added by itself. A later registration of the same type replaces the earlier one.
    """
    canonical.RULES[kind] = rule
    canonical.FOUND.clear()


def _encode(value: object) -> bytes:
    try:
        return encode(value, {})
    except Unkeyable as error:
        raise Unkeyable(error.type_name, error.reason, _way_to_refused(value)) from error.__cause__
    except RecursionError:
        raise Unkeyable(type(value).__qualname__, "it is nested too deeply") from None


def _way_to_refused(value: object) -> str:
    """Where inside a value the refused part is; looked for only after a refusal, so that keeping track costs nothing."""
    way: list[str] = []
    passed = [value]
    while True:
        found = next(((step, child) for step, child in _children(value) if _is_refused(child)), None)
        if found is None:
            return "".join(way)
        way.append(found[0])
        value = found[1]
        if any(value is other for other in passed):
            return "".join(way)
        passed.append(value)


def _is_refused(value: object) -> bool:
    try:
        encode(value, {})
    except (Unkeyable, RecursionError):
        return True
    return False


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Arguments):
        only = len(value.args) + len(value.kwargs) == 1
        yield from ((f"args[{index}]", item) for index, item in enumerate(value.args))
        yield from (("" if only and not key else key, item) for key, item in value.kwargs.items())
        return
    kind = type(value)
    if kind in canonical.LEAVES or canonical.refusal(kind):
        return
    if kind in (list, tuple):
        yield from ((f"[{index}]", item) for index, item in enumerate(value))
    elif kind is dict:
        yield from _items(value)
    elif kind in (set, frozenset):
        yield from (("{…}", item) for item in value)
    elif rule := next((canonical.RULES[base] for base in kind.__mro__ if base in canonical.RULES), None):
        plain = rule(value)
        yield from _children(plain) if type(plain) is tuple else (("", plain),)
    elif kind.__module__.partition(".")[0] not in canonical.ARRAY_LIBRARIES:
        yield from _reduced_children(value)


def _reduced_children(value: object) -> Iterator[tuple[str, Any]]:
    try:
        reduced = reduction(value)
    except Unkeyable:
        return
    if isinstance(reduced, str):
        return
    _, args, state, members, items, _ = reduced
    for part in state if type(state) is tuple else (state,):  # with __slots__ it is (__dict__ or None, slots)
        yield from ((f".{name}", item) for name, item in part.items()) if type(part) is dict else (("", part),)
    yield from _items(dict(items or ()))
    yield from ((f"[{index}]", item) for index, item in enumerate(members or ()))
    yield from (("", arg) for arg in args)


def _items(value: dict[Any, Any]) -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        # Only builtin keys are shown as they are: the repr of a user's class is the user's code.
        shown = repr(key)[:40] if type(key) in canonical.LEAVES else f"<{type(key).__qualname__}>"
        yield f"[{shown}]", item
        yield f"[key {shown}]", key
