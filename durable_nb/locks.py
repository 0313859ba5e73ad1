"""Locks that are free in a forked child: the thread that held one there does not exist."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol


class _Owner(Protocol):
    _lock: threading.Lock


_owners: weakref.WeakSet[_Owner] = weakref.WeakSet()


def lock_of(owner: _Owner) -> threading.Lock:
    """A lock to keep as ``_lock``; a forked child finds another one there, which nobody holds."""
    _owners.add(owner)
    return threading.Lock()


def _after_fork() -> None:
    for owner in list(_owners):
        owner._lock = threading.Lock()  # noqa: SLF001 - as it asked for


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
