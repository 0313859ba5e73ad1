"""What an expression makes of the result of its call: ``.data[0].embedding``, and whether that can be kept at all."""

from __future__ import annotations

import functools
import itertools
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable_nb.notebook.sites import Operation

_MAIN = ("__main__", "__mp_main__")
_PARTS = 64  # of a result that are looked at for functions


class Whole:
    """An expression as a function of what it calls first, and the values of the names that it reads."""

    def __init__(self, expression: Callable[[Any], Any], called: Any, given: dict[str, Any]) -> None:
        self._expression, self._called, self.given = expression, called, given

    def __call__(self) -> Any:
        """The value of the expression."""
        __tracebackhide__ = True
        return self._expression(self._called)


class Awaitable(BaseException):
    """A function that is no coroutine function returned something to await; carried out of the computation."""

    def __init__(self, itself: Any) -> None:
        super().__init__()
        self.itself = itself


class RunsAgain(BaseException):
    """A call gave something that belongs to this kernel; carried out of the computation, which then saves nothing."""

    def __init__(self, value: Any, why: str) -> None:
        super().__init__()
        self.value, self.why = value, why


def followed(value: Any, trail: tuple[Operation, ...]) -> Any:
    """What the rest of an expression makes of the result of its call."""
    __tracebackhide__ = True
    for kind, *what in trail:
        if kind == "attr":
            value = getattr(value, what[0])
        elif kind == "item":
            value = value[what[0]]
        else:
            value = value(*what[0], **what[1])
    return value


async def followed_async(value: Any, trail: tuple[Operation, ...]) -> Any:
    """As ``followed``, for a trail that awaits."""
    __tracebackhide__ = True
    for operation in trail:
        value = await value if operation == ("await",) else followed(value, (operation,))
    return value


def refuse_code(value: Any) -> None:
    """Raise RunsAgain for functions made in the notebook: restored, one would read globals of its own, not the notebook's."""
    waiting, left = [value], _PARTS
    while waiting and left:
        part = waiting.pop()
        left -= 1
        function = part.func if isinstance(part, functools.partial) else part
        if isinstance(function, (FunctionType, MethodType)):
            if function.__module__ in _MAIN:
                raise RunsAgain(value, "it makes a function, which belongs to this kernel")
        elif isinstance(part, dict):
            waiting += [*itertools.islice(part.values(), left), getattr(part, "default_factory", None)]
        elif isinstance(part, (list, tuple)):
            waiting += itertools.islice(part, left)
        elif type(part).__module__ in _MAIN:
            waiting += itertools.islice(getattr(part, "__dict__", {}).values(), left)


def is_function(thing: Any) -> bool:
    """Whether something that is handed over is to be called; an object that can be called is data as well."""
    kinds = (FunctionType, MethodType, BuiltinFunctionType, functools.partial)
    return isinstance(thing, kinds) or "__wrapped__" in getattr(thing, "__dict__", ())


def values_of(names: Callable[[], Any]) -> Any:
    """The values of the names that an expression reads; None if one of them is not defined, which may never be asked."""
    try:
        return names()
    except NameError:
        return None
