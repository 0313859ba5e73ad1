"""Runs that are over while their database is away: whoever had them lets go of them once it is back, and lives on."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.crash.faults import Wire, Work, ask, stored
from tests.kernels import wait_until
from tests.matrix import usual

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.postgres import Postgres

_LIVES_ON = "import atexit\natexit.register(sys.stdin.readline)\n"
"""As kernels do when a cell has ended."""

_MARKED = """
from durable_nb.notebook.interrupts import also_on_interrupt
session.observers.append(lambda live: also_on_interrupt(live.stop, live.saving.withholds))
"""


@contextlib.contextmanager
def away(url: str, request: pytest.FixtureRequest) -> Iterator[None]:
    """Another program has the file locked; the server is stopped."""
    if url.startswith("sqlite"):
        raw = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None, timeout=60)
        raw.execute("BEGIN IMMEDIATE")
        yield
        raw.execute("ROLLBACK")
        raw.close()
        return
    server = request.getfixturevalue("server")
    server.stop("INT")
    yield
    server.start()


def state_of(url: str, name: str = "square") -> str:
    """As it stands in the row."""
    schema = "durable_nb." if url.startswith("postgresql") else ""
    return str(ask(url, f"SELECT state FROM {schema}runs WHERE name = '{name}'")[0][0])


def interrupted(work: Work) -> str:
    """Press ■; what the cell said."""
    work.send(signal.SIGINT)
    return str(json.loads(work.process.stdout.readline())["error"])


@pytest.mark.parametrize("shared", [False, True])
def test_a_run_that_could_not_be_ended_is_let_go_of(
    url: str, tmp_path: Path, request: pytest.FixtureRequest, shared: bool
) -> None:
    """■ while the database is away. The kernel saves what it still has once that is back, and others may go on at once."""
    if shared and url.startswith("sqlite"):
        pytest.skip("PostgreSQL only")
    work = Work(tmp_path, url, shared=shared, prelude=_MARKED + _LIVES_ON, stdin=subprocess.PIPE).at(60)
    with away(url, request):
        wait_until(lambda: any("the database: " in said for said in work.waits), describing="it says that it waits")
        said = interrupted(work)
    wait_until(lambda: state_of(url) == "interrupted", timeout=40, describing="the run is let go of")
    saved, computed = len(stored(url)), len(work.executed)
    goes_on = Work(tmp_path, url, shared=shared).end()
    work.kill()

    assert "StoreUnavailable" in said
    assert saved == computed
    assert (True, "") == (goes_on["right"], goes_on["error"])
    assert sorted(map(str, range(work.documents))) == sorted(work.executed)


@pytest.mark.parametrize("shared", [False, True])
def test_a_run_that_was_begun_without_an_answer_is_let_go_of(server: Postgres, tmp_path: Path, shared: bool) -> None:
    """The connection is cut between the commit of a claim and its answer: the kernel that got an error holds nothing."""
    wire = Wire(server.port)
    url = server.url.replace(str(server.port), str(wire.port)) + "?sslmode=disable&gssencmode=disable"
    opened = (
        "from durable_nb import run\nwith run('warm-up'): square(1)\nprint('open', flush=True)\nsys.stdin.readline()\n"
    )
    work = Work(tmp_path, url, shared=shared, prelude=opened + _LIVES_ON, stdin=subprocess.PIPE)
    assert work.process.stdout.readline() == "open\n"
    wire.cut_commits(1)
    work.process.stdin.write("go\n")
    work.process.stdin.flush()
    said = json.loads(work.process.stdout.readline())["error"]
    wait_until(lambda: state_of(server.url) == "interrupted", timeout=40, describing="the run is let go of")
    held = ask(server.url, "SELECT token FROM durable_nb.members")
    other = Work(tmp_path, server.url, shared=shared).end()
    work.kill()
    wire.close()

    assert "StoreUnavailable" in said
    assert [] == held
    assert (True, "") == (other["right"], other["error"])
    assert "done" == state_of(server.url)


_IN_OTHER_WAYS = """
from types import SimpleNamespace
import asyncio
from durable_nb import run
plain = square
def streamed(items, workers, shared):
    return sorted(value for _, value in plain.stream(items, workers=workers))
def inside(items, workers, shared):
    with run("square"): return plain.map(items, workers=workers)
def called(items, workers, shared):
    with run("square"): return [plain(n) for n in items]
def awaited(items, workers, shared):
    @step(name="square")
    async def slow(n):
        await asyncio.sleep(0)
        return plain.function(n)
    return asyncio.run(slow.amap(items, workers=workers))
square = SimpleNamespace(map={how})
"""


@pytest.mark.parametrize("how", usual(["", "inline", "streamed", "inside", "called", "awaited"], "", "awaited"))
def test_who_interrupts_a_plain_map_need_not_wait_for_the_database(
    url: str, tmp_path: Path, request: pytest.FixtureRequest, how: str
) -> None:
    """Ctrl-C with nothing around it that listens: control is back, what could not be saved is told, the rest is there."""
    prelude = "" if how in ("", "inline") else _IN_OTHER_WAYS.replace("{how}", how)
    work = Work(tmp_path, url, workers=1 if how == "inline" else 4, prelude=prelude).at(60)
    with away(url, request):
        wait_until(lambda: any("the database: " in said for said in work.waits), describing="it says that it waits")
        work.send(signal.SIGINT)
        end = work.end(timeout=40)

    # A stream whose thread is still busy with its last tries is not waited for.
    assert "StoreUnavailable" in end["error"] or ("KeyboardInterrupt" in end["error"] and how == "streamed")
    assert Work(tmp_path, url, prelude=prelude).end()["right"]
