"""What runs in a worker: some calls of one function, each with its result as bytes. Importable, and light to import."""

from __future__ import annotations

import contextlib
import os
import pickle
import secrets
import signal
from collections.abc import Callable, Mapping, Set
from contextvars import ContextVar
from functools import partial
from hashlib import blake2b
from typing import Any

from durable_nb import clock, codecs
from durable_nb.byvalue import unpickled
from durable_nb.errors import ConfigError, Unsaveable
from durable_nb.executors.deadlines import within
from durable_nb.executors.engines import Stale, TimeIsUp
from durable_nb.executors.exceptions import line_of, packed, said_by, traceback_of
from durable_nb.executors.mains import known_in_main, lock
from durable_nb.loads import note_loads
from durable_nb.records import CurrentCall
from durable_nb.throttling import seconds_asked

_LONGEST_S = 0.2  # four times what calls that are sent together should take: the rest need not wait for a slow one
_FUNCTIONS = 16  # that are kept; more would only be those of maps long over
_NO_LISTS = (str, bytes, bytearray, Mapping, Set)
_SEED = secrets.token_bytes(16)
_functions: dict[bytes, Callable[..., Any]] = {}

current: ContextVar[CurrentCall | None] = ContextVar("durable_nb_in_worker", default=None)
"""What a function may know of the call that it computes here."""


class _Here:
    """Whether a process computes for another one: of that one's runs, which a fork inherits, none is its own."""

    serves = False


here = _Here()


def run_batch(
    function: bytes,
    items: bytes,
    *,
    timeout_s: float | None = None,
    is_group: bool = False,
    hears_interrupts: bool = True,
    begun: Callable[[], None] | None = None,
) -> list[tuple[Any, ...]]:
    """What became of each call; an error of one is not the end of the others.

    Parameters
    ----------
    function : bytes
        As `shipping.function_bytes` makes them; what comes out is kept in this process.
    items : bytes
        Pickled ``[(arguments, name of the call, attempt)]``.
    timeout_s : float, optional
        For one call. Python cannot stop a thread, so the call goes on in the background.
    is_group : bool
        The function takes a list, and each of its results is encoded by itself.
    hears_interrupts : bool
        False in a process whose pool would keep a pipe locked for ever if KeyboardInterrupt came between two calls.
    begun : callable, optional
        Told when a call begins, once function and arguments are loaded.

    Returns
    -------
    list of tuple
        ``("ok", codec, payload, started, seconds)``, ``("unsaveable", type, reason, started, seconds)``,
        ``("error", pickle or None, text, traceback, asked, started, seconds)``, where ``asked`` is what `seconds_asked` found,
        or ``("late", started, seconds)``, ``("unmade",)`` for those behind one that took long; of a group ``("group", outcomes)`` or ``("misfit", type)`` for
        what is no list; a single ``("unready", text)`` if the function cannot be loaded here, ``("unopened", text)`` if the arguments of
        some call cannot, ``("stale", text, remedy)`` if modules of the user are others here.
    """
    is_elsewhere = not function.endswith(origin())
    if is_elsewhere and not hears_interrupts:  # some executors make calls where they are asked to
        ignore_interrupts()
    here.serves = here.serves or is_elsewhere
    problem = "unready"
    try:
        loaded = _loaded(function)
        problem = "unopened"
        calls = _opened(items)
    except Stale as error:
        return [("stale", *error.args)]
    except Exception as error:
        if isinstance(error, ImportError):  # so it would be with every document
            problem = "unready"
        return [(problem, line_of(error, said_by(error)))]
    outcomes: list[tuple[Any, ...]] = []
    began = clock.stopwatch()
    for args, name, attempt in calls:
        if clock.stopwatch() - began > _LONGEST_S:
            outcomes.append(("unmade",))
            continue
        if begun is not None:
            begun()
        before = current.set(CurrentCall(name, attempt))
        try:
            outcomes.append(_computed(partial(loaded, *args), timeout_s, is_group=is_group))
        finally:
            current.reset(before)
    note_loads()  # of what the function has imported: an edit before the next task is seen
    return outcomes


def is_list(value: Any) -> bool:
    """Whether it can be what a batched function returns: a result for each document, in their order.

    Not a dict or a set, whose order is another one, not a text, and not a table, which gives its columns.
    """
    try:
        len(value), iter(value)
    except TypeError:
        return False
    return not (isinstance(value, _NO_LISTS) or hasattr(value, "columns"))


def listed(value: Any) -> Any:
    """What a batched function returned, iterated once, and while its errors are those of the call."""
    return list(value) if is_list(value) else value


def _computed(function: Callable[[], Any], timeout_s: float | None, *, is_group: bool) -> tuple[Any, ...]:
    started, before = clock.now(), clock.stopwatch()
    if is_group:
        function = partial(_made_list, function)
    try:
        value = function() if timeout_s is None else within(function, timeout_s)
    except TimeIsUp:
        return "late", started, clock.stopwatch() - before
    except BaseException as error:  # carried to the process that computes the run
        seconds, said = clock.stopwatch() - before, line_of(error, said_by(error))
        asked = seconds_asked(error, clock.now())  # here: what it carries may not all arrive
        return "error", packed(error), said, traceback_of(error), asked, started, seconds
    seconds = clock.stopwatch() - before
    if is_group and not isinstance(value, list):
        return "misfit", type(value).__name__
    if is_group:
        return "group", [_encoded(one, started, seconds / len(value)) for one in value]
    return _encoded(value, started, seconds)


def _made_list(function: Callable[[], Any]) -> Any:
    return listed(function())


def _encoded(value: object, started: float, seconds: float) -> tuple[Any, ...]:
    try:
        with known_in_main(value):
            codec, payload = codecs.encode(value, check=codecs.prove)  # the classic trap cannot be unpickled
    except Unsaveable as error:
        return "unsaveable", error.type_name, error.reason, started, seconds
    return "ok", codec, payload, started, seconds


def _loaded(function: bytes) -> Callable[..., Any]:
    name = blake2b(function, digest_size=16).digest()
    with lock:
        if name not in _functions:
            while len(_functions) >= _FUNCTIONS:
                del _functions[next(iter(_functions))]
            _functions[name] = _opened(function)
        return _functions[name]


def origin() -> bytes:
    """Names this process; stands behind what it sends, where pickle does not look."""
    return _SEED + os.getpid().to_bytes(8, "big")


def _opened(sent: bytes) -> Any:
    """What the process that computes the run has sent.

    If it is this one (workers of some engines are threads), its classes must not be overwritten: their methods would see
    copies of the globals of the notebook. Elsewhere they must be, or a method edited meanwhile would be the old one.
    """
    return unpickled(sent) if sent.endswith(origin()) else pickle.loads(sent)  # noqa: S301 - by ourselves


def ignore_interrupts() -> None:
    """■ and Ctrl-C are heard by the process that computes the run."""
    with contextlib.suppress(ValueError):  # not the main thread: then it is not interrupted either
        signal.signal(signal.SIGINT, signal.SIG_IGN)


class PlainStep:
    """A step as it arrives in a worker: the function that it is. Only calls made where the run is are kept."""

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self._function, self._name = function, name

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """What the function returns, not kept."""
        return self._function(*args, **kwargs)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else partial(self._function, instance)

    def __getattr__(self, name: str) -> Any:
        if name in ("map", "amap", "options"):
            refuse_here(f"{self._name}.{name}()")
        raise AttributeError(name)


def refuse_here(what: str) -> None:
    """Raise ConfigError in a worker: the process that computes the run is the only one that writes to the database."""
    if current.get() is not None:
        raise ConfigError(
            f"{what} is not possible inside of a step that runs in a worker process.",
            "Call the step there (a plain call, not kept), or map in the notebook and hand the results over.",
        )
