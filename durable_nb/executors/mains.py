"""Classes of the notebook, in a process that is not its kernel."""

from __future__ import annotations

import contextlib
import functools
import io
import pickle
import sys
import threading
from collections.abc import Iterator, Mapping
from types import FunctionType, MethodType
from typing import Any

from durable_nb.bytecode import cells_of, functions_of

_PLAIN, _ARRAYS = (str, bytes, int, float, bool, type(None)), ("numpy", "torch")  # no class of anybody is in them
_NOTHING = object()

lock = threading.Lock()
"""Held while ``__main__`` has other names than its own, and by who reads what may look there."""


class _ClassesOfMain(pickle.Pickler):
    """Finds the classes of ``__main__`` in a value; the pickle itself is of no use."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), 5)
        self.found: dict[str, type] = {}

    def reducer_override(self, part: Any) -> Any:
        if isinstance(part, type) and part.__module__ == "__main__":
            self.found[part.__qualname__] = part
            return dict, ()
        return NotImplemented


@contextlib.contextmanager
def known_in_main(value: object) -> Iterator[None]:
    """Classes of the notebook are found by their name, as they are where the run is computed, now and after a restart.

    By value they would be other classes there; and cloudpickle, when it reads one that it knows, overwrites its methods.
    """
    finder = _ClassesOfMain()
    if type(value) not in _PLAIN and type(value).__module__ not in _ARRAYS:
        with contextlib.suppress(Exception):  # it cannot be pickled: whoever does it in earnest says so
            finder.dump(value)
    with named_in_main(finder.found):
        yield


@contextlib.contextmanager
def named_in_main(classes: Mapping[str, type]) -> Iterator[None]:
    """These are found by their name meanwhile."""
    if not classes:
        yield
        return
    main: Any = sys.modules["__main__"]
    with lock:
        before = {name: vars(main).get(name, _NOTHING) for name in classes}
        vars(main).update(classes)
        try:
            yield
        finally:
            vars(main).update(before)
            for name in [name for name, thing in before.items() if thing is _NOTHING]:
                del vars(main)[name]


def classes_behind(function: object) -> dict[str, type]:
    """The classes of the notebook that a function leads to which came by value, through helpers, methods and closures too."""
    found: dict[str, type] = {}
    waiting, seen = [function], set()
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, type):
            if part.__module__ == "__main__":
                found[part.__qualname__] = part
                waiting += [*part.__bases__, *(one for value in vars(part).values() for one in functions_of(value))]
        elif isinstance(part, FunctionType):
            if part.__module__ == "__main__":
                waiting += [*part.__globals__.values(), *cells_of(part).values()]
        elif isinstance(part, MethodType):
            waiting += [part.__func__, part.__self__]
        elif isinstance(part, functools.partial):
            waiting += [part.func, *part.args, *part.keywords.values()]
        else:
            waiting.append(type(part))
    return found
