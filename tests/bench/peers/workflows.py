"""DBOS Transact on SQLite, which it takes when it is given no other database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench.peers.contract import Compute, Peer, Work


@contextmanager
def _launched(folder: Path, register: Callable[[Any], Callable[[list[str]], list[Any]]]) -> Iterator[Compute]:
    """A launched DBOS and the workflow in it, one id for the same items, so that it is found again."""
    from dbos import DBOS, SetWorkflowID

    url = f"sqlite:///{folder / 'dbos.sqlite'}"
    DBOS(config={"name": "bench", "system_database_url": url, "log_level": "ERROR"})
    workflow = register(DBOS)
    DBOS.launch()

    def compute(items: list[str]) -> list[Any]:
        with SetWorkflowID(f"embed-{len(items)}"):
            return DBOS.start_workflow(workflow, items).get_result()

    try:
        yield compute
    finally:
        DBOS.destroy()


def steps(folder: Path, work: Work) -> Any:
    """A workflow that calls a step for each item."""

    def register(DBOS: Any) -> Callable[[list[str]], list[Any]]:
        step = DBOS.step()(work)

        @DBOS.workflow()
        def embed_all(items: list[str]) -> list[Any]:
            return [step(item) for item in items]

        return embed_all

    return _launched(folder, register)


def queue(folder: Path, work: Work) -> Any:
    """A workflow that enqueues each item and waits for all, the example of its tutorial; no limit, its default.

    The queued workflow computes by itself: a step in it would be saved besides. With ``worker_concurrency=8`` the queue
    starts eight for each poll, once a second.
    """

    def register(DBOS: Any) -> Callable[[list[str]], list[Any]]:
        @DBOS.workflow()
        def embed_one(item: str) -> Any:
            return work(item)

        @DBOS.workflow()
        def embed_all(items: list[str]) -> list[Any]:
            handles = [DBOS.enqueue_workflow("bench", embed_one, item) for item in items]
            return [handle.get_result() for handle in handles]

        return embed_all

    @contextmanager
    def opened() -> Iterator[Compute]:
        with _launched(folder, register) as compute:
            from dbos import DBOS

            DBOS.register_queue("bench")
            yield compute

    return opened()


_MODULES = ("dbos", "sqlalchemy.dialects.sqlite")
STEPS = Peer("DBOS steps", steps, "each call", _MODULES, "dbos")
WORKFLOWS = (STEPS, Peer("DBOS queue", queue, "each call", _MODULES, "dbos"))
