"""What is not to be in the database is not in its bytes, and nobody else may read what is."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from durable_nb import configure, run, step
from durable_nb.engine.session import current as session

SECRET = "sk-live-0123456789abcdef"


class Client:
    """Holds a key, as clients do."""

    def __init__(self) -> None:
        self.api_key = SECRET


@step
def ask(question: str, client: Client | None = None, api_key: str = "") -> int:
    """Uses what it is given, and returns none of it."""
    return len(question)


def test_values_of_arguments_are_not_stored(tmp_path: Path) -> None:
    """Beside the label, which is the beginning of the first argument, no argument is in the bytes of the files."""
    before = dict(session.given)
    try:
        configure(url=str(tmp_path / "durable.db"))
        with run("secrets"):
            for n in range(20):
                ask(f"question {n} " + "word " * 20 + "the very end", Client(), api_key=SECRET)
        found = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    finally:
        session.close()
        session.given = before

    assert b"question 7 word" in found
    assert SECRET.encode() not in found
    assert b"the very end" not in found


def test_only_the_user_may_read_the_files(tmp_path: Path) -> None:
    """The folder is 0700, the database and the files beside it 0600, whatever the umask; a folder that was there stays."""
    before, mask = dict(session.given), os.umask(0o002)
    try:
        configure(url=str(tmp_path / "project" / ".durable_nb" / "durable.db"))
        with run("modes"):
            ask("a")
            folder = tmp_path / "project" / ".durable_nb"
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    finally:
        os.umask(mask)
        session.close()
        session.given = before

    assert dict.fromkeys(("durable.db", "durable.db-wal", "durable.db-shm"), 0o600) == {
        name: mode for name, mode in modes.items() if name.startswith("durable")
    }
    assert 0o700 == stat.S_IMODE(folder.stat().st_mode)
