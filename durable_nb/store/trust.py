"""Which stores this user vouches for: reading a pickled value runs code from the database.

A database gets a random key when it is made, and the user's state folder remembers the keys of those this user made or
trusted. A file that came with a repository or from a colleague has a key that is not there.
"""

from __future__ import annotations

import os
from pathlib import Path

from durable_nb import registry


def is_remembered(key: str) -> bool:
    """True when this user made the store with this key, or trusted it before."""
    try:
        return key in _file().read_text(encoding="ascii", errors="replace").split()
    except (OSError, RuntimeError):
        return False


def remember(key: str) -> None:
    """Trust the store with this key from now on; without a writable home only this process does."""
    if is_remembered(key):
        return
    try:
        path = _file()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)  # short appends of two kernels do not mix
        try:
            os.write(handle, f"{key}\n".encode())
        finally:
            os.close(handle)
    except (OSError, RuntimeError):
        return


def _file() -> Path:
    return registry.state_folder() / "trusted-stores"
