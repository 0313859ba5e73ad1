"""From one layout to the next: what an older durable_nb saved is kept."""

from __future__ import annotations

import gzip
import signal
from pathlib import Path

import pytest
import sqlalchemy as sa

from durable_nb.errors import StoreTooNew, StoreUnavailable
from durable_nb.records import State
from durable_nb.store import Store, tables
from tests.store.conftest import run_statement
from tests.store.examples import key, python

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.fixture
def old(url: str, tmp_path: Path) -> str:
    """Address of a database that schema 1 wrote: two runs, seven results, one of them a blob, a failure and a choice."""
    if url.startswith("sqlite"):
        (tmp_path / "durable.db").write_bytes(gzip.decompress((FIXTURES / "schema1.db.gz").read_bytes()))
    else:
        run_statement(sa.make_url(url), gzip.decompress((FIXTURES / "schema1.sql.gz").read_bytes()).decode())
    return url


def layout(store: Store) -> dict[str, object]:
    """Columns and indexes of every table."""
    with store._database.reading() as conn:
        found = sa.inspect(conn)
        return {
            table: (
                [(c["name"], str(c["type"]), c["nullable"], c["default"]) for c in found.get_columns(table)],
                sorted((i["name"], tuple(i["column_names"]), bool(i["unique"])) for i in found.get_indexes(table)),
                sorted(found.get_pk_constraint(table)["constrained_columns"]),
            )
            for table in sorted(found.get_table_names())
        }


def test_an_older_database_keeps_everything(old, opens):
    """Runs, results, blobs, failures, choices and history are there after the database was opened, and it is sound."""
    store = opens(old)
    run = store.run("embed")
    older, new = (version.id for version in store.versions(run.id, "embed"))

    assert [] == store.check()
    assert (State.FAILED, 1, 0.0, "") == (run.state, run.attempts, run.began, run.cell)
    assert {key(n) for n in range(5)} == set(store.look_up(run.id, [new], [key(n) for n in range(9)]))
    assert bytes(3 << 19) == store.look_up(run.id, [new], [key(4)])[key(4)].payload
    assert b"older" == store.look_up(run.id, [older], [key(0)])[key(0)].payload
    assert ["doc 5"] == [failure.label for failure in store.failures(run.id)]
    assert {older: "keep"} == store.choices(run.id, new)
    assert ["started", "failed"] == [event.kind for event in store.events(run.id)]


def test_a_database_brought_up_to_date_is_like_a_new_one(old, tmp_path, opens):
    """The same tables, columns and indexes, whichever way they came to be."""
    brought_up = layout(opens(old))
    if old.startswith("sqlite"):
        new = f"sqlite:///{tmp_path / 'new.db'}"
    else:
        run_statement(sa.make_url(old), "DROP SCHEMA durable_nb CASCADE")
        new = old

    assert layout(opens(new)) == brought_up


def test_an_upgrade_that_fails_changes_nothing(old, opens, monkeypatch):
    """What went wrong half-way is rolled back; the next kernel upgrades the database."""
    from durable_nb.store import migrations

    def broken(conn: sa.Connection) -> None:
        whole(conn)
        raise RuntimeError("power cut")

    whole = migrations.STEPS[1]
    monkeypatch.setitem(migrations.STEPS, 1, broken)
    with pytest.raises(RuntimeError, match="power cut"):
        opens(old)
    monkeypatch.undo()

    assert [] == opens(old).check()


_FURTHER = """
import signal, sys
from durable_nb.store import migrations, tables
def noting(number, dies):
    def step(conn):
        conn.exec_driver_sql(f"CREATE TABLE later_{number} (x INTEGER)")
        if dies: os.kill(os.getpid(), signal.SIGKILL)
    return step
last = tables.SCHEMA
tables.SCHEMA += 3
for number in range(3):
    migrations.STEPS[last + number] = noting(number, sys.argv[2] == str(number))
print("ready", flush=True); sys.stdin.readline()
store = Store.open(sys.argv[1])
with store._database.reading() as conn:
    tables_there = sorted(name for name in migrations.sa.inspect(conn).get_table_names() if name.startswith("later"))
    print(migrations.fact(conn, "schema"), *tables_there, store.run("embed").done, store.check(), flush=True)
"""


def test_an_upgrade_killed_half_way_goes_on_from_there(old):
    """Each step is a transaction: SIGKILL in one of many undoes that one; two kernels at once then do the rest."""
    dying = python(_FURTHER, old, "1")
    dying.communicate("go\n", timeout=60)
    half_way = _schema(old)
    others = [python(_FURTHER, old, "none") for _ in range(2)]
    for child in others:
        assert "ready\n" == child.stdout.readline()
    for child in others:
        child.stdin.write("go\n")
        child.stdin.flush()
    said = {child.communicate(timeout=60)[0] for child in others}

    assert -signal.SIGKILL == dying.returncode
    assert str(tables.SCHEMA + 1) == half_way
    assert {f"{tables.SCHEMA + 3} later_0 later_1 later_2 7 []\n"} == said
    with pytest.raises(StoreTooNew, match=rf"schema {tables.SCHEMA + 3}; this one knows {tables.SCHEMA}.*Upgrade with"):
        Store.open(old)


def test_an_upgrade_killed_before_its_commit_changes_nothing(old, opens):
    """SIGKILL inside of the first step leaves the old version whole, and the next kernel upgrades it."""
    code = """
import signal, sys
from durable_nb.store import migrations
whole = migrations.STEPS[1]
def dying(conn):
    whole(conn)
    os.kill(os.getpid(), signal.SIGKILL)
migrations.STEPS[1] = dying
Store.open(sys.argv[1])
"""
    child = python(code, old)
    child.communicate(timeout=60)

    assert -signal.SIGKILL == child.returncode
    assert "1" == _schema(old)
    assert [] == opens(old).check()
    assert str(tables.SCHEMA) == _schema(old)


def _schema(url: str) -> str:
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    schema = "" if url.startswith("sqlite") else "durable_nb."
    with engine.connect() as conn:
        return conn.exec_driver_sql(f"SELECT value FROM {schema}meta WHERE key = 'schema'").scalar_one()


def test_who_only_looks_upgrades_nothing(old, opens):
    """A server says that a kernel has to bring the database up to date; afterwards it reads it."""
    with pytest.raises(StoreUnavailable, match=rf"schema 1; this one reads {tables.SCHEMA}.*durable cells"):
        Store.read_only(old)
    opens(old)
    reader = Store.read_only(old)

    assert 2 == len(reader.overview())
    reader.close()


def test_a_newer_database_is_refused_by_who_only_looks(url, opens):
    """Neither a kernel nor a server touches what a newer durable_nb wrote."""
    store = opens(url)
    with store._database.writing() as conn:
        conn.execute(sa.update(tables.meta).where(tables.meta.c.key == "schema").values(value="9"))
    for open_it in (Store.open, Store.read_only):
        with pytest.raises(StoreTooNew, match=f"schema 9; this one knows {tables.SCHEMA}"):
            open_it(url)
