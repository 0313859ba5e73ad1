"""How fast the calls of a step may start: so many a minute, so many tokens a minute, and none while the service asks to wait."""

from __future__ import annotations

import contextlib
import inspect
import math
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from durable_nb import clock
from durable_nb.errors import ConfigError
from durable_nb.locks import lock_of
from durable_nb.paces import FEW, Learning, Pace
from durable_nb.throttling import backoff, seconds_asked

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from durable_nb.paces import Slot

_WRITTEN = re.compile(r"\s*(\d[\d_,]*(?:\.\d+)?)\s*([kM]?)\s*/\s*(s|sec|second|min|minute|h|hour|d|day)s?\s*")
_THOUSANDS = {"": 1.0, "k": 1e3, "M": 1e6}
_SECONDS = {"s": 1.0, "sec": 1.0, "second": 1.0, "min": 60.0, "minute": 60.0, "h": 3600.0, "hour": 3600.0}
_LOOK_S = 0.5  # who waits looks this often whether it may still be wanted
_IDLE_S = 1.0  # so long without a call, and the time is not counted
_PATIENCE_S = 600.0
"""A service that answers nobody for so long has not asked to wait a moment: then it is a failure like any other."""

_QUOTA_S, _DAY_S = 60.0, 86_400.0
"""A wait that is longer than the first of these is one for a quota to be filled again: it is waited out, up to the second."""


def parsed(written: object, option: str) -> float:
    """Of ``"3000/min"``, ``"20/s"`` or ``"1M/min"`` how many a second.

    Raises
    ------
    ConfigError
    """
    match = _WRITTEN.fullmatch(written) if isinstance(written, str) else None
    number = float(re.sub("[_,]", "", match[1])) * _THOUSANDS[match[2]] if match else 0.0
    if match is None or number <= 0:
        raise ConfigError(f"{option}={written!r:.60} is not possible.", 'Write "3000/min", "20/s" or "1M/h".')
    return number / _SECONDS.get(match[3], 86400.0)


class Reservation(NamedTuple):
    """When a call may start, and what it took for that."""

    at: float
    slots: list[tuple[Pace, Slot]]
    volley: int


class Flow:
    """What one step may ask of its service, by all threads and coroutines and in all runs of this kernel.

    Parameters
    ----------
    rate : str, limiter or None
        ``"3000/min"``; or an object with ``acquire`` (and ``aacquire`` or ``async_acquire``), as LangChain, LlamaIndex and
        aiolimiter have them.
    token_limit : str or None
        ``"1M/min"``.
    tokens : callable or None
        The arguments of a call → how many tokens it will use; of a step with batches of one document, and they are summed up.

    Attributes
    ----------
    holds : bool
        Whether a call has to ask before it starts.
    is_limited : bool
        Whether somebody said how fast calls may start.
    begun : int
        Calls since the service refused one, or since none was made for a while.
    told_from : float
        ``begins`` and ``succeeded`` need to be told of what happens later than that, by the stopwatch, only.
    """

    def __init__(
        self, rate: Any = None, token_limit: str | None = None, tokens: Callable[..., float] | None = None
    ) -> None:
        if (token_limit is None) != (tokens is None):
            raise ConfigError(
                "token_limit and tokens belong together.",
                'Give both: token_limit="1M/min", tokens=lambda text: len(text) // 4',
            )
        self.rate, self.token_limit, self.tokens = rate, token_limit, tokens
        self._limiter = None if rate is None or isinstance(rate, str) else _limiter(rate)
        self._calls = Pace(parsed(rate, "rate_limit")) if isinstance(rate, str) else None
        self._amounts = None if token_limit is None else Pace(parsed(token_limit, "token_limit"))
        self.is_limited = self._calls is not None or self._amounts is not None or self._limiter is not None
        self.holds, self.begun, self.told_from = self.is_limited, 0, -math.inf
        self._learning = Learning()  # how fast the service turned out to answer
        self._until, self._refused, self._patient_until, self._waiting = 0.0, 0, 0.0, 0
        self._volley, self._heard_at, self._lock = 0, -math.inf, lock_of(self)

    @property
    def is_only_awaited(self) -> bool:
        """Whether the limiter of somebody else can hold back no thread."""
        return self._limiter is not None and inspect.iscoroutinefunction(self._limiter.acquire)

    @property
    def waiting_for(self) -> str:
        """What calls wait for, '' if none does."""
        left = self._until - clock.monotonic()
        if left > 0:
            return f"the service, which asked to wait {left:,.0f} s more"
        limits = [str(one) for one in (self.rate, self.token_limit and f"{self.token_limit} tokens") if one]
        return f"the limit of {' and '.join(limits)}" if self._waiting else ""

    def waits(self, amount: float = 0.0) -> Generator[float]:
        """Seconds to sleep, one after the other, until a call with so many tokens may start; what it needs is taken.

        Who closes it before gives back what was taken.
        """
        taken, may_start = self._take(amount), False
        self._waiting += 1
        try:
            while (left := taken.at - clock.monotonic()) > 0:
                yield min(self._learning.look(left), _LOOK_S)
                now = clock.monotonic()
                # Anew while it waits: others may have left the line. And after a refusal, or all who waited would go at once.
                if taken.at > now or taken.at < self._until or taken.volley != self._volley:
                    self._give_back(taken)
                    taken = self._take(amount)
            may_start = True
        finally:
            self._waiting -= 1
            if not may_start:
                self._give_back(taken)
        self.holds = self.is_limited or self._learning.pace is not None

    def _take(self, amount: float) -> Reservation:
        """The first time at which everything that is limited has room."""
        with self._lock:
            at = max(clock.monotonic(), self._until)
            asked = ((self._calls, 1.0), (self._amounts, amount), (self._learning.pace, 1.0))
            needs = [(pace, much) for pace, much in asked if pace is not None]
            while (later := max([at, *(pace.first(much, at) for pace, much in needs)])) > at:
                at = later
            return Reservation(at, [(pace, pace.take(much, at)) for pace, much in needs], self._volley)

    def _give_back(self, taken: Reservation) -> None:
        with self._lock:
            now = clock.monotonic()
            for pace, slot in taken.slots:
                pace.give_back(slot, now)

    def acquire(self) -> None:
        """Wait for the limiter of somebody else, if there is one.

        Raises
        ------
        ConfigError
            It failed, which no document is to blame for, or it can only be awaited.
        """
        if self._limiter is None:
            return
        with self._naming():
            leave = self._limiter.acquire()
        if inspect.isawaitable(leave):
            if inspect.iscoroutine(leave):
                leave.close()
            raise ConfigError(
                f"acquire() of the rate_limit, {type(self.rate).__name__}, has to be awaited, and the step is not async.",
                'Make it an `async def`, or write the limit: rate_limit="20/s".',
            )

    async def acquire_async(self) -> None:
        """As ``acquire``, without blocking the loop."""
        if self._limiter is None:
            return
        named = (getattr(self._limiter, name, None) for name in ("aacquire", "async_acquire"))
        own = next((one for one in named if one is not None), None)
        with self._naming():
            if own is not None:
                await own()
            elif self.is_only_awaited:
                await self._limiter.acquire()
            else:
                import asyncio

                leave = await asyncio.to_thread(self._limiter.acquire)
                if inspect.isawaitable(leave):
                    await leave

    @contextlib.contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            raise ConfigError(
                f"the object given as rate_limit=, {type(self.rate).__name__}, failed: {error!r:.200}.",
                "What is finished is saved: mend it and run the cell again.",
            ) from error

    def crowd(self) -> None:
        """One call was tried out alone, and now come many: its time says nothing about what the service bears."""
        with self._lock:
            if self._learning.pace is None:
                self._learning.begin(clock.monotonic(), self.begun)
                self.begun = 0

    def begins(self, at: float) -> None:
        """A call begins, and is counted already."""
        with self._lock:
            now, pace = clock.monotonic(), self._learning.pace
            if now - self._heard_at > 2 * _IDLE_S + (0.0 if pace is None else 1 / pace.per_s):
                self.begun = 1
                self._learning.begin(now)
            self._learning.begins(now)
            self._hear(now, at)

    def succeeded(self, at: float) -> None:
        """The service has answered a call."""
        with self._lock:
            now = clock.monotonic()
            self._hear(now, at)
            if now >= self._until:  # not those that were on their way when it refused
                self._refused = 0
                self._learning.grow(self.begun, now)

    def _hear(self, now: float, at: float) -> None:
        self._heard_at = max(self._heard_at, now)
        if self._learning.pace is None:
            self.told_from = at + _IDLE_S

    def refused(self, error: BaseException) -> bool:
        """Whether the service asked to wait, rather than that the call failed; then nobody starts for so long."""
        asked = seconds_asked(error, clock.now())
        if asked is None:
            return False
        now = clock.monotonic()
        if not self._refused:
            self._patient_until = now + _PATIENCE_S
        if now > self._patient_until or asked > _DAY_S:
            return False
        with self._lock:
            if asked > _QUOTA_S:
                self._patient_until = max(self._patient_until, now + asked + _PATIENCE_S)
            if begins := now >= self._until:  # those of one volley count once
                self._refused = 1 if self.begun > FEW else self._refused + 1
            wait = asked or backoff(self._refused)
            if self._refused > 2:  # in a row, after waits as long as it asked for
                wait = max(wait, backoff(self._refused - 2))
            self._until = self._heard_at = max(self._until, now + wait)
            if begins:
                self._learning.refused(self.begun - 1, now, wait)
                self.begun, self._volley = 0, self._volley + 1
            else:
                self._learning.also_refused(self._until)
        self.holds, self.told_from = True, -math.inf
        return True


def _limiter(thing: Any) -> Any:
    if not callable(getattr(thing, "acquire", None)):
        raise ConfigError(
            f"rate_limit={thing!r:.60} is not possible.", 'Write "3000/min", or give an object with acquire().'
        )
    if callable(getattr(thing, "release", None)):  # nobody would
        raise ConfigError(
            f"rate_limit={thing!r:.60} limits calls at a time, and not how many start in a while.",
            "Write workers=2 for two at a time.",
        )
    return thing
