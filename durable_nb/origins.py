"""Whose code is it: the user's own, a library's or Python's; and which objects are data."""

from __future__ import annotations

import builtins
import os
import random
import sys
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from functools import lru_cache, partial
from importlib.machinery import PathFinder
from importlib.util import resolve_name
from pathlib import PurePath
from re import Pattern
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Iterator

SCALARS = (type(None), bool, int, float, complex, str, bytes, date, time, timedelta, UUID, PurePath)
"""What cannot change inside: for these a statement with a call may stand instead of the value."""

_LIBRARIES = tuple(f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages"))
_ENVIRONMENT = frozenset({"durable_nb", "IPython", "ipykernel"})  # where the code runs, like Python itself
_STDLIB_DATA = frozenset(
    "builtins datetime _datetime zoneinfo decimal _decimal fractions uuid pathlib re collections enum "  # noqa: SIM905 - one a line would fill a screen
    "types array string argparse ipaddress functools typing".split()
)
_SETTINGS = 32  # a dict up to this size that a creating statement reads is settings; a larger one is documents
_SMALL_BYTES = 1 << 16
_LIBRARY_DATA = frozenset({"pandas", "polars", "pyarrow", "PIL"})
_DISPLAYS = frozenset({"tqdm", "rich", "alive_progress", "progressbar", "ipywidgets", "IPython", "logging"})


_ORIGINS: dict[str | None, Origin] = {}


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
    known = _ORIGINS.get(module)
    if known is None:
        known = _origin_of(module)
        if module in sys.modules:  # one that is not loaded may turn out to be installed
            _ORIGINS[module] = known
    return known


def _origin_of(module: str | None) -> Origin:
    top = (module or "__main__").partition(".")[0]
    if top in ("__main__", "__mp_main__"):  # whatever was started: of a kernel it is a file of ipykernel
        return Origin.OWN
    if top in sys.stdlib_module_names or top in _ENVIRONMENT or top.startswith("namedtuple_"):
        return Origin.PYTHON
    loaded = sys.modules.get(module or "")
    file = getattr(loaded, "__file__", None) or getattr(sys.modules.get(top), "__file__", None) or ""
    return Origin.LIBRARY if any(folder in file for folder in _LIBRARIES) else Origin.OWN


def imported_files(package: str, level: int, module: str, names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Name and file of each own module that an import statement in ``package`` may load."""
    module = full_name(package, level, module)
    for name in (module, *(f"{module}.{one}" for one in names)) if module else ():
        file = own_file(name)
        if file:
            yield name, file


def full_name(package: str, level: int, module: str) -> str:
    """Of the module that ``from`` so many dots and ``module`` means in ``package``; '' if it leads out of all packages."""
    try:
        return resolve_name("." * level + module, package)
    except ImportError:
        return ""


def own_file(module: str) -> str:
    """The file of a module of the user, whether it is loaded or not; '' for any other. Nothing is imported."""
    path: Any = None
    name = file = ""
    for part in module.split("."):
        if name and path is None:  # in a module that is no package
            return ""
        name = f"{name}.{part}" if name else part
        if name in sys.stdlib_module_names or name == "durable_nb":
            return ""
        try:
            spec = PathFinder.find_spec(name, path)
        except (ImportError, ValueError):
            return ""
        if spec is None:
            return ""
        path, file = spec.submodule_search_locations, spec.origin or ""
    return "" if any(folder in file for folder in _LIBRARIES) or not file.endswith(".py") else file


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
        # Both are made of a function: by `vectorize` and by `frompyfunc`.
        is_made = kind.__name__ == "vectorize" or str(getattr(value, "__name__", "")).endswith(" (vectorized)")
        return not module.startswith("numpy.random") and not is_made
    if top == "torch":
        return kind.__qualname__ in ("Tensor", "Parameter")
    if top in _STDLIB_DATA or top in _LIBRARY_DATA:
        return True
    return origin_of(module) is Origin.OWN


def is_environment(value: Any) -> bool:
    """Whether a dict is a copy of the environment, which is another one in every kernel: most of its variables are in it."""
    return isinstance(value, dict) and 2 * sum(name in value for name in os.environ) > len(os.environ)


def is_generator(value: Any) -> bool:
    """Whether random numbers are drawn from an object, and it can be put back."""
    if isinstance(value, random.Random):
        return not isinstance(value, random.SystemRandom)
    kind = type(value)
    return kind.__module__.startswith("numpy.random") and kind.__name__ in ("Generator", "RandomState")


def is_injected(name: str, value: Any) -> bool:
    """Whether IPython put its own version of a builtin, such as ``open``, into the notebook."""
    scope = getattr(value, "__globals__", None)  # its __module__ is that of the builtin
    home = scope.get("__name__") if isinstance(scope, dict) else ""  # some objects have any attribute
    return hasattr(builtins, name) and str(home).partition(".")[0] == "IPython"


def is_frozen(value: Any) -> bool:
    """Whether an object can never change inside."""
    if type(value) in (tuple, frozenset):
        return len(value) < 100 and all(map(is_frozen, value))
    return isinstance(value, (*SCALARS, Enum, Pattern, Decimal, Fraction, range))


def can_be_filled(value: Any) -> bool:
    """Whether an object is data that code may collect into: a list, a dict, an array, an object of the user."""
    return is_data(value) and not isinstance(value, (*SCALARS, tuple, frozenset))


def is_display(value: Any) -> bool:
    """Whether an object only shows something: what it was made from matters to no result."""
    return type(value).__module__.partition(".")[0] in _DISPLAYS


def gone_through(value: Any) -> Any:
    """What a progress bar goes through; of all else the value itself."""
    return getattr(value, "iterable", value) if is_display(value) else value


def is_setting(value: Any) -> bool:
    """Whether what a display was made from says how it looks; documents do not, they grow."""
    code = (FunctionType, MethodType, BuiltinFunctionType, type, partial, ModuleType)
    if isinstance(value, (*code, *SCALARS)) or not is_data(value):
        return True
    if isinstance(value, dict):
        return len(value) <= _SETTINGS
    return origin_of(type(value).__module__) is Origin.OWN


def length_of(value: Any) -> int | None:
    """How long it is, if it says so: a tqdm around a generator and an iterable data set have a ``__len__`` that raises."""
    if not hasattr(value, "__len__"):
        return None
    try:
        return len(value)
    except (TypeError, NotImplementedError, OverflowError):
        return None


def is_small(value: Any, budget: int = _SMALL_BYTES) -> bool:
    """Whether to read all of a value takes microseconds; an estimate that reads little of a large one."""
    waiting, seen = [value], set[int]()
    while waiting and budget > 0:
        one = waiting.pop()
        kind = type(one)
        budget -= 64
        if kind in (str, bytes, bytearray):
            budget -= len(one)
        elif isinstance(one, (dict, list, tuple, set, frozenset)):
            if len(one) * 64 > budget:
                return False
            waiting += [*one.keys(), *one.values()] if isinstance(one, dict) else one
        elif kind.__module__.partition(".")[0] in ("numpy", "pandas", "polars", "pyarrow", "torch"):
            size = getattr(one, "nbytes", None)
            # A table says how many cells it has, or nothing at all: then it is not small.
            budget -= size if isinstance(size, int) else 16 * int(getattr(one, "size", _SMALL_BYTES))
        elif (fields := getattr(one, "__dict__", None)) and id(one) not in seen:
            seen.add(id(one))
            waiting += fields.values()
    return budget > 0
