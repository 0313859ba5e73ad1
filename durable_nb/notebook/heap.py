"""Arguments that a call changes in place: what they hold before, what they hold after, and how that is put back.

An argument is a small heap of objects, each named by the way to it. What is saved of a changed one is what each of its
objects holds afterwards, where an object that was there before is written as the way to it. So a restored list that was
sorted holds the same records as before, and every other name for one of them sees what became of it.
"""

from __future__ import annotations

import io
import pickle
from collections import deque
from typing import TYPE_CHECKING, Any

from durable_nb import keys
from durable_nb.errors import Unkeyable
from durable_nb.notebook.generators import is_generator, set_state, state_of
from durable_nb.origins import SCALARS, Origin, is_data, origin_of

if TYPE_CHECKING:
    from collections.abc import Iterator

Way = tuple[Any, ...]
"""The place of an argument, then (kind, key) of each part: ('item', 3), ('key', 'text'), ('attr', 'rows')."""

_LEAVES = (*SCALARS, complex, range, slice, type)
_PLAIN = frozenset({str, int, float, bool, bytes, type(None)})  # a long list of these is passed over in C
_COLLECTIONS = (list, deque, dict, set, bytearray)


class NotRestorable(Exception):
    """Something was changed in place that cannot be put back."""

    def __init__(self, place: Any, value: Any) -> None:
        super().__init__(place, value)
        self.place, self.value = place, value


class Heap:
    """The arguments of one call before it is made."""

    def __init__(self, arguments: dict[Any, Any]) -> None:
        self._digests = {place: seen for place, value in arguments.items() if (seen := seen_of(value)) is not None}
        self._arguments = {place: arguments[place] for place in self._digests}
        self._objects: dict[int, tuple[Way, Any, Any]] = {}
        for place, value in self._arguments.items():
            for way, one in _walk(value, (place,)):
                self._objects.setdefault(id(one), (way, one, _shape(one)))

    def changes(self) -> bytes | None:
        """What the objects hold now, pickled; None if no argument was changed.

        Raises
        ------
        NotRestorable
        """
        changed = {place for place, before in self._digests.items() if seen_of(self._arguments[place]) != before}
        if not changed:
            return None
        held = {}
        for way, one, shape in self._objects.values():
            if way[0] in changed:
                if not _can_be_put_back(one) or _shape(one) != shape:
                    if seen_of(one) == shape:
                        continue
                    raise NotRestorable(way[0], one)
                held[way] = _held(one)
        return self._pickled(held, next(iter(changed)))

    def way_of(self, value: Any) -> Way | None:
        """The way to an object that a call returned, if it is one of its arguments or in one."""
        known = self._objects.get(id(value))
        return None if known is None else known[0]

    def holding(self, value: Any) -> bytes | None:
        """A result that holds objects of the arguments, pickled with the ways to them; None for one that holds none.

        Raises
        ------
        NotRestorable
        """
        if not self._objects or isinstance(value, _LEAVES):
            return None
        held = (self._objects.get(id(one)) for _, one in _walk(value, ()))
        way = next((known[0] for known in held if known is not None), None)
        return None if way is None else self._pickled(value, way[0])

    def _pickled(self, held: Any, place: Any) -> bytes:
        known = {id(one): way for way, one, _ in self._objects.values()}

        class Pickler(pickle.Pickler):
            def persistent_id(self, part: Any) -> Way | None:
                return known.get(id(part))

        buffer = io.BytesIO()
        try:
            Pickler(buffer, 5).dump(held)
        except Exception as error:
            raise NotRestorable(place, self._arguments[place]) from error
        return buffer.getvalue()


def put_back(changes: bytes, arguments: dict[Any, Any]) -> None:
    """Make the objects of the arguments hold what they held after the call."""
    found = _by_way(arguments)
    held: dict[Way, Any] = _unpickled(changes, found)
    for way, content in held.items():
        _put(found[way], content)


def result_of(held: bytes, arguments: dict[Any, Any]) -> Any:
    """The result that `Heap.holding` pickled, with the objects of these arguments in it."""
    return _unpickled(held, _by_way(arguments))


def _by_way(arguments: dict[Any, Any]) -> dict[Way, Any]:
    found: dict[Way, Any] = {}
    for place, value in arguments.items():
        for way, one in _walk(value, (place,)):
            found.setdefault(way, one)
    return found


def _unpickled(payload: bytes, found: dict[Way, Any]) -> Any:
    class Unpickler(pickle.Unpickler):
        def persistent_load(self, way: Way) -> Any:
            return found[way]

    return Unpickler(io.BytesIO(payload)).load()


def way_to(way: Way, arguments: dict[Any, Any]) -> Any:
    """The object at the end of a way."""
    return next(one for here, one in _walk(arguments[way[0]], (way[0],)) if here == way)


def put_value(now: Any, after: Any) -> None:
    """Make one object equal to another of its kind, in place."""
    _put(now, _held(after))


def seen_of(value: Any) -> bytes | None:
    """A digest of a value that can change; None for one that cannot, or has no value."""
    if isinstance(value, _LEAVES) or (callable(value) and not hasattr(value, "__dict__")):
        return None
    if is_generator(value):
        return keys.digest(state_of(value))
    if not is_data(value):
        return None
    try:
        return keys.digest(value)
    except Unkeyable:
        return partly_digested(value)


def partly_digested(value: Any) -> bytes | None:
    """A digest of the parts that have a value, of own objects and collections; None for anything else."""
    if not (_is_own(value) or isinstance(value, (dict, list, tuple))):
        return None
    seen: list[Any] = []
    parts = value.items() if isinstance(value, dict) else _parts(value)  # those of plain values only are parts too
    for step, part in parts:
        try:
            seen.append((repr(step), keys.digest(part)))
        except Unkeyable:
            seen.append((repr(step), type(part).__qualname__))
    return keys.digest((type(value).__qualname__, seen))


def can_be_put_back(value: Any) -> bool:
    """Whether a change inside of it can be repeated."""
    return _can_be_put_back(value)


def _walk(value: Any, way: Way) -> Iterator[tuple[Way, Any]]:
    """Every object inside that may change, with the way to it; each once."""
    waiting, seen = [(way, value)], set()
    while waiting:
        here, one = waiting.pop()
        if isinstance(one, _LEAVES) or id(one) in seen:
            continue
        seen.add(id(one))
        if not isinstance(one, (tuple, frozenset)):
            yield here, one
        waiting.extend(((*here, *step), part) for step, part in _parts(one) if not isinstance(part, _LEAVES))


def _parts(value: Any) -> Iterator[tuple[Way, Any]]:
    if isinstance(value, dict) and not set(map(type, value.values())) <= _PLAIN:
        yield from ((("key", key), item) for key, item in value.items())
    elif isinstance(value, (list, tuple, deque)) and not set(map(type, value)) <= _PLAIN:
        yield from ((("item", index), item) for index, item in enumerate(value))
    elif isinstance(value, (set, frozenset)) and not set(map(type, value)) <= _PLAIN:
        yield from ((("member", index), item) for index, item in enumerate(sorted(value, key=_order)))
    elif _is_array(value) and value.dtype.hasobject and value.dtype.names is None:
        yield from ((("item", index), item) for index, item in enumerate(value.flat))
    if _is_own(value):
        yield from ((("attr", name), item) for name, item in vars(value).items())


def _order(member: Any) -> bytes:
    """Where a member of a set stands among the others, the same in every kernel before the call."""
    try:
        return keys.digest(member)
    except Unkeyable:
        return b""


def _shape(value: Any) -> Any:
    """What must not change for the object to be put back; of one that never can, all of it."""
    if _is_array(value):
        return (value.shape, str(value.dtype))
    return None if _can_be_put_back(value) else seen_of(value)


def _can_be_put_back(value: Any) -> bool:
    if isinstance(value, _COLLECTIONS) or is_generator(value) or _is_array(value):
        return True
    return (_is_table(value) and hasattr(value, "_update_inplace")) or _is_own(value)


def _held(value: Any) -> Any:
    """What an object holds, as another object."""
    fields = (dict(vars(value)), _slots(value)) if _is_own(value) else None
    if isinstance(value, dict):
        return (dict(value), fields)
    if isinstance(value, _COLLECTIONS):
        return (bytes(value) if isinstance(value, bytearray) else list(value), fields)
    if is_generator(value):
        return (state_of(value), None)
    if _is_array(value):
        return (value.copy(), None)
    if _is_table(value):
        return (value.copy(deep=True), (dict(value.attrs), getattr(value, "name", None)))
    return (None, fields)


def _put(now: Any, held: tuple[Any, Any]) -> None:
    content, fields = held
    if isinstance(now, (dict, set)):
        now.clear()
        now.update(content)
    elif isinstance(now, (list, deque)):
        now.clear()
        now.extend(content)
    elif isinstance(now, bytearray):
        now[:] = content
    elif is_generator(now):
        set_state(now, content)
    elif _is_array(now):
        now[...] = content
    elif _is_table(now):
        now._update_inplace(content)  # noqa: SLF001 - what pandas itself does for inplace=True
        now.attrs = fields[0]
        if hasattr(now, "name") and type(now).__name__ == "Series":
            now.name = fields[1]
        return
    if _is_own(now):
        vars(now).clear()
        vars(now).update(fields[0])
        for name, part in fields[1].items():
            object.__setattr__(now, name, part)


def _slots(value: Any) -> dict[str, Any]:
    """What an object holds besides its ``__dict__``: slots of its bases, pydantic's private fields."""
    names = {name for base in type(value).__mro__ for name in _names_of(vars(base).get("__slots__", ()))}
    return {n: getattr(value, n) for n in names - {"__dict__", "__weakref__"} if hasattr(value, n)}


def _names_of(slots: Any) -> Any:
    return (slots,) if isinstance(slots, str) else slots


def _is_array(value: Any) -> bool:
    return type(value).__module__ == "numpy" and type(value).__name__ == "ndarray"


def _is_table(value: Any) -> bool:
    kind = type(value)
    return kind.__module__.partition(".")[0] == "pandas" and kind.__name__ in ("DataFrame", "Series")


def _is_own(value: Any) -> bool:
    kind = type(value)
    return hasattr(value, "__dict__") and not isinstance(value, type) and origin_of(kind.__module__) is Origin.OWN
