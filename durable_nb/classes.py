"""Classes → what they are besides the code of their methods, as plain values."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Collection
from enum import EnumType
from types import FunctionType
from typing import Any

from durable_nb import decorations, syntax
from durable_nb.bytecode import functions_of, is_generated, names_filled
from durable_nb.decorations import Told
from durable_nb.keys import qualified_name
from durable_nb.origins import SCALARS, Origin, origin_of

Digest = Callable[[Any], str]
# What enum, namedtuple and dataclass put into a class, each Python another choice of them.
_GIVEN = frozenset(
    "__new__ __repr__ __getnewargs__ __replace__ _asdict _make _replace _generate_next_value_ _member_type_ _new_member_ "  # noqa: SIM905 - one a line would fill a screen
    "_use_args_ _unhashable_values_ _hashable_values_ _value_repr_ _boundary_ _flag_mask_ _singles_mask_ _all_bits_ "
    "_inverted_".split()
)
_CLASS = "type(self)"
_DATACLASS_OPTIONS = (
    "init",
    "repr",
    "eq",
    "order",
    "unsafe_hash",
    "frozen",
)  # what every Python from 3.11 on writes down


def methods_of(cls: type) -> dict[str, list[Any]]:
    """The functions behind each attribute that the user wrote."""
    found = {}
    for attribute, value in sorted(vars(cls).items()):
        if (
            attribute in _GIVEN
            and origin_of(getattr(_function(value), "__module__", None) or type(value).__module__) is Origin.PYTHON
        ):
            continue
        functions = [function for function in functions_of(value) if not is_generated(attribute, function)]
        if functions:
            found[attribute] = functions
    return found


def _function(value: Any) -> Any:
    """Behind a static method, which ``__new__`` is, and which has the module of Python itself."""
    return getattr(value, "__func__", value)


def filled_by(cls: type, method: str, seen: frozenset[str] = frozenset()) -> frozenset[str]:
    """The attributes (``.count``) that a method of an own class writes or fills on its object, through others too."""
    function = next((vars(base)[method] for base in cls.__mro__ if method in vars(base)), None)
    function = function.__func__ if isinstance(function, classmethod) else function
    code = getattr(function, "__code__", None)
    node = syntax.function_node(code) if code is not None and method not in seen else None
    if code is None or node is None or not code.co_argcount or origin_of(function.__module__) is not Origin.OWN:
        return frozenset()
    me = code.co_varnames[0]
    filled = names_filled(node).get(me)
    found = filled.written | filled.defaulted if filled is not None else frozenset()
    for part in ast.walk(node):
        if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name) and part.value.id == me:
            found |= filled_by(cls, part.attr, seen | {method})
    return found


def filled_through_objects(cls: type) -> frozenset[str]:
    """The attributes (``.count``) of a class that its methods write by ``type(self)``, or fill and never assign by ``self``."""
    written, filled, assigned = set[str](), set[str](), set[str]()
    for function in (one for functions in methods_of(cls).values() for one in functions):
        code = getattr(function, "__code__", None)
        node = None if code is None or not code.co_argcount else syntax.function_node(code)
        if code is None or node is None:
            continue
        me = code.co_varnames[0]
        found = names_filled(_ClassOf(me).visit(copy.deepcopy(node)))
        written |= found[_CLASS].written if _CLASS in found else set()
        filled |= found[me].written if me in found else set()
        assigned |= {
            f".{part.attr}"
            for part in ast.walk(node)
            if isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store) and _is_name(part.value, me)
        }
    own = {f".{attribute}" for attribute, value in data_of(cls).items() if not isinstance(value, SCALARS)}
    return frozenset(written | ((filled - assigned) & own))


class _ClassOf(ast.NodeTransformer):
    """Puts a name in place of ``type(self)`` and ``self.__class__``."""

    def __init__(self, me: str) -> None:
        self._me = me

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if _is_name(node.func, "type") and len(node.args) == 1 and _is_name(node.args[0], self._me):
            return ast.Name(_CLASS, ast.Load())
        return self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if node.attr == "__class__" and _is_name(node.value, self._me):
            return ast.Name(_CLASS, ast.Load())
        return self.generic_visit(node)


def _is_name(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def data_of(cls: type) -> dict[str, Any]:
    """The attributes that are no functions; of an enum its members."""
    if isinstance(cls, EnumType):
        members: dict[str, Any] = dict(cls.__members__)
        return {name: member._value_ for name, member in members.items()}
    return {
        attribute: value
        for attribute, value in sorted(vars(cls).items())
        if not functions_of(value)
        and not attribute.startswith(("__", "_abc_"))
        and type(value).__name__ != "_tuplegetter"  # a field of a named tuple, which are in _fields
    }


def class_methods_of(cls: type) -> dict[str, FunctionType]:
    """The functions of those methods that are called on the class itself."""
    found = {name: value.__func__ for name, value in sorted(vars(cls).items()) if isinstance(value, classmethod)}
    return {name: function for name, function in found.items() if isinstance(function, FunctionType)}


def shape_of(cls: type, digest: Digest, state: Collection[str] = ()) -> object:
    """Bases, fields, annotations, data but for the attributes in ``state``, and what each attribute is bound to, and how."""
    fields = [
        (field, digest(details.default), digest(details.default_factory))
        for field, details in vars(cls).get("__dataclass_fields__", {}).items()
    ]
    bound = {
        attribute: (type(vars(cls)[attribute]).__name__, [_name(function, digest) for function in functions])
        for attribute, functions in methods_of(cls).items()
    }
    return (
        {attribute: digest(value) for attribute, value in data_of(cls).items() if attribute not in state},
        fields,
        [getattr(vars(cls).get("__dataclass_params__"), option, None) for option in _DATACLASS_OPTIONS],
        annotations_of(cls, digest),
        bound,
        [qualified_name(base) for base in cls.__bases__],
    )


def annotations_of(thing: Any, digest: Digest) -> list[tuple[str, str]]:
    """Names and types, as they were written where they are text, else by the name of the type."""
    return [
        (name, kind if isinstance(kind, str) else kind.__qualname__ if isinstance(kind, type) else digest(kind))
        for name, kind in (getattr(thing, "__annotations__", None) or {}).items()
    ]


def speaks(cls: type) -> bool:
    """Whether a library made the class from its words: a prompt, a schema."""
    return any(origin_of(base.__module__) is Origin.LIBRARY for base in (*cls.__mro__, type(cls)))


def kept_by_decorator(thing: Any) -> dict[str, Any]:
    """The attributes of an object around a function, but for those of the function, and those that calls of it write."""
    wrapped, counted = vars(thing)["__wrapped__"], filled_by(type(thing), "__call__")
    copied = getattr(wrapped, "__dict__", {})  # a builtin has none
    return {
        name: value
        for name, value in sorted(vars(thing).items())
        if not (name.startswith("__") or value is wrapped or name in copied or f".{name}" in counted)
    }


def declaration_of(cls: type, statement: str, scope: dict[str, Any]) -> Told:
    """What a library has read, by its decorator or base class, and keeps in a way of its own; else nothing."""
    tree = syntax.parse(statement)
    nodes = [] if tree is None else [node for node in tree.body if isinstance(node, ast.ClassDef)]
    is_it = bool(nodes) and scope.get(cls.__name__) is cls
    if not (is_it and (speaks(cls) or decorations.is_by_library(nodes[-1], scope))):
        return Told("", ())
    node = copy.deepcopy(nodes[-1])
    said = [part for part in node.body if not isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]
    node.body = [part for part in said if not _is_text(part)] or [ast.Pass()]
    read = {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load)}
    return Told(ast.unparse(node), tuple(sorted(read & scope.keys() - {cls.__name__})))


def statement_in(text: str, attribute: str) -> str | None:
    """What binds an attribute in the statements of a class, or on the class afterwards; None if nothing does."""
    tree = syntax.parse(text)
    body = [] if tree is None else [part for node in tree.body for part in getattr(node, "body", [node])]
    found = [
        ast.unparse(part) for part in body if isinstance(part, ast.Assign | ast.AnnAssign) and _binds(part, attribute)
    ]
    return found[-1] if found else None


def _binds(statement: ast.Assign | ast.AnnAssign, attribute: str) -> bool:
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    return any(attribute in (getattr(target, "id", ""), getattr(target, "attr", "")) for target in targets)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _name(function: Any, digest: Digest) -> str:
    wrapped = getattr(function, "__dict__", {}).get("__wrapped__")
    name = qualified_name(function)
    if isinstance(function, FunctionType) and "<locals>" in function.__code__.co_qualname:
        name = digest(function)  # several functions bear this name
    return name if wrapped is None or wrapped is function else f"{name} around {_name(wrapped, digest)}"
