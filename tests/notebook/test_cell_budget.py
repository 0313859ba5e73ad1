"""How far one iteration of a durable cell walks: calls into this library's own Python, counted, not timed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.kernels import Kernel

PREPARE = """
%load_ext durable_nb
import functools, math, os, random, re
import numpy as np
from tests.engine.test_budget import calls_in
LIMIT, MARK, WORD, SCALE = 80, "!", re.compile(r"\\w+"), np.linspace(0, 1, 16)
def clean(text):
    return MARK.join(WORD.findall(text))[:LIMIT]
def embed(doc):
    return SCALE * math.sqrt(len(clean(doc)))
CELL = '''%%durable {name}
vectors = []
for doc in docs:
    vectors.append(embed(doc))
'''
def per_document():
    totals = []
    for count in (500, 1000):
        globals()["docs"] = [f"some text {n} of {count}" for n in range(count)]
        cell = CELL.format(name=f"embed-{count}")
        totals.append(calls_in(lambda: get_ipython().run_cell(cell).raise_error()).total())
    return round((totals[1] - totals[0]) / 500)
"""


@pytest.mark.parametrize(("life", "most"), [("computed", 140), ("restored", 50)])
def test_an_iteration_takes_few_calls(kernel: Callable[..., Kernel], life: str, most: int) -> None:
    """The function reads another one, two texts, numbers, an array, modules: what no call can change is looked at once."""
    first = kernel()
    first.ok(PREPARE)
    calls = int(first.ok("per_document()").result)
    if life == "restored":
        first.kill()
        second = kernel()
        second.ok(PREPARE)
        calls = int(second.ok("per_document()").result)

    assert calls <= most
