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
from durable_nb.notebook.contents import can_be_put_back, held_by, is_array, is_own, put
from durable_nb.notebook.generators import state_of
from durable_nb.notebook.views import is_view, step_to_view, view_of
from durable_nb.origins import SCALARS, is_data, is_generator

if TYPE_CHECKING:
    from collections.abc import Iterator

Way = tuple[Any, ...]
"""The place of an argument, then (kind, key) of each part: ('item', 3), ('key', 'text'), ('attr', 'rows')."""

_LEAVES = (*SCALARS, complex, range, slice, type)
_PLAIN = frozenset({str, int, float, bool, bytes, type(None)})  # a long list of these is passed over in C


class NotRestorable(Exception):
    """Something was changed in place that cannot be put back."""

    def __init__(self, place: Any, value: Any) -> None:
        super().__init__(place, value)
        self.place, self.value = place, value


class Heap:
    """The arguments of one call before it is made, and the globals that it may fill, by (module, name)."""

    def __init__(self, arguments: dict[Any, Any], shared: dict[Any, Any]) -> None:
        self._digests = {place: seen for place, value in arguments.items() if (seen := seen_of(value)) is not None}
        self._tops = {place: arguments[place] for place in self._digests} | shared
        self._objects: dict[int, tuple[Way, Any, Any]] = {}
        for place, value in self._tops.items():
            for way, one in _walk(value, (place,)):
                self._objects.setdefault(id(one), (way, one, _shape(one)))

    def changed_arguments(self) -> dict[Any, Any]:
        """Those that are not what they were, by their places."""
        return {
            place: self._tops[place] for place, before in self._digests.items() if seen_of(self._tops[place]) != before
        }

    def changes(self, places: set[Any], *, with_shared: bool = False) -> bytes:
        """What the objects in these places hold now, pickled; with the ways to objects of shared globals if asked.

        Raises
        ------
        NotRestorable
        """
        held = {}
        for way, one, shape in self._objects.values():
            if way[0] in places:
                if not can_be_put_back(one) or _shape(one) != shape:
                    if seen_of(one) == shape:
                        continue
                    raise NotRestorable(way[0], one)
                held[way] = held_by(one)
        return self._pickled(held, next(iter(places)), with_shared=with_shared)

    def way_of(self, value: Any, *, with_shared: bool = True) -> Way | None:
        """The way to an object that a call returned, if it is known, or in what is, or a view of it."""
        known = self._objects.get(id(value))
        way = self._way_of_view(value) if known is None else known[0]
        return way if way is not None and (with_shared or not isinstance(way[0], tuple)) else None

    def holding(self, value: Any) -> bytes | None:
        """A result that holds objects of the arguments, pickled with the ways to them; None for one that holds none.

        Raises
        ------
        NotRestorable
        """
        if not self._objects or isinstance(value, _LEAVES):
            return None
        ways = (self.way_of(one, with_shared=False) for _, one in _walk(value, ()))
        way = next((way for way in ways if way is not None), None)
        return None if way is None else self._pickled(value, way[0], with_shared=False)

    def _way_of_view(self, value: Any) -> Way | None:
        if not is_array(value) or value.base is None:
            return None
        for way, one, _ in self._objects.values():
            if is_array(one) and (step := step_to_view(one, value)):
                return (*way, *step)
        return None

    def _pickled(self, held: Any, place: Any, *, with_shared: bool) -> bytes:
        way_of = self.way_of

        class Pickler(pickle.Pickler):
            def persistent_id(self, part: Any) -> Way | None:
                return way_of(part, with_shared=with_shared)

        buffer = io.BytesIO()
        try:
            Pickler(buffer, 5).dump(held)
        except Exception as error:
            raise NotRestorable(place, self._tops[place]) from error
        return buffer.getvalue()


def put_back(changes: bytes, arguments: dict[Any, Any]) -> None:
    """Make the objects of the arguments hold what they held after the call.

    Raises
    ------
    KeyError
        If an object is no longer there; nothing has been changed then.
    """
    found = _by_way(arguments)
    held: dict[Way, Any] = _unpickled(changes, found)
    for one, content in [(found[way], content) for way, content in held.items()]:
        put(one, content)


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
            return view_of(found[way[:-2]], way[-1]) if is_view(way) else found[way]

    return Unpickler(io.BytesIO(payload)).load()


def way_to(way: Way, arguments: dict[Any, Any]) -> Any:
    """The object at the end of a way.

    Raises
    ------
    KeyError
        If there is none.
    """
    if is_view(way):
        return view_of(way_to(way[:-2], arguments), way[-1])
    for here, one in _walk(arguments[way[0]], (way[0],)):
        if here == way:
            return one
    raise KeyError(way)


def way_from(arguments: dict[Any, Any], value: Any) -> Way | None:
    """The way to an object, if it is somewhere in these."""
    return next(
        (way for place, top in arguments.items() for way, one in _walk(top, (place,)) if one is value),
        None,
    )


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
    if not (is_own(value) or isinstance(value, (dict, list, tuple))):
        return None
    seen: list[Any] = []
    parts = value.items() if isinstance(value, dict) else _parts(value)  # those of plain values only are parts too
    for step, part in parts:
        try:
            seen.append((repr(step), keys.digest(part)))
        except Unkeyable:
            seen.append((repr(step), type(part).__qualname__))
    return keys.digest((type(value).__qualname__, seen))


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
    elif is_array(value) and value.dtype.hasobject and value.dtype.names is None:
        yield from ((("item", index), item) for index, item in enumerate(value.flat))
    if is_own(value):
        yield from ((("attr", name), item) for name, item in vars(value).items())


def _order(member: Any) -> bytes:
    """Where a member of a set stands among the others, the same in every kernel before the call."""
    try:
        return keys.digest(member)
    except Unkeyable:
        return b""


def _shape(value: Any) -> Any:
    """What must not change for the object to be put back; of one that never can, all of it."""
    if is_array(value):
        return (value.shape, value.dtype)
    return None if can_be_put_back(value) else seen_of(value)
