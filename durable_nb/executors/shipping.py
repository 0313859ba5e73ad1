"""Functions and arguments as bytes: what a notebook defines travels by value, since no worker can import it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from durable_nb.byvalue import by_value, culprit
from durable_nb.errors import ConfigError
from durable_nb.executors.loaded import Checked, Met, used_by
from durable_nb.executors.rebuilt import parts_of
from durable_nb.executors.worker import PlainStep, origin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from durable_nb.records import Call
    from durable_nb.sources import Fingerprint

_OF_NO_CLASS = (str, bytes, int, float, bool, type(None))


def function_bytes(function: Callable[..., Any], name: str, fingerprint: Fingerprint | None = None) -> bytes:
    """The function with what it uses of the notebook; with its fingerprint, only for where the same modules are loaded.

    Raises
    ------
    ConfigError
        Something that it uses cannot be sent; the text names it.
    """
    try:
        checked = Checked(function, used_by(fingerprint)) if fingerprint is not None else function
        return by_value(checked, _plain) + origin()
    except Exception as error:
        used, part = next(_unsendable(function), ("", function))
        what = f"it uses {used}, a {type(part).__qualname__}" if used else _reason(error)
        raise ConfigError(
            f"{name} cannot be sent to another process: {what}.",
            'Make that inside of the function (once for each process, in a global), or use executor="threads".',
        ) from error


def items_bytes(calls: Sequence[Call], names: Sequence[str], attempt: int, step: str) -> bytes:
    """The arguments of some calls.

    Raises
    ------
    ConfigError
        Those of one of them cannot be sent; the text names the document and the part.
    """
    items: Any = [(call.args, name, attempt) for call, name in zip(calls, names, strict=True)]
    noted = _plain
    if not all(type(arg) in _OF_NO_CLASS for call in calls for arg in call.args):
        met = Met()
        items, noted = Checked(items, met), partial(_noting, met)
    try:
        return by_value(items, noted) + origin()
    except Exception as error:
        call = next((call for call in calls if not _is_sendable(call.args)), calls[0])
        path, part = culprit(call.args[-1])
        raise ConfigError(
            f"the argument of {step} for {call.label} cannot be sent to another process: "
            f"value{path} is a {type(part).__qualname__} ({_reason(error)}).",
            'Hand over the data that it stands for (a path, a list, an id), or use executor="threads".',
        ) from error


def _noting(met: Met, part: Any) -> Any:
    """Of an argument, whose class a worker imports."""
    if isinstance(part, type):
        met.classes[part] = None
    return _plain(part)


def _plain(part: Any) -> Any:
    """A step is sent as the function that it is: what belongs to the run stays here."""
    own = getattr(part, "__dict__", None)
    if isinstance(own, dict) and "__durable_step__" in own and not isinstance(part, type):
        return PlainStep, (own["__durable_step__"], own.get("name") or own["__durable_step__"].__name__)
    return parts_of(part)


def _unsendable(function: Any) -> Iterator[tuple[str, object]]:
    """Globals and variables of the function that cannot be sent, with their names."""
    code = getattr(function, "__code__", None)
    if code is None:
        return
    cells = zip(code.co_freevars, function.__closure__ or (), strict=False)
    used = {name: function.__globals__[name] for name in code.co_names if name in function.__globals__}
    used |= {name: cell.cell_contents for name, cell in cells}
    for name, value in used.items():
        if not _is_sendable(value):
            yield from _unsendable(value)  # a helper: what that one uses
            path, part = culprit(value)
            yield f"{name}{path}", part


def _is_sendable(value: object) -> bool:
    try:
        by_value(value, _plain)
    except Exception:
        return False
    return True


def _reason(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
