"""Everything durable_nb raises on purpose.

::

    DurableError
    ├── ConfigError            a setting, an option, a name or an argument is wrong
    ├── StoreError             the database cannot be used
    │   ├── StoreUnavailable   it cannot be opened, reached or written
    │   ├── StoreTooNew        a newer durable_nb wrote it
    │   └── UntrustedStore     reading this value could run code, and nobody has vouched for it
    ├── RunBusy                a live kernel holds the run
    ├── LeaseLost              another kernel took the run over while this one was away
    ├── CodeChanged            a step with saved results was edited: keep them or recompute?
    ├── StepFailed             a call used up its attempts
    ├── StepTimeout            one attempt took longer than its timeout
    ├── Unkeyable              an argument has no value that could name the call
    ├── Unsaveable             a result cannot be turned into bytes and back
    └── ValueUnavailable       a saved value needs something this kernel has not defined yet
    RunStopped                 the Stop button; a BaseException, so that no ``except Exception`` swallows it

Fields are plain attributes given to ``super().__init__`` raw, so every error survives pickle; the text is made in
``__str__`` and says what happened, to which document, and what to do now.
"""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Callable
from typing import Any


class DurableError(Exception):
    """Root of the errors of durable_nb."""


class _Refusal:
    """Raised before any of the user's code ran: a notebook shows the sentence, not a traceback into this library."""

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


class ConfigError(_Refusal, DurableError, ValueError):
    """A setting, an option, a name or an argument is wrong; the text says what to type instead."""

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(problem, remedy)
        self.problem, self.remedy = problem, remedy

    def __str__(self) -> str:
        return f"{self.problem} {self.remedy}".strip()


class StoreError(_Refusal, DurableError):
    """The database cannot be used."""

    def __init__(self, where: str, problem: str = "", remedy: str = "") -> None:
        super().__init__(where, problem, remedy)
        self.where, self.problem, self.remedy = where, problem, remedy

    def __str__(self) -> str:
        return f"{self.where}: {self.problem} {self.remedy}".strip()


class StoreUnavailable(StoreError):
    """The database cannot be opened, reached or written; nothing that was committed is lost.

    ``may_pass``: by waiting alone, as when another process has it locked or a server starts anew; a live run waits then.
    """

    def __init__(self, where: str, problem: str = "", remedy: str = "", may_pass: bool = False) -> None:
        DurableError.__init__(self, where, problem, remedy, may_pass)
        self.where, self.problem, self.remedy, self.may_pass = where, problem, remedy, may_pass


class StoreTooNew(StoreError):
    """A newer durable_nb wrote this database."""

    def __init__(self, where: str, found: int, known: int) -> None:
        DurableError.__init__(self, where, found, known)
        self.where, self.found, self.known = where, found, known

    def __str__(self) -> str:
        return (
            f"{self.where} was written by a newer durable_nb (schema {self.found}; this one knows {self.known}). "
            "Upgrade with `pip install -U durable-nb`, or open another database with configure(url=…)."
        )


class UntrustedStore(StoreError):
    """A saved value could run code when it is read, and it bears no signature of this user."""

    def __str__(self) -> str:
        return (
            f"{self.where}: this value was saved by somebody else, or changed since you saved it, and to read it could run "
            f"any code. Nothing was read. If you know who wrote it: `durable-nb trust {shlex.quote(self.where)}` vouches "
            "for what is in the database now; configure(trust=True) reads whatever comes into it. Otherwise "
            "`%durable forget NAME` drops the run, and the cell computes it anew."
        )


class RunBusy(_Refusal, DurableError):
    """A live kernel holds the run."""

    def __init__(self, run: str, host: str, pid: int, kernel: str, heartbeat_age_s: float) -> None:
        super().__init__(run, host, pid, kernel, heartbeat_age_s)
        self.run, self.host, self.pid, self.kernel, self.heartbeat_age_s = run, host, pid, kernel, heartbeat_age_s

    def __str__(self) -> str:
        if self.pid == os.getpid() and self.host == platform.node():  # kernels in containers often have the same pid
            return (
                f"run {self.run!r} is open in this kernel already. One run cannot be opened inside itself or twice at a "
                f"time: leave that block or cell first (`%durable wait {self.run}` or `%durable stop {self.run}`, if it goes on "
                "in the background), or give this one a name of its own. Maps of one step at a time go into one block around "
                f'them: with run("{self.run}"): …'
            )
        kernel = f"kernel {self.kernel}, " if self.kernel else ""
        return (
            f"run {self.run!r} is being computed by another process ({kernel}pid {self.pid} on {self.host}, last "
            f"heartbeat {self.heartbeat_age_s:.0f} s ago). Nothing was started here. Watch it with `%durable "
            f"attach {self.run}`; once that process has ended, run this cell again and it goes on from what was saved."
        )


class LeaseLost(DurableError):
    """Another kernel took the run over while this one was away (asleep, paused, cut off)."""

    def __init__(self, run: str) -> None:
        super().__init__(run)
        self.run = run

    def __str__(self) -> str:
        return (
            f"run {self.run!r} was taken over by another kernel, because this one had not been heard of for longer than "
            "its lease. What was finished here is saved. Run the cell again to see it, or go on in the other kernel."
        )


class CodeChanged(_Refusal, DurableError):
    """A step that has saved results was edited; nothing was run and nothing was dropped."""

    def __init__(
        self, run: str, step: str, saved: int, changed: tuple[str, ...], diff: str, also: tuple[str, ...] = ()
    ) -> None:
        super().__init__(run, step, saved, changed, diff, also)
        self.run, self.step, self.saved, self.changed, self.diff, self.also = run, step, saved, changed, diff, also

    def together(self, others: list[CodeChanged]) -> CodeChanged:
        """One error for several steps: an answer on the magic line is an answer about all of them."""
        also = tuple(f"{other.step} ({', '.join(other.changed) or 'its code'})" for other in others)
        return CodeChanged(self.run, self.step, self.saved, self.changed, self.diff, also)

    def __str__(self) -> str:
        what = ", ".join(self.changed) or "its code"
        diff = f"\n\n{self.diff.rstrip()}\n" if self.diff else ""
        diff += f"\nChanged too: {'; '.join(self.also)}.\n" if self.also else ""
        return (
            f"the code of step {self.step!r} changed since {self.saved:,} of its results were saved in run "
            f"{self.run!r} (changed: {what}). Nothing was run, nothing was dropped.{diff}\n"
            "Choose, run the cell again, then take the choice off the line (it is remembered):\n"
            f"  keep the {self.saved:,} results, new code for the rest:  %%durable {self.run} --on-change keep\n"
            f"  compute them again with the new code:  %%durable {self.run} --on-change recompute\n"
            f'The same in Python: run({self.run!r}, on_change="keep"), step.map(…, on_change="keep") or '
            'configure(on_change="keep"). Old results stay either way, so the other choice takes it back.'
        )


class StepFailed(DurableError):
    """A call used up its attempts; the original exception is ``__cause__``."""

    def __init__(self, step: str, label: str, attempts: int, error: str, others: int = 0, aside: bool = False) -> None:
        super().__init__(step, label, attempts, error, others, aside)
        self.step, self.label, self.attempts, self.error, self.others = step, label, attempts, error, others
        self.aside = aside
        """The call is not made again until somebody asks for it."""

    def __str__(self) -> str:
        tries = "1 attempt" if self.attempts == 1 else f"{self.attempts} attempts"
        again = "run the cell again to try only what failed."
        if self.aside:
            again = "this document is tried again only when you ask: .retry(), Retry failed, or %durable retry NAME."
        more = f" {self.others:,} more failed too." if self.others else ""
        return (
            f"{self.step} failed on {self.label} after {tries}: {self.error}.{more} Everything else is finished and "
            f"saved; {again}"
        )


class StepTimeout(DurableError, TimeoutError):
    """One attempt took longer than the timeout of its step."""

    def __init__(self, step: str, label: str, timeout_s: float) -> None:
        super().__init__(step, label, timeout_s)
        self.step, self.label, self.timeout_s = step, label, timeout_s

    def __str__(self) -> str:
        return f"{self.step} took longer than its timeout of {self.timeout_s:g} s on {self.label}"


class Unkeyable(DurableError, TypeError):
    """An argument has no value that could name the call in another process (a lock, a generator, an open file)."""

    def __init__(self, type_name: str, reason: str, where: str = "") -> None:
        super().__init__(type_name, reason, where)
        self.type_name, self.reason, self.where = type_name, reason, where

    def __str__(self) -> str:
        where = f" (at {self.where})" if self.where else ""
        return (
            f"a {self.type_name}{where} cannot name a call: {self.reason}. Pass the data it stands for (a path, a list, "
            "an id), make it a global of the notebook, or name the documents yourself with .map(…, key=…)."
        )


class Unsaveable(DurableError, TypeError):
    """A result cannot be turned into bytes and back, so it cannot survive a restart."""

    def __init__(self, type_name: str, reason: str, step: str = "", label: str = "") -> None:
        super().__init__(type_name, reason, step, label)
        self.type_name, self.reason, self.step, self.label = type_name, reason, step, label

    def __str__(self) -> str:
        whose = f"{self.step} returned for {self.label} " if self.step else ""
        if self.type_name == "coroutine":
            return (
                f"{whose}a coroutine, which cannot be saved: nobody has awaited it. No further call is started. Make what "
                "is called an `async def` that awaits it; a decorator around one, too."
            )
        return (
            f"{whose}a {self.type_name}, which cannot be saved: {self.reason}. No further call is started. Return "
            "the data inside it instead (text, numbers, an array, a dict), for example response.json() or .tolist()."
        )


class ValueUnavailable(DurableError):
    """A saved value needs a class or module that this kernel has not defined yet; the value itself is safe."""

    def __init__(self, missing: str) -> None:
        super().__init__(missing)
        self.missing = missing

    def __str__(self) -> str:
        return (
            f"this saved value needs something that does not exist in this kernel yet: {self.missing}. Run the cell that "
            "defines or imports it, then ask for the value again; nothing is lost."
        )


class RunStopped(BaseException):
    """Stop was pressed: running calls were allowed to end, what is finished is saved.

    Not a KeyboardInterrupt: one that is raised in a task ends the loop of the task, and the kernel with it.
    """

    def __init__(self, run: str) -> None:
        super().__init__(run)
        self.run = run

    def __str__(self) -> str:
        return f"run {self.run!r} was stopped. What is finished is saved; run the cell again to go on."


_fields_of: Callable[[BaseException], dict[str, Any]] = BaseException.__dict__["__dict__"].__get__


def fields_of(error: BaseException) -> dict[str, Any]:
    """The attributes of any exception, whatever its class has made of ``__dict__``, ``__getattr__`` or ``__setattr__``."""
    return _fields_of(error)
