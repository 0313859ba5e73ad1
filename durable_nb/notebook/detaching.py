"""``%%durable NAME --detach``: the cell goes on in a process of its own, which survives this kernel and its server.

It is what ``durable-nb resume NAME`` does from a shell, so it has what the capsule of the run holds, and nothing else. The
kernel waits until that process has begun to compute, or has said what it cannot do without.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from durable_nb import clock
from durable_nb.engine.session import current as session
from durable_nb.errors import ConfigError, RunStopped
from durable_nb.notebook import following
from durable_nb.records import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable_nb.engine.runs import LiveRun
    from durable_nb.store import Store

_PATIENCE_S, _LOOK_S = 120.0, 0.05  # imports of a large notebook may take a while
_LAST_LINES = 40
_children: list[subprocess.Popen[bytes]] = []  # an object that is dropped while its process lives is warned about


def detach(claim: Callable[[], LiveRun], *, make: bool) -> None:
    """Claim a run, so that its capsule is saved and its code looked at, and leave it to a process of its own.

    Raises
    ------
    ConfigError
        That process cannot do it; nothing was computed.
    """
    live = claim()
    store, name, attempts = live.store, live.name, live.record.attempts
    store.tell(live.record.id, "detached", "goes on in a process of its own")
    live.finish(RunStopped(name))
    log = log_of(store, name)
    child = _start(store, name, log, make=make)
    _children[:] = [one for one in _children if one.poll() is None] + [child]
    _wait_until_begun(store, name, attempts, child, log)
    print(
        f"Run {name!r} goes on in a process of its own (pid {child.pid}), which outlives this kernel and its server.\n"
        f"What it prints: {log}\n"
        f"%durable wait {name} waits for it and brings its names here, %durable stop {name} ends it."
    )
    run = store.run(name)
    assert run is not None, "it was claimed above"
    following.Follower(store, run, beside_a_prompt=True).start()


def log_of(store: Store, name: str) -> Path:
    """Where a detached run writes what its cell prints: beside an SQLite database, else where one would be."""
    file = Path(store.where)
    folder = file.parent if file.is_file() else session.folder / ".durable_nb"
    return folder / f"{name.replace('/', '-').replace(':', '-')}.log"


def _start(store: Store, name: str, log: Path, *, make: bool) -> subprocess.Popen[bytes]:
    # The settings of this kernel; in the environment, since everybody may read a command line, and an address a password.
    given = {f"DURABLE_NB_{key.upper()}": str(value) for key, value in session.given.items()}
    environment = {**os.environ, **given, "DURABLE_NB_URL": store.url}
    command = [sys.executable, "-m", "durable_nb.cli", "resume", name, *(["--make"] if make else [])]
    log.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(log, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    try:
        return subprocess.Popen(  # noqa: S603 - this Python, and a name that a run may bear
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=handle,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # neither the ■ nor the end of this kernel reaches it
        )
    finally:
        os.close(handle)


def _wait_until_begun(store: Store, name: str, attempts: int, child: subprocess.Popen[bytes], log: Path) -> None:
    until = clock.monotonic() + _PATIENCE_S
    while clock.monotonic() < until:
        status = child.poll()
        run = store.run(name)
        if run is not None and run.attempts > attempts and (run.state is not State.RUNNING or run.owner is not None):
            return
        if status is not None:
            said = "\n".join(log.read_text(errors="replace").splitlines()[-_LAST_LINES:])
            raise ConfigError(
                f"run {name!r} cannot go on without this kernel. Nothing was computed. The other process said:\n\n{said}\n\n",
                "Here: --background has all that this kernel has; --detach --make lets the other process execute again what "
                "made the missing names.",
            )
        try:
            clock.sleep(_LOOK_S)
        except KeyboardInterrupt:
            child.terminate()
            raise
