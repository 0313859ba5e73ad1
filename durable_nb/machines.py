"""The machine that this runs on, and its processes: what tells a killed kernel from one that is merely slow."""

from __future__ import annotations

import os
import platform

LEASE_S = 30.0
"""Who has been silent for longer holds nothing, if nobody can see whether it lives."""


def machine() -> str:
    """Boot id and pid namespace; '' where a pid of another process cannot be checked."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return f"{file.read().strip()}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        pass
    try:
        import psutil
    except ImportError:
        return ""
    return f"{platform.node()}/{psutil.boot_time():.0f}"


def born(pid: int) -> str | None:
    """Start time of a process; None when it is gone or a zombie, '?' when it exists and may not be looked at."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()  # the command in front may contain blanks and brackets
        return None if fields[0] in b"ZX" else fields[19].decode()
    except (FileNotFoundError, ProcessLookupError):
        return _hidden(pid) if os.path.exists("/proc/self/stat") else _born_by_psutil(pid)
    except PermissionError:
        return "?"


def goes_on(where: str, pid: int, start: str, *, is_leased: bool) -> bool:
    """Whether a process that was noted by its machine, pid and start time may still run; where that cannot be looked at, as
    its lease says.
    """
    if not where or where != machine():
        return is_leased
    found = born(pid)
    return is_leased if found == "?" else bool(start) and found == start


def _hidden(pid: int) -> str | None:
    try:
        os.kill(pid, 0)  # /proc mounted with hidepid shows other users' processes to nobody
    except PermissionError:
        return "?"
    except OSError:
        return None
    return None


def _born_by_psutil(pid: int) -> str | None:
    try:
        import psutil
    except ImportError:
        return "?"
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.NoSuchProcess:
        return None
    except psutil.Error:
        return "?"
