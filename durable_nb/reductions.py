"""What pickle would make of a value, and the attributes that it leaves out: of a Path with a page number, that number."""

from __future__ import annotations

import copyreg
import sys
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cached_property
from types import MemberDescriptorType
from typing import TYPE_CHECKING, Any

from durable_nb.errors import Unkeyable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_UNREAD: ContextVar[frozenset[str] | None] = ContextVar("unread", default=None)


def reduction(value: object) -> tuple[Any, ...] | str:
    """What pickle would make of a value, padded to six items; a name for what is stored by name.

    Raises
    ------
    Unkeyable
        Whatever the class raises when it is asked.
    """
    kind = type(value)
    reducer = _registered(kind)
    try:
        reduced = reducer(value) if reducer is not None else kind.__reduce_ex__(value, 4)
    except (Unkeyable, RecursionError):
        raise
    except Exception as error:
        raise Unkeyable(kind.__qualname__, f"it has no value that could be stored ({error})") from error
    if isinstance(reduced, str):
        return reduced
    rebuild, args, state, *rest = (*reduced, None, None, None, None)[:6]
    if isinstance(value, BaseException):
        state = state or None  # it has a __dict__ only once somebody has looked, be it to name it
    return rebuild, args, state if _UNREAD.get() is None else _unread(value, state), *rest


@contextmanager
def unread(kept: frozenset[str]) -> Iterator[None]:
    """Here values are as they were before their cached properties were read, but for those with one of these names.

    Not for names: what somebody assigns in place of such a property would not count.
    """
    before = _UNREAD.set(kept)
    try:
        yield
    finally:
        _UNREAD.reset(before)


class AndBeside:
    """A rule for a type of Python's own, with the attributes that an instance of a user's class carries beside the value.

    If that class says itself what there is to its instances, that is taken: it may leave caches out.
    """

    def __init__(self, rule: Callable[[Any], object]) -> None:
        self.rule = rule

    def __call__(self, value: Any) -> object:
        """What the value is written as."""
        kept = _beside(value)
        if not kept:
            return self.rule(value)
        return self.rule(value), kept if _is_reduced_by_python(type(value)) else reduction(value)[1:3]


def left_out(value: object) -> dict[str, Any] | None:
    """The attributes that a ``__reduce__`` of Python's own does not know of, as that of datetime; None if there are none."""
    kind = type(value)
    return (_beside(value) or None) if not is_pythons(kind) and _is_reduced_by_python(kind) else None


def in_slots(value: object) -> dict[str, Any]:
    """What is in the slots of those classes that are not Python's own, which hold the value itself or a cache."""
    found: dict[str, Any] = {}
    for cls in type(value).__mro__:
        if is_pythons(cls):
            continue
        for name, slot in vars(cls).items():
            if type(slot) is MemberDescriptorType and name not in found:
                with suppress(AttributeError):  # never set
                    found[name] = slot.__get__(value)
    return found


def attributes(value: object) -> dict[str, Any] | None:
    """The ``__dict__`` of a value, None if it has none."""
    own: dict[str, Any] | None = getattr(value, "__dict__", None)
    return _without(own, _caches(value)) if own and _UNREAD.get() is not None else own


def _beside(value: object) -> dict[str, Any]:
    return {**(attributes(value) or {}), **in_slots(value)}


def _unread(value: object, state: Any) -> Any:
    """What a value was reduced to, without what its cached properties keep."""
    names, is_default = _caches(value), type(value).__getstate__ is object.__getstate__
    if is_default and type(state) is tuple:  # with slots
        return (_unread(value, state[0]), *state[1:])
    if not names or type(state) is not dict:
        return state
    left = _without(state, names)
    if type(inside := left.get("__dict__")) is dict:  # of pydantic
        left["__dict__"] = _without(inside, names)
    return None if is_default and not left else left


def _caches(value: object) -> set[str]:
    """The names of the cached properties of a value that are left out."""
    every = (named for cls in type(value).__mro__ for named in vars(cls).items())
    return {name for name, one in every if isinstance(one, cached_property)}.difference(_UNREAD.get() or ())


def _without(state: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: part for name, part in state.items() if name not in names}


def _registered(kind: type) -> Callable[[Any], tuple[Any, ...] | str] | None:
    """What somebody has registered to pickle a class by.

    Not of errors: Dask has theirs pickled with the traceback, by all processes that have imported it.
    """
    return None if issubclass(kind, BaseException) else copyreg.dispatch_table.get(kind)


def _is_reduced_by_python(kind: type) -> bool:
    """Whether what pickle makes of an instance is up to a class of Python's own; not ``object``, which leaves nothing out."""
    if _registered(kind) is not None:
        return False
    by = next(cls for cls in kind.__mro__ if not vars(cls).keys().isdisjoint(("__reduce_ex__", "__reduce__")))
    return by is not object and is_pythons(by)


def is_pythons(cls: type) -> bool:
    """Whether a class comes with Python."""
    return str(cls.__module__).partition(".")[0] in sys.stdlib_module_names
