"""Which calls are running, noted in memory that outlives the process: what the next kernel knows of a sudden death.

A row for each call that starts would cost more than most calls do. A note here costs 0.2 µs: it is a copy of 40 bytes into
a file of a memory file system, and the operating system keeps that when it ends the process. It is gone after a restart of
the machine (or of the container), which is right: no document is to blame for that.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import tempfile
import weakref
from typing import NamedTuple

SLOTS = 512
"""Calls at a time that can be noted; further ones share a place that nobody reads."""

_BYTES = 40
_SIZE = (SLOTS + 2) * _BYTES
FREE, _EXCUSED = bytes(_BYTES), b"somebody asked for the end".ljust(_BYTES)
_HEAD, UNREAD = slice(0, _BYTES), slice(_SIZE - _BYTES, _SIZE)
# With more of the last one than there can be threads: two may find one left, and both take it.
_PLACES = [UNREAD] * 4096 + [slice(n * _BYTES, (n + 1) * _BYTES) for n in range(SLOTS, 0, -1)]
NOBODY = bytes(16)
"""In place of the call that a call is made inside of."""


class Mark(NamedTuple):
    """One call that was running."""

    step_id: int
    key: bytes
    outer: bytes
    """Key of the call it was made inside of, `NOBODY` if of none."""


class Recorder:
    """The notes of one claim on a run. Where the file cannot be made, notes are taken all the same and do not survive.

    Whoever computes a call does by itself what two methods would: they would cost more than the note.

    Attributes
    ----------
    places : list of slice
        Take one before the call, give it back after it; both are atomic. If there is none, take `UNREAD`.
    memory : writable buffer
        At its place stands the mark of the call while it runs, and `FREE` afterwards.
    """

    def __init__(self, token: str) -> None:
        self._path: str | None = None
        self.memory: mmap.mmap | bytearray = self._shared(token)
        self.places = list(_PLACES)
        _recorders.add(self)

    def excuse(self) -> None:
        """Somebody asked for the end: if the process dies from now on, no document is to blame."""
        self.memory[_HEAD] = _EXCUSED

    def close(self) -> None:
        """The attempt ended by itself; late threads write to memory that nobody reads."""
        path, self._path = self._path, None
        self.forget()
        if path is not None:
            _remove(path)

    def forget(self) -> None:
        """In a forked child: the notes are the parent's."""
        self.memory = bytearray(_SIZE)

    def _shared(self, token: str) -> mmap.mmap | bytearray:
        try:
            handle = os.open(_path_of(token), os.O_CREAT | os.O_EXCL | os.O_RDWR | _NOT_A_LINK, 0o600)
            try:
                self._path = _path_of(token)
                # Written, not only sized: a page that has to be found while a call starts could be refused, with SIGBUS.
                if os.write(handle, bytes(_SIZE)) == _SIZE:
                    return mmap.mmap(handle, _SIZE)
            finally:
                os.close(handle)
        except (OSError, ValueError):
            pass
        return bytearray(_SIZE)


class Unrecorded:
    """In place of a recorder, for calls that run elsewhere: whatever this process dies of, it is none of them."""

    def __init__(self) -> None:
        self.memory = bytearray(_SIZE)
        self.places = [UNREAD] * 4096


def mark_of(step_id: int) -> bytes:
    """How the note of a call begins; its key and the key of the call that it is made inside of follow."""
    return step_id.to_bytes(8, "big")


def left_by(token: str) -> list[Mark]:
    """Calls that were running when the process with this claim died; [] if that is not known or somebody had asked for it."""
    try:
        handle = os.open(_path_of(token), os.O_RDONLY | _NOT_A_LINK)
    except (OSError, ValueError):
        return []
    with open(handle, "rb") as file:
        own = not hasattr(os, "getuid") or os.fstat(handle).st_uid == os.getuid()
        content = file.read(UNREAD.start) if own else b""
    if content[_HEAD] == _EXCUSED:
        return []
    notes = (content[at : at + _BYTES] for at in range(_BYTES, len(content), _BYTES))
    return [Mark(int.from_bytes(note[:8], "big"), note[8:24], note[24:]) for note in notes if note != FREE]


def discard(token: str) -> None:
    """What a dead process noted has been counted."""
    with contextlib.suppress(ValueError):
        _remove(_path_of(token))


def _path_of(token: str) -> str:
    if not re.fullmatch("[0-9a-f]{16}", token):  # it stands in a database, which may come from anywhere
        raise ValueError(token)
    memory = "/dev/shm"  # noqa: S108 - a name that nobody can guess, never followed if it is a link
    return os.path.join(memory if os.access(memory, os.W_OK) else tempfile.gettempdir(), f"durable-nb-{token}")


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


def _after_fork() -> None:
    for recorder in list(_recorders):
        recorder.forget()


_NOT_A_LINK = getattr(os, "O_NOFOLLOW", 0)
_recorders: weakref.WeakSet[Recorder] = weakref.WeakSet()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
