"""What the user does while a cell runs in the background: edits, and calls of the same steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.kernels import wait_until
from tests.notebook.cells import LOAD, executed, stored

if TYPE_CHECKING:
    from tests.kernels import Kernel
    from tests.notebook.cells import Start

WORK = """
import os, time
from concurrent.futures import ThreadPoolExecutor
from durable_nb import run

def plain(doc):
    with open("executed.log", "a") as log:
        log.write(f"bg {doc}\\n")
    while doc > 2 and not os.path.exists("go"):
        time.sleep(0.005)
    return [helper(doc), doc]

@step
def embed(doc):
    return plain(doc)
"""
OLD, NEW = "def helper(doc):\n    return 'old'", "def helper(doc):\n    return 'new'"
LOOPS = {"map": "out = list(embed.map(range(8), workers=1))", "loop": "out = [plain(doc) for doc in range(8)]"}


def at_work(kernel: Start, loop: str) -> Kernel:
    """A kernel in whose background three documents are done and the fourth waits."""
    one = kernel()
    for cell in (LOAD, WORK, OLD, f"%%durable bg --background\n{loop}"):
        one.ok(cell)
    wait_until(lambda: len(executed(one, "bg")) == 4, describing="the fourth document has begun")
    return one


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_an_edit_meanwhile_ends_the_run(kernel: Start, loop: str) -> None:
    """What was computed with the new code is not kept under the old one; the next run asks, and the old code finds the old."""
    one = at_work(kernel, loop)
    one.ok(NEW)
    (one.folder / "go").touch()
    ended = one.run("%durable wait bg")
    asked = one.run(f"%%durable bg\n{loop}")
    one.ok(OLD)
    one.ok(f"%%durable bg\n{loop}")

    assert "was edited while run 'bg' computed with it" in ended.error
    assert asked.error.startswith("CodeChanged")
    assert "({'old'}, 8)" == one.ok("{kind for kind, _ in out}, len(out)").result
    assert 4 + 5 >= len(executed(one, "bg"))


def test_steps_that_are_tried_meanwhile_are_not_of_the_run(kernel: Start) -> None:
    """In threads, awaited or as a stream: they have runs of their own, or none, and stop nothing."""
    one = at_work(kernel, LOOPS["map"])
    (one.folder / "go").touch()
    one.ok("with ThreadPoolExecutor(2) as pool:\n    tried = list(pool.map(embed, [100, 101]))")
    one.ok("with run('front'), ThreadPoolExecutor(2) as pool:\n    tried = list(pool.map(embed, [102, 103]))")
    one.ok("a = list(await embed.amap([104, 105]))\nb = dict(embed.stream([106, 107], workers=1))")
    one.ok("%durable wait bg")

    assert ("done", 8, 0, 0) == stored(one.folder, "bg")
    assert ("done", 2, 0, 0) == stored(one.folder, "front")
    assert ("done", 2, 0, 0) == stored(one.folder, "embed")
