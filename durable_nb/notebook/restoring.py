"""A fresh kernel gets back what a capsule holds; nothing that does work is executed unless asked for."""

from __future__ import annotations

import importlib
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from durable_nb import keys, syntax
from durable_nb.errors import DurableError, Unkeyable
from durable_nb.notebook.capsules import STATES, Need, Unpacked, values_of
from durable_nb.notebook.descriptions import defaults_of, is_as_it_was
from durable_nb.notebook.generators import set_states
from durable_nb.notebook.names import names_bound
from durable_nb.provenance import is_builtin

if TYPE_CHECKING:
    from collections.abc import Iterable

    from IPython.core.interactiveshell import InteractiveShell

    from durable_nb.notebook.makers import Makers
    from durable_nb.notebook.statements import ExecutedCells


class Restored(NamedTuple):
    """What became of the names of a capsule."""

    taken: Counter[str]
    """How many, by what they are."""
    yours: list[str]
    """Names that cells of this kernel have made, and that stay."""
    differing: list[str]
    """Those of them that are not what was saved."""
    replaced: list[str]
    """Names that something else than a cell had made here."""
    missing: list[Need]
    """What the cell needs and nobody could bring back."""
    failed: dict[str, str]
    """By name of what should have come back, the error."""
    changed_files: list[str]
    already: int = 0
    """How many were restored here before, and are left as they are: what was made since may hold them."""


def restore(
    capsule: Unpacked, shell: InteractiveShell, executed: ExecutedCells, makers: Makers, *, where: str
) -> Restored:
    """Put into the namespace what no cell of this kernel has made."""
    return _Restoring(capsule, shell, executed, makers, where).done()


class _Restoring:
    def __init__(
        self,
        capsule: Unpacked,
        shell: InteractiveShell,
        executed: ExecutedCells,
        makers: Makers,
        where: str,
    ) -> None:
        self._shell, self._executed, self._makers, self._where = shell, executed, makers, where
        self._scope: dict[str, Any] = shell.user_ns
        self._needs = {need.name: need for need in capsule.needs}
        self._own = {name for name in self._needs if name in self._scope and makers.is_of_this_kernel(name)}
        before, self._at = executed.adopted, capsule.at
        self._already = {
            name
            for name, need in self._needs.items()
            if name in before.keys() & self._scope.keys() - self._own
            and (
                executed.adopted_at.get(name) == capsule.at
                or (need.kind in ("source", "module") and before[name].text == need.made.text)
            )
        }
        self._failed: dict[str, str] = {}
        self._taken = Counter[str]()
        foreign = (name for name, need in self._needs.items() if need.kind != "shown" and name not in self._own)
        strange = (name for name in foreign if name in self._scope)
        self._replaced = [name for name in strange if name not in executed.adopted and not is_builtin(name)]
        self._values: dict[str, Any] = {}
        self._groups = {name: group for group in capsule.groups for name in group[0]}

    def done(self) -> Restored:
        """Everything, in the order in which it was made; what depends on what comes later waits for it."""
        waiting = sorted(self._needs.values(), key=lambda need: (need.kind != "module", need.made[:2]))
        while waiting:
            left = [need for need in waiting if not self._is_back(need)]
            if len(left) == len(waiting):
                break
            waiting = left
        self._refuse_other_defaults()
        differing = [name for name in sorted(self._own) if self._differs(self._needs[name])]
        missing = [need for need in self._needs.values() if self._is_missing(need) and not need.is_support]
        files = [need.name for need in self._needs.values() if need.file and not is_as_it_was(need.file)]
        return Restored(
            self._taken,
            sorted(self._own),
            differing,
            self._replaced,
            self._with_support(missing),
            self._failed,
            files,
            len(self._already),
        )

    def _is_missing(self, need: Need) -> bool:
        return need.name not in self._scope or (need.kind == "shown" and need.name not in self._own)

    def _with_support(self, missing: list[Need]) -> list[Need]:
        """What is missing, and before it what the cells that make it read, if that is missing, too."""
        needed = {name for need in missing for name in _names_in(need.made.cell)}
        before = [need for need in self._needs.values() if need.is_support and need.name not in self._scope]
        wanted = [*missing, *(need for need in before if need.name in needed)]
        return sorted(wanted, key=lambda need: need.made[:2])

    def _is_back(self, need: Need) -> bool:
        if need.name in self._own | self._already or need.kind in ("made", "shown"):
            return True
        try:
            taken = self._take(need)
        except Exception as error:  # whatever the user's code raises: it may need a name that is still to come
            self._failed[need.name] = f"{type(error).__name__}: {error}"[:300]
            return False
        self._failed.pop(need.name, None)
        if taken:
            self._taken[taken] += 1
            self._executed.adopted[need.name] = need.made
            self._executed.adopted_at[need.name] = self._at
        return True

    def _refuse_other_defaults(self) -> None:
        """The head of a def was evaluated with what names stood for then; they may have been set again since."""
        for name, need in self._needs.items():
            made_here = need.kind == "source" and name in self._scope and name not in self._own | self._already
            if made_here and need.digest and defaults_of(self._scope[name]) != need.digest:
                self._failed[name] = "names in its default arguments were set again after its def"
                del self._scope[name], self._executed.adopted[name]

    def _take(self, need: Need) -> str:
        if need.kind == "module":
            name, *parts = need.why.split()
            self._scope[need.name] = importlib.import_module(name)
            for part in parts:
                importlib.import_module(part)
            return "import"
        if need.kind == "source":
            self._execute(need)
            return "import" if need.made.kind == "import" else "definition"
        if need.kind == "value":
            if need.name not in self._values:  # all of a group at once: they share parts
                self._values |= values_of(self._groups[need.name], self._where)
            self._scope[need.name] = self._values[need.name]
            return "value"
        if need.kind == "secret" and need.made.kind == "environment" and need.is_whole:
            self._execute(need)
            return "from the environment"
        return ""

    def _execute(self, need: Need) -> None:
        """The statement, under a name of its own, so that tracebacks and fingerprints find its text."""
        text = need.made.text
        tree = syntax.parse(text)
        bound = names_bound([] if tree is None else tree.body)
        others = {name: self._scope[name] for name in bound - {need.name} if name in self._scope}
        name = self._shell.compile.cache(text, need.made.number, raw_code=text)
        exec(self._shell.compile(text, name, "exec"), self._scope)  # noqa: S102 - what the cell above did, signed
        self._scope.update(others)

    def _differs(self, need: Need) -> bool:
        """Whether what the user has made here is another thing than what was saved."""
        if need.kind == "source":
            now = self._makers.of(need.name)
            return now is None or _normal(now.text) != _normal(need.made.text)
        try:
            if need.kind == "value":
                return keys.digest(values_of(self._groups[need.name], self._where)[need.name]) != self._digest(need)
            return bool(need.digest) and self._digest(need).hex() != need.digest
        except (Unkeyable, DurableError, RecursionError):
            return False

    def _digest(self, need: Need) -> bytes:
        return keys.digest(self._scope[need.name])


def set_generators(capsule: Unpacked, scope: dict[str, Any], *, where: str) -> None:
    """Let the cell draw the random numbers that it drew."""
    for group in capsule.groups:
        if group[0] == (STATES,):
            set_states(values_of(group, where)[STATES], scope)


def make(missing: Iterable[Need], shell: InteractiveShell) -> None:
    """Execute the statements that made what is missing, as cells; also of a value, if it could not be brought back."""
    for need in missing:
        text = need.made.statements or need.made.text
        if text and need.is_whole and need.kind in ("made", "value") and need.name not in shell.user_ns:
            shell.run_cell(text, store_history=True)  # type: ignore[no-untyped-call]


def _normal(text: str) -> Any:
    tree = syntax.parse(text)
    return text if tree is None else syntax.normal_form(tree)


def _names_in(cell: str) -> set[str]:
    import re

    return set(re.findall(r"[A-Za-z_]\w*", cell))
