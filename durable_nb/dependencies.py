"""What a function depends on: code first, then the data it reads, as named parts with their digests.

Followed: helpers, globals, closures, defaults, methods, classes, partials, decorators (through ``__wrapped__`` and
closures), and of the user's own modules the names that are used. A library counts with its version, the standard library
not at all; which object of them a name stands for is a part of its own. Not followed: globals that the code itself writes
or fills (counters, caches): they are state.

A name that is not defined yet is a part too, so that a restarted kernel can tell what is missing from what was removed.
"""

from __future__ import annotations

import functools
import sys
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

from durable_nb import classes, decorations, keys, provenance, syntax
from durable_nb.bytecode import Filled, cells_of, code_of, label_of, names_in, scope_of, step_function
from durable_nb.carried import carried_by, carried_state, is_global
from durable_nb.identities import Identities
from durable_nb.loads import module_tree
from durable_nb.origins import Origin, imported_files, is_injected, origin_of
from durable_nb.parts import CODE, MISSING, Read

if TYPE_CHECKING:
    from collections.abc import Iterable

_WHOLE: frozenset[tuple[str, ...]] = frozenset({()})
UNDEFINED = object()
"""Stands in ``globals_read`` for a name that is not in the scope."""


class Walk(Identities):
    """One traversal: code first, then the data it reads, since only then it is known what the code writes."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[object, object] = {}
        self.waiting: dict[tuple[str, int], Read] = {}
        self.done: set[tuple[str, int]] = set()
        self.bindings: list[tuple[str, str, Any, str]] = []
        self.missing: dict[str, tuple[int, str]] = {}
        self.words: dict[str, object] = {}
        self.spoken: set[str] = set()
        self.reads_words = False

    def follow(self, thing: Any, reached: str) -> str:
        """Take in a piece of code; its label. ``reached`` is the label of a lambda, which has no name."""
        step = step_function(thing)
        if step is not None:
            return self.follow(step, reached)
        if isinstance(thing, functools.partial):
            name = self.follow(thing.func, reached)
            for key, value in [*enumerate(thing.args), *thing.keywords.items()]:
                self.read(f"argument {key} bound to {name.removeprefix('def:')}", "", value, scope_of(thing.func))
            return name
        if isinstance(thing, MethodType):
            name = self.follow(thing.__func__, reached)
            self.read(f"self of {name.removeprefix('def:')}", "", thing.__self__, scope_of(thing.__func__))
            return name
        if isinstance(thing, type):
            return self.follow_class(thing)
        if isinstance(thing, FunctionType):
            return self._function(thing, reached)
        if "__wrapped__" in getattr(thing, "__dict__", ()):  # functools.lru_cache, and what imitates it
            self.add_library(type(thing).__module__)
            root = self.follow(thing.__dict__["__wrapped__"], reached)
            if origin_of(type(thing).__module__) is Origin.OWN and id(thing) not in self.seen:
                self.seen[id(thing)] = thing
                self.follow_class(type(thing))
                for name, value in classes.kept_by_decorator(thing).items():
                    self.read(f"attribute {name} of {root.removeprefix('def:')}", "", value)
            return root
        if isinstance(thing, BuiltinFunctionType):
            self.add_library(thing.__module__ or "builtins")
            return f"def:{keys.qualified_name(thing)}"
        self.add_data(Read(f"object {type(thing).__qualname__}", "", thing, {}, None))
        return self.follow_class(type(thing))

    def read(
        self,
        label: str,
        name: str,
        value: Any,
        scope: dict[str, Any] | None = None,
        *,
        statement: str | None = None,
        paths: Iterable[tuple[str, ...]] = _WHOLE,
        filled: Filled | None = None,
        bearer: object = None,
    ) -> None:
        """Take in a value that code reads: code and modules now, data when all code is known."""
        scope = scope or {}
        if scope.get(name) is value:
            self.bound.append((scope, name, value))
        if (
            isinstance(value, CODE)
            or step_function(value) is not None
            or "__wrapped__" in (getattr(value, "__dict__", None) or ())
        ):
            self.bindings.append((label, name, value, self.follow(value, f"def:{name or label}")))
        elif isinstance(value, ModuleType):
            if value.__name__ != name:
                self.add(label, value.__name__, value.__name__)
            self.follow_module(value, paths)
        elif (label, id(value)) not in self.done:
            self.done.add((label, id(value)))
            self.waiting[label, id(value)] = Read(label, name, value, scope, statement, filled, bearer)

    def read_global(self, scope: dict[str, Any], name: str, paths: Iterable[tuple[str, ...]] = _WHOLE) -> None:
        """Take in a global by its name; ``paths`` are the attributes of it that are used, if it is a module."""
        module = str(scope.get("__name__"))
        label = f"global {name}" if module in ("__main__", "__mp_main__") else f"global {module}.{name}"
        if name in scope:
            if not is_injected(name, scope[name]):
                self.read(label, name, scope[name], scope, paths=paths)
            return
        self.bound.append((scope, name, UNDEFINED))
        if not provenance.is_builtin(name):
            self.missing[label] = (id(scope), name)

    def finish(self, *roots: tuple[Any, str]) -> None:
        """Take in the data; data may hold functions, which may read more data. Then say which code stands where.

        ``roots`` are what the walk began with, and the labels it gave them.
        """
        while self.waiting or self.shapes:
            waiting, self.waiting = self.waiting, {}
            for read in waiting.values():
                place = (id(read.scope), read.name)
                if not read.label.startswith("global "):
                    self.add_data(read)
                elif place not in self.written:
                    self.add_data(read._replace(filled=self.filled.get(place)))
            if not self.waiting:  # only now is it known which attributes the code assigns
                self.add_shapes()
        for bound_to, name, thing, target in [*self.bindings, *(("step", "", *root) for root in roots)]:
            shown = self.bound_to(thing, target)
            if shown != f"def:{name}":
                self.add(bound_to, shown, shown if len(shown) < 100 else "")
        for missing, place in self.missing.items():
            if place not in self.written:
                self.add(missing, (MISSING,), MISSING)
        for named, words in self.words.items():
            if self.reads_words or named in self.spoken:
                self.add(f"words of {named}", words)

    def follow_module(self, module: ModuleType, paths: Iterable[tuple[str, ...]] = _WHOLE) -> None:
        """Take in the names of an own module that are used, all if there is no telling; of a library its version."""
        if origin_of(module.__name__) is not Origin.OWN:
            self.add_library(module.__name__)
            return
        scope = vars(module)
        for path in sorted(paths):
            if (id(module), path) in self.seen:
                continue
            self.seen[id(module), path] = module
            if not path:
                self.follow_module(module, [(name,) for name in scope if not name.startswith("__")])
            elif path[0] in scope or "__getattr__" not in scope:
                self.read_global(scope, path[0], {path[1:]})
            else:
                self.follow_module(module)

    def _import(self, package: str, imported: tuple[int, str, tuple[str, ...]]) -> None:
        """An import inside of a function: the module may not be loaded yet, so the text of its file counts."""
        for name, file in imported_files(package, *imported):
            tree = None if ("import", name) in self.seen else module_tree(name, file)
            self.seen["import", name] = True
            if tree is not None:
                self.add(f"module:{name}", syntax.normal_form(tree))
                inner = name if file.endswith("__init__.py") else name.rpartition(".")[0]
                for one in syntax.imports(tree):
                    self._import(inner, one)

    def _function(self, function: FunctionType, reached: str) -> str:
        code = function.__code__
        module = str(function.__globals__.get("__name__"))  # functools.wraps copies __module__ from what it wraps
        label = label_of(code.co_qualname, module, reached)
        wrapped = vars(function).get("__wrapped__")
        if id(function) in self.seen:
            return self.called.get(id(function), label) if wrapped is None else self.follow(wrapped, reached)
        self.seen[id(function)] = function
        root = label if wrapped is None else self.follow(wrapped, reached)
        if origin_of(module) is not Origin.OWN:
            self.add_library(module)
            inside = [value for value in cells_of(function).values() if isinstance(value, CODE)]
            for value in inside:  # a decorator of a library around a function of ours
                self.spoken.add(self.follow(value, reached))
            if decorations.is_made_by_library(function):
                self._made_by_library(root, function, [wrapped, *inside])
            return root
        self.called[id(function)] = label
        self.bearers.setdefault(label, set()).add(id(function))
        node, scope = syntax.function_node(code), function.__globals__
        names = names_in(code, node)
        self.scopes[id(scope)] = scope
        self.add(label, code_of(function))
        self.sources[label] = syntax.source_of(code)
        self.words[label] = (function.__doc__, classes.annotations_of(function, self.value_of))
        self.reads_words = self.reads_words or names.reads_words
        self.spoken |= {label} if decorations.is_by_library(node, scope) else set()
        self._decorators(label, node, scope)
        carried, filled = carried_by(function, node)
        self.written |= {(id(scope), name) for name in names.writes}
        for name, what in filled.items():
            itself = name == code.co_name and is_global(function)
            changed = (id(scope), function.__name__ if itself else name)
            self.filled[changed] = what.joined(self.filled.get(changed))
        for name, paths in sorted(names.reads.items()):
            self.fill_by_methods(scope, name, paths)
            if name not in names.writes:
                self.read_global(scope, name, paths)
        for imported in sorted(names.imports):
            self._import(str(scope.get("__package__") or ""), imported)
        self.carried += carried_state(function, filled)
        for one in carried:
            own = vars(function) if one.kind == "attribute" else None
            place = f"{one.kind} {one.name} of {label.removeprefix('def:')}"
            state = None if own is not None else filled.get(one.name)
            where = scope if own is None else own
            self.read(place, one.name, one.value, where, statement=one.statement, filled=state, bearer=function)
        return root

    def _made_by_library(self, label: str, function: FunctionType, around: list[Any]) -> None:
        """Take in what a library was called with to put its function around one of the user's."""
        for scope in {id(scope): scope for scope in map(scope_of, around)}.values():
            if origin_of(scope.get("__name__", "builtins")) is Origin.OWN:
                self.add_maker(label, function, scope)

    def _decorators(self, label: str, node: Any, scope: dict[str, Any]) -> None:
        """Take in what decorators of libraries were called with: the name of a model, a prompt."""
        said, read = decorations.told_by(node, scope)
        if said:
            self.add(f"{label} (decorators)", said)
        for name in read:
            self.read_global(scope, name)
        for decorator in decorations.made_decorators(node, scope):
            self.add_maker(f"decorator of {label}", decorator, scope)

    def follow_class(self, cls: type) -> str:
        """Take in a class: its attributes, fields, bases and methods, or the version of its library."""
        name = keys.qualified_name(cls).removeprefix("__main__.").replace("<locals>.", "")
        label = f"class:{name}"
        if id(cls) in self.seen:
            return label
        self.seen[id(cls)] = cls
        if origin_of(cls.__module__) is not Origin.OWN:
            self.add_library(cls.__module__)
            return label
        home = sys.modules.get(cls.__module__)
        text = None if home is None else provenance.statement_of(cls.__name__, vars(home))
        if text is not None:
            self.sources[label] = text + "\n"
            said, names = classes.declaration_of(cls, text, vars(home))
            if said:
                self.add(f"{label} (declaration)", said)
            for one in names:
                self.read_global(vars(home), one)
        for attribute, functions in classes.methods_of(cls).items():
            for function in functions:
                self.follow(function, f"def:{name}.{attribute}")
        self.shapes.append((label, cls))
        self.fill_by_class_methods(cls)
        self.words[label] = (cls.__doc__, classes.annotations_of(cls, self.value_of))
        self.spoken |= {label} if classes.speaks(cls) else set()
        for base in (*cls.__bases__, type(cls)):
            self.follow_class(base)
        return label
