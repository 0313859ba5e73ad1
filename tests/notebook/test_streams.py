"""``async for … in step.stream(…)`` in a durable cell of a real kernel, that dies or is told to stop in the middle."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.kernels import lines, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.kernels import Kernel

DOCUMENTS, WORKERS = 120, 4
STEP = """
from durable_nb import step
@step
async def fetch(number):
    await asyncio.sleep(0.05)
    with open("calls.log", "a") as log:
        log.write(f"{number}\\n")
    return number * number
"""
FUNCTION = STEP.replace("async def", "def").replace("await asyncio.sleep", "time.sleep")
CELL = f"""%%durable crawl
found = {{}}
async for number, square in fetch.stream(range({DOCUMENTS}), workers={WORKERS}):
    found[number] = square
len(found), all(square == number * number for number, square in found.items())"""


@pytest.mark.parametrize("written", [STEP, FUNCTION], ids=["async def", "def"])
@pytest.mark.parametrize("is_killed", [True, False], ids=["killed", "interrupted"])
def test_a_loop_that_awaits_a_stream_goes_on_where_it_was(
    kernel: Callable[..., Kernel], written: str, is_killed: bool
) -> None:
    """SIGKILL costs what was in flight, ■ gives control back within two seconds; the cell, run again, computes the rest."""
    one = kernel()
    log = one.folder / "calls.log"
    for cell in ("%load_ext durable_nb\nimport asyncio, time", written):
        one.ok(cell)
    begun = one.start(CELL)
    wait_until(lambda: len(lines(log)) >= DOCUMENTS * 2 // 5, describing="enough is computed")
    if is_killed:
        one.kill()
        one = kernel()
        for cell in ("%load_ext durable_nb\nimport asyncio, time", written):
            one.ok(cell)
    else:
        pressed = time.monotonic()
        one.interrupt()
        reply = one.finish(begun)

        assert time.monotonic() - pressed < 4  # two, and what a busy machine takes
        assert "error" == reply.status

    assert f"({DOCUMENTS}, True)" == one.ok(CELL).result

    assert set(map(str, range(DOCUMENTS))) == set(lines(log))
    assert len(lines(log)) <= DOCUMENTS + 4 * WORKERS
