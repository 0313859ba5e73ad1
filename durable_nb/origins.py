"""Whose code is it: the user's own, a library's or Python's; and which objects are data."""

from __future__ import annotations

import os
import sys
from datetime import date, time, timedelta
from enum import Enum
from functools import lru_cache, partial
from pathlib import PurePath
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any
from uuid import UUID

SCALARS = (type(None), bool, int, float, complex, str, bytes, date, time, timedelta, UUID, PurePath)
"""What cannot change inside: for these a statement with a call may stand instead of the value."""

_LIBRARIES = tuple(f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages"))
_STDLIB_DATA = frozenset(
    "builtins datetime _datetime zoneinfo decimal _decimal fractions uuid pathlib re collections enum "  # noqa: SIM905 - one a line would fill a screen
    "types array string argparse ipaddress functools typing".split()
)
_SETTINGS = 32  # a dict up to this size that a creating statement reads is settings; a larger one is documents
_LIBRARY_DATA = frozenset({"pandas", "polars", "pyarrow", "PIL"})


class Origin(Enum):
    """Of a module: what a change in it means."""

    OWN = "own"
    """A notebook, script or module of the user: its code counts."""
    LIBRARY = "library"
    """An installed distribution: its version counts."""
    PYTHON = "python"
    """The standard library, and durable_nb itself: nothing counts."""


def origin_of(module: str | None) -> Origin:
    """Of a module by its name; what is not known to have been installed is the user's own."""
    top = (module or "__main__").partition(".")[0]
    if top in ("__main__", "__mp_main__"):  # whatever was started: of a kernel it is a file of ipykernel
        return Origin.OWN
    if top in sys.stdlib_module_names or top == "durable_nb" or top.startswith("namedtuple_"):
        return Origin.PYTHON
    loaded = sys.modules.get(module or "")
    file = getattr(loaded, "__file__", None) or getattr(sys.modules.get(top), "__file__", None) or ""
    return Origin.LIBRARY if any(folder in file for folder in _LIBRARIES) else Origin.OWN


@lru_cache(maxsize=1024)
def library(module: str) -> tuple[str, str]:
    """Name and version of the library a module belongs to; '?' if it does not say."""
    names = module.split(".")
    for length in range(1, len(names) + 1):  # google.generativeai: the namespace package has no version
        name = ".".join(names[:length])
        version = vars(sys.modules[name]).get("__version__") if name in sys.modules else None
        if isinstance(version, str):
            return name, version
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return names[0], installed(names[0])
    except PackageNotFoundError:
        return names[0], "?"


def is_data(value: Any) -> bool:
    """Whether an object is its value: builtins, arrays, tables, dates, paths, and instances of the user's own classes.

    A model, client or connection of a library is not: its value is huge, or elsewhere.
    """
    kind = type(value)
    module = kind.__module__
    top = module.partition(".")[0]
    if top == "numpy":
        return not module.startswith("numpy.random") and kind.__name__ != "vectorize"
    if top == "torch":
        return kind.__qualname__ in ("Tensor", "Parameter")
    if top in _STDLIB_DATA or top in _LIBRARY_DATA:
        return True
    return origin_of(module) is Origin.OWN


def can_be_filled(value: Any) -> bool:
    """Whether an object is data that code may collect into: a list, a dict, an array, an object of the user."""
    return is_data(value) and not isinstance(value, (*SCALARS, tuple, frozenset))


def is_setting(value: Any) -> bool:
    """Whether what a creating statement reads says how an object was made; documents do not, they grow."""
    code = (FunctionType, MethodType, BuiltinFunctionType, type, partial, ModuleType)
    if isinstance(value, (*code, *SCALARS)) or not is_data(value):
        return True
    if isinstance(value, dict):
        return len(value) <= _SETTINGS
    return origin_of(type(value).__module__) is Origin.OWN
