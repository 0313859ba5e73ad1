"""Functions as Python compiled them: what they read, write and carry, and what they are when their source is gone."""

from __future__ import annotations

import ast
import sys
from functools import lru_cache
from types import CodeType, FunctionType
from typing import Any, NamedTuple

from durable_nb.syntax import TRAVELLED, code_value, function_node, normal_form

_READS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_WRITES = frozenset({"STORE_GLOBAL", "DELETE_GLOBAL"})
_CELL_WRITES = frozenset({"STORE_DEREF", "DELETE_DEREF"})
_ATTRIBUTES = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
_ATTRIBUTE_WRITES = frozenset({"STORE_ATTR", "DELETE_ATTR"})
FILLING = frozenset(
    "append extend insert add update setdefault pop popitem popleft appendleft extendleft remove discard "  # noqa: SIM905 - one a line would fill a screen
    "clear sort reverse subtract difference_update intersection_update symmetric_difference_update".split()
)
_GENERATED = frozenset(
    "__init__ __repr__ __eq__ __hash__ __lt__ __le__ __gt__ __ge__ __setattr__ __delattr__ __replace__ "  # noqa: SIM905 - one a line would fill a screen
    "__getstate__ __setstate__".split()
)
_WORDS = frozenset(
    "__doc__ __annotations__ getdoc getsource signature getfullargspec get_type_hints get_annotations".split()  # noqa: SIM905 - one a line would fill a screen
)
_WHOLE = "*"


class Names(NamedTuple):
    """The names that a piece of code uses, nested functions included."""

    reads: dict[str, frozenset[tuple[str, ...]]]
    """Globals; with the attributes that follow (``np.linalg.norm``: linalg, norm), () where the object itself is used."""
    writes: frozenset[str]
    """Globals."""
    cells_written: frozenset[str]
    """Closure variables."""
    imports: frozenset[tuple[int, str, tuple[str, ...]]]
    """Level, module and names of each import statement."""
    reads_words: bool
    """Whether docstrings or annotations are looked at."""


class Filled(NamedTuple):
    """What code puts into an object that it holds by a name; keys as ``[key]`` or ``.attribute``, ``*`` for any."""

    written: frozenset[str]
    """Assigned or deleted; whether they are read or not, what they hold is state."""
    defaulted: frozenset[str]
    """Set by ``setdefault``, unless they were there."""
    read: frozenset[str]

    def joined(self, other: Filled | None) -> Filled:
        """What this and other code does."""
        return self if other is None else Filled(*(mine | theirs for mine, theirs in zip(self, other, strict=True)))

    def remaining(self, value: Any) -> Any:
        """The part of an object that the code does not fill, as a value; None if there is none."""
        inside = value if isinstance(value, dict) else getattr(value, "__dict__", None)
        if not isinstance(inside, dict):
            return None
        shown = "[{!r}]" if inside is value else ".{}"
        if _WHOLE in self.written:
            if inside is not value:
                return None  # a method of the object writes who knows which attribute
            kept = {key: item for key, item in inside.items() if shown.format(key) in self.read - self.written}
        else:
            left_out = self.written | (self.defaulted - self.read)
            kept = {key: item for key, item in inside.items() if shown.format(key) not in left_out}
        return kept or None


@lru_cache(maxsize=1024)
def names_used(code: CodeType) -> Names:
    """The names in the instructions of a function."""
    import dis  # 3 ms that only a fingerprint has to pay

    reads: dict[str, set[tuple[str, ...]]] = {}
    writes, cells, imports = set(), set(), set()
    instructions = [one for one in dis.get_instructions(code) if one.opname not in ("EXTENDED_ARG", "PUSH_NULL")]
    for position, instruction in enumerate(instructions):
        kind, name = instruction.opname, instruction.argval
        if kind in _READS:
            path = []
            rest = iter(instructions[position + 1 : position + 12])
            following = next(rest, None)
            while following is not None and following.opname in _ATTRIBUTES:
                path.append(following.argval)
                following = next(rest, None)
            is_written = following is not None and following.opname in _ATTRIBUTE_WRITES and not path
            reads.setdefault(name, set()).update(() if is_written else (tuple(path),))
        elif kind in _WRITES:
            writes.add(name)
        elif kind in _CELL_WRITES and name in code.co_freevars:
            cells.add(name)
        elif kind == "IMPORT_NAME":
            level, names = (one.argval for one in instructions[position - 2 : position])
            imports.add((level, name, names or ()))
    mentioned = {*code.co_names, *(constant for constant in code.co_consts if isinstance(constant, str))}
    reads_words = bool(_WORDS & mentioned)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            inner = names_used(constant)
            for name, paths in inner.reads.items():
                reads.setdefault(name, set()).update(paths)
            writes |= inner.writes
            cells |= inner.cells_written
            imports |= inner.imports
            reads_words = reads_words or inner.reads_words
    frozen = {name: frozenset(paths) for name, paths in reads.items()}
    return Names(frozen, frozenset(writes), frozenset(cells), frozenset(imports), reads_words)


def names_in(code: CodeType, node: ast.AST | None) -> Names:
    """The names in a function, with those in ``globals()["n"]``, which its instructions do not show."""
    names = names_used(code)
    reads, writes = dict(names.reads), set(names.writes)
    for part in ast.walk(node) if node is not None and "globals" in reads else ():
        match part:
            case ast.Subscript(ast.Call(ast.Name("globals"), [], []), ast.Constant(str(name)), context):
                reads[name] = frozenset({(), *reads.get(name, ())})
                writes |= set() if isinstance(context, ast.Load) else {name}
    return names._replace(reads=reads, writes=frozenset(writes))


def names_filled(node: ast.AST) -> dict[str, Filled]:
    """Names whose object the code changes: ``seen.append(x)``, ``cache[key] = x``, ``stats.count += 1``."""
    written: dict[str, set[str]] = {}
    defaulted: dict[str, set[str]] = {}
    read: dict[str, set[str]] = {}
    ignored = {id(part.value) for part in ast.walk(node) if isinstance(part, ast.Expr)}
    for part in ast.walk(node):
        if isinstance(part, ast.Call) and isinstance(part.func, ast.Attribute):
            method, key = part.func.attr, _constant_key(part.args[0]) if part.args else _WHOLE
            name, place = _place(part.func.value)
            on_key = place is None and key != _WHOLE
            if method == "setdefault" and on_key:
                defaulted.setdefault(name, set()).add(key)
            elif method in FILLING:
                written.setdefault(name, set()).add(place or _WHOLE)
            if on_key and (method == "get" or (method == "setdefault" and id(part) not in ignored)):
                read.setdefault(name, set()).add(key)
        elif isinstance(part, (ast.Subscript, ast.Attribute)):
            name, place = _place(part)
            (read if isinstance(part.ctx, ast.Load) else written).setdefault(name, set()).add(place or _WHOLE)
        elif isinstance(part, ast.Call):
            match part:
                case ast.Call(ast.Name("setattr" | "delattr"), [target, ast.Constant(str(attribute)), *_]):
                    name, place = _place(target)
                    written.setdefault(name, set()).add(place or f".{attribute}")
    return {
        name: Filled(*(frozenset(kind.get(name, ())) for kind in (written, defaulted, read)))
        for name in (written.keys() | defaulted.keys()) - {""}
    }


def _place(target: ast.expr) -> tuple[str, str | None]:
    """The name that an expression starts from, and the first key or attribute behind it."""
    place = None
    while isinstance(target, (ast.Subscript, ast.Attribute)):
        place = f".{target.attr}" if isinstance(target, ast.Attribute) else _constant_key(target.slice)
        target = target.value
    return (target.id if isinstance(target, ast.Name) else ""), place


def _constant_key(key: ast.expr) -> str:
    return f"[{key.value!r}]" if isinstance(key, ast.Constant) else _WHOLE


def body_of(function: FunctionType) -> Any:
    """The compiled body as a value, for code without source; differs between Python versions, not between restarts."""
    return (sys.version_info[:2], code_value(function.__code__, function.__doc__))


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
    code = function.__code__
    if code.co_filename == TRAVELLED:  # what is written in a class is called after the class
        return attribute in _GENERATED and code.co_qualname.removeprefix("__create_fn__.<locals>.") == attribute
    return code.co_filename.startswith("<attrs generated") or (
        code.co_filename == "<string>" and attribute in _GENERATED
    )


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


def code_of(function: FunctionType) -> Any:
    """What its source says, in normal form; its instructions where there is none."""
    node = function_node(function.__code__)
    return body_of(function) if node is None else normal_form(node)


def scope_of(function: Any) -> dict[str, Any]:
    """The globals of a function; none of what is no Python function."""
    found = getattr(function, "__globals__", None)
    return found if isinstance(found, dict) else {}
