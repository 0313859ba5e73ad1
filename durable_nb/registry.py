"""Which databases the kernels of this user keep runs in, so that a Jupyter server finds them without a kernel.

One line of JSON for each database and notebook, appended in the user's state folder when a run begins. It holds no
password: for a database on a server only its id and its address without one.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import NamedTuple

_KEPT_LINES = 500


class Known(NamedTuple):
    """A database that a notebook of this user has used."""

    store: str
    """Its id, as ``Store.id``."""
    where: str
    """Path of an SQLite file, else the address without password."""
    notebook: str
    """Path of the notebook, '' where nobody tells."""


def known() -> list[Known]:
    """What was noted, oldest first; lines that cannot be read are left out."""
    try:
        lines = _file().read_text(encoding="utf-8", errors="replace").splitlines()
    except (OSError, RuntimeError):
        return []
    return [entry for line in lines if (entry := _parsed(line)) is not None]


def remember(entry: Known) -> None:
    """Note a database; without a writable home nothing is noted, and a server finds only what lies beside notebooks."""
    try:
        before = known()
        if entry in before:
            return
        path = _file()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if len(before) >= 2 * _KEPT_LINES:
            _rewrite(path, before[-_KEPT_LINES:])
        handle = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)  # short appends of two kernels do not mix
        try:
            os.write(handle, _line(entry))
        finally:
            os.close(handle)
    except (OSError, RuntimeError):
        return


def state_folder() -> Path:
    """Where what belongs to this user and not to a project is noted; RuntimeError without a home."""
    if sys.platform == "win32":
        state = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    else:
        state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "durable_nb"


def _rewrite(path: Path, entries: list[Known]) -> None:
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.write_bytes(b"".join(map(_line, entries)))
    fresh.chmod(0o600)
    fresh.replace(path)


def _line(entry: Known) -> bytes:
    return f"{json.dumps(list(entry))}\n".encode()


def _parsed(line: str) -> Known | None:
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    is_entry = isinstance(fields, list) and len(fields) == 3 and all(isinstance(field, str) for field in fields)
    return Known(*fields) if is_entry else None


def _file() -> Path:
    return state_folder() / "stores"
