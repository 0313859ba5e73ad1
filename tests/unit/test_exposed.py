"""Which globals a call may change is told by their types, once of a fingerprint."""

from __future__ import annotations

import queue
import random
import types
from contextvars import ContextVar
from typing import Any

import numpy as np
import pytest

from durable_nb.notebook.exposed import Exposed
from durable_nb.sources import fingerprint

NEVER = (
    "text",
    7,
    2.5,
    None,
    (1, "a"),
    frozenset({1}),
    b"bytes",
    random,
    len,
    print,
    ValueError,
    types.MappingProxyType,
)
TYPES: dict[str, tuple[str, Any]] = {
    "a list": ("held", []),
    "a dict": ("held", {"a": 1}),
    "an array": ("held", np.zeros(3)),
    "a generator of random numbers": ("generators", random.Random(1)),
    "numpy's": ("generators", np.random.default_rng(1)),
    "a queue": ("inside", queue.Queue()),
    "a context variable": ("inside", ContextVar("here")),
    "an iterator": ("iterators", iter(())),
}


def exposed(one: object) -> Exposed:
    """Of a function that reads one global."""
    module = types.ModuleType("__main__")
    exec("def f(doc):\n    return doc, one", vars(module))
    vars(module)["one"] = one
    return Exposed.of(fingerprint(vars(module)["f"]))


@pytest.mark.parametrize("one", NEVER, ids=repr)
def test_what_no_call_changes_is_looked_at_once(one: object) -> None:
    """Functions, modules, classes, texts and numbers are what code reads most of all."""
    assert ((), (), (), ()) == exposed(one)


@pytest.mark.parametrize("kind", TYPES)
def test_what_a_call_may_change_is_looked_at_before_each(kind: str) -> None:
    """By the module and name that it is read by."""
    sort, one = TYPES[kind]
    found = getattr(exposed(one), sort)

    assert (("one",) if sort == "iterators" else ((("__main__", "one"), one),)) == found


def test_code_that_reads_no_global_exposes_none() -> None:
    """Nothing is looked at then."""
    assert ((), (), (), ()) == Exposed.of(fingerprint(lambda doc: doc))
