"""What statements change of an object: by its name, by functions that it is handed to, by other objects that hold it.

Functions of the user are looked into; one of a library counts where nobody looks at what it returns.
"""

from __future__ import annotations

import ast
import builtins
import re
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

from durable_nb.bytecode import names_filled, names_used, step_function
from durable_nb.origins import Origin, is_data, origin_of
from durable_nb.syntax import SCOPES, function_node

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Methods that ask an object something; any other method that a cell calls may change it.
_ASKING = frozenset(
    "encode decode embed embed_documents embed_query predict predict_proba transform generate complete invoke chat search "  # noqa: SIM905 - one a line would fill a screen
    "query get count info describe summary head keys values items copy tokenize parameters named_parameters".split()
)
# What changes an object that others hold, by them.
_CHANGING = re.compile(
    r"(fit|partial_fit|train|tune|finetune|fine_tune|configure|compile|freeze|unfreeze|quantize|prune|learn|step|"
    r"(set|enable|disable)(_\w+)?|load_(state_dict|weights|adapter)|add_adapter)$"
)
_ADVANCING = frozenset(
    "next list tuple set frozenset dict sorted sum min max any all zip map filter enumerate islice".split()  # noqa: SIM905 - one a line would fill a screen
)
_LOOKING = frozenset("matplotlib seaborn plotly rich tqdm loguru pandas numpy polars torchinfo ipywidgets".split())  # noqa: SIM905 - one a line would fill a screen


def changes(statement: ast.stmt, name: str) -> bool:
    """Whether a statement stores into an object or calls a method on it."""
    known: frozenset[str] | None = getattr(statement, "durable_nb_changes", None)
    if known is None:
        known = statement.durable_nb_changes = frozenset(_changed_in(statement))  # type: ignore[attr-defined]
    return name in known


def _changed_in(statement: ast.stmt) -> Iterator[str]:
    for node in _inside(statement):
        is_store = isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load)
        is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr not in _ASKING
        if is_store or is_call:
            yield _place(node.func if isinstance(node, ast.Call) else node)


class Mutations:
    """What is done to one object of a notebook, a module or a script.

    Parameters
    ----------
    name : str
        By which the object is known.
    scope : dict, optional
        What the names in the statements stand for, if calls and other names are to be looked into.
    """

    def __init__(self, name: str, scope: dict[str, Any] | None = None) -> None:
        self.name, self._scope = name, scope
        self._binders = {other for other, value in list((scope or {}).items()) if binds(value, name)}
        self._same: set[str] = set()
        self._holders: set[str] = set()

    @property
    def names(self) -> frozenset[str]:
        """A statement without any of these does nothing to the object."""
        return frozenset({self.name, *self._binders, *self._same, *self._holders})

    def look_at(self, trees: Iterable[ast.AST]) -> None:
        """Take in which names hold the object: ``same = model``, ``trainer = Trainer(model)``."""
        for node in (node for tree in trees for node in _inside(tree) if isinstance(node, ast.Assign)):
            if isinstance(node.value, ast.Name) and node.value.id == self.name:
                self._same |= _names_of(node) - {self.name}
            elif isinstance(node.value, ast.Call) and self.name in map(_root, _arguments(node.value)):
                self._holders |= _names_of(node) - {self.name}

    def keep_used(self, trees: Iterable[ast.AST]) -> None:
        """Forget the names by which nothing is changed."""
        if not self._same | self._holders:
            return
        nodes = [node for tree in trees for node in _inside(tree)]
        statements = [node for node in nodes if isinstance(node, ast.stmt)]
        self._same = {same for same in self._same if any(changes(statement, same) for statement in statements)}
        self._holders &= {_root(node.func) for node in nodes if isinstance(node, ast.Call) and _is_changing(node)}

    def has(self, statement: ast.stmt, *, is_asked: bool) -> bool:
        """Whether a statement changes the object, or may have; it ``is_asked`` if somebody looks at its value."""
        if changes(statement, self.name):
            return True
        if self._scope is None or isinstance(statement, SCOPES):
            return False
        thrown_away = None if is_asked else _thrown_away(statement)
        calls = [node for node in _inside(statement) if isinstance(node, ast.Call)]
        return (
            self._begins_to_hold(statement)
            or self._advances(statement, calls)
            or any(changes(statement, same) for same in self._same)
            or any(self._is_by(call, is_thrown_away=call is thrown_away) for call in calls)
        )

    def makes_anew(self, statement: ast.stmt) -> bool:
        """Whether it calls a function that binds the object in any case: ``load("large")``."""
        call = statement.value if isinstance(statement, ast.Expr) else None
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in self._binders):
            return False
        function = _function((self._scope or {}).get(call.func.id))
        body = getattr(function_node(function.__code__) if function is not None else None, "body", [])
        targets = [target for one in body if isinstance(one, ast.Assign) for target in one.targets]
        return any(isinstance(target, ast.Name) and target.id == self.name for target in targets)

    def _begins_to_hold(self, statement: ast.stmt) -> bool:
        return isinstance(statement, ast.Assign) and not _names_of(statement).isdisjoint(self._same | self._holders)

    def _advances(self, statement: ast.stmt, calls: list[ast.Call]) -> bool:
        """Whether it takes something out of an iterator."""
        if not hasattr(type((self._scope or {}).get(self.name)), "__next__"):
            return False
        gone_through = [node.iter for node in _inside(statement) if isinstance(node, ast.For | ast.comprehension)]
        gone_through += [part for call in calls if _last_name(call.func) in _ADVANCING for part in call.args]
        return any(isinstance(one, ast.Name) and one.id == self.name for one in gone_through)

    def _is_by(self, call: ast.Call, *, is_thrown_away: bool) -> bool:
        assert self._scope is not None
        if is_thrown_away and isinstance(call.func, ast.Name) and call.func.id in self._binders:
            return True
        if _is_changing(call) and _root(call.func) in self._holders:
            return True
        return _is_handed_on(call, self.name, self._scope, is_thrown_away=is_thrown_away, seen=frozenset())


def are_possible(value: Any) -> bool:
    """Whether others can change an object, and it may have no value that would tell."""
    code = (FunctionType, MethodType, BuiltinFunctionType, ModuleType, type)
    if isinstance(value, code) or step_function(value) is not None:
        return False
    return not is_data(value) or origin_of(type(value).__module__) is Origin.OWN


def binds(thing: Any, name: str) -> bool:
    """Whether it is a function of the user that assigns a global."""
    function = _function(thing)
    if function is None or name not in function.__code__.co_names or origin_of(function.__module__) is not Origin.OWN:
        return False
    return name in names_used(function.__code__).writes


def _thrown_away(statement: ast.stmt) -> ast.expr | None:
    """The value that a statement makes and nobody gets."""
    is_alone = isinstance(statement, ast.Expr) or (isinstance(statement, ast.Assign) and _names_of(statement) == {"_"})
    value: ast.expr | None = getattr(statement, "value", None) if is_alone else None
    return value.value if isinstance(value, ast.Await) else value


def _names_of(statement: ast.Assign) -> set[str]:
    return {target.id for target in statement.targets if isinstance(target, ast.Name)}


def _is_changing(call: ast.Call) -> bool:
    """Whether it is a method whose name says that it changes something."""
    return isinstance(call.func, ast.Attribute) and _CHANGING.match(call.func.attr) is not None


def _is_handed_on(
    call: ast.Call, name: str, scope: dict[str, Any], *, is_thrown_away: bool, seen: frozenset[object]
) -> bool:
    """Whether a call changes the object that ``name`` stands for, as one of its arguments."""
    if not any(_root(part) == name for part in _arguments(call)):
        return False
    called = _called(call.func, scope)
    if isinstance(call.func, ast.Name) and called is getattr(builtins, call.func.id, call):
        return call.func.id in ("setattr", "delattr") and bool(call.args) and _root(call.args[0]) == name
    function = _function(called)
    module = getattr(called, "__module__", None) if called is not None else None
    if function is not None and origin_of(function.__module__) is Origin.OWN:
        return bool(_parameters(call, called, name) & _changed_by(function, seen))
    if isinstance(call.func, ast.Attribute) and not isinstance(_called(call.func.value, scope), ModuleType):
        return _is_changing(call)  # trainer.fit(model)
    if not isinstance(module, str) or isinstance(called, type) or module.partition(".")[0] in _LOOKING:
        return False
    return is_thrown_away and origin_of(module) is Origin.LIBRARY


def _changed_by(function: FunctionType, seen: frozenset[object]) -> frozenset[str]:
    """The parameters whose object a function of the user changes, through others too."""
    code = function.__code__
    node = function_node(code)
    if node is None or code in seen:
        return frozenset()
    parameters = frozenset(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])
    changed = {name for name, filled in names_filled(node).items() if filled.written} & parameters
    thrown_away = {id(part.value) for part in ast.walk(node) if isinstance(part, ast.Expr)}
    for call in (part for part in ast.walk(node) if isinstance(part, ast.Call)):
        if _is_changing(call):
            changed |= {_root(call.func)} & parameters
        handed = {_root(part) for part in _arguments(call)} & (parameters - changed)
        changed |= {
            name
            for name in handed
            if _is_handed_on(
                call, name, function.__globals__, is_thrown_away=id(call) in thrown_away, seen=seen | {code}
            )
        }
    return frozenset(changed)


def _parameters(call: ast.Call, called: Any, name: str) -> frozenset[str]:
    """As which parameters an own function gets the object."""
    function = _function(called)
    if function is None:
        return frozenset()
    code = function.__code__
    names = code.co_varnames[int(isinstance(called, MethodType)) : code.co_argcount]
    positional = {names[place] for place, part in enumerate(call.args[: len(names)]) if _root(part) == name}
    return frozenset(positional | {str(one.arg) for one in call.keywords if _root(one.value) == name})


def _called(function: ast.expr, scope: dict[str, Any]) -> Any:
    """What an expression stands for, None if looking would run code; of an own object its method."""
    if isinstance(function, ast.Name):
        return scope.get(function.id, getattr(builtins, function.id, None))
    if not isinstance(function, ast.Attribute):
        return None
    home = _called(function.value, scope)
    if isinstance(home, ModuleType | type):
        return vars(home).get(function.attr)
    found = next((vars(base)[function.attr] for base in type(home).__mro__ if function.attr in vars(base)), None)
    return MethodType(found, home) if isinstance(found, FunctionType) else None


def _function(thing: Any) -> FunctionType | None:
    thing = step_function(thing) or thing
    thing = thing.__func__ if isinstance(thing, MethodType) else thing
    return thing if isinstance(thing, FunctionType) else None


def _last_name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _arguments(call: ast.Call) -> list[ast.expr]:
    return [*call.args, *(keyword.value for keyword in call.keywords)]


def _inside(statement: ast.AST) -> list[ast.AST]:
    """All that is evaluated with a statement, noted with it: nothing of functions that it makes."""
    known: list[ast.AST] | None = getattr(statement, "durable_nb_inside", None)
    if known is None:
        waiting, known = [] if isinstance(statement, SCOPES) else [statement], []
        while waiting:
            node = waiting.pop()
            if not isinstance(node, ast.Lambda):
                known.append(node)
                waiting.extend(ast.iter_child_nodes(node))
        statement.durable_nb_inside = known  # type: ignore[attr-defined]
    return known


def _place(node: ast.AST) -> str:
    """The name of the object that is stored into: ``model`` of ``model.config["k"]`` and of ``vars(model)["k"]``."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "vars" and node.args:
        return _place(node.args[0])
    return node.id if isinstance(node, ast.Name) else ""


def _root(node: ast.AST) -> str:
    """The name of the object that an expression is, or is a part of: ``model`` of ``model.parameters()``."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""
