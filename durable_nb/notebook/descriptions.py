"""What a value is, in a few words, without reading all of it."""

from __future__ import annotations

import hashlib
import os
from types import FunctionType
from typing import Any

from durable_nb import display, keys
from durable_nb.bytecode import step_function
from durable_nb.origins import SCALARS

_READ_BYTES = 1 << 20


def described(value: Any, size: int | None = None) -> str:
    """``ndarray float32 (250000, 1024), 1.0 GB``; of an object its type."""
    kind = type(value)
    module = kind.__module__.partition(".")[0]
    words = [kind.__qualname__ if module in ("builtins", "__main__") else f"{module}.{kind.__qualname__}"]
    if module not in ("builtins", "__main__") and hasattr(value, "dtype") and hasattr(value, "shape"):
        words.append(f"{value.dtype} {tuple(value.shape)}")
    elif issubclass(kind, (list, dict, set, tuple, frozenset)):
        words.append(f"of {len(value):,}")
    text = " ".join(words)
    return text if size is None else f"{text}, {display.size_text(size)}"


def size_of(value: Any) -> int | None:
    """Bytes, if the value says so itself."""
    if issubclass(type(value), (str, bytes)):
        return len(value)
    size = getattr(value, "nbytes", None) if type(value).__module__ not in ("builtins", "__main__") else None
    return size if isinstance(size, int) else None


def file_at(value: Any) -> dict[str, Any] | None:
    """What a file is now whose path the value is; None for any other value."""
    if not isinstance(value, (str, os.PathLike)):
        return None
    try:
        path = os.fspath(value)
        if not isinstance(path, str) or not 0 < len(path) < 1024 or "\n" in path or not os.path.isfile(path):
            return None
        about = os.stat(path)
        digest = ""
        if about.st_size <= _READ_BYTES:
            with open(path, "rb") as file:
                digest = hashlib.blake2b(file.read(), digest_size=16).hexdigest()
    except (OSError, ValueError):
        return None
    return {"path": os.path.abspath(path), "size": about.st_size, "changed": about.st_mtime, "digest": digest}


def is_as_it_was(file: dict[str, Any]) -> bool:
    """Whether a file is what `file_at` said."""
    now = file_at(str(file.get("path")))
    if now is None:
        return False
    same = "digest" if file.get("digest") else "changed"
    return bool(now["size"] == file.get("size") and now[same] == file.get(same))


def defaults_of(value: Any) -> str:
    """A digest of the numbers and texts that a function has as default arguments: what stood in its head when it was
    defined. '' where there are none.
    """
    function = step_function(value) or value
    if type(function) is not FunctionType:
        return ""
    given = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    found = [one for one in given if one is not None and isinstance(one, SCALARS)]
    return keys.digest(found).hex() if found else ""
