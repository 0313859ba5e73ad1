"""Cells as people write them around an expensive call, and how to compare what they leave in two kernels.

Each is run plainly in a kernel without durable_nb, then under ``%%durable``, killed at 40 %, resumed, and run once more.
The cells are in `shapes_basic`, `shapes_more` and `shapes_language`. Kernels import this module: it needs the standard library alone.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import random
import re
import sys
from collections import deque
from typing import Any, NamedTuple

SETUP = """
import asyncio, dataclasses, functools, itertools, os, random, time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from pathlib import Path
import fakeai

os.environ["KERNEL"] = str(os.getpid())  # worker processes inherit it
docs = [f"  Doc  number {i} " for i in range(26)] + ["  Doc  number 3 "] * 4
urls = [f"https://example.org/{i}" for i in range(30)]

def clean(text):
    return " ".join(text.split()).lower()

def embed(text):
    fakeai.work(text)
    return [len(text), sum(map(ord, text)) % 97]

async def fetch(url):
    await fakeai.awork(url)
    return url.upper()
"""
"""The cells above every shape."""

FAKEAI = '''
"""A library with hosted and local models, as it would be installed."""
import asyncio, os, threading, time

def executed(label):
    """Note one execution; the call that is as many-th as CRASH_AT says kills the kernel and its workers at its end."""
    log = os.open(os.environ["LOG"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(log, f"{label!r}\\n".encode())
    os.close(log)
    with open(os.environ["LOG"], "rb") as lines:
        return sum(1 for _ in lines) >= int(os.environ.get("CRASH_AT", "1000000"))

def work(label):
    """10 ms of work."""
    is_last = executed(label)
    time.sleep(0.01)
    if is_last:
        os.killpg(int(os.environ["KERNEL"]), 9)

async def awork(label):
    """10 ms of waiting for somebody else."""
    is_last = executed(label)
    await asyncio.sleep(0.01)
    if is_last:
        os.killpg(int(os.environ["KERNEL"]), 9)

_asked = set()

def work_of_a_server(label):
    """The first time that a process asks about something with a 4, nobody answers."""
    work(label)
    if "4" in label and label not in _asked:
        _asked.add(label)
        raise ConnectionError(label)

class Item:
    def __init__(self, **fields):
        self.__dict__.update(fields)

def numbers(text):
    return [float(len(text)), float(sum(map(ord, text)) % 97)]

class Embeddings:
    def create(self, *, input, model="small"):
        work(input)
        return Item(data=[Item(embedding=numbers(text), index=n) for n, text in enumerate(input)], model=model)

class Completions:
    def create(self, *, messages, model="small"):
        work(messages)
        content = f"{len(messages)} messages, {messages[-1]['content'].strip().upper()}"
        return Item(choices=[Item(message=Item(content=content, role="assistant"))], model=model)

class Client:
    """Holds a lock, as clients hold connections: it has no value, and cannot be pickled."""
    def __init__(self, key=""):
        self._lock = threading.Lock()
        self.embeddings, self.chat = Embeddings(), Item(completions=Completions())

class Model:
    """Computes here, with weights that have no value either."""
    def __init__(self, name, dimensions=4):
        self.name, self._dimensions, self._lock = name, dimensions, threading.Lock()

    def encode(self, text):
        import numpy
        work(text)
        return numpy.resize(numpy.array(numbers(text), dtype=numpy.float32), self._dimensions)
'''
"""The package that stands for what is installed beside the notebook."""


class Shape(NamedTuple):
    """One cell, and what it needs."""

    title: str
    names: str
    """What is compared afterwards."""
    body: str
    above: str = ""
    """One more cell above it."""
    needs: tuple[str, ...] = ()
    """Libraries; ``python3.12`` for that version of the language or a later one."""
    flying: int = 1
    """Calls that it has in flight at a time. A semaphore inside of the step is free again while the result is being
    committed, so that more than it lets through are in flight: three times as many are allowed for.
    """
    options: str = ""
    mutates: bool = False
    """Whether it changes what the cells above made: those are run again before it is run again."""


def parsed(text: str) -> list[Shape]:
    """Shapes as they are typed: ``## title | names | needs a b | flying 4 | --options | mutates``, below it the cell, and
    above a line of dashes the cell that comes before.
    """
    found = []
    for block in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        head, _, cells = block.partition("\n")
        above, dashes, body = cells.partition("\n---\n")
        title, names, *rest = (part.strip() for part in head.split(" | "))
        fields: dict[str, Any] = {"above": above} if dashes else {}
        for part in rest:
            word, _, says = part.partition(" ")
            if word.startswith("--"):
                fields["options"] = part
            else:
                values = {
                    "needs": tuple(says.split()),
                    "mutates": True,
                    "flying": int(says or 0) if word == "flying" else 0,
                }
                fields[word] = values[word]
        found.append(Shape(title, names, (body if dashes else cells).strip("\n"), **fields))
    return found


def missing(needs: tuple[str, ...]) -> list[str]:
    """What of these this Python does not have."""
    from importlib.util import find_spec

    def has(need: str) -> bool:
        if not need.startswith("python"):
            return find_spec(need) is not None
        return tuple(map(int, need.removeprefix("python").split("."))) <= sys.version_info

    return [need for need in needs if not has(need)]


def shown(names: str, namespace: dict[str, Any]) -> str:
    """Those names of a notebook as text, one a line: equal texts, equal values."""
    return "\n".join(f"{name} = {json.dumps(described(namespace[name]))}" for name in names.split())


def described(value: Any) -> Any:
    """A value as JSON that two kernels can compare: types, order, and every number of it; never by identity."""
    kind = type(value).__name__
    if value is None or isinstance(value, (bool, int, float, str)) and type(value).__module__ == "builtins":
        return value if isinstance(value, (str, type(None))) else f"{kind} {value!r}"
    if isinstance(value, (list, tuple, deque)):
        return {kind: [*map(described, value)]}
    if isinstance(value, dict):
        return {kind: [[described(key), described(item)] for key, item in value.items()]}
    if isinstance(value, (set, frozenset)):
        return {kind: sorted(json.dumps(described(item)) for item in value)}
    if isinstance(value, (bytes, bytearray, range, complex, enum.Enum)):
        return {kind: repr(value)}
    if type(value).__module__.partition(".")[0] in ("numpy", "pandas", "polars"):
        return {kind: _of_a_library(value)}
    if isinstance(value, random.Random):
        return {kind: described(value.getstate())}
    if isinstance(value, BaseException):
        return {kind: described(value.args)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {kind: [[field.name, described(getattr(value, field.name))] for field in dataclasses.fields(value)]}
    if hasattr(value, "model_dump"):
        return {kind: described(value.model_dump())}
    if hasattr(value, "__qualname__"):
        return {kind: value.__qualname__}
    if hasattr(value, "__dict__"):
        return {kind: described(vars(value))}
    raise TypeError(f"{kind} has no description: compare something that is made of it")


def _of_a_library(value: Any) -> Any:
    kind = type(value).__name__
    if hasattr(value, "bit_generator"):
        return described(value.bit_generator.state)
    if type(value).__module__.startswith("polars"):
        frame = value.to_frame() if kind == "Series" else value
        return [str(frame.schema), described(frame.to_dict(as_series=False))]
    if kind == "DataFrame":
        columns = [[described(name), str(value[name].dtype), described(value[name].tolist())] for name in value.columns]
        return [columns, _of_a_library(value.index)]
    if kind == "Series":
        return [described(value.name), str(value.dtype), described(value.tolist()), _of_a_library(value.index)]
    if hasattr(value, "tolist") and hasattr(value, "dtype"):
        names = [str(name) for name in getattr(value, "names", ())]
        return [str(value.dtype), [*getattr(value, "shape", ())], described(value.tolist()), names]
    raise TypeError(f"{kind} has no description: compare something that is made of it")
