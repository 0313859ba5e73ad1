"""What an expression makes of the result of its call: ``.data[0].embedding``, and whether that can be kept at all."""

from __future__ import annotations

import functools
import itertools
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from durable_nb.notebook.sites import Operation

_PARTS = 16  # of a result that are looked at for functions


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
    parts = value if isinstance(value, (list, tuple)) else value.values() if isinstance(value, dict) else ()
    for part in (value, *itertools.islice(parts, _PARTS)):
        function = part.func if isinstance(part, functools.partial) else part
        if isinstance(function, (FunctionType, MethodType)) and function.__module__ in ("__main__", "__mp_main__"):
            raise RunsAgain(
                value, f"it returns {function.__qualname__}, a function that reads the names of this notebook"
            )
