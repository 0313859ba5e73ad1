"""Which run and which call is this: what a step that is called belongs to, and what its function may ask."""

from __future__ import annotations

import contextlib
import os
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from durable_nb import keys
from durable_nb.engine.numbers import Numbers
from durable_nb.engine.session import current as session
from durable_nb.errors import ConfigError
from durable_nb.executors.worker import current as in_worker
from durable_nb.executors.worker import here
from durable_nb.records import CurrentCall

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from durable_nb.engine.computations import Computation
    from durable_nb.engine.runs import LiveRun
    from durable_nb.engine.versions import StepInRun
    from durable_nb.records import Call

run_here: ContextVar[LiveRun | None] = ContextVar("durable_nb_run", default=None)
# The call that is being computed in this context, and which attempt it is: calls of steps inside of it are numbered within
# it, so that a restored outer call takes no number away from the inner calls of another one.
# With it comes the call that it is made inside of, if there is one, and what was made inside of this attempt.
Inside = tuple["Computation", "Call", int, Any, dict["StepInRun", Numbers]]
inside: ContextVar[Inside | None] = ContextVar("durable_nb_inside", default=None)


def current_run() -> LiveRun | None:
    """The run that a step called now belongs to, or None.

    The context variable; else, because threads that the user started do not inherit it, the innermost run that is open in
    this process. If there are several of those there is no telling, and the call is not kept. A run in the background is
    never meant: what the user tries meanwhile is not its call. A thread that outlived its run (after a timeout) belongs to
    none: its context still names the run that is over. Nor does what a worker computes: a forked one inherits the run, and
    the process that computes it alone writes to the database.
    """
    live = run_here.get()
    if live is not None:
        return None if live.over or (here.serves and _is_inherited(live)) else live
    if in_worker.get() is not None:
        return None
    opened = [one for one in session.live if not (one.implicit or one.apart or (here.serves and _is_inherited(one)))]
    around = {one.outer for one in opened}
    innermost = [one for one in opened if one not in around]
    return innermost[0] if len(innermost) == 1 else None


def _is_inherited(live: LiveRun) -> bool:
    """Whether the run is that of the process which this one was forked from."""
    return live.owner.pid != os.getpid()


@contextlib.contextmanager
def belonging_to(live: LiveRun) -> Iterator[None]:
    """Steps that are called here belong to ``live``, if to no other run."""
    token = run_here.set(run_here.get() or live)
    try:
        yield
    finally:
        run_here.reset(token)


def within(digest: bytes) -> bytes:
    """The digest of a call, as one made inside of the step call that is being computed, if there is one.

    With the name of that step, since calls of two steps with equal arguments have one key.
    """
    outer = inside.get()
    return keys.digest((outer[0].step.name, outer[1].key, digest)) if outer else digest


def is_inside() -> bool:
    """Whether a step call is being computed in this context."""
    return inside.get() is not None


def made_here(entered: StepInRun) -> Numbers | None:
    """Where to write which calls of that step have been made inside of the step call that is being computed, if one is."""
    outer = inside.get()
    if outer is None:
        return None
    return outer[4].get(entered) or outer[4].setdefault(entered, Numbers(entered))


def give_back(flush: Callable[[], None]) -> None:
    """What this attempt, which has failed, has made inside of itself is not made anew by the next one, but found."""
    found = inside.get()
    if found is not None and found[4]:
        flush()
        for numbers in list(found[4].values()):  # threads of its own may still make calls
            numbers.give_back()


@contextlib.contextmanager
def outside() -> Iterator[None]:
    """A block that is not the doing of the call that is computed in this context."""
    before = inside.set(None)
    try:
        yield
    finally:
        inside.reset(before)


def refuse_inside(outer: Inside | None) -> None:
    """Raise ConfigError for a call inside of one that has a transaction: it would wait for what that one holds."""
    if outer is not None and outer[0].step.transaction:
        name = outer[0].step.name
        raise ConfigError(
            f"{name} has transaction=True and calls another step.",
            f"Call that one before, and hand its result to {name}.",
        )


def current_call() -> CurrentCall:
    """The call of a step that is being computed; asked by its function, for a sink that can tell a repetition::

        @step
        def order(item):
            shop.order(item, idempotency_key=current_call().key)

    A call in flight when the kernel dies is made again, so what it does outside is done at least once. It has the same
    ``key`` then, as in each of its attempts; ``attempt`` counts from 1, also on from those of a kernel that died before the
    next one was due. Threads that the function starts do not know of it: ask before, and hand it over.

    Returns
    -------
    CurrentCall
        ``key`` is a text of 32 characters, another one for every other call: other arguments, a later one of equal calls,
        another step, another run. Code that was edited does not change it.

    Raises
    ------
    ConfigError
        No call of a step is being computed here.
    """
    found = inside.get()
    sent = in_worker.get()
    if sent is not None:
        return sent
    if found is None:
        raise ConfigError(
            "current_call() is for the function of a step.", "Call the step inside of a run or by .map()."
        )
    computation, call, attempt, *_ = found
    return CurrentCall(name_of(computation, call), attempt)


def name_of(computation: Computation, call: Call) -> str:
    """See `CurrentCall`."""
    run = computation.live.record
    # When the run began for the first time tells runs of one name in several databases apart, also when a file is moved.
    return keys.digest((run.name, repr(run.created), computation.step.name, call.key)).hex()
