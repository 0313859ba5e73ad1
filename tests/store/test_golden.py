"""A database of each published layout opens, is brought up to date, and every result in it is restored."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
import sqlalchemy as sa

from durable_nb.errors import StoreTooNew
from durable_nb.records import State
from durable_nb.store import Store, tables
from tests.fixtures.golden import CELL, HERE
from tests.store.conftest import run_statement
from tests.store.examples import python

_RESTORE = (
    CELL
    + """
import json
values = [finished(), [v.get("text") if isinstance(v, dict) else str(v) for v in failed()], killed()]
print(json.dumps([values[0][2] == "long" * 300_000, values[0][0][3], values[1], values[2], executed]))
"""
)

_OPEN = """
import sys
from durable_nb.store import Store
print("ready", flush=True); sys.stdin.readline()
store = Store.open(sys.argv[1])
print([(run.name, run.done) for run in store.runs()], store.check(), flush=True)
store.close()
"""


@pytest.fixture(params=range(1, 5))
def golden(request, url, tmp_path) -> str:
    """Address of a database as the code of one schema left it."""
    name = f"golden{request.param}"
    if url.startswith("sqlite"):
        (tmp_path / "durable.db").write_bytes(gzip.decompress((HERE / f"{name}.db.gz").read_bytes()))
    else:
        run_statement(sa.make_url(url), gzip.decompress((HERE / f"{name}.sql.gz").read_bytes()).decode())
    assert request.param == schema_of(url)
    return url


def schema_of(url: str) -> int:
    """The layout that the database says it has."""
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    place = "meta" if url.startswith("sqlite") else "durable_nb.meta"
    with engine.connect() as conn:
        return int(conn.exec_driver_sql(f"SELECT value FROM {place} WHERE key = 'schema'").scalar_one())


def test_there_is_one_of_every_layout():
    """Whoever adds a layout makes a database of the one before it."""
    assert {*range(1, tables.SCHEMA)} <= {int(path.name[6:].split(".")[0]) for path in HERE.glob("golden*.gz")}


def test_rows_are_kept(golden, opens):
    """Runs, results, the failure and the history are there, the killed run is told so, and nothing is wrong."""
    before = schema_of(golden)
    store = opens(golden)
    assert tables.SCHEMA == schema_of(golden)

    runs = {run.name: run for run in store.runs()}
    done = {name: sum(version.saved for version in store.contents(run.id)) for name, run in runs.items()}

    assert {"embed": 6, "twice": 3, "parse": 5, "score": 3} == {name: done[name] for name in done if name != "asked"}
    assert (State.DONE, State.FAILED) == (runs["embed"].state, runs["parse"].state)
    assert (State.INTERRUPTED, 2) == (store.snapshot("score").state, runs["score"].attempts)
    assert ["d3"] == [failure.label for failure in store.failures(runs["parse"].id)]
    assert ["started", "done"] == [event.kind for event in store.events(runs["embed"].id)]
    assert (before >= 3) == bool(store.suspects(runs["score"].id))
    assert (1 if before >= 2 else 0) == store.tallies.take(runs["twice"].id, 1, b"0123456789abcdef")
    assert [] == store.check()


def test_results_are_restored(golden):
    """The cell of then, run by the code of now: only what had failed or was in flight is executed."""
    child = python(_RESTORE, golden, "")
    out, _ = child.communicate(timeout=120)
    whole, vector, parsed, scored, executed = json.loads(out.splitlines()[-1])

    assert whole
    assert np.frombuffer(b"d3......", dtype="float32").tolist() == vector
    assert [f"d{n}" for n in range(6)] == parsed
    assert [1.0] * 6 == scored
    assert ["d3", "d3", "d4", "d5"] == executed


def test_two_kernels_bring_it_up_at_once(golden):
    """Both open it, and nothing is lost."""
    children = [python(_OPEN, golden) for _ in range(2)]
    for child in children:
        assert "ready\n" == child.stdout.readline()
    for child in children:
        child.stdin.write("\n")
        child.stdin.flush()
    said = [child.communicate(timeout=60)[0] for child in children]

    assert said[0] == said[1]
    assert "('embed', 6)" in said[0]
    assert said[0].endswith(" []\n")


def test_a_layout_of_the_future_is_refused(golden, opens):
    """In words, and by the number of the layout, whoever opens it."""
    store = opens(golden)
    with store._database.writing() as conn:
        later = sa.update(tables.meta).where(tables.meta.c.key == "schema").values(value=str(tables.SCHEMA + 1))
        conn.execute(later)
    with pytest.raises(
        StoreTooNew, match=f"newer durable_nb .schema {tables.SCHEMA + 1}; this one knows {tables.SCHEMA}"
    ):
        Store.open(golden)
