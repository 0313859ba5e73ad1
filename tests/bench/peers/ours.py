"""durable_nb itself."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from tests.bench.peers.contract import Compute, Peer, Work

BATCH = 1000
"""Items of a list; what ``datasets.map`` takes by default."""
CELL = """%%durable {name} --db {url}
vectors = []
for doc in docs:
    vectors.append(embed(doc))
"""


def mapped(**options: Any) -> Callable[[Path, Work], AbstractContextManager[Compute]]:
    """``step(function).map(items)``."""

    @contextmanager
    def opened(folder: Path, work: Work) -> Iterator[Compute]:
        from durable_nb import configure, step

        configure(url=str(folder / "durable.db"))
        embed = step(work)
        yield lambda items: embed.map(items, **options)
        _close()

    return opened


@contextmanager
def in_batches(folder: Path, work: Work) -> Iterator[Compute]:
    """``step(batch=1000)(function).map(items)``: the function is given lists, as that of ``datasets.map(batched=True)`` is."""
    from durable_nb import configure, step

    configure(url=str(folder / "durable.db"))

    @step(batch=BATCH)
    def embed(items: list[str]) -> list[Any]:
        return [work(item) for item in items]

    yield lambda items: embed.map(items, workers=1)
    _close()


@contextmanager
def calls(folder: Path, work: Work) -> Iterator[Compute]:
    """Plain calls of a step in a run."""
    from durable_nb import configure, run, step

    configure(url=str(folder / "durable.db"))
    embed = step(work)

    def compute(items: list[str]) -> list[Any]:
        with run("embed"):
            return [embed(item) for item in items]

    yield compute
    _close()


@contextmanager
def cell(folder: Path, work: Work) -> Iterator[Compute]:
    """An ordinary cell with an undecorated function, in IPython without the kernel around it (``cells`` has a real one)."""
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    settings = Config()
    settings.HistoryManager.enabled = False  # a database and a thread of IPython's own
    shell = InteractiveShell.instance(config=settings)
    shell.run_cell("%load_ext durable_nb").raise_error()
    shell.run_cell(f"from {work.__module__} import {work.__name__} as embed").raise_error()

    def compute(items: list[str]) -> list[Any]:
        shell.user_ns["docs"] = items
        with contextlib.redirect_stdout(io.StringIO()):
            shell.run_cell(CELL.format(name=f"embed-{len(items)}", url=folder / "durable.db")).raise_error()
        return shell.user_ns["vectors"]

    yield compute
    _close()


def _close() -> None:
    """What is left in the write-ahead log goes into the database."""
    from durable_nb.engine.session import current

    current.close()


_KEPT = "every 50 ms"  # of calls under 5 ms; a slower one is committed before it returns
# With those that it imports when they are needed: they are no part of a second run without imports.
_MODULES = (
    "durable_nb.engine.decorator",
    "durable_nb.engine.workflows",
    "durable_nb.store",
    "sqlalchemy.dialects.sqlite",
)
_IN_CELLS = ("IPython", "durable_nb.notebook.replay", "durable_nb.notebook.magics", "durable_nb.notebook.preflight")
INLINE = Peer("durable_nb `map(workers=1)`", mapped(workers=1), _KEPT, _MODULES)
BATCHED = Peer(f"durable_nb `map(workers=1)`, `batch={BATCH}`", in_batches, "each list", _MODULES)
OURS = (
    INLINE,
    BATCHED,
    Peer("durable_nb `map`, threads", mapped(), _KEPT, _MODULES),
    Peer("durable_nb calls in a run", calls, _KEPT, _MODULES),
    Peer("durable_nb `%%durable` cell", cell, _KEPT, (*_MODULES, *_IN_CELLS)),
)
