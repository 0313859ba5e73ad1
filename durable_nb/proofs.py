"""What a pickle is made of, and what of that has been read back in this process: some classes pickle but do not unpickle."""

from __future__ import annotations

from types import BuiltinFunctionType, FunctionType
from typing import Any
from weakref import WeakSet

_FUNCTIONS = (FunctionType, BuiltinFunctionType)
_proven_made: WeakSet[type] = WeakSet()
_proven_named: WeakSet[Any] = WeakSet()


class Met:
    """What a pickler came across, at whatever depth: the type of a dict says nothing about what is in it.

    Attributes
    ----------
    made : set of type
        Classes of which there are instances.
    named : set
        Classes and functions that the pickle names: to make instances, or as values, which does not prove that they do.
    """

    def __init__(self) -> None:
        self.made: set[type] = set()
        self.named: set[Any] = set()

    def note(self, part: Any) -> Any:
        """Take note of a part; NotImplemented, which leaves it to the pickler how it is saved."""
        cls = type(part)
        if issubclass(cls, type):
            self.named.add(part)
        elif cls in _FUNCTIONS:  # by its code: a lambda in a loop is another one each time
            self.named.add(getattr(part, "__code__", part))
        else:
            self.made.add(cls)
        return NotImplemented

    def is_proven(self) -> bool:
        """Whether all of it has been read back before."""
        return all(map(_proven_made.__contains__, self.made)) and all(map(_proven_named.__contains__, self.named))

    def prove(self) -> None:
        """Remember that it has been read back."""
        _proven_made.update(self.made)
        _proven_named.update(self.named)
