"""What happens to servers: restarted, killed, cut off, read-only, full. A run waits, says so, and goes on."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from durable_nb import cli
from durable_nb.errors import StoreUnavailable
from durable_nb.records import State
from durable_nb.store import Store, migrations, owner_of_this_process
from tests.crash.faults import Wire, Work, ask, stored
from tests.kernels import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.postgres import Postgres


def finishes_with_each_result_once(work: Work, database: str | None = None) -> None:
    """No call is repeated, and each result is there once."""
    end = work.end()

    assert {"right": True, "error": ""} == {name: end[name] for name in ("right", "error")}
    assert sorted(map(str, range(work.documents))) == sorted(work.executed)
    assert sorted(map(str, range(work.documents))) == sorted(stored(database or work.url))


def waiting(work: Work, words: str) -> None:
    """Return once the run says that it waits for the database, and why."""
    wait_until(lambda: any(words in said for said in work.waits), describing=f"the run says that it waits: {words}")


def scientist(server: Postgres) -> None:
    """A new user without any rights."""
    if ask(server.url, "SELECT 1 FROM pg_roles WHERE rolname = 'scientist'"):
        ask(server.url, "DROP OWNED BY scientist CASCADE")
        ask(server.url, "DROP ROLE scientist")
    ask(server.url, "CREATE ROLE scientist LOGIN")


@pytest.mark.parametrize("how", ["INT", "KILL"], ids=["restarted", "killed -9"])
def test_a_server_that_starts_anew_is_waited_for(server: Postgres, tmp_path: Path, how: str) -> None:
    """The run says that it waits for the database, goes on by itself, and computes nothing twice."""
    work = Work(tmp_path, server.url).at(60)
    server.stop(how)
    until_then = len(work.executed)
    waiting(work, "the database: ")
    at_rest = len(work.executed)
    server.start()

    finishes_with_each_result_once(work)
    assert at_rest <= until_then + 3 * work.workers
    assert work.waits[-1] == ""


def test_a_commit_whose_answer_is_lost_is_made_once(server: Postgres, tmp_path: Path) -> None:
    """The connection is cut between COMMIT and its answer, again and again: rows and calls are what they should be."""
    wire = Wire(server.port)
    work = Work(tmp_path, server.url.replace(str(server.port), str(wire.port)) + "?sslmode=disable&gssencmode=disable")
    for goal in (40, 90, 140):
        work.at(goal)
        wire.cut_commits(1)

    finishes_with_each_result_once(work, server.url)
    wire.close()
    ((done, attempts, state),) = ask(server.url, "SELECT done, attempts, state FROM durable_nb.runs")

    assert wire.cuts == 3
    assert (work.documents, 1, "done") == (done, attempts, state)


def test_the_last_commit_of_a_run_may_lose_its_answer(server: Postgres, tmp_path: Path) -> None:
    """A run whose end was committed while the connection was cut has ended well: its lease is not said to be lost."""
    wire = Wire(server.port)
    url = server.url.replace(str(server.port), str(wire.port)) + "?sslmode=disable&gssencmode=disable"
    work = Work(tmp_path, url, documents=20, prelude="sys.stdin.readline()", stdin=-1)
    work.process.stdin.write("go\n")
    work.process.stdin.flush()
    work.at(20)
    wire.cut_commits(50)  # each try of it
    wait_until(lambda: wire.cuts > 1, describing="commits were cut")
    wire.cut_commits(0)

    finishes_with_each_result_once(work, server.url)
    wire.close()


def test_a_standby_is_waited_out(server: Postgres, tmp_path: Path) -> None:
    """While the server only reads (a failover), the run waits; no result is refused for it."""
    work = Work(tmp_path, server.url).at(60)
    _set(server, "SET default_transaction_read_only = on")
    waiting(work, "is read-only for now")
    ask(server.url + "?options=-cdefault_transaction_read_only=off", "ALTER DATABASE postgres RESET ALL")

    finishes_with_each_result_once(work)


def test_a_server_without_connections_to_spare_is_waited_for(server: Postgres, tmp_path: Path) -> None:
    """While nobody may connect, the run waits; then it goes on."""
    scientist(server)
    ask(server.url, "GRANT CREATE ON DATABASE postgres TO scientist")
    work = Work(tmp_path, server.url.replace("postgres@", "scientist@")).at(60)
    ask(server.url, "ALTER ROLE scientist CONNECTION LIMIT 0")
    _cut_sessions(server)
    waiting(work, "too many connections")
    ask(server.url, "ALTER ROLE scientist CONNECTION LIMIT -1")

    finishes_with_each_result_once(work, server.url)


def test_who_wants_to_stop_need_not_wait_for_the_server(server: Postgres, tmp_path: Path) -> None:
    """■ ends a run that waits: what could not be saved is an error in the cell, and the next one computes the rest."""
    prelude = "from durable_nb.notebook.interrupts import also_on_interrupt\n"
    prelude += "session.observers.append(lambda live: also_on_interrupt(live.stop, live.saving.withholds))\n"
    work = Work(tmp_path, server.url, prelude=prelude).at(60)
    server.stop("INT")
    waiting(work, "the database: ")
    work.send(signal.SIGINT)
    end = work.end(timeout=30)
    server.start()

    assert "StoreUnavailable" in end["error"] or "KeyboardInterrupt" in end["error"] or "RunStopped" in end["error"]
    assert Work(tmp_path, server.url).end()["right"]
    assert len(work.executed) <= work.documents + 2 * work.workers


def test_who_begins_a_run_is_told_at_once(server: Postgres) -> None:
    """Somebody is there then: a server that is down is an error in the cell, not a wait."""
    server.stop("INT")
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        Store.open(server.url)
    server.start()


def test_a_right_taken_away_is_an_error_that_drops_nothing(server: Postgres, tmp_path: Path) -> None:
    """Who may no longer write is told so; what was computed meanwhile is kept in memory, not refused row by row."""
    scientist(server)
    store = Store.open(server.url)
    store.close()
    ask(server.url, "GRANT USAGE ON SCHEMA durable_nb TO scientist")
    ask(server.url, "GRANT ALL ON ALL TABLES IN SCHEMA durable_nb TO scientist")
    ask(server.url, "GRANT ALL ON ALL SEQUENCES IN SCHEMA durable_nb TO scientist")
    work = Work(tmp_path, server.url.replace("postgres@", "scientist@")).at(60)
    ask(server.url, "REVOKE ALL ON ALL TABLES IN SCHEMA durable_nb FROM scientist")
    end = work.end()

    assert "StoreUnavailable" in end["error"]
    assert "may not be used by you" in end["error"]
    assert len(work.executed) - len(stored(server.url)) <= work.workers


@pytest.mark.parametrize("right", ["none", "to look into the schema", "to make tables in the schema"])
def test_who_has_no_right_to_results_is_told_so(
    server: Postgres, capsys: pytest.CaptureFixture[str], right: str
) -> None:
    """In a kernel, for who only shows runs, and in a shell, however little of the schema the server lets them see."""
    scientist(server)
    Store.open(server.url).close()
    if right != "none":
        ask(server.url, f"GRANT {'USAGE' if 'look' in right else 'CREATE'} ON SCHEMA durable_nb TO scientist")
    url = server.url.replace("postgres@", "scientist@")
    for opened in (Store.open, Store.read_only):
        with pytest.raises(StoreUnavailable, match=r"may not be used by you\. Ask for the right"):
            opened(url)

    assert 2 == cli.main(["runs", "--db", url])
    assert "may not be used by you. Ask for the right" in capsys.readouterr().err


_IN_TRANSACTIONS = """
import sqlalchemy as sa
@step(transaction=True)
def square(number, *, connection):
    os.write(log, b"%d\\n" % number)
    connection.execute(sa.text("INSERT INTO sink VALUES (:n)"), {"n": number})
    connection.scalar(sa.text("SELECT count(*) FROM sink WHERE n < 0"))
    time.sleep(seconds)
    return number * number
"""


@pytest.mark.parametrize("limit", [2, 5])
def test_a_role_with_few_connections_can_write_in_transactions(server: Postgres, tmp_path: Path, limit: int) -> None:
    """More workers than it may have connections take turns, and leave one to who commits the counts and the end."""
    _few(server, limit)
    url = server.url.replace("postgres@", "scientist@")
    work = Work(tmp_path, url, prelude=_IN_TRANSACTIONS, documents=20, workers=8)

    finishes_with_each_result_once(work, server.url)
    assert list(range(20)) == [n for (n,) in ask(server.url, "SELECT n FROM sink ORDER BY n")]
    assert [("done", 20, 0)] == ask(server.url, "SELECT state, done, failed FROM durable_nb.runs")


def test_the_writer_comes_before_transactions_that_wait(server: Postgres, tmp_path: Path) -> None:
    """Where all connections were cut and they are few, the lease is renewed while the transactions go on."""
    _few(server, 4)
    url = server.url.replace("postgres@", "scientist@")
    work = Work(tmp_path, url, prelude=_IN_TRANSACTIONS, documents=5_000, workers=8, seconds=0.02).at(60)
    _cut_sessions(server)
    ((at,),) = ask(server.url, "SELECT heartbeat FROM durable_nb.runs")
    renewed = f"SELECT 1 FROM durable_nb.runs WHERE heartbeat > {at}"
    wait_until(lambda: bool(ask(server.url, renewed)), describing="the lease is renewed")

    assert work.process.poll() is None
    work.kill()


def test_a_run_that_ends_gives_its_connections_back(server: Postgres) -> None:
    """Those of transactions: a server may have few of them, for all who use it."""
    mine = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    ours = Store.open(server.url)
    owner = owner_of_this_process("kernel")
    one = ours.begin("one", owner=owner)
    ((before,),) = ask(server.url, mine)
    with ours.transactions.open() as first, ours.transactions.open() as second:
        first.connection.exec_driver_sql("SELECT 1")
        second.connection.exec_driver_sql("SELECT 1")
    ((meanwhile,),) = ask(server.url, mine)
    ours.finish(one.id, owner=owner, state=State.DONE)

    assert before + 2 == meanwhile
    wait_until(lambda: [(before,)] == ask(server.url, mine), describing="the connections are closed")
    ours.close()


@pytest.mark.parametrize("what", ["restarted", "killed", "its answers cut off", "serializable"])
def test_steps_in_transactions_wait_for_the_server(server: Postgres, tmp_path: Path, what: str) -> None:
    """Their rows are there once, and no document is to blame; what was committed is not even tried again."""
    ask(server.url, "DROP TABLE IF EXISTS sink")
    ask(server.url, "CREATE TABLE sink (n int)")
    wire, url = Wire(server.port), server.url
    if what == "its answers cut off":
        url = url.replace(str(server.port), str(wire.port)) + "?sslmode=disable&gssencmode=disable"
    if what == "serializable":
        ask(server.url, "ALTER DATABASE postgres SET default_transaction_isolation = 'serializable'")
    work = Work(tmp_path, url, prelude=_IN_TRANSACTIONS).at(60)
    if what in ("restarted", "killed"):
        server.stop({"restarted": "INT", "killed": "KILL"}[what])
        server.start()
    elif what == "its answers cut off":
        for goal in (70, 100, 130):
            work.at(goal)
            wire.cut_commits(1)
    end = work.end()
    ask(server.url, "ALTER DATABASE postgres RESET ALL")
    wire.close()
    written = [n for (n,) in ask(server.url, "SELECT n FROM sink ORDER BY n")]

    assert {"right": True, "error": ""} == {name: end[name] for name in ("right", "error")}
    assert list(range(work.documents)) == written
    assert sorted(map(str, written)) == sorted(stored(server.url))
    assert [("done", work.documents, 0)] == ask(server.url, "SELECT state, done, failed FROM durable_nb.runs")
    if what == "its answers cut off":
        assert sorted(map(str, written)) == sorted(work.executed)


def test_a_limit_to_silence_calls_no_step_twice(server: Postgres, tmp_path: Path) -> None:
    """A function may compute for longer after its first statement than the server lets a transaction be silent."""
    ask(server.url, "CREATE TABLE IF NOT EXISTS sink (n int)")
    ask(server.url, "ALTER DATABASE postgres SET idle_in_transaction_session_timeout = '20ms'")
    work = Work(tmp_path, server.url, prelude=_IN_TRANSACTIONS, documents=6, seconds=0.1)
    end = work.end()
    ask(server.url, "ALTER DATABASE postgres RESET ALL")

    assert {"right": True, "error": ""} == {name: end[name] for name in ("right", "error")}
    assert sorted(map(str, range(6))) == sorted(work.executed)


def test_another_database_of_a_step_is_its_own_business(server: Postgres, tmp_path: Path) -> None:
    """That it cannot be reached is a failure of the document, also in a transaction: nobody waits."""
    prelude = _IN_TRANSACTIONS.replace("    time.sleep", "    sa.create_engine(elsewhere).connect()\n    time.sleep")
    prelude = "elsewhere = 'postgresql+psycopg://me@127.0.0.1:1/db'\n" + prelude
    ask(server.url, "DROP TABLE IF EXISTS sink")
    ask(server.url, "CREATE TABLE sink (n int)")
    end = Work(tmp_path, server.url, documents=2, prelude=prelude).end()

    assert end["error"].startswith("StepFailed: square failed on 0"), end
    assert [] == end["waits"]


@pytest.mark.parametrize("shared", [False, True])
def test_a_database_of_bytes_holds_any_text(server: Postgres, tmp_path: Path, shared: bool) -> None:
    """One whose encoding is SQL_ASCII is as good as one of UTF-8, for labels and errors, and in transactions."""
    url = _database(server, "SQL_ASCII")
    ask(f"{url}?client_encoding=utf8", "CREATE TABLE sink (n int)")
    prelude = _FOREIGN if shared else _IN_TRANSACTIONS + _FOREIGN
    end = Work(tmp_path, url, documents=20, shared=shared, prelude=prelude).end()
    store = Store.open(url)
    failures = store.failures(store.run("\u0151r").id)
    store.close()

    assert {"right": True, "error": ""} == {name: end[name] for name in ("right", "error")}
    assert [("\u0151 \u2713", "ValueError: no \u0151 \u2713")] == [
        (failure.label, failure.error) for failure in failures
    ]


_FOREIGN = """
from durable_nb import run
@step
def say(text):
    raise ValueError(f"no {text}")
try:
    with run("\u0151r"):
        say("\u0151 \u2713")
except Exception:
    pass
"""


def test_a_database_that_cannot_hold_every_text_is_refused(server: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is so when it is made, and says what to do; whoever has results in one from before can read them."""
    url = _database(server, "LATIN1")
    with pytest.raises(StoreUnavailable, match="encoding is LATIN1. Create the database with ENCODING 'UTF8'"):
        Store.open(url)
    with monkeypatch.context() as before:
        before.setattr(migrations, "_FOR_EVERY_TEXT", ("LATIN1",))
        Store.open(url).close()
    store = Store.open(url)
    found = store.check()
    store.close()

    assert [] == found


def _database(server: Postgres, encoding: str) -> str:
    name = f"in_{encoding.lower()}"
    ask(server.url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    ask(server.url, f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
    return server.url.removesuffix("/postgres") + f"/{name}"


def _few(server: Postgres, connections: int) -> None:
    """A scientist may write results and into a table, with so many connections."""
    scientist(server)
    ask(server.url, f"ALTER ROLE scientist CONNECTION LIMIT {connections}")
    ask(server.url, "GRANT CREATE ON DATABASE postgres TO scientist")
    ask(server.url, "DROP TABLE IF EXISTS sink")
    ask(server.url, "CREATE TABLE sink (n int)")
    ask(server.url, "GRANT ALL ON sink TO scientist")


def _set(server: Postgres, what: str) -> None:
    ask(server.url, f"ALTER DATABASE postgres {what}")
    _cut_sessions(server)


def _cut_sessions(server: Postgres) -> None:
    ask(
        server.url + "?options=-cdefault_transaction_read_only=off",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'",
    )
