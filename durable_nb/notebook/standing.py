"""What names a call: the values of its arguments, and for an object without a value the statements that made it."""

from __future__ import annotations

import builtins
import functools
import io
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

from durable_nb import keys, sources
from durable_nb.engine.context import within
from durable_nb.errors import Unkeyable
from durable_nb.notebook.heap import partly_digested
from durable_nb.notebook.reads import glimpsed
from durable_nb.origins import Origin, is_data, is_generator, is_small, length_of, origin_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable_nb.notebook.sites import Site
    from durable_nb.sources import Fingerprint

_PLAIN = frozenset({str, int, float, bool, bytes, type(None), list, tuple, dict, set, complex})
_CHANNELS = frozenset({"_io", "io", "queue", "_queue", "sqlite3", "socket", "_csv", "csv", "zipfile", "tarfile"})
_PURE = frozenset({"len", "sorted", "min", "max", "sum", "abs", "round", "repr", "format", "ord", "chr", "any", "all"})
_CODE = (FunctionType, MethodType, BuiltinFunctionType, type, ModuleType)


class Standing:
    """The names of the calls of one cell."""

    def __init__(self, scope: dict[str, Any]) -> None:
        self._scope = scope
        self._globals: dict[str, Fingerprint] = {}
        self._large: dict[tuple[str, int], tuple[Any, Any, bytes]] = {}
        self._is_data: dict[type, bool] = {}
        self._heads: dict[tuple[int, str, str], bytes] = {}

    def of_call(self, site: Site, bound: tuple[Any, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """16 bytes that name the arguments of a call, and what is taken from its result.

        Raises
        ------
        Unkeyable
            For an argument that is made in the loop and has no value.
        """
        values = (*bound, *args)
        kinds = {*map(type, values), *map(type, kwargs.values())}
        if not kinds <= _PLAIN and any(not self._has_value(kind, value) for kind, value in _each(values, kwargs)):
            values, kwargs = self._stood_for(site, values, kwargs, len(bound), self._is_opaque)
        try:
            digest = keys.call_digest(values, kwargs)
        except Unkeyable:
            values, kwargs = self._stood_for(site, values, kwargs, len(bound), _is_unkeyable)
            digest = keys.call_digest(values, kwargs)
        return within(keys.digest((digest, repr(site.trail))) if site.trail else digest)

    def of_expression(self, site: Site, step: str, bound: tuple[Any, ...], values: tuple[Any, ...]) -> bytes | None:
        """16 bytes that name an expression and all that it reads; None if something of that has no value."""
        try:
            read = [self._read(site, name, value) for name, value in zip(site.names, values, strict=True)]
            built = map(keys.digest, self._builders(site, values))
            return within(keys.joined((self._head(site, step), keys.digest(bound) if bound else b"", *read, *built)))
        except Unkeyable:
            return None

    def _head(self, site: Site, step: str) -> bytes:
        """What is the same in every evaluation of an expression."""
        place = (site.number, site.text, step)
        head = self._heads.get(place)
        if head is None:
            same = (step, site.expression, repr(site.trail), len(site.names))
            head = self._heads[place] = keys.digest(same)
        return head

    def forget_large(self) -> None:
        """A call changed its arguments in place: a large one may be among them, by another name."""
        self._large.clear()

    def may_be_linked(self, site: Site, values: tuple[Any, ...]) -> bool:
        """Whether arguments need not be built again: all that builds them is pure, as far as its code shows.

        That is own functions without state, and builtins that change nothing. A queue that is read, a page that is turned
        or a number that is drawn while the arguments are built has to happen again.
        """
        names = dict(zip(site.names, values, strict=True))
        roots = {text.partition(".")[0] for text in site.builders if "." in text}
        if any(isinstance(value, ModuleType) and name not in roots for name, value in names.items()):
            return False  # cfg.SIZE: the name of a module says nothing about what is in it
        if roots & site.varying or any(text in site.varying for text in site.builders):
            return False  # another builder in every iteration
        handed = [value for value in values if isinstance(value, FunctionType)]
        return all(map(self._is_pure, [*handed, *(self.resolved(text, site, values) for text in site.builders)]))

    def _is_pure(self, builder: Any) -> bool:
        if isinstance(builder, FunctionType):
            if origin_of(builder.__module__) is not Origin.OWN:
                return False
            found = sources.current(builder)
            return not found.state and all(_is_still(value) for _, _, value in found.globals_read)
        if isinstance(builder, BuiltinFunctionType):
            receiver = builder.__self__
            return (
                builder.__name__ in _PURE
                if isinstance(receiver, ModuleType)
                else isinstance(receiver, (str, bytes, int, float))
            )
        return isinstance(builder, type) and builder.__module__ == "builtins"

    def resolved(self, text: str, site: Site, values: tuple[Any, ...]) -> Any:
        """What a builder stands for; None if that cannot be told."""
        root, *path = text.split(".")
        found = dict(zip(site.names, values, strict=True)).get(root, getattr(builtins, root, None))
        for attribute in path:
            found = glimpsed(found, attribute, None)
        return found

    def _builders(self, site: Site, values: tuple[Any, ...]) -> list[Any]:
        """Functions that are reached through a module: its name alone says nothing about their code."""
        dotted = [text for text in site.builders if "." in text]
        if not dotted:
            return []
        roots = dict(zip(site.names, values, strict=True))
        found = [text for text in dotted if isinstance(roots.get(text.partition(".")[0]), ModuleType)]
        builders = [self.resolved(text, site, values) for text in found]
        return [builder for builder in builders if isinstance(builder, FunctionType)]

    def _read(self, site: Site, name: str, value: Any) -> bytes:
        if type(value) is FunctionType:
            return bytes.fromhex(sources.current(value).digest)
        if isinstance(value, ModuleType):
            return keys.digest(value.__name__)
        if not self._has_value(type(value), value):
            found = None if name in site.varying else self._by_statement(name, value)
            return keys.digest(found if found is not None else value)
        is_array = type(value).__module__ == "numpy"  # read in microseconds, and changed without a change of length
        if name in site.varying | site.touched or isinstance(value, _CODE) or is_array or is_small(value):
            return keys.digest(value)
        # A large table that the loop does not mention as changed: read once, not in every iteration.
        size = length_of(value)
        known = self._large.get((name, id(value)))
        if known is None or known[1] != size:
            known = self._large[name, id(value)] = (value, size, keys.digest(value))
        return known[2]

    def _has_value(self, kind: type, value: Any) -> bool:
        found = self._is_data.get(kind)
        if found is None:
            found = self._is_data[kind] = isinstance(value, _CODE) or is_data(value)
        return found

    def _is_opaque(self, value: Any) -> bool:
        return not self._has_value(type(value), value)

    def _stood_for(
        self,
        site: Site,
        values: tuple[Any, ...],
        kwargs: dict[str, Any],
        bound: int,
        lacks: Callable[[Any], bool],
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        names = dict(site.arguments)
        stood = tuple(
            self._stand_in(site, names.get(place - bound), value) if lacks(value) else value
            for place, value in enumerate(values)
        )
        return stood, {
            key: self._stand_in(site, names.get(key), value) if lacks(value) else value for key, value in kwargs.items()
        }

    def _stand_in(self, site: Site, name: str | None, value: Any) -> Any:
        """What stands for an object without a value: how the global was made that it is; never a name of the loop."""
        if _is_channel(value):
            raise Unkeyable(type(value).__qualname__, "what goes through it cannot be repeated without it")
        own = site.varying | site.touched
        if name is None or name in own or self._scope.get(name) is not value:
            scope = list(self._scope.items())
            same = [other for other, one in scope if one is value and not other.startswith("_") and other not in own]
            name = min(same) if same else None
        found = self._by_statement(name, value) if name is not None else None
        return found if found is not None else value

    def _by_statement(self, name: str, value: Any) -> tuple[str, str, bytes | None] | None:
        if self._scope.get(name) is not value:
            return None
        known = self._globals.get(name)
        if known is None or not known.is_current():
            known = self._globals[name] = sources.fingerprint_of_global(name, self._scope)
        return ("made by", known.digest, partly_digested(value))


def _each(values: tuple[Any, ...], kwargs: dict[str, Any]) -> list[tuple[type, Any]]:
    return [(type(value), value) for value in (*values, *kwargs.values())]


def _is_still(value: Any) -> bool:
    """Whether using a global takes nothing out of it, as far as it shows: an object of a library may do anything."""
    if isinstance(value, (*_CODE, functools.partial)):
        return not is_generator(getattr(value, "__self__", None)) and getattr(value, "__name__", "") != "random"
    return not (_is_channel(value) or is_generator(value)) and is_data(value)


def _is_channel(value: Any) -> bool:
    """Whether data goes through an object to somewhere: a file, a queue, a connection, an iterator."""
    module = type(value).__module__.partition(".")[0]
    return module in _CHANNELS or isinstance(value, io.IOBase) or hasattr(type(value), "__next__")


def _is_unkeyable(value: Any) -> bool:
    try:
        keys.digest(value)
    except Unkeyable:
        return True
    return False
