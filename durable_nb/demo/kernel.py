"""A real kernel in a process of its own, and its store seen from outside."""

from __future__ import annotations

import os
import signal
import sys
from subprocess import DEVNULL
from typing import TYPE_CHECKING, Any

from durable_nb import clock, config
from durable_nb.demo.cells import RUN
from durable_nb.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from durable_nb.records import Run


class Watch:
    """Reads the store of the kernel from outside, as ``durable-nb show`` does."""

    def __init__(self, folder: Path) -> None:
        self._url = config.database_url("", folder=folder)
        self._path = folder / ".durable_nb" / "durable.db"
        self._store: Any = None

    def look(self) -> Run | None:
        """The run as it is stored now; None before there is one."""
        from durable_nb.store import Store

        if self._store is None:
            if not self._path.exists():
                return None
            self._store = Store.open(self._url)
        return self._store.run(RUN)  # type: ignore[no-any-return]

    def close(self) -> None:
        """Let go of the database."""
        if self._store is not None:
            self._store.close()


class Kernel:
    """One real kernel, in a process of its own."""

    def __init__(self, folder: Path) -> None:
        from jupyter_client.manager import KernelManager

        # Not the kernelspec named python3: it may belong to another environment than the one this runs in.
        self._manager = KernelManager()
        assert self._manager.kernel_spec is not None
        self._manager.kernel_spec.argv[0] = sys.executable
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DURABLE_NB_")}
        self._manager.start_kernel(cwd=str(folder), env=environment, stdout=DEVNULL, stderr=DEVNULL)
        self._client = self._manager.blocking_client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=120)
        self._running = ""

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)

    def execute(self, code: str) -> str:
        """Run a cell to its end; the text of its last expression."""
        shown: list[str] = []

        def hook(message: dict[str, Any]) -> None:
            if message["msg_type"] == "execute_result":
                shown.append(message["content"]["data"]["text/plain"])

        reply = self._client.execute_interactive(code, output_hook=hook, timeout=600)
        self._raise_for(reply)
        return shown[-1] if shown else ""

    def start(self, code: str) -> None:
        """Send a cell without waiting for it."""
        self._running = self._client.execute(code)

    def finished(self) -> bool:
        """Whether the cell given to ``start`` has ended; raises if it ended with an error or the kernel is gone."""
        from queue import Empty

        try:
            reply = self._client.get_shell_msg(timeout=0.01)
        except Empty:
            if not self._manager.is_alive():
                raise RuntimeError("the kernel of the demo died by itself") from None
            return False
        self._raise_for(reply)
        return bool(reply["parent_header"].get("msg_id") == self._running)

    def check(self) -> None:
        """Raise if the cell ended before it could be killed."""
        if self.finished():
            raise ConfigError("all documents were done before the kernel could be killed.", "Give more --documents.")

    def kill(self) -> None:
        """SIGKILL: no handler, no atexit, no goodbye."""
        self._manager.signal_kernel(signal.SIGKILL)
        while self._manager.is_alive():
            clock.sleep(0.005)

    def _raise_for(self, reply: dict[str, Any]) -> None:
        content = reply["content"]
        if content["status"] != "ok":
            raise RuntimeError(f"a cell of the demo failed: {content.get('ename')}: {content.get('evalue')}")
