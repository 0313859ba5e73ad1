"""How a durable cell ends: done, failed, interrupted, or with results that could not be saved."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.kernels import wait_until
from tests.notebook.cells import LIVE, LOAD, STEPS, executed, stored

if TYPE_CHECKING:
    from tests.kernels import Kernel, Reply
    from tests.notebook.cells import Start


def interrupted_at(one: Kernel, code: str, among: str, count: int) -> Reply:
    """Press ■ once so many documents were begun; what the cell said, which must end within 2 s."""
    message = one.start(code)
    wait_until(lambda: len(executed(one, among)) >= count, describing=f"{count} documents were begun")
    one.interrupt()
    return one.finish(message, timeout=2.5)


def test_an_error_stops_run_all(notebook: Kernel) -> None:
    """A durable cell that fails answers with an error, and its run is failed; what was finished is kept."""
    plain = notebook.run("%%durable ends\nembed('ends 1')\nembed('bad')")
    mapped = notebook.run("%%durable ends-map\nembed.map(['ends 2', 'bad', 'ends 3'])")

    assert ("error", "ValueError: bad page") == (plain.status, plain.error)
    assert ("failed", 1, 0, 1) == stored(notebook.folder, "ends")
    assert "error" == mapped.status
    assert mapped.error.startswith("StepFailed: embed failed on bad")
    assert ("failed", 2, 0, 1) == stored(notebook.folder, "ends-map")


@pytest.mark.parametrize("body", ["", "await asyncio.sleep(0)\n"], ids=["sync", "async"])
def test_a_save_that_fails_at_the_end_is_an_error_of_the_cell(kernel: Start, body: str) -> None:
    """Results that could not be committed when the cell ended fail the cell: Run All does not go on without them."""
    one = kernel()
    one.ok(LOAD + STEPS)
    one.ok("%%durable sound\nembed('a')")
    spoil = (
        "import sqlite3\nwith sqlite3.connect('.durable_nb/durable.db') as connection:\n"
        "    connection.execute('DROP TABLE checkpoints')\n"
    )

    reply = one.run(f"%%durable broken\n{body}{spoil}embed('b')\n'shown'")

    assert "error" == reply.status
    assert "StoreUnavailable" in reply.error
    assert "Error in callback" not in reply.text
    assert "[]" == one.ok(LIVE).result


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("stop-loop", "for doc in {docs}: slow(doc)"),
        ("stop-map", "slow.map({docs}, workers=2)"),
        ("stop-amap", "await aslow.amap({docs}, workers=2)"),
        ("stop-amap-of-sync", "await slow.amap({docs}, workers=2)"),
        ("stop-await", "for doc in {docs}: await aslow(doc)"),
        ("stop-sync-in-async", "await asyncio.sleep(0)\nfor doc in {docs}: slow(doc)"),
        (
            "stop-idle-loop",  # at the second line of the log nothing happens on the loop any more
            """await aslow("stop-idle-loop 1")
asyncio.get_running_loop().call_later(0.2, executed, "stop-idle-loop 2")
await asyncio.sleep(60)""",
        ),
        (
            "stop-pool",
            """from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(2) as pool:
    futures = [pool.submit(slow, doc) for doc in {docs}]
    [future.result() for future in futures]""",
        ),
    ],
)
def test_stop_ends_every_kind_of_cell(notebook: Kernel, name: str, body: str) -> None:
    """■ ends a durable cell within two seconds whatever it waits for; its run is interrupted and keeps what is finished."""
    docs = f"[f'{name} {{n}}' for n in range(200)]"
    reply = interrupted_at(notebook, f"%%durable {name}\n{body.format(docs=docs)}", name, 2 if "idle" in name else 6)
    stored_at_the_end = stored(notebook.folder, name)

    assert "error" == reply.status
    assert reply.error.startswith(("KeyboardInterrupt", "CancelledError", "RunStopped")), reply.error
    assert stored_at_the_end is not None
    assert "interrupted" == stored_at_the_end[0]
    assert len(executed(notebook, name)) - 2 <= stored_at_the_end[1]
    assert len(executed(notebook, name)) < 100


def test_the_interrupt_handler_is_put_back(notebook: Kernel) -> None:
    """When a durable cell ends, SIGINT is handled as it was when it began, and differently only meanwhile."""
    ask = "__import__('signal').getsignal(2)"
    inner = f"%%durable signals\nmeanwhile = {ask}\nembed('signals')"
    reply = notebook.ok(f"before = {ask}\nget_ipython().run_cell({inner!r})\nbefore is {ask}, before is meanwhile")

    assert "(True, False)" == reply.result
