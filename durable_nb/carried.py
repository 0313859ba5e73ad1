"""What a function object carries with it: closure variables, defaults and attributes, and which of them are its state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from durable_nb import provenance, syntax
from durable_nb.bytecode import Filled, cells_of, defaults_of, names_filled, names_used
from durable_nb.origins import SCALARS, is_data, is_generator

if TYPE_CHECKING:
    from types import FunctionType


class Carried(NamedTuple):
    """A value that a function object carries with it."""

    kind: str
    """closure, default or attribute"""
    name: str
    value: Any
    statement: str | None


def carried_by(function: FunctionType, node: Any) -> tuple[list[Carried], dict[str, Filled]]:
    """The closure variables, defaults and attributes of a function but for its state, and what its code fills."""
    code = function.__code__
    used = names_used(code)  # a local variable may bear the name of a global
    own = {*used.reads, *used.writes, *code.co_freevars, *defaults_of(function), code.co_name}
    filled = {} if node is None else {name: what for name, what in names_filled(node).items() if name in own}
    found = []
    for name, value in cells_of(function).items():
        if name not in names_used(code).cells_written:
            is_value = is_data(value) and not isinstance(value, SCALARS)
            statement = None if is_value else provenance.enclosing_statement(code, name)
            found.append(Carried("closure", name, value, statement))
    written = syntax.default_statements(node)
    found += [Carried("default", name, value, written.get(name)) for name, value in defaults_of(function).items()]
    counted = filled[code.co_name].written if code.co_name in filled else ()
    for name, value in vars(function).items():
        if not name.startswith("__") and f".{name}" not in counted:
            found.append(Carried("attribute", name, value, None))
    return found, filled


def is_global(function: FunctionType) -> bool:
    """Whether its name stands for it, so that ``inner.calls += 1`` in it is about the global that ``wraps`` made of it."""
    return function.__globals__.get(function.__name__) is function


class CellsOf(NamedTuple):
    """The closure variables of a function, read when asked."""

    function: Any

    def get(self, name: str, missing: Any = None) -> Any:
        """The value that a variable has now."""
        return cells_of(self.function).get(name, missing)


def carried_state(function: FunctionType, filled: dict[str, Filled]) -> list[tuple[Any, str]]:
    """Closure variables and defaults that the code of a function itself writes or fills, or may draw random numbers from."""
    written = names_used(function.__code__).cells_written | filled.keys()
    cells: list[tuple[Any, str]] = [
        (CellsOf(function), name)
        for name, value in cells_of(function).items()
        if (name in written or is_generator(value)) and not (value is function and is_global(function))
    ]
    defaults = defaults_of(function)
    return cells + [(defaults, name) for name in defaults if name in filled]
