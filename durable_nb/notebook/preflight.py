"""Before a cell runs: can anything in it be kept, and was what it calls edited since results were saved?"""

from __future__ import annotations

import ast
import builtins
import contextlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

from durable_nb.bytecode import step_function
from durable_nb.errors import ConfigError
from durable_nb.notebook.callees import Callee, is_ours
from durable_nb.notebook.reads import glimpsed
from durable_nb.notebook.sites import Site
from durable_nb.origins import Origin, origin_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable_nb.engine.runs import LiveRun
    from durable_nb.engine.steps import Step
    from durable_nb.notebook.callees import Callees
    from durable_nb.notebook.sites import Plan

_UNKNOWN = object()


class Preflight:
    """What can be told of the sites of one cell before they are reached."""

    def __init__(
        self, plan: Plan, callees: Callees, scope: dict[str, Any], *, steps: frozenset[str], replays: frozenset[str]
    ) -> None:
        self._plan, self._callees, self._scope = plan, callees, scope
        self._steps, self._replays = steps, replays
        self._replaced: list[tuple[Any, str, Any]] = []
        self._done: list[str] = []
        self._is_complete = False
        self.verdicts: dict[int, Callee] = {}
        """By number of the site; what was told before, or found when it was reached."""

    def is_named(self, site: Site) -> bool:
        """Whether ``--steps`` names it."""
        return site.callee in self._steps

    def is_part(self, site: Site) -> bool:
        """Whether it stands in the arguments of a step that is named by them."""
        outer = self.verdicts.get(site.inside)
        return outer is not None and outer.step is not None

    def count(self, numbers: tuple[int, ...]) -> int:
        """How many of the sites call steps, as far as is known."""
        found = [(self._plan.sites[number], self.verdicts.get(number)) for number in numbers]
        return sum(
            callee is not None and (callee.is_decorated or (callee.step is not None and not self.is_part(site)))
            for site, callee in found
        )

    def note(self, site: Site, callee: Callee) -> None:
        """What a site turned out to be; once a step, always shown as one."""
        known = self.verdicts.get(site.number)
        if known is None or known.step is None:
            self.verdicts[site.number] = callee
            if known is None and callee.step is None and self._is_complete and self._is_hopeless():
                self._refuse("")

    def begin(self) -> list[Step[..., Any]]:
        """The steps that are before the cell runs what they are when it calls them; the others are looked at by `complete`.

        Raises
        ------
        ConfigError
            When it is certain already that nothing can be kept, for a sort whose key is a step, and for what ``--replay``
            names and the cell does not call.
        """
        for name in sorted(self._replays - self._plan.mentioned - set(self._plan.called)):
            called = ", ".join(dict.fromkeys(self._plan.called)) or "nothing"
            raise ConfigError(
                f"--replay {name}: {name!r} does not stand in this cell.",
                f"Name what it calls, as it is typed there: {called}.",
            )
        return self._look(own_names=False)

    def complete(self, live: LiveRun) -> None:
        """Look at what the cell has defined by now; raises as `begin` does, and CodeChanged."""
        live.preflight(self._look(own_names=True))
        self._is_complete = True

    def replace_named(self, kept: Callable[[Site, Any], Any]) -> None:
        """Functions that ``--steps`` names and the cell does not call itself: kept wherever they are called, in this cell.

        Raises
        ------
        ConfigError
            When there is no such function.
        """
        for number, name in enumerate(sorted(self._steps - self._plan.mentioned - set(self._done)), 1):
            *way, last = name.split(".")
            if name.partition(".")[0] in self._plan.bound and name.partition(".")[0] not in self._scope:
                continue  # the cell defines it further down
            owner: Any = self._scope.get(way[0]) if way else None
            for attribute in way[1:]:
                owner = getattr(owner, attribute, None)
            function = getattr(owner, last, None) if way else self._scope.get(last)
            if not callable(function):
                raise ConfigError(f"--steps {name}: there is no function {name!r} here.", "Name one as it is called.")
            self._done.append(name)
            replaced = kept(Site(-number, "function", 0, name, name), function)
            self._replaced.append((owner, last, function))
            setattr(owner, last, replaced) if way else self._scope.__setitem__(last, replaced)

    def undo(self) -> None:
        """Put back the functions that ``--steps`` replaced in the notebook's namespace."""
        while self._replaced:
            owner, name, function = self._replaced.pop()
            setattr(owner, name, function) if owner is not None else self._scope.__setitem__(name, function)

    def _look(self, *, own_names: bool) -> list[Step[..., Any]]:
        steps, is_certain = [], True
        for site in self._plan.sites:
            if self.is_part(site):
                continue
            found = self._resolved(site, own_names=own_names)
            if found is _UNKNOWN:
                is_certain = False
                continue
            callee = self._callees.of(site, found)
            if site.form == "order":
                self._refuse_order(site, callee)
                continue
            self.note(site, callee)
            if callee.step is not None and (own_names or self.is_settled(callee.step)):
                steps.append(callee.step)
            is_certain = is_certain and callee.step is None
        if is_certain and not steps and not self._may_keep_elsewhere(own_names=own_names):
            self._refuse(" Nothing was run.")
        return steps

    def is_settled(self, step: Step[..., Any]) -> bool:
        """Whether the cell changes nothing that the code of a step reads, before it calls it."""
        return not any(name in self._plan.stirred for _, name, _ in step.fingerprint().globals_read)

    def _is_hopeless(self) -> bool:
        """Whether every expression of the cell was reached, and none of them is a step."""
        waiting = (site for site in self._plan.sites if site.form != "order" and not self.is_part(site))
        found = [self.verdicts.get(site.number) for site in waiting]
        return all(one is not None and one.step is None for one in found) and not self._may_keep_elsewhere(
            own_names=True
        )

    def _may_keep_elsewhere(self, *, own_names: bool) -> bool:
        """Whether something may be kept that stands in no loop of the cell: in a line of ``%time``, a ``@step``, or a
        function that ``--steps`` names, which is kept wherever it is called.
        """
        if "get_ipython" in self._plan.mentioned or any(name.partition(".")[0] in self._scope for name in self._steps):
            return True
        return self._reaches_steps(own_names=own_names)

    def _resolved(self, site: Site, *, own_names: bool) -> Any:
        """The object that is called; _UNKNOWN if that shows only when it is reached."""
        root, *path = site.callee.split(".")
        if not all(part.isidentifier() for part in (root, *path)) or root in site.varying:
            return _UNKNOWN
        if root in self._plan.bound and not own_names:
            return _UNKNOWN
        found = self._scope.get(root, getattr(builtins, root, _UNKNOWN))
        for attribute in path:
            try:
                found = glimpsed(found, attribute, _UNKNOWN)
            except Exception:  # a property of the user's that fails: the cell will show it
                return _UNKNOWN
        return found

    def reaches_steps(self) -> bool:
        """Whether the cell, as it has run, may have called a ``@step``, which keeps its calls by itself."""
        return self._reaches_steps(own_names=True)

    def _reaches_steps(self, *, own_names: bool) -> bool:
        """Whether the cell may call a ``@step``, by its name or through a function of the user."""
        roots = {name.partition(".")[0] for name in self._plan.mentioned}
        functions, known = self._plan.functions, self._scope.keys() if own_names else set()
        waiting = {name.partition(".")[0] for name in self._plan.called} & self._plan.bound
        seen: set[str] = set()
        while waiting:
            name = waiting.pop()
            if name in functions and name not in seen:  # whatever an earlier cell has made of this name
                seen.add(name)
                roots |= functions[name]
                waiting |= functions[name] & self._plan.bound
            elif name not in known | seen:
                return True  # perhaps the cell makes a step itself
        return any(_reaches_step(self._scope[name], set()) for name in roots - seen if name in self._scope)

    def _refuse_order(self, site: Site, callee: Callee) -> None:
        if callee.step is not None and callee.step.name != "<lambda>":
            raise ConfigError(
                f"line {site.line}: `{site.text}` calls {site.callee} for every item and throws its results away, so they "
                "cannot be kept.",
                f"Compute them first, keys = [{site.callee}(item) for item in …], and sort by those; or, if it is cheap, "
                f"say so: --replay {site.callee}",
            )

    def _refuse(self, what_ran: str) -> None:
        plain = {f"`{self._plan.sites[number].callee}` ({callee.why})" for number, callee in self.verdicts.items()}
        why = (
            "what it calls in loops is run again: " + ", ".join(sorted(plain))
            if plain
            else "it has a loop, but calls nothing in it"
            if self._plan.has_loop
            else "there is no call in a loop, comprehension or map, and no @step"
        )
        own = [name for name in self._plan.called if self._is_own(name.partition(".")[0])]
        example = own[-1] if own else "embed"
        raise ConfigError(
            f"nothing in this cell can be kept: {why}.{what_ran}",
            "Call a function of yours, or of a model or client, in a loop over documents; or name what is worth keeping: "
            f"--steps {example}",
        )

    def _is_own(self, name: str) -> bool:
        if name not in self._scope:
            return name in self._plan.bound
        found = self._scope[name]
        return (
            origin_of(found.__name__ if isinstance(found, ModuleType) else getattr(found, "__module__", "builtins"))
            is Origin.OWN
        )


def _reaches_step(thing: Any, seen: set[int]) -> bool:
    """Whether code of the user mentions a step or a workflow, however deep."""
    if is_ours(thing) or step_function(thing) is not None:
        return not isinstance(thing, type)
    code, scope = getattr(thing, "__code__", None), getattr(thing, "__globals__", None)
    if (
        code is None
        or scope is None
        or id(thing) in seen
        or origin_of(getattr(thing, "__module__", None)) is not Origin.OWN
    ):
        return False
    seen.add(id(thing))
    names, waiting = set(), [code]
    while waiting:
        one = waiting.pop()
        names |= set(one.co_names)
        waiting += [constant for constant in one.co_consts if hasattr(constant, "co_names")]
    return any(_reaches_step(scope[name], seen) for name in names if name in scope)


def steps_named_in(source: str, namespace: dict[str, Any]) -> list[Step[..., Any]]:
    """The steps that a cell mentions and that exist already, so that a change is told before anything runs."""
    from durable_nb.engine.steps import Step

    names: dict[str, None] = {}
    code = "\n".join(line for line in source.splitlines() if not line.lstrip().startswith(("%", "!")))
    with contextlib.suppress(SyntaxError):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Name):
                names.setdefault(node.id)
    found = (namespace.get(name) for name in names)
    return [step for step in found if isinstance(step, Step)]
