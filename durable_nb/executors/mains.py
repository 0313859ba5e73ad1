"""Classes of the notebook, in a process that is not its kernel."""

from __future__ import annotations

import contextlib
import io
import pickle
import sys
import threading
from collections.abc import Iterator
from typing import Any

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
    if not finder.found:
        yield
        return
    main: Any = sys.modules["__main__"]
    with lock:
        before = {name: vars(main).get(name, _NOTHING) for name in finder.found}
        vars(main).update(finder.found)
        try:
            yield
        finally:
            vars(main).update(before)
            for name in [name for name, thing in before.items() if thing is _NOTHING]:
                del vars(main)[name]
