"""Signals at named points: around a commit, inside of a batch, a blob, a clean-up; and those that people send."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from durable_nb.store import Store
from tests.crash.faults import Work, stored
from tests.kernels import Kernel, lines, wait_until
from tests.matrix import IS_WHOLE
from tests.store.examples import Counts, begin, python, result

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_DIE = "import signal\ndef die(): os.kill(os.getpid(), signal.SIGKILL)\ncommits = [0]\n"
POINTS = {
    "before a commit": """
from durable_nb.store import writer
write = writer.upsert
def upsert(conn, rows, *rest):
    write(conn, rows, *rest)
    commits[0] += bool(rows)
    if commits[0] > 20: die()
writer.upsert = upsert
""",
    "after a commit": """
from durable_nb.store.ledgers import Watch
committed = Watch.committed
def after(self, batch):
    commits[0] += bool(batch)
    if commits[0] > 20: die()
    committed(self, batch)
Watch.committed = after
""",
    "in the middle of a batch": """
from durable_nb.store import writer
write = writer.upsert
def upsert(conn, rows, *rest):
    commits[0] += bool(rows)
    if commits[0] > 20 and len(rows) > 1:
        write(conn, rows[:len(rows) // 2], *rest)
        die()
    write(conn, rows, *rest)
writer.upsert = upsert
""",
    "between a blob and its row": """
from durable_nb.store import rows, tables
rows.BLOB_BYTES = tables.BLOB_BYTES = 1
apart = rows._with_blobs_apart
def with_blobs_apart(conn, batch):
    found = apart(conn, batch)
    commits[0] += 1
    if commits[0] > 20: die()
    return found
rows._with_blobs_apart = with_blobs_apart
""",
}


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_at_a_named_point(url: str, tmp_path: Path, point: str) -> None:
    """What was committed before is there, whole; what was in flight is made again; the store is sound."""
    if url.startswith("postgresql") and point.startswith(("in", "between")) and not IS_WHOLE:
        pytest.skip("a transaction is one there as well: DURABLE_NB_MATRIX=1 runs it")
    first = Work(tmp_path, url, documents=120, prelude=_DIE + POINTS[point])
    first.process.communicate(timeout=120)
    kept, called = stored(url), len(first.executed)
    again = Work(tmp_path, url, documents=120)
    end = again.end()
    store = Store.open(url)

    assert -signal.SIGKILL == first.process.returncode
    assert len(kept) >= called - first.workers
    assert end["right"], end
    assert not set(kept) & set(again.executed[called:])
    assert len(again.executed) <= again.documents + first.workers
    assert sorted(map(str, range(120))) == sorted(stored(url))
    assert [] == store.check()
    store.close()


@pytest.mark.parametrize("point", ["dropping", "giving space back", "between two runs of gc"])
def test_a_kill_during_a_clean_up(url: str, point: str) -> None:
    """A run is dropped or it is not, and a file is compacted or as it was; the others' results stay."""
    if point == "giving space back" and url.startswith("postgresql"):
        pytest.skip("PostgreSQL gives space back by itself")
    store = Store.open(url)
    for name in ("dropped", "kept"):  # gc begins with what was used longest ago
        run, owner, step = begin(store, name)
        store.watch(run.id, owner=owner, ledger=Counts())
        for n in range(1_000):
            store.save(result(run.id, step, n, payload=bytes(1_000) if n else bytes(2 << 20)))
        store.finish(run.id, owner=owner, state="done")
    store.close()
    die = "import signal, sys\ndef die(*_): os.kill(os.getpid(), signal.SIGKILL)\nstore = Store.open(sys.argv[1])\n"
    if point == "dropping":
        code = die + "from durable_nb.store import upkeep\nupkeep.drop_orphans = die\nstore.forget('dropped')"
    elif point == "between two runs of gc":
        code = die + "forget, store.forget = store.forget, lambda name: forget(name) if name == 'dropped' else die()\n"
        code += "store.gc(older_s=0)"
    else:
        code = die + "store.forget('dropped')\n"
        code += "with store._database._open()[0].connect() as conn:\n"
        code += "    conn.connection.driver_connection.set_progress_handler(die, 500)\n"
        code += "store._database.vacuum()"
    child = python(code, url)
    child.communicate(timeout=60)
    again = Store.open(url)

    assert -signal.SIGKILL == child.returncode
    assert [] == again.check()
    assert 1_000 == len(again.known(again.run("kept").id, [1]))
    assert (again.run("dropped") is None) == (point != "dropping")
    again.close()


@pytest.mark.parametrize("times", [1, 2])
def test_interrupts_of_a_script(url: str, tmp_path: Path, times: int) -> None:
    """Ctrl-C once: running calls end and are saved. Twice: at once. Either way the next process does the rest."""
    work = Work(tmp_path, url, documents=200).at(60)
    for _ in range(times):
        work.send(signal.SIGINT)
    end = work.end()
    called, kept = len(work.executed), set(stored(url))
    last = Work(tmp_path, url, documents=200)

    assert "KeyboardInterrupt" in end["error"]
    assert called - len(kept) <= (0 if times == 1 else work.workers)
    assert last.end()["right"]
    assert not kept & set(last.executed[called:])


def test_a_kernel_that_is_shut_down(kernel: Callable[..., Kernel], tmp_path: Path) -> None:
    """The Shutdown button in the middle of a cell (a request, then SIGTERM): it costs what was in flight."""
    cells = (
        "%load_ext durable_nb\nimport time\nfrom durable_nb import step",
        "@step\ndef square(n):\n    open('executed.log', 'a').write(f'{n}\\n')\n    time.sleep(0.01)\n    return n * n",
    )
    cell = "%%durable squares\nfound = square.map(range(300), workers=4)\nlist(found) == [n * n for n in range(300)]"
    one, log = kernel(), tmp_path / "executed.log"
    for text in cells:
        one.ok(text)
    one.start(cell)
    wait_until(lambda: len(lines(log)) >= 60, describing="60 executions")
    one._manager.shutdown_kernel(now=False)
    called, kept = len(lines(log)), set(stored(f"sqlite:///{tmp_path}/.durable_nb/durable.db"))
    two = kernel()
    for text in cells:
        two.ok(text)

    assert called - len(kept) <= 4
    assert two.ok(cell).result == "True"
    assert not kept & set(lines(log)[called:])
    assert len(lines(log)) <= 300 + 4
