"""Functions as Python compiled them: what they read, write and carry, and what they are when their source is gone."""

from __future__ import annotations

import ast
import sys
from functools import lru_cache
from types import CodeType, FunctionType
from typing import Any

_READS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_WRITES = frozenset({"STORE_GLOBAL", "DELETE_GLOBAL"})
_CELL_WRITES = frozenset({"STORE_DEREF", "DELETE_DEREF"})
_FILLING = frozenset(
    "append extend insert add update setdefault pop popitem popleft appendleft extendleft remove discard "  # noqa: SIM905 - one a line would fill a screen
    "clear sort reverse subtract difference_update intersection_update symmetric_difference_update".split()
)
_GENERATED = frozenset(
    "__init__ __repr__ __eq__ __hash__ __lt__ __le__ __gt__ __ge__ __setattr__ __delattr__ __replace__ "  # noqa: SIM905 - one a line would fill a screen
    "__getstate__ __setstate__".split()
)


@lru_cache(maxsize=1024)
def names_used(code: CodeType) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Globals read, globals written and closure variables written, nested functions included."""
    import dis  # 3 ms that only a fingerprint has to pay

    reads: set[str] = set()
    writes: set[str] = set()
    cells: set[str] = set()
    for instruction in dis.get_instructions(code):
        if instruction.opname in _READS:
            reads.add(instruction.argval)
        elif instruction.opname in _WRITES:
            writes.add(instruction.argval)
        elif instruction.opname in _CELL_WRITES and instruction.argval in code.co_freevars:
            cells.add(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            inner = names_used(constant)
            reads, writes, cells = reads | inner[0], writes | inner[1], cells | inner[2]
    return frozenset(reads), frozenset(writes), frozenset(cells)


def names_filled(node: ast.AST) -> frozenset[str]:
    """Names whose object the code changes: ``seen.append(x)``, ``cache[key] = x``, ``stats.count += 1``."""
    filled = set()
    for part in ast.walk(node):
        target: Any = None
        if isinstance(part, ast.Call) and isinstance(part.func, ast.Attribute) and part.func.attr in _FILLING:
            target = part.func.value
        elif isinstance(part, (ast.Subscript, ast.Attribute)) and not isinstance(part.ctx, ast.Load):
            target = part.value
        while isinstance(target, (ast.Subscript, ast.Attribute)):
            target = target.value
        if isinstance(target, ast.Name):
            filled.add(target.id)
    return frozenset(filled)


def body_of(function: FunctionType) -> Any:
    """The compiled body as a value, for code without source; differs between Python versions, not between restarts."""
    return (sys.version_info[:2], _code_value(function.__code__, function.__doc__))


def _code_value(code: CodeType, doc: str | None = None) -> Any:
    constants = list(code.co_consts)
    if doc is not None and constants and constants[0] == doc:
        constants[0] = None
    values = [_code_value(constant) if isinstance(constant, CodeType) else constant for constant in constants]
    return (code.co_code, code.co_names, code.co_varnames, code.co_freevars, values)


def functions_of(attribute: Any) -> list[Any]:
    """The functions behind a class attribute: method, property, static or class method, cached property."""
    if isinstance(attribute, (FunctionType, type)):
        return [attribute]
    if isinstance(attribute, (staticmethod, classmethod)):
        return [attribute.__func__]
    if isinstance(attribute, property):
        return [function for function in (attribute.fget, attribute.fset, attribute.fdel) if function is not None]
    names = getattr(attribute, "__dict__", None) or {}
    return [names[name] for name in ("func", "__wrapped__") if isinstance(names.get(name), FunctionType)]


def is_generated(attribute: str, function: Any) -> bool:
    """Whether dataclasses or attrs wrote a method: what it does follows from the fields."""
    while "__wrapped__" in getattr(function, "__dict__", ()):
        function = function.__dict__["__wrapped__"]
    if not isinstance(function, FunctionType):
        return False
    filename = function.__code__.co_filename
    return filename.startswith("<attrs generated") or (filename == "<string>" and attribute in _GENERATED)


def label_of(qualname: str, module: str, reached: str) -> str:
    """How a function is called in the parts of a fingerprint; a lambda after the name it was reached by."""
    if qualname.endswith("<lambda>"):
        return reached
    prefix = "" if module in ("__main__", "__mp_main__") else f"{module}."
    return f"def:{prefix}{qualname.replace('<locals>.', '')}"


def cells_of(function: FunctionType) -> dict[str, Any]:
    """Closure variables and their values."""
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:
            continue  # not bound yet
    return found


def defaults_of(function: FunctionType) -> dict[str, Any]:
    """Parameters with a default, and its value."""
    code, values = function.__code__, function.__defaults__ or ()
    names = code.co_varnames[code.co_argcount - len(values) : code.co_argcount]
    return {**dict(zip(names, values, strict=True)), **(function.__kwdefaults__ or {})}


def step_function(thing: Any) -> Any:
    """The plain function inside a step, or None; asked of the class, so that no ``__getattr__`` of the user runs."""
    own = getattr(thing, "__dict__", None)
    if isinstance(own, dict) and "__durable_step__" in own:
        return own["__durable_step__"]
    if any("__durable_step__" in vars(base) for base in type(thing).__mro__):
        return thing.__durable_step__
    return None


def scope_of(function: Any) -> dict[str, Any]:
    """The globals of a function; none of what is no Python function."""
    found = getattr(function, "__globals__", None)
    return found if isinstance(found, dict) else {}
