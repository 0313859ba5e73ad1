"""Real faults for tests: a run in a process of its own, and what can be done to it and to its database."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tests.kernels import ROOT, lines, wait_until

WORK = """
import json, os, sys, threading, time
from durable_nb import configure, step
from durable_nb.engine.session import current as session

options = json.loads(sys.argv[1])
configure(url=options["url"])
seconds = options["seconds"]
log = os.open("executed.log", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
waits, started = [], time.monotonic()

def watch(live):
    while not live.over:
        waiting = live.progress.snapshot().waiting_for
        if waiting != (waits[-1] if waits else ""):
            waits.append(waiting)
            with open("waits.log", "a") as file:
                file.write(waiting + "\\n")
        time.sleep(0.005)

session.observers.append(lambda live: threading.Thread(target=watch, args=(live,), daemon=True).start())

@step
def square(number):
    os.write(log, b"%d\\n" % number)
    time.sleep(seconds)
    return number * number

{prelude}
error, right = "", False
try:
    found = square.map(range(options["documents"]), workers=options["workers"], shared=options["shared"])
    right = list(found) == [number * number for number in range(options["documents"])]
except BaseException as problem:
    error = f"{{type(problem).__name__}}: {{problem}}"
print(json.dumps({{"right": right, "error": error, "waits": waits}}), flush=True)
"""


class Work:
    """A process that squares numbers in the run "square": 6 ms each, so each is committed before its call returns."""

    def __init__(
        self,
        folder: Path,
        url: str,
        *,
        documents: int = 200,
        workers: int = 4,
        seconds: float = 0.006,
        shared: bool = False,
        prelude: str = "",
        before: tuple[str, ...] = (),
        **process: Any,
    ) -> None:
        self.folder, self.url, self.documents, self.workers = folder, url, documents, workers
        options = {"url": url, "documents": documents, "workers": workers, "seconds": seconds, "shared": shared}
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        command = [*before, sys.executable, "-c", WORK.format(prelude=prelude), json.dumps(options)]
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **process
        )

    @property
    def executed(self) -> list[str]:
        """Documents whose function was called, over all processes of this folder."""
        return lines(self.folder / "executed.log")

    @property
    def waits(self) -> list[str]:
        """What the run said that it waits for, also before this process; '' whenever it went on."""
        return lines(self.folder / "waits.log")

    def at(self, executions: int) -> Work:
        """Return once so many calls have been made."""

        def enough() -> bool:
            assert self.process.poll() is None or len(self.executed) >= executions, self.process.communicate()
            return len(self.executed) >= executions

        wait_until(enough, describing=f"{executions} executions")
        return self

    def send(self, number: signal.Signals) -> None:
        """A signal."""
        self.process.send_signal(number)

    def kill(self) -> Work:
        """SIGKILL, and wait for the end."""
        self.send(signal.SIGKILL)
        self.process.communicate()
        return self

    def end(self, *, timeout: float = 120) -> dict[str, Any]:
        """What it said at its end: right, error, waits."""
        out, err = self.process.communicate(timeout=timeout)

        assert out, f"no answer, exit {self.process.returncode}: {err[-2000:]}"
        return dict(json.loads(out.splitlines()[-1]))


def stored(url: str) -> list[str]:
    """Labels of the results in the database, in order, read without durable_nb."""
    schema = "durable_nb." if url.startswith("postgresql") else ""
    return [label for (label,) in ask(url, f"SELECT label FROM {schema}checkpoints WHERE state = 'done' ORDER BY id")]


def ask(url: str, statement: str) -> list[Any]:
    """Rows of one statement, or [] if it has none; committed."""
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool)
    with engine.connect() as conn:
        found = conn.exec_driver_sql(statement)
        return list(found) if found.returns_rows else []


class Wire:
    """A TCP connection to a server that can be cut: between COMMIT and its answer, or altogether."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = self._door.getsockname()[1]
        self.cuts, self._wanted = 0, 0
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_commits(self, count: int) -> None:
        """The next ``count`` commits reach the server, and their answers reach nobody."""
        self._wanted = count

    def close(self) -> None:
        """Cut everything."""
        self._door.close()
        for pair in self._pairs:
            for end in pair:
                end.close()

    def _accept(self) -> None:
        while True:
            try:
                client = self._door.accept()[0]
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._to))
            self._pairs.append((client, server))
            threading.Thread(target=self._up, args=(client, server), daemon=True).start()
            threading.Thread(target=self._down, args=(client, server), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        try:
            while data := client.recv(1 << 16):
                if b"COMMIT\0" in data and self._wanted:  # not BEGIN ISOLATION LEVEL READ COMMITTED
                    self._wanted -= 1
                    self.cuts += 1
                    client.shutdown(socket.SHUT_RDWR)  # first: so no answer slips through
                    server.sendall(data)
                    return
                server.sendall(data)
        except OSError:
            pass

    def _down(self, client: socket.socket, server: socket.socket) -> None:
        try:
            while data := server.recv(1 << 16):
                client.sendall(data)
        except OSError:
            pass
