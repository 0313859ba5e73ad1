"""Let the writing thread have its turn beside busy Python."""

from __future__ import annotations

import os
import sys
import threading

PROMPT_S = 0.0005
GIVE_WAY_S = 0.05
"""Who gives way to a commit sleeps for at most so long. It must: a thread that often lets go of the GIL for a moment (any small
write or array) gets it back before the writing thread has woken up, so that one commit of 200 rows took 2 s beside a loop of
1 ms calls, and SIGKILL cost all of them (tests/bench/loss.py)."""


class Turns:
    """Commits end; who saves while one is due or under way gives way until it has."""

    def __init__(self) -> None:
        self._passed, self._changed = 0, threading.Condition()

    def passed(self) -> None:
        """A commit is over."""
        with self._changed:
            self._passed += 1
            self._changed.notify_all()

    def give_way(self, seconds: float) -> None:
        """Let the writing thread have the GIL for so long, or until its commit is over."""
        passed = self._passed
        if seconds > 0:
            with self._changed:
                self._changed.wait_for(lambda: self._passed != passed, seconds)


class PromptTurns:
    """While a commit is under way a thread busy in Python is asked for the GIL after 0.5 ms instead of 5.

    sqlite3 gives it away some 20 times a commit: beside a busy main thread one took 110 ms, so 15.
    """

    def __init__(self) -> None:
        self._lock, self._commits, self._usual = threading.Lock(), 0, 0.0

    def __enter__(self) -> None:
        with self._lock:
            self._commits += 1
            if self._commits == 1:
                self._usual = sys.getswitchinterval()
                sys.setswitchinterval(min(self._usual, PROMPT_S))

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._commits -= 1
            if self._commits == 0:
                sys.setswitchinterval(self._usual)

    def start_anew(self) -> None:
        """In a forked child no commit is under way, whatever the parent was doing, and nobody holds the lock."""
        if self._commits:
            sys.setswitchinterval(self._usual)
        self._lock, self._commits = threading.Lock(), 0


prompt_turns = PromptTurns()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=prompt_turns.start_anew)
