"""Several kernels at one run, on a real PostgreSQL: each document once, whoever dies, freezes, fails or is interrupted."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from durable_nb import codecs, keys, step
from durable_nb.errors import ConfigError
from durable_nb.records import COMPUTED, Checkpoint, Mosaic, State
from durable_nb.store import Store, leases, owner_of_this_process
from durable_nb.store.tables import BLOB_PREFIX
from tests.crash.faults import Work, ask
from tests.crash.test_faults_owners import _freeze_between_commits
from tests.kernels import ROOT, lines, wait_until
from tests.store.examples import Counts, key, result

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.postgres import Postgres

_SHORT_LEASE = "from durable_nb.store import leases; leases.LEASE_S = 1.0"


def together(folder: Path, server: Postgres, count: int, **options: object) -> list[Work]:
    """Kernels at one shared run, each with a folder (and so a list of what it executed) of its own."""
    started = []
    for number in range(count):
        place = folder / f"kernel{number}"
        place.mkdir()
        started.append(Work(place, server.url, shared=True, **options))
    return started


def executions(works: list[Work]) -> Counter[str]:
    """How often each document was computed."""
    return Counter(number for work in works for number in work.executed)


def counts(url: str) -> tuple[str, int, int, int, int]:
    """State, total, done, restored and failed of the run, as everybody sees them."""
    found = ask(url, "SELECT state, total, done, restored, failed FROM durable_nb.runs")
    return tuple(found[0])


_LAST_WORDS = """
def show(live):
    last = lambda: live.progress.snapshot()
    live.finished.append(lambda: open("shown.json", "w").write(json.dumps(last()[1:6])))
session.observers.append(show)
"""


def test_two_kernels_divide_the_work(server: Postgres, tmp_path: Path) -> None:
    """Each document is executed once, both compute some, both return everything, and the counts are of the whole run."""
    works = together(tmp_path, server, 2, documents=300, seconds=0.02, prelude=_LAST_WORDS)
    works[0].at(40)
    store, halfway = Store.open(server.url), []

    def shows_more_than_one_did() -> bool:
        halfway.append(store.snapshot("square"))
        return halfway[-1].durable > max(len(work.executed) for work in works) + 10

    wait_until(shows_more_than_one_did, describing="the run is counted whole")
    ends = [work.end() for work in works]
    shares = [len(work.executed) for work in works]
    shown = [json.loads((work.folder / "shown.json").read_text()) for work in works]
    mosaic = store.mosaic(store.run("square").id)
    store.close()

    assert [True, True] == [end["right"] for end in ends], ends
    assert {str(n): 1 for n in range(300)} == executions(works)
    assert min(shares) > 30
    assert ("done", 300, 300, 0, 0) == counts(server.url)
    assert (State.RUNNING, 300) == (halfway[-1].state, halfway[-1].total)
    assert [["done", 300, 0, 300, 0]] * 2 == shown
    assert bytes((COMPUTED,)) * 300 == mosaic.states
    assert [(0, 0)] == ask(
        server.url,
        "SELECT count(c.token), count(m.token) FROM durable_nb.claims c FULL JOIN durable_nb.members m ON true",
    )


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_a_server_with_stricter_transactions(server: Postgres, tmp_path: Path, isolation: str) -> None:
    """What is the default of the database changes nothing: who waits for another kernel sees what that has done."""
    ask(server.url, f"ALTER DATABASE postgres SET default_transaction_isolation = '{isolation}'")
    try:
        works = together(tmp_path, server, 2, documents=300, seconds=0.005)
        ends = [work.end() for work in works]
        ended = counts(server.url)
    finally:
        ask(server.url, "ALTER DATABASE postgres RESET ALL")

    assert [(True, [])] * 2 == [(end["right"], end["waits"]) for end in ends], ends
    assert {str(n): 1 for n in range(300)} == executions(works)
    assert ("done", 300, 300, 0, 0) == ended


def test_one_of_three_is_killed(server: Postgres, tmp_path: Path) -> None:
    """Every document is done and right, and nothing is computed again but what the dead kernel was computing."""
    works = together(tmp_path, server, 3, documents=600, seconds=0.02)
    for work in works:
        work.at(10)
    dying = works[1].kill()
    ends = [work.end() for work in (works[0], works[2])]
    done = executions(works)
    again = sum(done.values()) - 600
    events = [kind for (kind,) in ask(server.url, "SELECT kind FROM durable_nb.events ORDER BY id")]

    assert [True, True] == [end["right"] for end in ends], ends
    assert 600 == len(done)
    assert again <= dying.workers
    assert ("done", 600, 600, 0, 0) == counts(server.url)
    assert Counter(["started", "joined", "joined", "kernel died", "left", "done"]) == Counter(events)
    store = Store.open(server.url)
    assert [] == store.check()
    store.close()


def test_all_are_killed_and_start_again(server: Postgres, tmp_path: Path) -> None:
    """A new attempt begins at once, though nobody could say that it was over: what was done is restored."""
    works = together(tmp_path, server, 2, documents=200, seconds=0.02)
    for work in works:
        work.at(20)
    for work in works:
        work.kill()
    before = sum(executions(works).values())
    again = [Work(work.folder, server.url, shared=True, documents=200, seconds=0.02) for work in works]
    ends = [work.end() for work in again]
    state, total, done, restored, _ = counts(server.url)

    assert [True, True] == [end["right"] for end in ends], ends
    assert sum(executions(works).values()) <= 200 + 2 * works[0].workers
    assert ("done", 200, 200) == (state, total, done)
    assert before - 2 * works[0].workers <= restored <= before


def test_an_interrupt_of_one_leaves_the_others_going(server: Postgres, tmp_path: Path) -> None:
    """It says so and lets go of what it had not begun; the other one computes that."""
    works = together(tmp_path, server, 2, documents=300, seconds=0.02)
    works[0].at(30).send(signal.SIGINT)
    ends = [work.end() for work in works]

    assert ends[0]["error"].startswith("KeyboardInterrupt")
    assert ends[1]["right"], ends[1]
    assert {str(n): 1 for n in range(300)} == executions(works)
    assert ("done", 300, 300, 0, 0) == counts(server.url)


_EDITED = "whole = square.function\nsquare = step(lambda n: whole(n), name='square', version='2')"


def test_a_question_of_one_leaves_the_counts_alone(server: Postgres, tmp_path: Path) -> None:
    """Who joins with edited code is asked, and leaves: what the others have computed by then was not restored."""
    (work,) = together(tmp_path, server, 1, documents=200, seconds=0.1)  # the other one comes before it ends
    work.at(40)
    (tmp_path / "edited").mkdir()
    asked = Work(tmp_path / "edited", server.url, documents=200, shared=True, prelude=_EDITED).end()
    end = work.end()

    assert asked["error"].startswith("CodeChanged"), asked
    assert end["right"], end
    assert ("done", 200, 200, 0, 0) == counts(server.url)


def test_a_question_of_who_begins_shows_what_there_is(server: Postgres, tmp_path: Path) -> None:
    """Nobody else is at the run: its results are not gone because a question is open."""
    (work,) = together(tmp_path, server, 1, documents=20)
    work.end()
    (tmp_path / "edited").mkdir()
    Work(tmp_path / "edited", server.url, documents=20, shared=True, prelude=_EDITED).end()

    assert ("failed", 20, 20, 20, 0) == counts(server.url)


def test_who_leaves_last_without_a_look_changes_no_count(server: Postgres) -> None:
    """It raised before it wanted anything: how many documents the others wanted stays known."""
    stores = [Store.open(url) for url in (server.url, server.url.replace("127.0.0.1", "localhost"))]
    shares = [store.join("met", owner=owner_of_this_process()) for store in stores]
    for store, share, total in zip(stores, shares, (3, None), strict=True):
        store.watch(share.run.id, owner=share.member, ledger=Counts(total), share=share)
    for store, share in zip(stores, shares, strict=True):
        store.finish(share.run.id, owner=share.member, state=State.INTERRUPTED)
        store.close()

    assert ("interrupted", 3) == counts(server.url)[:2]


def test_stop_stops_all(server: Postgres, tmp_path: Path) -> None:
    """Asked of the run, from anywhere: each kernel ends its running calls, and the last one ends the run."""
    works = together(tmp_path, server, 2, documents=2_000, seconds=0.02)
    for work in works:
        work.at(20)
    store = Store.open(server.url)
    store.control(store.run("square").id, "stop")
    ends = [work.end() for work in works]
    kept = counts(server.url)
    store.close()

    assert [True, True] == [end["error"].startswith("RunStopped") for end in ends], ends
    assert ("interrupted", 2_000) == kept[:2]
    assert sum(executions(works).values()) == kept[2] < 2_000


class _Squares(Counts):
    """A ledger with squares, and something that happens before they are written."""

    def __init__(self, before: Callable[[], object]) -> None:
        super().__init__(1)
        self._before = before

    def mosaic(self) -> Mosaic:
        self._before()
        return Mosaic(1, bytes((COMPUTED,)))


def test_one_ends_while_another_commits(server: Postgres) -> None:
    """Neither waits for what the other has, so that none has to begin again, which who is stopped would not."""
    urls = [server.url, server.url.replace("127.0.0.1", "localhost")]  # in one process a database has one writer
    stores = [Store.open(url) for url in urls]
    shares = [store.join("met", owner=owner_of_this_process()) for store in stores]
    step_id = stores[0].step("s", fingerprint="1", parts={}, source="")
    commits, ends = threading.Event(), threading.Event()

    def meet() -> None:
        commits.set()
        if ends.wait(2):
            time.sleep(0.3)  # the other one writes its squares meanwhile

    ledgers = [_Squares(meet), _Squares(ends.set)]
    for store, share, ledger in zip(stores, shares, ledgers, strict=True):
        share.take(step_id, [key(1)], 1)
        store.watch(share.run.id, owner=share.member, ledger=ledger, share=share)
        store.hurry(share.run.id)
    saved = stores[0].save_now(result(shares[0].run.id, step_id, 1))
    commits.wait(2)
    stores[1].finish(shares[1].run.id, owner=shares[1].member, state=State.INTERRUPTED)
    saved.result()
    stores[0].finish(shares[0].run.id, owner=shares[0].member, state=State.INTERRUPTED)
    ended = counts(server.url)
    for store in stores:
        store.close()

    assert ("interrupted", 1, 1) == ended[:3]


def test_a_last_result_that_is_refused_is_an_error(server: Postgres, tmp_path: Path) -> None:
    """A shared map does not wait for a result that the database refused after the last call: each kernel says so."""
    Store.open(server.url).close()
    ask(server.url, "ALTER TABLE durable_nb.checkpoints ADD CONSTRAINT odd CHECK (label <> '59')")
    works = together(tmp_path, server, 2, documents=60, seconds=0.002)
    ends = [work.end(timeout=40) for work in works]

    assert [True, True] == [end["error"].startswith("StoreError") and "result of 59" in end["error"] for end in ends], (
        ends
    )
    assert ("failed", 59) == (counts(server.url)[0], counts(server.url)[2])


_FAILING = """
whole = square.function
def odd(number):
    if number % 50 == 7:
        os.write(log, b"%d\\n" % number)
        raise ValueError(f"no such page {number}")
    return whole(number)
square.function = odd
"""


def test_failures_are_seen_by_all(server: Postgres, tmp_path: Path) -> None:
    """A document that raises is tried by one kernel, and raised in each."""
    works = together(tmp_path, server, 2, documents=200, seconds=0.02, prelude=_FAILING)
    ends = [work.end() for work in works]
    expected = "StepFailed: square failed on 7"

    assert [True, True] == [end["error"].startswith(expected) for end in ends], ends
    assert [True, True] == ["no such page 7" in end["error"] for end in ends], ends
    assert {str(n): 1 for n in range(200)} == executions(works)
    assert ("failed", 200, 196, 0, 4) == counts(server.url)


def test_a_failure_that_could_not_be_noted_is_seen_by_all(server: Postgres, tmp_path: Path) -> None:
    """A failure never replaces a result, not even one that cannot be read any more: both kernels raise it all the same."""
    prelude = _FAILING.replace("number % 50 == 7", f"number == 7 and os.path.exists('{tmp_path}/fails')")
    before = Work(tmp_path, server.url, documents=20, seconds=0.02, prelude=prelude).end()
    (tmp_path / "fails").touch()
    unreadable = f"SET codec = '{BLOB_PREFIX}' || codec, payload = 'gone' WHERE label = '7'"
    ask(server.url, f"UPDATE durable_nb.checkpoints {unreadable}")
    works = together(tmp_path, server, 2, documents=300, seconds=0.02, prelude=prelude)
    ends = [work.end() for work in works]

    assert before["right"]
    assert [True, True] == [end["error"].startswith("StepFailed: square failed on 7") for end in ends], ends
    assert {str(n): 1 for n in (7, *range(20, 300))} == executions(works)


_NO_ROOM = """
from durable_nb import slots
slots.Slots.has_room = property(lambda _: False, lambda *_: None)
whole = slots.Slots.put_restored
def noting(self, positions, rows):
    with open("arrived.log", "a") as file:
        file.writelines(f"{saved.codec}\\n" for saved in rows)
    whole(self, positions, rows)
slots.Slots.put_restored = noting
"""


def test_results_of_others_without_room_stay_in_the_database(server: Postgres, tmp_path: Path) -> None:
    """Who has no room for more results holds none of those that others computed, and returns all of them."""
    works = together(tmp_path, server, 2, documents=200, seconds=0.01, prelude=_NO_ROOM)
    ends = [work.end() for work in works]

    assert [True, True] == [end["right"] for end in ends], ends
    assert {"stored"} == {codec for work in works for codec in lines(work.folder / "arrived.log")}


def test_who_was_taken_for_dead_changes_nothing(server: Postgres, tmp_path: Path) -> None:
    """Frozen for longer than its lease, it wakes up when the others have done everything, is told, and replaces nothing."""
    prelude = (
        _SHORT_LEASE
        + """
whole_truth = leases.is_alive
leases.is_alive = lambda owner, beat: owner.pid == os.getpid() or whole_truth(owner._replace(machine="elsewhere"), beat)
"""
    )
    works = together(tmp_path, server, 2, documents=100, seconds=0.05, prelude=prelude)
    frozen = works[0].at(10)
    _freeze_between_commits(frozen)
    end = works[1].end()
    before = ask(server.url, "SELECT id, started, payload FROM durable_nb.checkpoints ORDER BY id")
    frozen.send(signal.SIGCONT)
    woken = frozen.end()

    assert end["right"], end
    assert woken["error"].startswith("LeaseLost: run 'square'"), woken
    assert sum(executions(works).values()) <= 100 + 2 * frozen.workers
    assert before == ask(server.url, "SELECT id, started, payload FROM durable_nb.checkpoints ORDER BY id")


@pytest.mark.parametrize("beside", ["alone", "beside\0one"])
@pytest.mark.parametrize("first", ["frozen", "other"])
def test_a_result_counts_for_who_has_the_claim(server: Postgres, first: str, beside: str) -> None:
    """What a kernel that was taken for dead saves of a call that another one has claimed is refused, before and after.

    So it is in a commit that is made row by row, because another row of it holds what this server does not take.
    """
    store, late = Store.open(server.url), Store.open(server.url)
    run_of = {}
    for name, one in (("other", store), ("frozen", late)):
        run_of[name] = one.join("fenced", owner=owner_of_this_process())
        one.watch(run_of[name].run.id, owner=run_of[name].member, ledger=Counts(), share=run_of[name])
    frozen, other = run_of["frozen"], run_of["other"]
    run_id, step_id = other.run.id, store.step("s", fingerprint="1", parts={}, source="")
    mine = frozen.take(step_id, [key(1)], 1).mine
    gone = f"SET machine = 'elsewhere', heartbeat = 0 WHERE token = '{frozen.member.token}'"
    ask(server.url, f"UPDATE durable_nb.members {gone}")
    buried = other.bury()
    theirs = other.take(step_id, [key(1)], 1).mine
    others = [] if beside == "alone" else [result(run_id, step_id, 2, label=beside)]
    saves = {
        "frozen": lambda: (
            late.save_all(others),
            late.save_now(result(run_id, step_id, 1, payload=b"late")).result(),
        ),
        "other": lambda: store.save_now(result(run_id, step_id, 1, payload=b"right")).result(),
    }
    for name in (first, *(saves.keys() - {first})):
        saves[name]()
    found = store.look_up(run_id, [step_id], [key(1)])
    for one, share in ((late, frozen), (store, other)):
        one.finish(run_id, owner=share.member, state=State.DONE)
        one.unwatch(run_id)
    check = store.check()
    late.close()
    store.close()

    assert mine == theirs == {key(1)}
    assert [frozen.member.token] == buried
    assert b"right" == found[key(1)].payload
    assert [(step_id, key(1))] == frozen.fenced == other.kept
    assert [] == check


@pytest.mark.parametrize("how", ["left", "taken for dead"])
def test_a_claim_of_nobody_is_free_again(server: Postgres, how: str) -> None:
    """What a kernel claims after it has left, or was taken for dead, is free for who looks after the others; only that is."""
    store, late = Store.open(server.url), Store.open(server.url.replace("127.0.0.1", "localhost"))
    shares = []
    for one in (store, late):
        shares.append(one.join("strays", owner=owner_of_this_process()))
        one.watch(shares[-1].run.id, owner=shares[-1].member, ledger=Counts(), share=shares[-1])
    ours, theirs = shares
    run_id, step_id = ours.run.id, store.step("s", fingerprint="1", parts={}, source="")
    ours.take(step_id, [key(1)], 1)
    if how == "left":
        late.finish(run_id, owner=theirs.member, state=State.INTERRUPTED)
        late.unwatch(run_id)
    else:
        gone = f"SET machine = 'elsewhere', heartbeat = 0 WHERE token = '{theirs.member.token}'"
        ask(server.url, f"UPDATE durable_nb.members {gone}")
        ours.bury()
    strays = theirs.take(step_id, [key(1), key(2)], 2).mine
    ours.bury()
    found = ours.take(step_id, [key(1), key(2)], 2).mine
    late.unwatch(run_id)
    store.finish(run_id, owner=ours.member, state=State.DONE)
    store.unwatch(run_id)
    for one in (late, store):
        one.close()

    assert {key(2)} == strays
    assert {key(1), key(2)} == found


_SLOW = """
whole = square.function
square.function = lambda n: whole(n) + (time.sleep(2) or 0 if n == 3 else 0)
import atexit
atexit.register(lambda: open("values.json", "w").write(json.dumps(list(found))))
"""


def test_a_map_returns_what_counts(server: Postgres, tmp_path: Path) -> None:
    """A kernel that was taken for dead during a call has, in the end, the result of who computed it since."""
    (work,) = together(tmp_path, server, 1, documents=60, seconds=0.02, prelude=_SLOW)
    wait_until(lambda: "3" in work.executed, describing="the slow document has begun")
    store = Store.open(server.url)
    share = store.join("square", owner=owner_of_this_process())
    store.watch(share.run.id, owner=share.member, ledger=Counts(), share=share)
    (step_id,) = (version.id for version in store.versions(share.run.id, "square"))
    name = keys.call_digest((3,), {})
    ask(server.url, "DELETE FROM durable_nb.claims WHERE state = 'held'")
    taken = share.take(step_id, [name], 1).mine
    codec, payload = codecs.encode(-9)
    theirs = Checkpoint(share.run.id, step_id, name, "done", 3, "3", 1, None, 1e9, 0.5, codec, payload)
    store.save_now(theirs).result()
    work.end()
    values = json.loads((work.folder / "values.json").read_text())
    store.finish(share.run.id, owner=share.member, state=State.DONE)
    store.unwatch(share.run.id)
    store.close()

    assert {name} == taken
    assert [-9 if n == 3 else n * n for n in range(60)] == values
    assert {str(n): 1 for n in range(60)} == executions([work])


def test_random_kills(server: Postgres, tmp_path: Path) -> None:
    """Three kernels, and one of them killed and started again five times: nothing is lost, little is computed again."""
    chance = random.Random(5)
    options = {"documents": 500, "seconds": 0.02}
    works = together(tmp_path, server, 3, **options)
    for kill in range(5):
        number, before = chance.randrange(3), sum(executions(works).values())
        due = before + chance.randrange(10, 60)
        wait_until(lambda: sum(executions(works).values()) >= due, describing=f"{due} executions")  # noqa: B023
        works[number].kill()
        works[number] = Work(works[number].folder, server.url, shared=True, **options)
    ends = [work.end() for work in works]
    done = executions(works)

    assert [True] * 3 == [end["right"] for end in ends], ends
    assert 500 == len(done)
    assert sum(done.values()) <= 500 + 5 * works[0].workers
    assert ("done", 500, 500) == counts(server.url)[:3]


_ASYNC = """
import asyncio, json, os, sys
from durable_nb import configure, step
configure(url=sys.argv[1])
log = open(sys.argv[2], "a", buffering=1)
@step
async def square(n):
    log.write(f"{n}\\n")
    await asyncio.sleep(0.01)
    return n * n
@step(batch=8)
def doubled(numbers):
    log.write("".join(f"{n}\\n" for n in numbers))
    return [2 * n for n in numbers]
@step
def inner(n):
    return n + 1
@step
def outer(n):
    log.write(f"{n}\\n")
    return sum(inner.map([n, n + 1], shared=True))
async def main():
    return list(await square.amap(range(100), workers=8, shared=True))
print(asyncio.run(main()) == [n * n for n in range(100)], flush=True)
print(list(doubled.map(iter(range(100, 200)), shared=True)) == [2 * n for n in range(100, 200)], flush=True)
print(list(outer.map(range(200, 230), shared=True)) == [2 * n + 3 for n in range(200, 230)], flush=True)
"""


def test_coroutines_and_batches_are_shared(server: Postgres, tmp_path: Path) -> None:
    """``amap`` of an async step, and a step that takes several documents at once, from an iterator, and a map inside."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    logs = [tmp_path / f"{n}.log" for n in range(2)]
    children = [
        subprocess.Popen([sys.executable, "-c", _ASYNC, server.url, str(log)], env=environment, stdout=subprocess.PIPE)
        for log in logs
    ]
    said = [child.communicate(timeout=120)[0] for child in children]
    done = Counter(line for log in logs for line in log.read_text().splitlines())

    assert [b"True\nTrue\nTrue\n"] * 2 == said
    assert {str(n): 1 for n in range(230)} == done


def test_a_document_that_kills_is_set_aside(server: Postgres, tmp_path: Path) -> None:
    """After three deaths the fourth kernel goes on without it, and says so."""
    poison = "whole = square.function\nsquare.function = lambda n: os.kill(os.getpid(), 9) if n == 5 else whole(n)"
    options = {"documents": 40, "seconds": 0.02, "workers": 1, "prelude": poison}
    works = together(tmp_path, server, 4, **options)
    outs = [work.process.communicate(timeout=120)[0] for work in works]
    codes = sorted(work.process.returncode for work in works)
    survivor = json.loads(next(out for out in outs if out).splitlines()[-1])

    assert [-9, -9, -9, 0] == codes
    assert survivor["error"].startswith("StepFailed: square"), survivor
    assert "the kernel died each time it was computed" in survivor["error"]
    assert {str(n): 1 for n in range(40) if n != 5} == executions(works)


def test_who_computes_alone_keeps_others_out(server: Postgres, tmp_path: Path) -> None:
    """Neither joins a run of one kernel, nor takes one of several alone, while those are alive."""
    (tmp_path / "other").mkdir()
    for first, second in ((False, True), (True, False)):
        holder = Work(tmp_path, server.url, shared=first, documents=1000, seconds=0.05)
        holder.at(5)
        refused = Work(tmp_path / "other", server.url, shared=second, documents=100).end()
        holder.kill()
        ask(server.url, "DROP SCHEMA durable_nb CASCADE")
        (tmp_path / "executed.log").unlink()

        assert refused["error"].startswith("RunBusy: run 'square' is being computed by another process"), refused


def test_the_server_is_killed_meanwhile(server: Postgres, tmp_path: Path) -> None:
    """Both wait for it and go on: each document is executed once, and committed once."""
    works = together(tmp_path, server, 2, documents=300, seconds=0.02)
    works[0].at(60)
    server.stop("KILL")
    server.start()
    ends = [work.end() for work in works]

    assert [True, True] == [end["right"] for end in ends], ends
    assert {str(n): 1 for n in range(300)} == executions(works)
    assert any("the database" in text for work in works for text in work.waits)
    assert ("done", 300, 300, 0, 0) == counts(server.url)


@step
def plain(n: int) -> int:
    return n


def test_sqlite_is_refused(store: Store) -> None:
    """With what to do."""
    with pytest.raises(ConfigError, match="shared=True needs PostgreSQL.*configure.url="):
        plain.map([1, 2], shared=True)


def test_claims_never_overlap(server: Postgres) -> None:
    """Whoever asks for the same calls gets others, also when the answer of an earlier attempt was lost."""
    store = Store.open(server.url)
    shares = [store.join("claims", owner=owner_of_this_process()) for _ in range(2)]
    leases.watched.update(share.member.token for share in shares)
    keys = [n.to_bytes(16, "big") for n in range(10)]
    first = shares[0].take(1, keys, 4)
    again = shares[0].take(1, keys, 0)
    second = shares[1].take(1, keys, 10)
    leases.watched.clear()
    store.close()

    assert set(keys[:4]) == first.mine == again.mine
    assert set(keys[4:]) == second.mine


_IN_PROCESSES = """
@step(executor="processes")
def square(number):
    with open("executed.log", "a") as file:
        file.write(f"{number}\\n")
    time.sleep(seconds)
    return number * number
"""


def test_each_kernel_may_have_an_engine(server: Postgres, tmp_path: Path) -> None:
    """``executor`` and ``shared`` go together: claims are made by the kernel, calls by its worker processes."""
    works = together(tmp_path, server, 2, documents=120, seconds=0.05, workers=2, prelude=_IN_PROCESSES)
    ends = [work.end() for work in works]

    assert [True, True] == [end["right"] for end in ends], ends
    assert {str(n): 1 for n in range(120)} == executions(works)
    assert all(work.executed for work in works)
    assert ("done", 120, 120, 0, 0) == counts(server.url)


_DEADLY = _IN_PROCESSES.replace(
    "    time.sleep(seconds)", "    if number == 5:\n        os._exit(9)\n    time.sleep(seconds)"
)


def test_a_document_that_kills_its_worker_is_set_aside_for_all(server: Postgres, tmp_path: Path) -> None:
    """Both kernels name it, as what was set aside and not as what failed."""
    works = together(tmp_path, server, 2, documents=40, seconds=0.02, workers=1, prelude=_DEADLY)
    errors = [work.end()["error"] for work in works]

    assert all("tried again only when you ask" in error for error in errors), errors
    assert {str(n) for n in range(40)} == set(executions(works))
    told = ask(server.url, "SELECT error FROM durable_nb.checkpoints WHERE state = 'failed'")
    assert [("WorkerProcessDied: the worker process died each time it was computed; set aside",)] == told
