"""What an exception says, and how it travels from the worker that raised it: as the exception that it is, wherever possible."""

from __future__ import annotations

import contextlib
import pickle
import traceback
from itertools import product
from typing import Any

from durable_nb.byvalue import unpickled
from durable_nb.errors import fields_of
from durable_nb.executors.mains import known_in_main

_OURS = __file__.rpartition("executors")[0]


def traceback_of(error: BaseException) -> str:
    """The traceback without the frames of this library."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(_OURS)]
    return "".join(traceback.format_list(frames))


def said_by(error: BaseException) -> str:
    """The message of an error, '' of one that cannot say it."""
    try:
        return str(error)
    except Exception:
        return ""


def line_of(error: BaseException, said: str) -> str:
    """Type and message on one line."""
    text = " ".join(said.split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def packed(error: BaseException) -> bytes | None:
    """The exception as a pickle that brings it back, None if there is none.

    Many classes of clients (openai, httpx) pickle and cannot be unpickled: their ``__init__`` wants what is not in ``args``.
    They come back without it, with their arguments and attributes; what of those cannot be sent is None.
    """
    import cloudpickle

    said, second = said_by(error), None
    # cloudpickle: by value if its class is a local one
    for form, dumps in product((_whole, _Parts), (pickle.dumps, cloudpickle.dumps)):
        with contextlib.suppress(Exception):
            value = form(error)
            with known_in_main(value):
                made: bytes = dumps(value)
                back = unpickled(made)  # and leaves the classes as they are
            text = said_by(back) if isinstance(back, BaseException) else None
            if text == said:
                return made
            if text:  # an __init__ was called that puts words around its argument, or the text names an address
                second = second or made
    return second


def _whole(error: BaseException) -> object:
    return error


class _Parts:
    """An exception in parts; unpickled, it is that exception again."""

    def __init__(self, error: BaseException) -> None:
        builtin = _builtin(type(error))
        args = builtin.__reduce__(error)[1]  # not .args: those of an OSError lack the name of the file
        self._args = tuple(arg if _travels(arg) else _text(arg) for arg in args)
        self._state = {name: value if _travels(value) else None for name, value in fields_of(error).items()}
        self._class = type(error)

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self._class, self._args, self._state)


def _again(cls: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]) -> BaseException:
    """An instance whose ``__init__`` is not called; only that of the built-in class, which may keep more than ``args``."""
    builtin = _builtin(cls)
    error: BaseException = builtin.__new__(cls, *args)
    builtin.__init__(error, *args)
    fields_of(error).update(state)  # not setattr: it may be frozen
    return error


def _builtin(cls: type[BaseException]) -> Any:
    return next(base for base in cls.__mro__ if base.__module__ == "builtins" and issubclass(base, BaseException))


def _travels(value: object) -> bool:
    import cloudpickle

    for dumps in (pickle.dumps, cloudpickle.dumps):
        with contextlib.suppress(Exception), known_in_main(value):
            unpickled(dumps(value))
            return True
    return False


def _text(value: object) -> str:
    with contextlib.suppress(Exception):
        return str(value)
    return type(value).__name__
