"""When a durable cell begins: what a fresh kernel would need to run it again, without running the cells above.

Nothing is executed, no value is pickled whose size is not known to be small, and no credential is stored: neither by its
name nor by its form, nor because it stands in the code, in a closure, or inside of another value.
"""

from __future__ import annotations

import os
import re
import sys
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from durable_nb import codecs, credentials, keys, provenance, syntax
from durable_nb.bytecode import step_function
from durable_nb.errors import Unkeyable, Unsaveable
from durable_nb.notebook.capsules import STATES, Need, Unpacked, packed
from durable_nb.notebook.descriptions import defaults_of, described, file_at, size_of
from durable_nb.notebook.generators import states_of_modules
from durable_nb.notebook.makers import Made, Makers, decorated, python_of
from durable_nb.notebook.marking import MARKER
from durable_nb.notebook.needs import names_needed
from durable_nb.notebook.weighing import Confidential, TooLarge, Unweighable, Weight
from durable_nb.origins import SCALARS, Origin, is_data, origin_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from durable_nb.notebook.cellid import Cell
    from durable_nb.store.capsules import Capsule

_READABLE_BYTES = 64 << 20  # of an array whose digest takes a few milliseconds
_CELL_LETTERS = 20_000
_NOT_OURS = frozenset({MARKER, "get_ipython", "In", "Out", "_", "__", "___"})
_SHOWN = re.compile(r"(_{1,3}|_\d+|_oh|Out)$")  # what IPython calls the values that cells showed


def captured(
    run: str,
    cell: Cell,
    *,
    notebook: str,
    scope: dict[str, Any],
    hidden: Iterable[str],
    makers: Makers,
    transform: Callable[[str], str],
    largest: int,
) -> Capsule:
    """The capsule of a cell that is about to run in a namespace, with up to ``largest`` bytes of values."""
    known = credentials.Credentials([*credentials.known_in(scope).known, *held_by_objects(scope)])
    capture = _Capture(scope, frozenset(hidden) | _NOT_OURS, makers, transform, known, largest)
    tree = syntax.parse(python_of(cell.source, transform))
    capture.take(names_needed([] if tree is None else tree.body))
    groups = [*capture.values(), ((STATES,), *codecs.encode({STATES: states_of_modules()}))]
    source = without_address(cell.source)
    return packed(
        Unpacked(
            run=run,
            cell=known.redacted(source),
            is_whole=known.keeps(source),
            cell_id=cell.id,
            notebook=notebook,
            folder=os.getcwd(),
            needs=tuple(capture.needs.values()),
            groups=tuple(groups),
        )
    )


class _Capture:
    def __init__(
        self,
        scope: dict[str, Any],
        hidden: frozenset[str],
        makers: Makers,
        transform: Callable[[str], str],
        known: credentials.Credentials,
        largest: int,
    ) -> None:
        self._largest = largest
        self._scope, self._hidden, self._makers, self._transform, self._known = scope, hidden, makers, transform, known
        self._weights: dict[str, Weight] = {}
        self.needs: dict[str, Need] = {}

    def take(self, names: Iterable[str], *, is_support: bool = False) -> None:
        """Note these names, and all that those read."""
        waiting = [(name, is_support) for name in names]
        while waiting:
            name, only_support = waiting.pop(0)
            known = self.needs.get(name)
            if name not in self._scope or (known and known.is_support <= only_support):
                continue
            made = self._makers.of(name)
            if name in self._hidden and (made is None or made.kind not in ("def", "import", "lambda")):
                if _SHOWN.match(name):
                    self.needs[name] = Need(name, "shown", is_support=only_support)
                continue
            need, reads = (known, self._read_by(known)) if known else self._look(name)
            self.needs[name] = need._replace(is_support=only_support)
            # What makes an object again matters only to that; what code reads, or data is an instance of, it needs itself.
            deeper = only_support or need.kind in ("made", "secret")
            waiting += [(other, deeper) for other in reads]

    def _look(self, name: str) -> tuple[Need, list[str]]:
        value = self._scope[name]
        made, is_whole = self._stored(self._makers.of(name), name)
        if made is not None and made.kind == "other" and _is_wrapped(value):
            made = decorated(made)
        need = Need(name, "made", made=made or Made(0, 0, "", "", ""), is_whole=is_whole)
        if issubclass(type(value), ModuleType):
            return need._replace(kind="module", why=" ".join([value.__name__, *self._makers.parts_of(name)])), []
        if made is not None and made.kind in ("def", "import", "lambda"):
            why = "" if need.is_whole else "what looks like a credential stands in its code"
            kind = "source" if need.is_whole else "made"
            need = need._replace(kind=kind, why=why, digest=defaults_of(value))
            return need, self._read_by(need)
        need = self._data(need, value)
        return need, self._read_by(need)

    def _data(self, need: Need, value: Any) -> Need:
        """Of what no definition made: whether it can be stored by value."""
        if _is_credential(need.name, value):
            return need._replace(kind="secret", why="a credential by its name")
        if issubclass(type(value), (FunctionType, type)) and origin_of(value.__module__) is Origin.OWN:
            return need._replace(why="made by other code, not by a def of the notebook")
        try:
            self._weights[need.name] = Weight(value, self._largest)
        except TooLarge:
            size = size_of(value)
            digest = self._digest(value) if size is not None and size < _READABLE_BYTES else ""
            return need._replace(why=f"too large to be saved ({described(value, size)})", digest=digest)
        except Confidential as error:
            return need._replace(kind="secret", why=f"holds a credential ({error})")
        except Unweighable as error:
            return need._replace(why=f"a {described(value)} cannot be saved" + _inside(str(error), value))
        except Exception as error:  # its own code was asked for its attributes
            return need._replace(why=f"a {described(value)} cannot be saved ({type(error).__name__})")
        return need._replace(kind="value", file=file_at(value))

    def values(self) -> list[tuple[tuple[str, ...], str, bytes]]:
        """The values, small ones first; what turns out not to fit, or not to be one, is noted as made by its cell."""
        groups: list[tuple[tuple[str, ...], str, bytes]] = []
        done: set[str] = set()
        room = self._largest
        while waiting := [name for name in self._weights if name not in done and self.needs[name].kind == "value"]:
            for names in sorted(self._together(waiting), key=lambda names: sum(self._weights[n].size for n in names)):
                done.update(names)
                found = self._encoded(names, room)
                if isinstance(found, tuple):
                    groups.append((tuple(names), *found))
                    room -= len(found[1])
                    continue
                for name in names:
                    kind = "secret" if "credential" in found else "made"
                    need = self.needs[name] = self.needs[name]._replace(kind=kind, why=found, file=None)
                    self.take(self._read_by(need), is_support=True)
        return groups

    def _encoded(self, names: list[str], room: int) -> tuple[str, bytes] | str:
        """Codec and payload, or why there are none."""
        if sum(self._weights[name].size for name in names) > 2 * room:
            return "too large to be saved beside the others"
        try:
            codec, payload = codecs.encode({name: self._scope[name] for name in names})
        except Unsaveable as error:
            return error.reason
        except Exception as error:  # the user's __getstate__, or another thread that changes it
            return f"cannot be pickled ({type(error).__name__}: {error})"[:200]
        if codec == "cloudpickle":  # code would come back apart from the notebook
            return "cannot be saved without code that belongs to it"
        if len(payload) > room:
            return "too large to be saved beside the others"
        if self._known.found_in_bytes(payload):
            return "holds a credential"
        return codec, payload

    def _together(self, names: list[str]) -> list[list[str]]:
        """Names whose values have parts in common, which they have in common after a restart, too."""
        groups: list[tuple[set[int], list[str]]] = []
        for name in names:
            shared, together, others = set(self._weights[name].shared), [name], []
            for ids, group in groups:
                if ids.isdisjoint(shared):
                    others.append((ids, group))
                else:
                    shared, together = shared | ids, group + together
            groups = [*others, (shared, together)]
        return [group for _, group in groups]

    def _read_by(self, need: Need) -> list[str]:
        """What has to be there before a name can be had in the way that is noted."""
        if need.kind == "value":
            return sorted(self._weights[need.name].names)
        made = need.made if need.kind == "source" else self._makers.of(need.name)
        if need.kind == "module" or made is None:
            return []
        texts = [made.text] if need.kind == "source" else [made.text, python_of(made.cell, self._transform)]
        trees = [tree for text in texts if (tree := syntax.parse(text)) is not None]
        return [name for tree in trees for name in names_needed(tree.body) if name != need.name]

    def _stored(self, made: Made | None, name: str) -> tuple[Made | None, bool]:
        """Where a name comes from, without credentials; and whether its statements hold none."""
        if made is None:
            return None, False
        redacted = self._known.redacted
        said = made.statements or (provenance.statement_of(name, self._scope) if self._is_known_by(name, made) else "")
        stored = made._replace(
            text=redacted(made.text), cell=redacted(made.cell[:_CELL_LETTERS]), statements=redacted(said or made.text)
        )
        return stored, (stored.text, stored.statements) == (made.text, said or made.text)

    def _is_known_by(self, name: str, made: Made) -> bool:
        """Whether all statements that made a thing are part of what it is: data is its value, and code its text."""
        value = self._scope[name]
        if made.kind in ("def", "import", "lambda") or issubclass(type(value), ModuleType):
            return False
        return "(" in made.text if issubclass(type(value), SCALARS) else not is_data(value)

    def _digest(self, value: Any) -> str:
        try:
            return keys.digest(value).hex()
        except (Unkeyable, RuntimeError):
            return ""


def held_by_objects(scope: dict[str, Any]) -> list[str]:
    """Credentials that stand in attributes of objects of the notebook: of a client, of the client inside of that."""
    found: list[str] = []
    seen: set[int] = set()
    waiting = [(value, 3) for name, value in scope.items() if not name.startswith("_")]
    while waiting and len(seen) < 2000:
        value, depth = waiting.pop()
        kind = type(value)
        fields = value if kind is dict else _fields_of(value)
        is_code = issubclass(kind, (ModuleType, type))
        if depth == 0 or is_code or id(value) in seen or type(fields) is not dict or len(fields) > 200:
            continue
        seen.add(id(value))
        if kind is FunctionType:
            cells = [
                (name, cell) for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
            ]
            fields = fields | {name: cell.cell_contents for name, cell in cells if not _is_empty(cell)}
        for key, part in list(fields.items()):
            if type(key) is str and (type(part) in (str, bytes) or credentials.is_named(key)):
                found += credentials.texts_of(key, part)
            if type(part) not in (str, bytes, int, float):
                waiting.append((part, depth - 1))
    return found


def without_address(source: str) -> str:
    """A cell whose first line does not name the database: it is found in the one that it is kept in."""
    first, line_end, rest = source.partition("\n")
    words = first.split(" ")
    if "--db" in words[:-1]:
        place = words.index("--db")
        words[place : place + 2] = []
    return " ".join(word for word in words if not word.startswith("--db=")) + line_end + rest


def _is_credential(name: str, value: Any) -> bool:
    if issubclass(type(value), (str, bytes)):
        return credentials.may_hold(name, value)
    return any(True for _ in credentials.texts_of(name, value))


def _inside(part: str, value: Any) -> str:
    return "" if part == described(value) else f" (it holds a {part})"


def _is_wrapped(value: Any) -> bool:
    """Whether a step, partial or cached function is all that it is."""
    kind = type(value)
    return kind.__module__ in ("functools", "durable_nb.engine.steps") or (
        kind is FunctionType and step_function(value) is not None
    )


def _fields_of(value: Any) -> Any:
    try:
        return object.__getattribute__(value, "__dict__")
    except AttributeError:
        return None


def _is_empty(cell: Any) -> bool:
    try:
        return cell.cell_contents is sys
    except ValueError:
        return True
