"""How a call of a durable cell is computed: watched for what else it does, saved, repeated when it is restored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from durable_nb.bytecode import scope_of
from durable_nb.engine.computations import Computation
from durable_nb.engine.context import inside, outside
from durable_nb.engine.versions import may_restore
from durable_nb.errors import CodeChanged, ConfigError, RunStopped, Unkeyable, Unsaveable
from durable_nb.locks import lock_of
from durable_nb.notebook import effects
from durable_nb.notebook.effects import Effects, NotRestorable, Place, Watch
from durable_nb.notebook.elsewhere import Elsewhere
from durable_nb.notebook.flight import Flight
from durable_nb.notebook.outputs import left_out
from durable_nb.notebook.trails import Awaitable, RunsAgain, Whole, followed, followed_async, refuse_code
from durable_nb.records import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from durable_nb.engine.plain import PlainCall
    from durable_nb.engine.runs import LiveRun
    from durable_nb.errors import DurableError
    from durable_nb.notebook.callees import Callee, CellStep
    from durable_nb.notebook.links import Link
    from durable_nb.notebook.sites import Site

_VERSIONS = 32  # of one function in one attempt; each is asked about each other one
_HEAVY = 1 << 20  # bytes saved for what a call changed in place: 10,000 calls would take 10 GB
_HOPELESS = 2  # calls that could not be kept, before a cell in which nothing can be kept is stopped


class Calls:
    """The calls of one durable cell in one attempt."""

    def __init__(
        self,
        live: LiveRun,
        scope: dict[str, Any],
        run_again: Callable[[Site, str], None],
        changed_in_place: Callable[[], None],
    ) -> None:
        self.live = live
        self.refused: DurableError | None = None
        """What was raised because something cannot be kept; the cell may have caught it."""
        self._run_again, self._changed_in_place = run_again, changed_in_place
        self.restored_last = False
        """Whether the last call was restored."""
        self.kept = 0
        """Calls whose value was saved or restored."""
        self._scope = scope
        self._computations: dict[tuple[int, int, bool], Computation] = {}
        self.awaitable: set[int] = set()
        """Numbers of the sites whose functions turned out to return something to await."""
        self._said: set[str] = set()
        self.elsewhere = Elsewhere(live)
        self._not_kept = self._running = self._begun = 0
        self._lock = lock_of(self)
        self._flight = Flight()

    def land(self) -> None:
        """After ■: wait for the calls that other threads are computing, so that what they have done is saved and counted."""
        self._flight.land()

    def say(self, sentence: str) -> None:
        """Tell what a resumed cell does differently; each sentence once."""
        if sentence not in self._said:
            self._said.add(sentence)
            with outside():  # the call that is computed here does not say it
                print(f"durable_nb: {sentence}")

    def stop_after_refusal(self) -> NoReturn:
        """The cell caught an error of ours with its own, and would go on without results."""
        __tracebackhide__ = True
        stopped = RunStopped(self.live.name)
        stopped.add_note(
            f"durable_nb: an `except` of the cell caught this: {type(self.refused).__name__}: {self.refused}"
        )
        raise stopped from self.refused

    def left_to_say(self) -> list[str]:
        """About a cell that has ended well."""
        if not (self.live.calls or self.live.progress.computed or self.elsewhere.is_used):
            return ["nothing in this cell was kept: nothing that it called in a loop is a step. See %durable explain"]
        if may_restore(self.live) and self.kept and not self.live.progress.restored and self._found_some():
            return [
                "none of the saved results was used: every call has other arguments than before. See %durable explain"
            ]
        return [] if self.live.outputs is None else left_out(self.live.outputs)

    def _found_some(self) -> bool:
        return any(computation.entered.saved for computation in self._computations.values())

    def not_kept(self, site: Site, why: str) -> None:
        """A call is run again in every attempt. Twice of that and nothing kept at all is worth stopping for."""
        self._not_kept += 1
        if self._not_kept > _HOPELESS and not self.kept:
            self.refused = ConfigError(
                f"line {site.line}: `{site.text}` cannot be kept: {why}. Nothing in this cell could be kept so far.",
                "Move what is done with one document into a function that takes its text or path, and call that.",
            )
            raise self.refused
        self.say(f"line {site.line}: `{site.text}` is run again after a restart: {why}")

    def _runs_again(self, site: Site, found: RunsAgain) -> Any:
        self.say(f"line {site.line}: `{site.text}` is run again after a restart: {found.why}")
        self._run_again(site, found.why)
        return found.value

    def returns_awaitable(self, site: Site, callee: Callee) -> bool:
        """Whether a call, not awaited where it stands, gives something to await."""
        assert callee.step is not None
        return callee.step.is_async or site.number in self.awaitable

    def computation(self, site: Site, callee: Callee, *, is_async: bool = False) -> Computation:
        """How calls of a step are computed at a site; raises CodeChanged."""
        step = callee.step
        assert step is not None
        try:
            entered = self.live.enter(step, fresh=False)
        except CodeChanged as error:
            self.refused = error
            raise
        place = (site.number, id(step), is_async)
        found = self._computations.get(place)
        if found is None or found.entered is not entered:
            self._check_versions(site, step)
            made = self._performed_async if is_async else self._performed
            perform = made(site, step, bool(callee.bound))
            found = self._computations[place] = Computation(step, entered, perform)
        return found

    def _check_versions(self, site: Site, step: CellStep) -> None:
        if self.live.versions_of(step.name) > _VERSIONS:
            reason = (
                f"its code, or data that it reads, is another in every iteration; {_VERSIONS} versions of it are kept. "
                "Hand over what changes as an argument"
            )
            raise Unkeyable(site.callee, reason)

    def value(
        self, site: Site, step: CellStep, plain: PlainCall, places: dict[Place, Any], link: Link | None = None
    ) -> Any:
        """The value of a call: saved, or computed and saved."""
        __tracebackhide__ = True
        if link is not None:  # before the call: its own commit takes this along; one to what was not saved is none
            link.leads_to(plain.digest, plain.occurrence)
        if plain.saved is not None:
            return self.restored(site, step, plain, lambda: places)
        try:
            with self._flight.computing(self, site, link, is_async=False), plain as call:
                return self._computed(plain.computation.compute(call))
        except RunsAgain as found:
            return self._runs_again(site, found)

    async def awaited(
        self, site: Site, step: CellStep, plain: PlainCall, places: dict[Place, Any], link: Link | None = None
    ) -> Any:
        """As ``value``, for a call that is awaited."""
        __tracebackhide__ = True
        if link is not None:  # before the call: its own commit takes this along; one to what was not saved is none
            link.leads_to(plain.digest, plain.occurrence)
        if plain.saved is not None:
            return self.restored(site, step, plain, lambda: places)
        try:
            with self._flight.computing(self, site, link, is_async=True), plain as call:
                return self._computed(await plain.computation.compute_async(call))
        except RunsAgain as found:
            return self._runs_again(site, found)

    def restored(self, site: Site, step: CellStep, plain: PlainCall, places: Callable[[], dict[Place, Any]]) -> Any:
        """The saved value, and everything else that the call did."""
        outcome = plain.outcome()
        value, what = outcome.value, outcome.effects
        if what:
            value, others = effects.replayed(what, value, places, step.fingerprint(fresh=False), self._home_of(step))
            for name in others:
                self.say(
                    f"`{name}` is not what it was when `{site.text}` was computed: documents came or went. What that call "
                    "added to it is added; if it cannot be told apart, it is set to what it was after that call"
                )
            step.settle()
            self._changed(site, what)
            if "raised" in what:
                self.say(
                    f"line {site.line}: `{site.text}` raised for some documents before it gave what is restored now: what "
                    "the cell does about that is not repeated"
                )
        self.restored_last = True
        self.kept += 1
        return self.ready(value) if what.get("awaited") else value

    def _home_of(self, step: CellStep) -> dict[str, Any]:
        """Where the globals of a notebook's function are: a cell in the background has names of its own."""
        own = scope_of(step.function)
        return own if own.get("__name__") == self._scope.get("__name__") else self._scope

    @staticmethod
    async def ready(value: Any) -> Any:
        """A value for whoever awaits it."""
        return value

    def _computed(self, value: Any) -> Any:
        self.kept += 1
        self.restored_last = False
        return value.value if type(value) is Outcome else value

    def _performed(self, site: Site, step: CellStep, has_receiver: bool) -> Callable[..., Any]:
        """The function of a step, watched."""

        def perform(function: Any, /, *args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            given = function.given if isinstance(function, Whole) else kwargs
            watch, alone = self._enter(step, receiver_of(function) if has_receiver else (), args, given)
            try:
                value = followed(function(*args, **kwargs), site.trail)
            finally:
                alone = self._leave(alone)
            if hasattr(type(value), "__await__"):
                raise Awaitable(value)
            refuse_code(value)
            return self._outcome(site, step, value, watch, alone=alone)

        return perform

    def _performed_async(
        self, site: Site, step: CellStep, has_receiver: bool
    ) -> Callable[..., Coroutine[Any, Any, Any]]:
        async def perform(function: Any, /, *args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            watch, alone = self._enter(step, receiver_of(function) if has_receiver else (), args, kwargs)
            try:
                called = function(*args, **kwargs)
                value = await followed_async(called, site.trail) if site.awaits else await called
            finally:
                alone = self._leave(alone)
            refuse_code(value)
            outcome = self._outcome(site, step, value, watch, alone=alone)
            if site.awaits or step.is_async:
                return outcome
            effects_of = outcome.effects if type(outcome) is Outcome else {}
            return Outcome(value, {**effects_of, "awaited": True})

        return perform

    def _changed(self, site: Site, what: Effects) -> None:
        if "arguments" in what:
            self._changed_in_place()
        for name in what.get("told", ()):
            self.say(f"line {site.line}: `{site.text}` changes `{name}`; restored calls do not repeat that")

    def _enter(
        self, step: CellStep, bound: tuple[Any, ...], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Watch, int]:
        """What to compare with afterwards; and the number of the call if it is the only one now, else 0."""
        with self._lock:
            self._running += 1
            self._begun += 1
            alone = self._begun if self._running == 1 else 0
        fingerprint = step.fingerprint(fresh=False)
        return Watch(effects.places(bound, args, kwargs), fingerprint, step.exposed_by(fingerprint)), alone

    def _leave(self, alone: int) -> bool:
        with self._lock:
            self._running -= 1
            return bool(alone) and self._begun == alone

    def _outcome(self, site: Site, step: CellStep, value: Any, watch: Watch, *, alone: bool) -> Any:
        """The value, with what else the call did if it did anything."""
        try:
            found, left_out = watch.effects(value, alone=alone)
            if watch.saw_data_change:
                step.settle()
        except NotRestorable as error:
            raise Unsaveable(
                type(error.value).__qualname__,
                f"`{site.text}` changes it in place, and that cannot be repeated for a restored call; return the new "
                "value instead",
            ) from None
        if (size := len(found.get("arguments", b""))) > _HEAVY:
            self.say(
                f"line {site.line}: `{site.text}` changes its arguments in place, and all they hold is saved after each "
                f"call ({size / 1e6:,.0f} MB). Return what is new instead, and put it in place outside of the call"
            )
        if left_out:
            found["told"] = left_out  # said again by whoever restores the call: it changes nothing then
        if (here := inside.get()) is not None and here[1].key in here[0].entered.raised:
            found["raised"] = True
        self._changed(site, found)
        return Outcome(value, found) if found else value


def receiver_of(function: Any) -> tuple[Any, ...]:
    """The object of a method; an object that is called is its own."""
    return (getattr(function, "__self__", function),)
