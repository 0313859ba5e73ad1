"""A kernel killed while a document waits for its next attempt: the next one goes on with the count, and not before its time."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.crash.faults import ask
from tests.crash.test_poison import script
from tests.kernels import lines, wait_until
from tests.matrix import usual

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from tests.postgres import Postgres

WAIT_S = 4.0
"""After the second attempt; after the others, hardly any."""

STEPS = f"""
from concurrent.futures import ThreadPoolExecutor
from tenacity import Retrying, stop_after_attempt, wait_chain, wait_fixed

waits = wait_chain(wait_fixed(0.02), wait_fixed({WAIT_S}), wait_fixed(0.02))
five = Retrying(stop=stop_after_attempt(5), wait=waits)
others = [f"d{{n}}" for n in range(12)]
DOCS = ["bad", *others]

def note(text):  # also in a worker process
    with open("executed.log", "a") as file:
        file.write(text + "\\n")

def work(doc):
    note(f"{{doc}} {{current_call().attempt}} {{time.time()}}")
    if doc.startswith("bad") and not os.path.exists("mended"):
        raise ValueError("busy")
    return doc

@step(retries=five)
def embed(doc):
    return work(doc)

@step(retries=five, name="embed")
async def aembed(doc):
    return work(doc)

@step(retries=five, batch=4, name="embed")
def embeds(docs):
    if "bad" in docs and len(docs) > 1:
        raise ValueError("busy")
    return [work(doc) for doc in docs]

async def coming():
    for doc in DOCS:
        yield doc

def plain():
    with run("plain"):
        for doc in [*others, "bad"]:
            try:
                embed(doc)
            except ValueError as error:
                return [error]
"""
WAYS = {
    "threads": "embed.map(DOCS, workers=4, on_error='collect')",
    "inline": "embed.map(DOCS, workers=1, on_error='collect')",
    "an iterator": "embed.map(iter(DOCS), workers=4, on_error='collect')",
    "stream": "[found for _, found in embed.stream(DOCS, workers=4, on_error='collect')]",
    "asyncio": "asyncio.run(aembed.amap(DOCS, workers=4, on_error='collect'))",
    "an async iterator": "asyncio.run(aembed.amap(coming(), workers=4, on_error='collect'))",
    "batched": "embeds.map(DOCS, workers=2, on_error='collect')",
    "processes": "embed.map(DOCS, workers=2, executor='processes', on_error='collect')",
    "batched processes": "embeds.map(DOCS, workers=2, executor='processes', on_error='collect')",
    "a pool": "embed.map(DOCS, workers=4, executor=ThreadPoolExecutor(4), on_error='collect')",
    "plain calls": "plain()",
}
LAST = "\nprint([str(found) for found in FOUND if isinstance(found, Exception)][0])\n"


def attempts(folder: Path, document: str = "bad") -> list[tuple[int, float]]:
    """Number and time of each attempt that was made of a document."""
    made = [line.split() for line in lines(folder / "executed.log")]
    return [(int(number), float(at)) for name, number, at in made if name == document]


def noted(address: str) -> list[int]:
    """How many attempts the database says that have failed, of each call that waits."""
    schema = "durable_nb." if address.startswith("postgresql") else ""
    try:
        return [row[0] for row in ask(address, f"SELECT attempts FROM {schema}backoffs")]
    except Exception as problem:
        assert "backoffs" in str(problem)  # not yet made
        return []


def cell(how: str) -> str:
    """A script of the user, run in some way."""
    return STEPS + f"FOUND = {WAYS[how]}" + LAST


def killed_waiting(folder: Path, source: str, address: str | None = None, *, failed: int = 2) -> None:
    """Run a script and kill it when ``failed`` attempts have failed."""
    child = script(folder, source, address)
    ended_waiting(folder, child, child.kill, address, failed=failed)


def ended_waiting(
    folder: Path, child: subprocess.Popen[str], end: Callable[[], None], address: str | None = None, *, failed: int = 2
) -> None:
    """Do something to a script when so many attempts have failed, and wait for its end."""
    where = address or f"sqlite:///{folder / 'durable.db'}"

    def waits() -> bool:
        assert child.poll() is None, child.communicate()
        return noted(where) == [failed]

    wait_until(waits, describing=f"attempt {failed} has failed")
    end()
    child.communicate(timeout=60)


def ends(folder: Path, source: str, address: str | None = None) -> str:
    """What a script printed that runs to its end."""
    out, err = (child := script(folder, source, address)).communicate(timeout=120)

    assert child.returncode == 0, err
    return out.strip()


@pytest.mark.parametrize("how", usual(WAYS, "threads", "asyncio", "processes", "plain calls"))
def test_the_count_and_the_time_outlive_the_kernel(tmp_path: Path, how: str) -> None:
    """Of five attempts two were made, so three follow; the third not before its time, and all other documents before it."""
    killed_waiting(tmp_path, cell(how))
    said = ends(tmp_path, cell(how))
    made = attempts(tmp_path)
    rest = [at for number in range(12) for _, at in attempts(tmp_path, f"d{number}")]

    assert [1, 2, 3, 4, 5] == [number for number, _ in made]
    assert made[2][1] - made[1][1] >= WAIT_S - 0.05
    assert len(rest) == 12
    assert max(rest) < made[2][1]
    assert ("busy" if how == "plain calls" else "after 5 attempts") in said
    assert [] == noted(f"sqlite:///{tmp_path / 'durable.db'}")


def test_it_is_so_in_either_database(tmp_path: Path, address: str) -> None:
    """On SQLite and on PostgreSQL."""
    killed_waiting(tmp_path, cell("threads"), address)
    ends(tmp_path, cell("threads"), address)

    assert [1, 2, 3, 4, 5] == [number for number, _ in attempts(tmp_path)]


def test_a_second_death_loses_nothing_either(tmp_path: Path) -> None:
    """Killed twice in the same wait: the count stands, and the time is the one of the first kernel."""
    killed_waiting(tmp_path, cell("threads"))
    killed_waiting(tmp_path, cell("threads"))
    ends(tmp_path, cell("threads"))
    made = attempts(tmp_path)

    assert [1, 2, 3, 4, 5] == [number for number, _ in made]
    assert WAIT_S - 0.05 <= made[2][1] - made[1][1]


def test_retries_as_a_number_are_what_is_left_of_them(tmp_path: Path) -> None:
    """``retries=4`` after two failed attempts leaves three, and a service that answers then is a result."""
    source = cell("threads").replace("retries=five", "retries=4")
    killed_waiting(tmp_path, source)
    said = ends(tmp_path, source)

    assert [1, 2, 3, 4, 5] == [number for number, _ in attempts(tmp_path)]
    assert "after 5 attempts" in said


@pytest.mark.parametrize("how", usual(["threads", "processes"], "threads"))
def test_documents_that_did_not_wait_have_as_many_attempts_as_ever(tmp_path: Path, how: str) -> None:
    """Of documents that are new, and are sent together with others where they are sent, each has its five attempts."""
    killed_waiting(tmp_path, cell("threads"))
    more = "\nDOCS += [f'bad{n}' if n in (13, 16, 17) else f'new{n}' for n in range(30)]\n"
    ends(tmp_path, STEPS + more + f"FOUND = {WAYS[how]}" + LAST)
    made = [[number for number, _ in attempts(tmp_path, doc)] for doc in ("bad", "bad13", "bad16", "bad17")]

    assert [[1, 2, 3, 4, 5]] * 4 == made


def test_a_document_that_succeeds_after_the_wait_is_done(tmp_path: Path) -> None:
    """The attempt that follows the death is the last one needed; the next run restores it."""
    source = cell("threads").replace(LAST, "\nprint(list(FOUND) == DOCS)\n")
    killed_waiting(tmp_path, source)
    (tmp_path / "mended").touch()
    said = [ends(tmp_path, source) for _ in range(2)]

    assert ["True", "True"] == said
    assert [1, 2, 3] == [number for number, _ in attempts(tmp_path)]


def test_who_gave_up_begins_anew(tmp_path: Path) -> None:
    """A cell that is run again after the last attempt makes all attempts again, the first one at once."""
    source = cell("threads").replace(
        "five = Retrying(stop=stop_after_attempt(5)", "five = Retrying(stop=stop_after_attempt(2)"
    )
    said = [ends(tmp_path, source) for _ in range(2)]

    assert ["after 2 attempts" in words for words in said] == [True, True]
    assert [1, 2, 1, 2] == [number for number, _ in attempts(tmp_path)]


def test_an_interrupt_is_no_death(tmp_path: Path) -> None:
    """■ ends the attempt of the run: whoever runs the cell again asks by hand, and is given all attempts at once."""
    child = script(tmp_path, cell("threads"))
    ended_waiting(tmp_path, child, lambda: child.send_signal(signal.SIGINT))
    left = noted(f"sqlite:///{tmp_path / 'durable.db'}")
    ends(tmp_path, cell("threads"))

    assert [] == left
    assert [1, 2, 1, 2, 3, 4, 5] == [number for number, _ in attempts(tmp_path)]


def test_who_asks_by_hand_does_not_wait(tmp_path: Path) -> None:
    """``%durable retry NAME`` after the death gives a document all of its attempts again, the first one at once."""
    killed_waiting(tmp_path, cell("threads"))
    ends(tmp_path, "from durable_nb.cli import main\nassert main(['retry', 'embed']) == 0")
    ends(tmp_path, cell("threads"))

    assert [1, 2, 1, 2, 3, 4, 5] == [number for number, _ in attempts(tmp_path)]


def test_a_clock_that_was_set_back_makes_nobody_wait_longer(tmp_path: Path) -> None:
    """A time of the next attempt that lies years ahead is one delay ahead."""
    address = f"sqlite:///{tmp_path / 'durable.db'}"
    killed_waiting(tmp_path, cell("threads"))
    ask(address, "UPDATE backoffs SET since = since + 100000000, delay_s = 1.5")
    before = time.time()
    ends(tmp_path, cell("threads"))

    assert 1.5 <= attempts(tmp_path)[2][1] - before < 20


@pytest.mark.parametrize("how", usual(["threads", "asyncio", "batched"], "asyncio"))
def test_another_kernel_of_a_shared_run_goes_on(tmp_path: Path, server: Postgres, how: str) -> None:
    """One of two dies while its document waits: the other one makes the attempts that are left, when their time has come."""
    source = cell(how).replace("on_error", "shared=True, on_error").replace(f"wait_fixed({WAIT_S})", "wait_fixed(9)")
    dying = script(tmp_path, source, server.url)
    wait_until(lambda: noted(server.url) == [2], describing="attempt 2 has failed")
    other = script(tmp_path, source, server.url)
    joined = "SELECT token FROM durable_nb.members"
    wait_until(lambda: len(ask(server.url, joined)) == 2, describing="the other one is there")
    dying.kill()
    dying.communicate()
    out, err = other.communicate(timeout=120)
    made = attempts(tmp_path)

    assert "after 5 attempts" in out, err
    assert [1, 2, 3, 4, 5] == [number for number, _ in made]
    assert made[2][1] - made[1][1] >= 8.95
