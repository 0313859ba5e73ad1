"""The run-time half of `transform`: what the marked expressions of a cell call.

A cell runs again from the top, as it is written; of its steps those that are saved return at once. A call is named by its
arguments, and which one of the equal calls of the run it is. Where the arguments are built by other calls, what those
read names it first (`late`), and a link says which arguments that came to: a finished call costs none of them.
"""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING, Any

from durable_nb.engine.plain import PlainCall
from durable_nb.errors import Unkeyable
from durable_nb.notebook import handed
from durable_nb.notebook.callees import Callee, Callees, repeated
from durable_nb.notebook.calls import Calls
from durable_nb.notebook.effects import places
from durable_nb.notebook.generators import Generators
from durable_nb.notebook.links import Links
from durable_nb.notebook.preflight import Preflight
from durable_nb.notebook.reads import Reads
from durable_nb.notebook.standing import Standing
from durable_nb.notebook.trails import Awaitable, Whole, followed, followed_async, is_function, values_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable_nb.engine.runs import LiveRun
    from durable_nb.errors import DurableError
    from durable_nb.notebook.links import Link
    from durable_nb.notebook.sites import Plan, Site

_Given = tuple[tuple[Any, ...], dict[str, Any]]


class Replay:
    """One durable cell while it runs. The marked expressions call its methods with the number of their site."""

    def __init__(
        self,
        plan: Plan,
        scope: dict[str, Any],
        *,
        name: str,
        source: str,
        steps: frozenset[str],
        replays: frozenset[str],
    ) -> None:
        self.plan, self.name, self.source = plan, name, source
        self.calls: Calls | None = None
        self.callees = Callees(scope, steps=steps, replays=replays)
        self.preflight = Preflight(plan, self.callees, scope, steps=steps, replays=replays)
        self._scope, self._standing = scope, Standing(scope)
        self._links: Links | None = None
        self._linkable: dict[int, bool] = {}
        self._effects: dict[tuple[int, type], str] = {}
        reads = Reads()
        self.read, self.taken = reads.read, reads.taken

    def begin(self, live: LiveRun) -> None:
        """The run of the cell has begun."""
        self.calls, self._links = Calls(live, self._scope, self._run_again, self._standing.forget_large), Links(live)
        self.preflight.replace_named(self._kept_everywhere)

    def settle(self) -> DurableError | None:
        """The cell has ended well, its run not yet: say what is left to say; an error of ours that it has caught itself."""
        if self._calls.refused is None:
            for sentence in self._calls.left_to_say():
                self._calls.say(sentence)
        return self._calls.refused or next(iter(self._calls.live.asked.values()), None)

    def land(self, *, is_stopped: bool) -> None:
        """The cell has ended. If it was stopped, calls in other threads may end, and are saved."""
        if is_stopped:
            self._calls.land()
        self._calls.elsewhere.count()

    def end(self) -> None:
        """The run has ended; what is still called is called plainly."""
        self._links = None
        self.callees.forget()
        self.preflight.undo()

    @property
    def is_live(self) -> bool:
        """Whether calls are kept: what outlives its cell, a generator say, calls plainly."""
        return self.calls is not None and not self.calls.live.over

    def ready(self) -> None:
        """Before the first statement with a possible step: the functions that the cell defines itself exist now."""
        __tracebackhide__ = True
        if self.calls is not None:
            self.preflight.complete(self.calls.live)
            self.preflight.replace_named(self._kept_everywhere)

    def owns(self, number: int, function: Any, /, *handed: Any, for_effect: bool = False) -> bool:
        """Whether the expression is a step."""
        calls, site = self.calls, self.plan.sites[number]
        if calls is None or calls.live.over:
            return False
        if calls.refused is not None:
            calls.stop_after_refusal()
        if handed and any(map(is_function, handed)):
            return False  # map(embed, docs): embed is the step, not map
        callee = self.callees.of(site, function)
        if for_effect and not self.preflight.is_named(site) and (what := self._repeated(site, function)):
            callee = Callee(None, why="a method called for its effect")
            if what == "outside" and calls.restored_last:
                calls.say(
                    f"line {site.line}: `{site.callee}(…)` is repeated for finished calls, since it is called for its "
                    f"effect. If once is enough, name it: --steps {site.callee}"
                )
        self.preflight.note(site, callee)
        return callee.step is not None

    def call(self, number: int, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """A step that is named by its arguments."""
        __tracebackhide__ = True
        return self.once(self.plan.sites[number], function, args, kwargs)

    async def call_async(self, number: int, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """As ``call``, where the expression awaits."""
        __tracebackhide__ = True
        return await self._once_async(self.plan.sites[number], function, args, kwargs)

    def late(self, number: int, function: Any, given: Callable[[], _Given], names: Callable[[], Any], /) -> Any:
        """A step whose arguments are built by other calls: named by what those read."""
        __tracebackhide__ = True
        site = self.plan.sites[number]
        callee, link = self._link(site, function, names)
        found = None if link is None else self._linked(site, callee, link, given)
        if found is not None:
            return found[0]
        states = Generators()
        args, kwargs = given()
        return self.once(site, function, args, kwargs, self._if_pure(link, site, callee, names, states))

    async def late_async(self, number: int, function: Any, given: Any, names: Any, /) -> Any:
        """As ``late``, where the expression awaits."""
        __tracebackhide__ = True
        site = self.plan.sites[number]
        callee, link = self._link(site, function, names)
        found = None if link is None else self._linked(site, callee, link, given)
        if found is not None:
            return found[0]
        states = Generators()
        args, kwargs = given()
        return await self._once_async(site, function, args, kwargs, self._if_pure(link, site, callee, names, states))

    def whole(self, number: int, function: Any, expression: Callable[[Any], Any], names: Callable[[], Any], /) -> Any:
        """A step whose arguments cannot be looked at alone: named by all that the expression reads."""
        __tracebackhide__ = True
        site, calls = self.plan.sites[number], self._calls
        callee = self.callees.of(site, function)
        assert callee.step is not None
        values = values_of(names)
        digest = None if values is None else self._standing.of_expression(site, callee.step.name, callee.bound, values)
        if digest is None:
            calls.not_kept(site, "something that it reads is made in the loop and has no value")
            return expression(function)
        given = dict(zip(site.names, values, strict=True)) | {"": callee.bound}
        plain = PlainCall(calls.computation(site, callee), (Whole(expression, function, given),), {}, digest)
        return calls.value(site, callee.step, plain, given)

    def given(self, *args: Any, **kwargs: Any) -> _Given:
        """The arguments of a call, evaluated."""
        return args, kwargs

    def sized(self, items: Any, here: tuple[int, ...], deeper: tuple[int, ...], /) -> Any:
        """The items of a loop, on their way; how many there are says how many calls of its steps to expect."""
        if self.is_live and (steps := self.preflight.count(here)) and not self.preflight.count(deeper):
            try:
                self._calls.live.progress.guess(steps * operator.length_hint(items, 0))
            except Exception:  # the user's __len__: the loop will show what is wrong with it
                return items
        return items

    def nap(self, seconds: Any, sleep: Any) -> Any:
        """How long to sleep: not at all after a restored call, since nobody was asked for anything."""
        is_sleep = getattr(sleep, "__name__", "") == "sleep" and getattr(sleep, "__module__", "").startswith(
            ("time", "asyncio")
        )
        return 0 if is_sleep and self.is_live and self._calls.restored_last else seconds

    def handed(self, number: int, function: Any) -> Any:
        """A function that is handed to somebody who calls it."""
        site = self.plan.sites[number]
        if not self.is_live or not is_function(function):
            self.preflight.note(site, Callee(None, why="not a function"))
            return function
        if isinstance(function, functools.partial):  # what it binds are arguments, not code
            return functools.partial(self._kept_everywhere(site, function.func), *function.args, **function.keywords)
        return self._kept_everywhere(site, function)

    def once(
        self, site: Site, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], link: Link | None = None
    ) -> Any:
        """A call with evaluated arguments: its saved value, or computed and saved."""
        __tracebackhide__ = True
        calls, callee = self._calls, self.callees.of(site, function)
        step = callee.step
        if step is None:  # handed over before it turned out that it cannot be kept
            return function(*args, **kwargs)
        returns_awaitable = calls.returns_awaitable(site, callee)
        try:
            digest = self._standing.of_call(site, callee.bound, args, kwargs)
            computation = calls.computation(site, callee, is_async=returns_awaitable)
        except Unkeyable as error:
            calls.not_kept(site, f"a {error.type_name} cannot name a call: {error.reason}")
            return followed(function(*args, **kwargs), site.trail)
        given, plain = places(callee.bound, args, kwargs), PlainCall(computation, (function, *args), kwargs, digest)
        if returns_awaitable:
            return calls.awaited(site, step, plain, given, link)
        try:
            return calls.value(site, step, plain, given, link)
        except Awaitable as found:
            calls.awaitable.add(site.number)
            again, itself = calls.computation(site, callee, is_async=True), found.itself
            return calls.awaited(site, step, PlainCall(again, (lambda: itself,), {}, digest), given, link)

    async def _once_async(
        self, site: Site, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], link: Link | None = None
    ) -> Any:
        __tracebackhide__ = True
        calls, callee = self._calls, self.callees.of(site, function)
        step = callee.step
        assert step is not None
        try:
            digest = self._standing.of_call(site, callee.bound, args, kwargs)
            computation = calls.computation(site, callee, is_async=True)
        except Unkeyable as error:
            calls.not_kept(site, f"{error.type_name}: {error.reason}")
            return await followed_async(function(*args, **kwargs), site.trail)
        plain = PlainCall(computation, (function, *args), kwargs, digest)
        return await calls.awaited(site, step, plain, places(callee.bound, args, kwargs), link)

    def _run_again(self, site: Site, why: str) -> None:
        self.callees.run_again(site, why)
        self.preflight.verdicts[site.number] = Callee(None, why=why)

    def _kept_everywhere(self, site: Site, function: Any) -> Any:
        self.preflight.note(site, callee := self.callees.of(site, function))
        return handed.kept(self, site, function, callee)

    def _link(self, site: Site, function: Any, names: Callable[[], Any]) -> tuple[Callee, Link | None]:
        """What is called, and the link of this evaluation; none where the arguments cost nothing, or cannot be named."""
        callee = self.callees.of(site, function)
        assert callee.step is not None
        assert self._links is not None
        values = values_of(names)
        if values is None or not self._may_be_linked(site, values):
            return callee, None
        expression = self._standing.of_expression(site, callee.step.name, callee.bound, values)
        return callee, None if expression is None else self._links.of(expression)

    def _if_pure(
        self, link: Link | None, site: Site, callee: Callee, names: Callable[[], Any], states: Generators
    ) -> Link | None:
        """The link, unless what it was named by has changed, or random numbers were drawn, while the arguments were built."""
        if link is None or callee.step is None or states.moved():
            return None
        now = self._standing.of_expression(site, callee.step.name, callee.bound, names())
        return link if now == link.expression else None

    def _linked(self, site: Site, callee: Callee, link: Link, given: Callable[[], _Given]) -> tuple[Any] | None:
        """The value, in a tuple, of the call that an expression came to before; None if it is not saved."""
        if link.target is None:
            return None
        assert callee.step is not None
        calls = self._calls
        is_async = site.awaits or calls.returns_awaitable(site, callee)
        computation = calls.computation(site, callee, is_async=is_async)
        if not computation.entered.claim(*link.target):
            return None
        plain = PlainCall(computation, (), {}, *link.target)
        if plain.saved is None:
            computation.entered.give_back(*link.target)
            return None
        value = calls.restored(site, callee.step, plain, lambda: places(callee.bound, *given()))
        return (calls.ready(value) if is_async and not site.awaits else value,)

    def _repeated(self, site: Site, function: Any) -> str:
        if (place := (site.number, type(getattr(function, "__self__", None)))) not in self._effects:
            self._effects[place] = repeated(function)
        return self._effects[place]

    def _may_be_linked(self, site: Site, values: tuple[Any, ...]) -> bool:
        known = self._linkable.get(site.number)
        if known is None:
            builders = [(text, self._standing.resolved(text, site, values)) for text in site.builders]
            costs = any(self.callees.of(site._replace(callee=text), one).step is not None for text, one in builders)
            known = self._linkable[site.number] = costs and self._standing.may_be_linked(site, values)
        return known

    @property
    def _calls(self) -> Calls:
        assert self.calls is not None
        return self.calls
