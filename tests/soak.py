"""SIGKILL at random moments, over and over: ``python -m tests.soak --minutes 20`` (or ``--sqlite 60 --postgres 20``).

A trial is one run of squares on an empty database. Processes that compute it are killed at random progress (also while
they begin), each once, until one is left alone to finish. After every kill the database is read without durable_nb: a
call that has a result there must never be made again, nor may one that was acknowledged be missing.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from durable_nb import configure, run, step
from durable_nb.engine.session import current as session
from durable_nb.errors import StepFailed
from durable_nb.store import Store
from tests.crash.faults import ask, stored
from tests.kernels import lines
from tests.postgres import Postgres

DOCUMENTS, KILLS = 150, 10
SECONDS = 0.006  # a call: above the 5 ms from which it is committed before it returns
logs: dict[str, int] = {}


def noting(kind: str, number: int) -> None:
    os.write(logs[kind], b"%d\n" % number)


@step(version="1")
def square(number: int) -> int:
    """Noted when it begins."""
    noting("executed", number)
    time.sleep(SECONDS)
    return number * number


def compute(url: str, workers: int) -> bool:
    """The run, in this process; True if every value is right. With no workers by plain calls, each noted once it is back.

    A call that ran alone when its process was killed, and that three times, is rightly taken for the cause and set aside:
    that is counted, and undone as a user would.
    """
    for kind in ("executed", "returned", "aside"):
        logs[kind] = os.open(f"{kind}.log", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    configure(url=url)
    if workers:
        results = square.map(range(DOCUMENTS), workers=workers, on_error="collect")
        for failure in results.failed:
            noting("aside", failure.position)
        if results.failed:
            results.retry()
        found = list(results)
    else:
        found = []
        with run("square"):
            for number in range(DOCUMENTS):
                try:
                    found.append(square(number))
                    noting("returned", number)
                except StepFailed:
                    noting("aside", number)
    return found == [number * number for number in range(DOCUMENTS)]


def start(url: str, workers: int) -> int:
    """A process of its own, forked from one that has imported everything and opened nothing: 10 ms instead of 600."""
    pid = os.fork()
    if pid == 0:
        try:
            right = compute(url, workers)
        except BaseException as error:  # noqa: BLE001 - told through the file
            Path("error.log").write_text(f"{type(error).__name__}: {error}")
            right = False
        session.close()
        os._exit(0 if right else 1)
    return pid


def trial(url: str, chance: random.Random, kills: int) -> Counter[str]:
    """One run, killed so often; what was counted, the faults among it."""
    counted: Counter[str] = Counter(trials=1)
    executed, returned = Path("executed.log"), Path("returned.log")
    durable: set[str] = set()
    in_flight = 0
    for left in range(kills, 0, -1):
        workers = chance.choice((0, 1, 4))
        before = lines(executed)
        room = max(1, (DOCUMENTS - len(durable)) // (left + 1))
        goal = len(before) + chance.randint(0, room)
        pid = start(url, workers)
        while len(lines(executed)) < goal and not _has_ended(pid):
            time.sleep(0.0005)
        time.sleep(chance.random() * (0.05 if goal == len(before) else 0.01))
        os.kill(pid, signal.SIGKILL)
        _wait(pid)
        counted["kills"] += 1
        in_flight += max(1, workers)
        after = lines(executed)
        counted["durable results computed again"] += len(durable.intersection(after[len(before) :]))
        now = set(_durable(url))
        counted["durable results gone"] += len(durable - now)
        counted["acknowledged results missing"] += len(set(lines(returned)) - now)
        durable = now
    before = lines(executed)
    counted["wrong or unfinished runs"] += _wait(start(url, 4)) != 0
    after = lines(executed)
    counted["durable results computed again"] += len(durable.intersection(after[len(before) :]))
    counted["results missing or double"] += sum((Counter(_durable(url)) - Counter(map(str, range(DOCUMENTS)))).values())
    counted["results missing or double"] += DOCUMENTS - len(set(_durable(url)))
    counted["executions"] += len(after)
    counted["calls taken for the cause, and tried again when asked"] += len(set(lines(Path("aside.log"))))
    counted["executions beyond documents + in flight"] += max(0, len(after) - DOCUMENTS - in_flight)
    store = Store.open(url)
    counted["sentences of check()"] += len(store.check())
    store.close()
    if Path("error.log").exists():
        print(Path("error.log").read_text(), file=sys.stderr)
    return counted


FAULTS = (
    "durable results gone", "durable results computed again", "acknowledged results missing", "results missing or double",
    "wrong or unfinished runs", "executions beyond documents + in flight", "sentences of check()",
)  # fmt: skip


def soak(kind: str, wanted: int, *, seed: int, until: float, server: Postgres | None) -> Counter[str]:
    """Trials on one kind of database until so many kills were made, or the time is over."""
    found: Counter[str] = Counter()
    home = Path.cwd()
    while found["kills"] < wanted and time.monotonic() < until:
        folder = Path(tempfile.mkdtemp(prefix="soak-"))
        os.chdir(folder)
        url = f"sqlite:///{folder}/durable.db"
        if server is not None:
            url = server.url
            ask(url, "DROP SCHEMA IF EXISTS durable_nb CASCADE")
        chance = random.Random(f"{kind}-{seed}-{found['trials']}")
        result = trial(url, chance, min(KILLS, wanted - found["kills"]))
        found += result
        os.chdir(home)
        if any(result[fault] for fault in FAULTS):
            print(f"kept: {folder} {dict(result)}", file=sys.stderr)
        else:
            shutil.rmtree(folder)
    return found


def _durable(url: str) -> list[str]:
    try:
        return stored(url)
    except Exception:  # noqa: BLE001 - killed before there was a table
        return []


def _has_ended(pid: int) -> bool:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] == "Z"


def _wait(pid: int) -> int:
    return os.waitpid(pid, 0)[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sqlite", type=int, default=1_000, help="kills over SQLite")
    parser.add_argument("--postgres", type=int, default=200, help="kills over PostgreSQL; 0: needs no server")
    parser.add_argument("--minutes", type=float, default=20.0, help="at most")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    began = time.monotonic()
    until = began + 60 * options.minutes
    server = Postgres() if options.postgres else None
    os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="soak-state-")
    table = {}
    try:
        if server is not None:
            table["PostgreSQL"] = soak("postgres", options.postgres, seed=options.seed, until=until, server=server)
        if options.sqlite:
            table["SQLite"] = soak("sqlite", options.sqlite, seed=options.seed, until=until, server=None)
    finally:
        if server is not None:
            server.close()
    names = ("trials", "kills", "executions", "calls taken for the cause, and tried again when asked", *FAULTS)
    print("| |" + "".join(f" {kind} |" for kind in table))
    print("|---|" + "---:|" * len(table))
    for name in names:
        print(f"| {name} |" + "".join(f" {counts[name]:,} |" for counts in table.values()))
    print(f"{time.monotonic() - began:.0f} s, seed {options.seed}", file=sys.stderr)
    print(json.dumps({kind: {name: counts[name] for name in names} for kind, counts in table.items()}))
    raise SystemExit(any(counts[fault] for counts in table.values() for fault in FAULTS))


if __name__ == "__main__":
    main()
