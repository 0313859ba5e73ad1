"""Pickle with the code of what no import finds; and which part of a value cannot be pickled at all."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from durable_nb.errors import Unsaveable


def by_value(value: object, instead: Callable[[Any], Any] | None = None) -> bytes:
    """A pickle with the code of lambdas and local classes in it.

    ``instead`` may say how a part is to be made again, as ``__reduce__`` does, or NotImplemented.
    """
    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        def reducer_override(self, part: Any) -> Any:
            if isinstance(part, (io.IOBase, memoryview)) and type(part) not in (io.BytesIO, io.StringIO):
                raise TypeError(f"cannot pickle {type(part).__qualname__!r} object")  # would come back as another type
            made = NotImplemented if instead is None else instead(part)
            return super().reducer_override(part) if made is NotImplemented else made

    buffer = io.BytesIO()
    Pickler(buffer, 5).dump(value)
    return buffer.getvalue()


def by_value_after(refusal: Exception, value: object, instead: Callable[[Any], Any]) -> bytes:
    """The same once plain pickle has refused a value; Unsaveable, with the part that is to blame, if this does too."""
    try:
        return by_value(value, instead)
    except MemoryError:
        raise
    except Exception as error:
        path, part = culprit(value)
        reason = str(error).partition("\n")[0] or type(error).__name__
        reason = f"value{path} is a {type(part).__qualname__} ({reason})" if path else reason
        raise Unsaveable(type(value).__qualname__, reason) from refusal


def unpickled(data: bytes) -> Any:
    """What is in such a pickle. Classes that are known here stay as they are: cloudpickle would overwrite their methods."""
    return _Unpickler(io.BytesIO(data)).load()


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        found = super().find_class(module, name)
        if name != "_class_setstate":
            return found

        def set_unless_known(cls: type, state: Any) -> type:
            known: type = cls if state[0].keys() <= vars(cls).keys() else found(cls, state)
            return known

        return set_unless_known


def culprit(value: object, path: str = "", depth: int = 8) -> tuple[str, object]:
    """Where the innermost part that cannot be saved is, and that part; only asked once saving has failed."""
    for step, part in islice(_parts(value), 1000 if depth else 0):
        try:
            by_value(part)
        except Exception:
            return culprit(part, path + step, depth - 1)
    return path, value


def _parts(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        yield from ((f"[{key!r}]", part) for key, part in value.items())
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from ((f"[{i}]", part) for i, part in enumerate(value))
    yield from ((f".{name}", part) for name, part in getattr(value, "__dict__", {}).items())
