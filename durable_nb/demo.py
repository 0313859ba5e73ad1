"""``durable-nb demo``: a real kernel embeds real documents, is killed with SIGKILL, and a new one finishes the cell.

Nothing is fetched while it runs: the documents are the docstrings of the Python library and of the installed packages,
the model's weights ship in the wordllama wheel.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from subprocess import DEVNULL
from typing import TYPE_CHECKING, Any, NamedTuple

from durable_nb import clock
from durable_nb.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable_nb.records import Run

RUN = "embed-docs"
KILL_AT = 0.4
"""Share of the documents that are durable when the kernel is killed."""

CELLS = (
    """\
%load_ext durable_nb
import os, re, sysconfig
from pathlib import Path
from subprocess import DEVNULL

import numpy as np
import wordllama
from durable_nb import step""",
    '''\
def documentation(limit):
    """One document a module: its docstrings, of the Python library and of every installed package."""
    found = []
    for folder in (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        for path in sorted(Path(folder).rglob("*.py")):
            texts = re.findall(r'"""(.+?)"""', path.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
            text = "\\n".join(texts)
            if len(text) > 300:
                found.append({"id": str(path.relative_to(folder)), "text": text})
            if len(found) == limit:
                return found
    return found

docs = documentation(%(documents)d)
f"{len(docs):,} documents, {sum(len(doc['text']) for doc in docs) / 1e6:.1f} million characters"''',
    """\
model = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
executed = os.open("executed.log", os.O_CREAT | os.O_APPEND | os.O_WRONLY)

@step
def embed(doc):
    os.write(executed, f"{doc['id']}\\n".encode())  # only so that the demo can count what was computed twice
    text = doc["text"]
    return model.embed([text[start : start + 1000] for start in range(0, len(text), 1000)]).mean(axis=0)""",
    f"""\
%%durable {RUN}
vectors = embed.map(docs, workers=4)
vectors.to_numpy().shape""",
)
"""The cells of the demo notebook; the same in every kernel."""

_KEEP_VECTORS = "np.save('vectors.npy', vectors.to_numpy()); len(docs)"


class Outcome(NamedTuple):
    """What the demo found; every field is measured."""

    documents: int
    durable_at_kill: int
    """Committed when the first kernel was dead."""
    restored: int
    """Of those, how many the second kernel did not compute again."""
    recomputed: int
    """Documents whose function ran twice: in flight at the kill."""
    lost: int
    """Durable at the kill, and not restored."""
    wrong: int
    """Vectors that differ in any bit from those of an uninterrupted run."""
    seconds: float


def run(*, documents: int = 2000, keep: bool = False, say: Callable[[str], None]) -> Outcome:
    """Kill a kernel at 40 % of ``documents``, finish in another one, compare with an uninterrupted run.

    Parameters
    ----------
    documents : int
        How many; at least 100, so that there is something to kill in the middle of.
    keep : bool
        Leave notebook and database in a folder, which is told, to be opened in JupyterLab.
    say : callable
        Is given one line of progress at a time.

    Raises
    ------
    ConfigError
        When wordllama is not installed, or there are too few documents.
    """
    _check(documents)
    began = clock.monotonic()
    folder = Path("durable-nb-demo").absolute() if keep else Path(tempfile.mkdtemp(prefix="durable-nb-demo-"))
    if keep and folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(exist_ok=True)
    cells = [cell % {"documents": documents} if "%(documents)d" in cell else cell for cell in CELLS]
    try:
        at_kill = _killed_run(cells, folder, say)
        say(f"first kernel killed with {at_kill.done:,} documents durable; starting a second one, same cells")
        resumed = _whole_run(cells, folder, say)
        say("comparing every vector with an uninterrupted run in a third kernel")
        (folder / "uninterrupted").mkdir()
        _whole_run(cells, folder / "uninterrupted", say)
        outcome = _compared(folder, at_kill, resumed, clock.monotonic() - began)
        if keep:
            _write_notebook(cells, folder / "demo.ipynb")
            say(f"kept: open {folder / 'demo.ipynb'} in JupyterLab; the database is in .durable_nb beside it")
        return outcome
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def table(outcome: Outcome) -> str:
    """The outcome as a small text table."""
    rows = [
        ("documents", f"{outcome.documents:,}"),
        ("durable when the kernel was killed", f"{outcome.durable_at_kill:,}"),
        ("restored by the second kernel", f"{outcome.restored:,}"),
        ("computed again (in flight at the kill)", f"{outcome.recomputed:,}"),
        ("lost", f"{outcome.lost:,}"),
        ("wrong (compared bit by bit)", f"{outcome.wrong:,}"),
        ("seconds, three kernels and all", f"{outcome.seconds:.1f}"),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"  {name:<{width}}  {value:>8}" for name, value in rows)


def _check(documents: int) -> None:
    from importlib.util import find_spec

    missing = [name for name in ("wordllama", "nbformat", "jupyter_client") if find_spec(name) is None]
    if missing:
        raise ConfigError(f"the demo needs {', '.join(missing)}.", "Install it with: pip install 'durable-nb[demo]'")
    if documents < 100:
        raise ConfigError(f"--documents {documents} is too few to be killed in the middle.", "Give 100 or more.")


def _killed_run(cells: list[str], folder: Path, say: Callable[[str], None]) -> Run:
    """Start the cells in a kernel, kill it when enough is durable, and say what was durable then."""
    with _Kernel(folder) as kernel:
        for cell in cells[:-1]:
            kernel.execute(cell)
        wanted = int(kernel.execute("len(docs)"))
        kernel.start(cells[-1])
        watch = _Watch(folder)
        goal = int(KILL_AT * wanted)
        while (run := watch.look()) is None or run.done < goal:
            kernel.check()
            if run is not None:
                say(f"\rfirst kernel: {run.done:,} of {wanted:,} documents durable, to be killed at {goal:,}")
            clock.sleep(0.005)
        kernel.kill()
        at_kill = watch.look()
        watch.close()
        assert at_kill is not None
        return at_kill


def _whole_run(cells: list[str], folder: Path, say: Callable[[str], None]) -> Run:
    with _Kernel(folder) as kernel:
        for cell in cells[:-1]:
            kernel.execute(cell)
        kernel.start(cells[-1])
        watch = _Watch(folder)
        while not kernel.finished():
            run = watch.look()
            if run is not None and run.total:
                say(f"\r  {run.done:,} of {run.total:,} documents, {run.restored:,} of them restored")
            clock.sleep(0.05)
        kernel.execute(_KEEP_VECTORS)
        run = watch.look()
        watch.close()
        assert run is not None
        return run


def _compared(folder: Path, at_kill: Run, resumed: Run, seconds: float) -> Outcome:
    import numpy as np

    resumed_vectors = np.load(folder / "vectors.npy")
    true_vectors = np.load(folder / "uninterrupted" / "vectors.npy")
    executed = (folder / "executed.log").read_text().splitlines()
    same_shape = resumed_vectors.shape == true_vectors.shape
    # Compared as bytes: a NaN must equal itself here, and -0.0 must not equal 0.0.
    bits = [array.view(f"u{array.dtype.itemsize}") for array in (resumed_vectors, true_vectors)]
    wrong = int((bits[0] != bits[1]).any(axis=1).sum()) if same_shape else len(true_vectors)
    return Outcome(
        documents=len(true_vectors),
        durable_at_kill=at_kill.done,
        restored=resumed.restored,
        recomputed=len(executed) - len(set(executed)),
        lost=max(0, at_kill.done - resumed.restored),
        wrong=wrong,
        seconds=round(seconds, 1),
    )


def _write_notebook(cells: list[str], path: Path) -> None:
    from nbformat import v4, write

    write(v4.new_notebook(cells=[v4.new_code_cell(cell) for cell in cells]), path)  # type: ignore[no-untyped-call]


class _Watch:
    """Reads the store of the kernel from outside, as ``durable-nb show`` does."""

    def __init__(self, folder: Path) -> None:
        self._url = f"sqlite:///{folder / '.durable_nb' / 'durable.db'}"
        self._path = folder / ".durable_nb" / "durable.db"
        self._store: Any = None

    def look(self) -> Run | None:
        from durable_nb.store import Store

        if self._store is None:
            if not self._path.exists():
                return None
            self._store = Store.open(self._url)
        return self._store.run(RUN)  # type: ignore[no-any-return]

    def close(self) -> None:
        if self._store is not None:
            self._store.close()


class _Kernel:
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

    def __enter__(self) -> _Kernel:
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


def as_json(outcome: Outcome) -> str:
    """One object with the fields of ``Outcome``."""
    return json.dumps(outcome._asdict())
