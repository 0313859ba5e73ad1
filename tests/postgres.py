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

_UNTIL_CLOSED = 'folder=$1; shift; "$@" & server=$!; read _; kill -QUIT $server; wait $server; rm -rf "$folder"/*'
"""Shell: run the server in the background until standard input ends, then stop it at once."""


class NoPostgres(Exception):
    """No server to test with; the text says how to get one."""


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
    binaries = _binaries()
    folder = Path(tempfile.mkdtemp(prefix="durable-nb-pg-"))
    account = _unprivileged(folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def run(program: str, *arguments: str) -> None:
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run([binaries / program, *arguments], check=True, cwd=folder, timeout=60, **quiet, **account)

    data = str(folder / "data")
    run("initdb", "-D", data, "-U", "postgres", "--auth=trust", "-E", "UTF8", "--no-locale", "--no-sync")
    options = {"fsync": "off", "full_page_writes": "off", "logging_collector": "off"}
    settings = [text for name, value in options.items() for text in ("-c", f"{name}={value}")]
    server = [str(binaries / "postgres"), "-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", str(folder), *settings]
    # Its own session, and an open pipe: a killed pytest closes the pipe, and no server stays behind.
    guard = subprocess.Popen(
        ["sh", "-c", _UNTIL_CLOSED, "sh", str(folder), *server],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        cwd=folder, start_new_session=True, **account,
    )  # fmt: skip
    try:
        _wait_for(binaries, port, guard)
        yield f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"
    finally:
        guard.communicate(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(binaries: Path, port: int, guard: subprocess.Popen[bytes]) -> None:
    due = time.monotonic() + 60
    while subprocess.run([binaries / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)], check=False).returncode:
        if guard.poll() is not None or time.monotonic() > due:
            raise RuntimeError("the throw-away PostgreSQL did not start")
        time.sleep(0.02)


def _binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if found:
        return found[-1].parent
    if program := shutil.which("initdb"):
        return Path(program).resolve().parent
    raise NoPostgres("no PostgreSQL server: apt-get install postgresql, or set DURABLE_NB_TEST_PG to a URL")


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
