"""What a cell calls is a step or runs again; decided by the object, with a reason for people."""

from __future__ import annotations

import collections
import functools
import json  # noqa: F401 - for the cells
import operator
import re
import socket  # noqa: F401 - for the cells
import sqlite3
import subprocess  # noqa: F401 - for the cells
import sys
import textwrap
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import polars as pl
import pytest
import xxhash

from durable_nb import step, workflow
from durable_nb.notebook.callees import Callee, Callees, ObjectMethod, repeated
from tests.unit.marked_cells import marked

CLOUDLIB = '''
"""What is installed beside the notebook."""
import threading

class Chat:
    def create(self, text): return text

class Client:
    def __init__(self): self._lock, self.chat = threading.Lock(), Chat()
    def embed(self, text): return text
    async def aembed(self, text): return text
    def stream(self, text): yield text
    def __call__(self, text): return text
    @classmethod
    def made(cls, text): return text
    @staticmethod
    def normal(text): return text

class Settings:
    def __init__(self, n): self.n = n
    def scaled(self, x): return x * self.n

def ask(text): return text
def stream(text): yield text
'''


def embed(text: str) -> str:
    return text


async def aembed(text: str) -> str:
    return text


def pages(text: str) -> Any:
    yield text


async def apages(text: str) -> Any:
    yield text


@functools.lru_cache
def cached(text: str) -> str:
    return text


@functools.wraps(embed)
def wrapped(*args: Any) -> str:
    return embed(*args)


@step
def kept(text: str) -> str:
    return text


@workflow
def flow(text: str) -> str:
    return text


class Model:
    def __init__(self, scale: int = 1) -> None:
        self.scale = scale

    def encode(self, text: str) -> str:
        return text * self.scale

    def pages(self, text: str) -> Any:
        yield text

    @classmethod
    def made(cls, text: str) -> str:
        return text

    @staticmethod
    def normal(text: str) -> str:
        return text

    def __call__(self, text: str) -> str:
        return text


class Pair(NamedTuple):
    left: int

    def double(self) -> int:
        return self.left * 2


class Log(list):
    pass


class Registry(dict):
    pass


@pytest.fixture
def scope(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The namespace of a notebook, with a library beside it."""
    site = tmp_path / "site-packages"
    site.mkdir()
    (site / "cloudlib.py").write_text(textwrap.dedent(CLOUDLIB))
    monkeypatch.syspath_prepend(str(site))
    import cloudlib  # type: ignore[import-not-found]

    objects = {
        "client": cloudlib.Client(), "settings": cloudlib.Settings(2), "model": Model(), "pair": Pair(1), "shorten": lambda text: text[:3],
        "log": Log(), "registry": Registry(), "docs": [], "found": {}, "df": pd.DataFrame({"text": ["a"]}), "rows": pl.DataFrame({"text": ["a"]}), "array": np.arange(3),
        "rng": np.random.default_rng(0), "vectorized": np.vectorize(embed), "pattern": re.compile("a"), "conn": sqlite3.connect(":memory:"), "part": functools.partial(embed, "a"),
        "part_np": functools.partial(np.sum, axis=0), "part_lib": functools.partial(cloudlib.ask), "part_pages": functools.partial(pages), "hashed": xxhash.xxh3_128(),
        "getter": operator.itemgetter(0), "bound": Model(2).encode, "number": 3, "opener": urllib.request.build_opener(), "get": collections.Counter().get,
    }  # fmt: skip
    yield {"__name__": "__main__", "cloudlib": cloudlib, **globals(), **objects}
    objects["conn"].close()
    sys.modules.pop("cloudlib")


def callee(scope: dict[str, Any], text: str, *, steps: str = "", replays: str = "", **varying: Any) -> Callee:
    """What is found for ``text`` called in a loop over the names that are given."""
    names = ", ".join(varying) or "x"
    [site] = marked(f"for {names} in things: v = {text}()")[1].sites
    found = Callees(scope, steps=frozenset(steps.split()), replays=frozenset(replays.split()))
    return found.of(site, eval(text, {**scope, **varying}))


@pytest.mark.parametrize(
    ("text", "name", "bound"),
    [
        ("embed", "embed", 0),
        ("aembed", "aembed", 0),
        ("cached", "cached", 0),
        ("wrapped", "embed", 0),
        ("shorten", "shorten", 0),
        ("part", "part", 0),
        ("part_lib", "part_lib", 0),
        ("model.encode", "Model.encode", 1),
        ("bound", "Model.encode", 1),
        ("model", "Model.__call__", 1),
        ("pair.double", "Pair.double", 1),
        ("model.made", "Model.made", 0),
        ("Model.normal", "Model.normal", 0),
        ("model.normal", "Model.normal", 0),
        ("Model.encode", "Model.encode", 0),
        ("cloudlib.Client.made", "Client.made", 0),
        ("client.normal", "Client.normal", 0),
        ("subprocess.run", "run", 0),
        ("urllib.request.urlopen", "urlopen", 0),
        ("socket.create_connection", "create_connection", 0),
        ("xxhash.xxh3_128_digest", "xxh3_128_digest", 0),
    ],
)
def test_a_step(scope: dict[str, Any], text: str, name: str, bound: int) -> None:
    """Functions and methods of the user, of libraries that work, and of the network are steps under their own names."""
    found = callee(scope, text)

    assert "" == found.why
    assert found.step is not None
    assert (name, bound) == (found.step.name, len(found.bound))
    assert not isinstance(found.step, ObjectMethod)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("client.embed", "Client.embed"),
        ("client.aembed", "Client.aembed"),
        ("client.chat.create", "Chat.create"),
        ("client", "client"),
        ("hashed.hexdigest", "xxh3_128.hexdigest"),
    ],
)
def test_a_method_of_an_object_without_a_value(scope: dict[str, Any], text: str, name: str) -> None:
    """A client of a library is known by the global that it is, in C or in Python; the object is no argument."""
    found = callee(scope, text)

    assert isinstance(found.step, ObjectMethod)
    assert (name, ()) == (found.step.name, found.bound)
    assert any(text.partition(".")[0] in part for part in found.step.fingerprint().parts)


AGAIN = {
    "a generator, whose results cannot be kept": "pages apages model.pages client.stream cloudlib.stream",
    "keeps its results itself": "kept kept.map flow",
    "makes an object": "Model cloudlib.Client subprocess.Popen str",
    "not a function": "number",
    "a builtin": "len print docs.append found.get get 'x'.upper str.upper dict.fromkeys",
    "of the standard library": "json.dumps operator.add getter conn.execute",
    "a method of the standard library": "opener.open",
    "of numpy": "np.linalg.norm np.add part_np vectorized rng.normal array.sum",
    "of pandas": "df.apply df.text.map pd.read_csv",
    "of polars": "rows.select",
}


@pytest.mark.parametrize(("text", "why"), [(text, why) for why, texts in AGAIN.items() for text in texts.split()])
def test_what_runs_again(scope: dict[str, Any], text: str, why: str) -> None:
    """What rebuilds variables, makes objects, yields or keeps its results itself is run again, and says so."""
    assert (None, why) == (callee(scope, text).step, callee(scope, text).why)


def test_the_receiver_is_the_one_of_each_call(scope: dict[str, Any]) -> None:
    """Methods of own instances are looked into once for a class; the object that counts is that of the call."""
    [site] = marked("for one in models: v = one.encode(x)")[1].sites
    found, first, second = Callees(scope, steps=frozenset(), replays=frozenset()), Model(1), Model(2)
    one, other = found.of(site, first.encode), found.of(site, second.encode)

    assert one.step is other.step
    assert ((first,), (second,)) == (one.bound, other.bound)


def test_a_library_object_that_the_loop_binds(scope: dict[str, Any]) -> None:
    """Nobody can tell two clients made in a loop apart; an object of a library that has a value is known by it."""
    client, settings = scope["client"], scope["settings"]
    opaque, valued = callee(scope, "c.embed", c=client), callee(scope, "s.scaled", s=settings)

    assert opaque.step is None
    assert opaque.why.startswith("called on a Client made in the loop: ")
    assert valued.step is not None
    assert ("Settings.scaled", (settings,)) == (valued.step.name, valued.bound)


@pytest.mark.parametrize(
    "text", ["np.linalg.norm", "json.dumps", "df.apply", "conn.execute", "len", "Model", "vectorized"]
)
def test_what_is_named_is_a_step(scope: dict[str, Any], text: str) -> None:
    """--steps makes a step of what would run again."""
    assert callee(scope, text, steps=text).step is not None
    assert callee(scope, text, steps="other").step is None


@pytest.mark.parametrize("text", ["embed", "model.encode", "client.embed", "client", "part", "model", "cloudlib.ask"])
def test_what_is_replayed_is_none(scope: dict[str, Any], text: str) -> None:
    """--replay lets a step run again, as it is typed."""
    assert Callee(None, why="--replay") == callee(scope, text, replays=text)
    assert callee(scope, text, replays="other").step is not None


@pytest.mark.parametrize("text", ["log.append", "log.sort", "registry.update", "registry.setdefault"])
def test_builtin_methods_of_own_collections(scope: dict[str, Any], text: str) -> None:
    """A list is filled again, whatever its class is called."""
    assert callee(scope, text).step is None


def test_a_partial_of_a_generator(scope: dict[str, Any]) -> None:
    """A partial yields if its function does."""
    assert Callee(None, why="a generator, whose results cannot be kept") == callee(scope, "part_pages")


EFFECTS = {
    "outside": "client.embed hashed.update conn.execute opener.open sys.stdout.write",
    "inside": "docs.append df.update rng.shuffle pattern.sub",
    "": "model.encode embed len json.dump client.made subprocess.run",
}


@pytest.mark.parametrize(
    ("text", "expected"), [(text, where) for where, texts in EFFECTS.items() for text in texts.split()]
)
def test_methods_that_are_called_for_their_effect(scope: dict[str, Any], text: str, expected: str) -> None:
    """Such a method changes the world or a variable; a function, and a method of the user's, may be a step all the same."""
    assert expected == repeated(eval(text, scope))
