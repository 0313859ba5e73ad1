"""Where a variant is tried: a folder, a site of PDFs, real kernels, and whatever else the variant needs."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from notebooks import pdf_site
from tests.bench.comparison.variants import VARIANTS, Edit, Variant, edited
from tests.kernels import Kernel, Reply, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

HANG_S = 40
"""A cell that has not ended by then hangs; the longest that works takes a quarter of it on a busy machine."""
Rows = Counter[tuple[str, str, bytes]]
"""Of a vector store: document, chunk and vector, and how often."""


class Hangs(Exception):
    """A cell did not end."""


class Place:
    """One variant in an empty folder. Documents are counted where they are fetched: at the site."""

    def __init__(self, variant: Variant, documents: int, *edits: Edit, delay_s: float = 0.05) -> None:
        self.variant, self.edits = variant, edits
        self.folder = Path(tempfile.mkdtemp(prefix=f"comparison-{variant.name}-"))
        self.site = pdf_site.Site(documents)
        self.site.delay_s = delay_s
        self.environment = {"PDF_SITE": self.site.address, "XDG_STATE_HOME": str(self.folder / "state")}
        self.processes: list[subprocess.Popen[bytes]] = []
        self._kernels: list[Kernel] = []
        self.peak_threads = 0
        self._is_over = threading.Event()
        if variant.is_temporal:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.environment["TEMPORAL_ADDRESS"] = f"127.0.0.1:{probe.getsockname()[1]}"
            self.write_files()
            self.start_server()
            self.start_worker()

    def write_files(self) -> None:
        """What the variant has beside its notebook, with the edits."""
        for name, text in self.variant.extra().items():
            path = self.folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(edited(text, self.edits))

    def start_server(self) -> None:
        """Temporal's."""
        port = self.environment["TEMPORAL_ADDRESS"].partition(":")[2]
        program = str(Path(sys.executable).with_name("temporal"))
        self._process(program, "server", "start-dev", "--headless", "--port", port, "--db-filename", "temporal.db")
        wait_until(lambda: _answers(int(port)), describing="Temporal's server answers")

    def start_worker(self) -> None:
        """Temporal's, beside the server."""
        self._process(sys.executable, "temporal/index_worker.py")

    def _process(self, *command: str) -> None:
        with (self.folder / "processes.log").open("ab") as log:
            environment = os.environ | self.environment
            self.processes.append(
                subprocess.Popen(command, cwd=self.folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
            )

    def kernel(self, *, without: str = "") -> Kernel:
        """A new kernel that has run every cell above the one that takes long, except those that define ``without``."""
        kernel = Kernel(self.folder, **self.environment)
        self._kernels.append(kernel)
        threading.Thread(target=self._count_threads, args=(kernel.pid,), daemon=True).start()
        for cell in self.variant.cells():
            if cell.id == "run":
                return kernel
            if not (without and without in cell.source):
                reply = run(kernel, edited(cell.source, self.edits))
                assert reply.status == "ok", reply.text
        raise AssertionError("no cell is named run")

    @property
    def cell(self) -> str:
        """The one that takes long."""
        return edited(next(cell.source for cell in self.variant.cells() if cell.id == "run"), self.edits)

    def edit(self, edit: Edit) -> None:
        """From now on; who has files stops the worker and starts it again."""
        self.edits = (*self.edits, edit)
        if self.variant.is_temporal:
            self.write_files()
            if len(self.processes) > 1:
                self.kill_worker()
                self.start_worker()

    def kill(self, kernel: Kernel) -> None:
        """SIGKILL of the kernel and of what else computes."""
        if self.variant.is_temporal:
            self.kill_worker()
        kernel.kill()

    def kill_worker(self) -> None:
        """SIGKILL of Temporal's worker."""
        worker = self.processes.pop(1)
        worker.kill()
        worker.wait()

    def wait_for(self, documents: int) -> None:
        """Until so many were fetched."""
        wait_until(lambda: len(self.site.asked) >= documents, describing=f"{documents} documents", timeout=HANG_S)

    def rows(self) -> Rows:
        """What is in the vector store."""
        path = self.folder / "vectors.db"
        if not path.exists():
            return Counter()
        with contextlib.closing(sqlite3.connect(path, timeout=30)) as database:
            found = database.execute("SELECT id, text, vector FROM chunks").fetchall()
        return Counter((name.rpartition("/")[2].partition("#")[0], text, vector) for name, text, vector in found)

    def close(self) -> None:
        """End everything."""
        self._is_over.set()
        for kernel in self._kernels:
            if kernel.alive:
                kernel.close()
        for process in self.processes:
            process.kill()
            process.wait()
        self.site.shutdown()
        self.site.server_close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _count_threads(self, pid: int) -> None:
        while not self._is_over.wait(0.05):
            try:
                status = Path(f"/proc/{pid}/status").read_text()
            except OSError:
                return
            self.peak_threads = max(self.peak_threads, int(status.partition("Threads:")[2].split()[0]))


@contextlib.contextmanager
def place(variant: Variant, documents: int, *edits: Edit, delay_s: float = 0.05) -> Iterator[Place]:
    """A place that is tidied up afterwards."""
    made = Place(variant, documents, *edits, delay_s=delay_s)
    try:
        yield made
    finally:
        made.close()


def run(kernel: Kernel, source: str, timeout: float = HANG_S) -> Reply:
    """Run a cell to its end.

    Raises
    ------
    Hangs
        There is none.
    """
    return finished(kernel, kernel.start(source), timeout)


def finished(kernel: Kernel, message: str, timeout: float = HANG_S) -> Reply:
    """The end of a cell that was begun."""
    try:
        return kernel.finish(message, timeout=timeout)
    except AssertionError as problem:
        raise Hangs(str(problem)) from problem


def truth(documents: int, *edits: Edit) -> Rows:
    """The rows that the plain application makes of these documents, nothing happening to it."""
    space: dict[str, object] = {}
    with place(VARIANTS[0], documents, *edits, delay_s=0.0) as here:
        for cell in VARIANTS[0].cells():
            if cell.id in ("run", "answer"):
                break
            source = edited(cell.source, (*edits, ('"vectors.db"', repr(str(here.folder / "vectors.db")))))
            source = source.replace('os.environ.get("PDF_SITE", "http://127.0.0.1:8808")', repr(here.site.address))
            exec(compile(source, cell.id, "exec"), space)
        for url in here.site.urls:
            space["index_document"](url)  # type: ignore[operator]
        return here.rows()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        time.sleep(0.05)
        return False
    return True
