"""Network file systems: no shared memory for a write-ahead log, and locks that may hang for ever."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
from pathlib import Path

from durable_nb.errors import StoreUnavailable
from durable_nb.store.addresses import file_system_of, is_network

PROBE_S = 4.0
"""A lock on a healthy file server takes milliseconds; without an answer the kernel waits minutes, or for ever."""

_PROBE = """
import fcntl, os, sys
folder = sys.argv[1]
while not os.path.isdir(folder):
    folder = os.path.dirname(folder)
handle = os.open(os.path.join(folder, ".durable_nb-lock-probe"), os.O_CREAT | os.O_RDWR, 0o600)
fcntl.lockf(handle, fcntl.LOCK_EX)
os.unlink(os.path.join(folder, ".durable_nb-lock-probe"))
"""
_REMEDY = (
    'Put the database on a local disk, configure(url="/local/disk/durable.db") or DURABLE_NB_URL, '
    "or use PostgreSQL: postgresql+psycopg://user@host/database."
)
_logger = logging.getLogger("durable_nb")
_probed: set[str] = set()


def network_of(path: str) -> str:
    """The type of the network file system that ``path`` is on, '' if it is none or that cannot be known."""
    try:
        mounts = Path("/proc/mounts").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    kind = file_system_of(path, mounts)
    if not is_network(kind):
        kind = file_system_of(os.path.realpath(path), mounts)  # only now: on a dead mount it would hang
    return kind if is_network(kind) else ""


def refuse_unless_lockable(path: str, kind: str) -> None:
    """Try to lock a file there, once, in a process that may hang; say once that it is slower there.

    Raises
    ------
    StoreUnavailable
        After at most about 4 s.
    """
    folder = os.path.dirname(path)
    if folder in _probed:
        return
    probe = subprocess.Popen(  # noqa: S603 - our own interpreter and program
        [sys.executable, "-I", "-c", _PROBE, folder], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        said = probe.communicate(timeout=PROBE_S)[1].strip().splitlines()
    except subprocess.TimeoutExpired:
        with contextlib.suppress(OSError):
            probe.kill()  # not waited for: who hangs in the file system cannot be killed
        raise StoreUnavailable(
            path, f"is on a network file system ({kind}) that gives no lock within {PROBE_S:g} s.", _REMEDY
        ) from None
    if probe.returncode:
        reason = said[-1] if said else f"exit {probe.returncode}"
        raise StoreUnavailable(
            path, f"is on a network file system ({kind}) that cannot lock files ({reason}).", _REMEDY
        )
    _probed.add(folder)
    _logger.warning(
        "durable_nb: %s is on a network file system (%s). It works without SQLite's write-ahead log there, which is slower, "
        "and only as well as the locks of that file system. %s",
        path, kind, _REMEDY,
    )  # fmt: skip
