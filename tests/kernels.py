"""A real kernel for tests: run cells, kill it, start another one."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from pathlib import Path
from queue import Empty
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from jupyter_client.manager import KernelManager

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


class Reply:
    """What a cell printed, showed and raised."""

    def __init__(self) -> None:
        self.stdout = ""
        self.stderr = ""
        self.result = ""
        self.error = ""
        self.traceback = ""
        self.displays: list[dict[str, Any]] = []
        self.status = ""

    @property
    def text(self) -> str:
        """Everything readable, for a failure message."""
        return "\n".join(filter(None, (self.stdout, self.stderr, self.result, self.traceback)))


class Kernel:
    """One ipykernel process. ``run`` waits for a cell, ``start`` and ``finish`` do it in two steps."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        # Not over TCP: the port is chosen here and bound by the kernel later, and in between another test's kernel may take it.
        self._sockets = TemporaryDirectory(prefix="kernel-")
        self._manager = KernelManager(transport="ipc", ip=f"{self._sockets.name}/socket")
        self._manager.kernel_spec.argv[0] = sys.executable
        env = {name: value for name, value in os.environ.items() if not name.startswith("DURABLE_NB_")}
        env |= {"PYTHONPATH": str(ROOT), "IPYTHONDIR": str(folder / ".ipython")} | environment
        self._manager.start_kernel(cwd=str(folder), env=env)
        self._client = self._manager.blocking_client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=120)

    @property
    def pid(self) -> int:
        """Of the kernel process."""
        return int(self._manager.provisioner.process.pid)  # type: ignore[union-attr]

    def run(self, code: str, *, timeout: float = 60.0) -> Reply:
        """Run a cell to its end; an error in it does not raise here."""
        return self.finish(self.start(code), timeout=timeout)

    def ok(self, code: str, *, timeout: float = 60.0) -> Reply:
        """Run a cell that must not fail."""
        reply = self.run(code, timeout=timeout)

        assert reply.status == "ok", reply.text
        return reply

    def start(self, code: str) -> str:
        """Send a cell; its message id."""
        return self._client.execute(code)

    def finish(self, message_id: str, *, timeout: float = 60.0) -> Reply:
        """Collect what the cell says until the kernel is idle again."""
        reply, deadline = Reply(), time.monotonic() + timeout
        while time.monotonic() < deadline:
            try:
                message = self._client.get_iopub_msg(timeout=0.2)
            except Empty:
                assert self.alive, f"the kernel died; so far: {reply.text}"
                continue
            if message["parent_header"].get("msg_id") == message_id and _add(reply, message):
                said = self._reply_to(message_id, deadline)["content"]
                reply.status = said["status"]
                if reply.status == "error":  # IPython prints those it cannot draw, in place of a message
                    reply.error = f"{said['ename']}: {said['evalue']}"
                return reply
        raise AssertionError(f"no end after {timeout} s; so far: {reply.text}")

    def interrupt(self) -> None:
        """The ■ button."""
        self._manager.interrupt_kernel()

    def kill(self) -> None:
        """SIGKILL, and wait until the process is gone."""
        os.kill(self.pid, signal.SIGKILL)
        wait_until(lambda: not self.alive, describing="the kernel is dead")
        self._client.stop_channels()
        self._manager.cleanup_resources()
        self._sockets.cleanup()

    def restart(self) -> None:
        """The restart button: an interrupt, a request, SIGTERM, SIGKILL; a new process under the same connection."""
        self._manager.restart_kernel(now=False)
        self._client.wait_for_ready(timeout=120)

    @property
    def alive(self) -> bool:
        """Whether the process lives."""
        return bool(self._manager.is_alive())

    def close(self) -> None:
        """Shut down at once."""
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)
        self._sockets.cleanup()

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _reply_to(self, message_id: str, deadline: float) -> dict[str, Any]:
        while True:
            reply = self._client.get_shell_msg(timeout=max(0.1, deadline - time.monotonic()))
            if reply["parent_header"].get("msg_id") == message_id:
                return reply


def wait_until(condition: Callable[[], bool], *, describing: str, timeout: float = 60.0) -> None:
    """Return as soon as ``condition()``; fail with its description after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout} s: {describing}"
        time.sleep(0.002)


def lines(path: Path) -> list[str]:
    """Lines of a log that processes append to; [] while there is none."""
    return path.read_text().splitlines() if path.exists() else []


def _add(reply: Reply, message: dict[str, Any]) -> bool:
    """Note one message; True when the cell has ended."""
    kind, content = message["msg_type"], message["content"]
    if kind == "stream":
        setattr(reply, content["name"], getattr(reply, content["name"]) + content["text"])
    elif kind == "execute_result":
        reply.result = content["data"].get("text/plain", "")
    elif kind in ("display_data", "update_display_data"):
        reply.displays.append(content)
    elif kind == "error":
        reply.error = f"{content['ename']}: {content['evalue']}"
        reply.traceback = _ANSI.sub("", "\n".join(content["traceback"]))
    return bool(kind == "status" and content["execution_state"] == "idle")
