"""Functions that a cell hands to somebody who calls them: `pool.map(embed, docs)`, `df.text.map(embed)`."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
from typing import TYPE_CHECKING, Any

from durable_nb.engine.context import belonging_to
from durable_nb.engine.session import current as session
from durable_nb.notebook.workers import InWorker

if TYPE_CHECKING:
    from durable_nb.engine.runs import LiveRun
    from durable_nb.notebook.callees import Callee
    from durable_nb.notebook.replay import Replay
    from durable_nb.notebook.sites import Site


def kept(replay: Replay, site: Site, function: Any, callee: Callee) -> Any:
    """What to hand over in place of a function, so that its calls are kept, in this run."""
    if callee.step is not None:
        return Handed(replay, site, function, callee)
    calls = replay.calls
    if callee.is_decorated and calls is not None and (calls.live.apart or len(session.live) > 1):
        return OfRun(calls.live, function)
    return function


class OfRun:
    """A step that is handed to threads of the user, which cannot tell of which of several open runs they are a part."""

    def __init__(self, live: LiveRun, step: Any) -> None:
        functools.update_wrapper(self, step)
        self._live, self._step = live, step

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """The step, called in that run."""
        __tracebackhide__ = True
        if self._live.over:
            return self._step(*args, **kwargs)
        with belonging_to(self._live):
            return self._step(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        """What a step has: ``map``, ``name``."""
        return getattr(self.__dict__["_step"], name)

    def __reduce__(self) -> Any:
        """In another process it is the step alone."""
        return _itself, (self._step,)


class Handed:
    """A function whose calls are kept. An object, so that it can be sent to another process as something else."""

    def __init__(self, replay: Replay, site: Site, function: Any, callee: Callee) -> None:
        functools.update_wrapper(self, function)
        self.__durable_step__ = function
        self._replay, self._site, self._callee = replay, site, callee
        if callee.step is not None and callee.step.is_async:
            # Whoever asks whether this is a coroutine function asks one of these two.
            if hasattr(inspect, "markcoroutinefunction"):  # Python 3.12
                inspect.markcoroutinefunction(self)
            self._is_coroutine = getattr(asyncio.coroutines, "_is_coroutine", None)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """The saved value of this call, else the function's, saved."""
        __tracebackhide__ = True
        if not self._replay.is_live:
            return self.__durable_step__(*args, **kwargs)
        return self._replay.once(self._site, self.__durable_step__, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        """What a function has and an object does not: ``__code__``, ``__defaults__``."""
        return getattr(self.__dict__["__durable_step__"], name)

    def __repr__(self) -> str:
        return f"<durable {self.__durable_step__!r}>"

    def __reduce__(self) -> Any:
        """Pickled, it is on its way to a worker process, which looks up and saves by itself."""
        if not self._replay.is_live or self._callee.step is None or self._callee.step.is_async:
            return _itself, (self.__durable_step__,)
        calls = self._replay.calls
        assert calls is not None
        url, run_id, accepted = calls.elsewhere.send(self._callee.step)
        has_receiver = bool(self._callee.bound)
        function, settings = self.__durable_step__, session.settings()
        given = (settings.durability, settings.labels)
        return InWorker, (os.getpid(), function, url, given, run_id, accepted, has_receiver)


def _itself(function: Any) -> Any:
    return function
