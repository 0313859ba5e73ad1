"""Let the writing thread have its turn beside busy Python."""

from __future__ import annotations

import os
import sys
import threading

PROMPT_S = 0.0005


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
