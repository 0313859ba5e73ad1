"""The texts that modules were loaded from: a file may have been edited since, and what is loaded is what computes."""

from __future__ import annotations

import ast
import sys
import tokenize
from typing import TYPE_CHECKING, Any, NamedTuple

from durable_nb.origins import Origin, origin_of
from durable_nb.syntax import file_text, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

updates: list[Callable[[str], object]] = []
"""Asked with a module's name for what tells its last update in place, None if there was none; the notebook adds its own."""


class _Known(NamedTuple):
    spec: object
    """It was loaded by; a reload replaces it."""
    update: object
    text: str


_texts: dict[str, _Known] = {}
_looked_at: set[str] = set()


def loaded_text(scope: Mapping[str, Any]) -> str:
    """The text of a module's file when this was first asked for after the module was loaded; '' if there is no source."""
    name, spec = scope.get("__name__"), scope.get("__spec__")
    file = str(scope.get("__file__") or "")
    if name is None or spec is None:  # a script: `%run` gives its names to another each time
        return file_text(file)
    known = _texts.get(name)
    update = next((found for tell in updates if (found := tell(name)) is not None), known and known.update)
    if known is None or known.spec is not spec or known.update != update:
        known = _texts[name] = _Known(spec, update, _read(file))
    return known.text


def module_tree(name: str, file: str) -> ast.Module | None:
    """The tree of a module: as it was loaded, or as its file is now; None if there is no source."""
    module = sys.modules.get(name)
    text = file_text(file) if module is None else loaded_text(_scope_of(module))
    return parse(text) if text else None


def note_loads() -> None:
    """Read the texts of own modules that were loaded, or loaded anew, since this was last called."""
    modules = sys.modules.copy()
    new = modules.keys() - _looked_at
    _looked_at.update(new)
    for name in new.union(_texts):
        module = modules.get(name)
        if module is not None and origin_of(name) is Origin.OWN:
            loaded_text(_scope_of(module))


def _read(file: str) -> str:
    """Not by ``linecache``, which would keep all of it once more."""
    try:
        with tokenize.open(file) as opened:
            return opened.read()
    except (OSError, SyntaxError, UnicodeError):  # none, compiled, or in an archive
        return ""


def _scope_of(module: Any) -> Mapping[str, Any]:
    """The names of a module; asked so that one that loads itself when it is used does not."""
    try:
        return object.__getattribute__(module, "__dict__")  # type: ignore[no-any-return]
    except AttributeError:  # anything may stand in sys.modules
        return {}
