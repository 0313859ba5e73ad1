"""The comparison with peers counts what it says it counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.bench import workload
from tests.bench.peers.__main__ import main, measure
from tests.bench.peers.caches import joblib_memory
from tests.bench.peers.contract import Peer
from tests.bench.peers.references import LOOP, RAW
from tests.bench.peers.table import HEAD, table
from tests.bench.peers.work import wrong

ITEMS = 60


def rows(printed: str) -> dict[str, dict[str, str]]:
    """The cells of each row of the table, by the heads of their columns."""
    heads = [head.strip() for head in HEAD.split("|")]
    found = {}
    for line in printed.splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) == len(heads) and cells[1] and not cells[1].startswith("---"):
            found[cells[1]] = dict(zip(heads, cells, strict=True))
    return found


def test_the_command_counts_executions_and_wrong_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No result is wrong; after a kill and after a finished run only those are called again that were not kept."""
    main([
        "--items", str(ITEMS), "--rounds", "1", "--kills", "1", "--seconds", "0.01", "--folder", str(tmp_path),
        "--peers", "workers=1,%%durable,joblib",
    ])  # fmt: skip
    found = rows(capsys.readouterr().out)
    keeping = {name for name in found if name not in (LOOP.name, RAW.name)}

    ours = {"durable_nb `map(workers=1)`", "durable_nb `map(workers=1)`, `batch=1000`", "durable_nb `%%durable` cell"}
    assert ours | {"joblib `Memory`"} == keeping
    assert {"0"} == {cells["wrong"] for cells in found.values()}
    assert {LOOP.name} == {
        name for name, cells in found.items() if f"({ITEMS} computed again)" in cells["all again, s"]
    }
    assert all(int(found[name]["calls beyond items"]) <= 1 for name in keeping if "batch" not in name)
    # Killed at 35 to 45 %: nothing is kept of a loop, and nothing of less than one transaction of raw sqlite3.
    assert all(0.35 * ITEMS <= int(found[name]["lost at SIGKILL"]) < ITEMS for name in (LOOP.name, RAW.name))
    assert all(int(found[name]["bytes an item"].replace(",", "")) > 1024 for name in (RAW.name, *keeping))
    assert [] == list(tmp_path.iterdir())


def test_a_peer_without_numbers_is_named_with_the_reason(tmp_path: Path) -> None:
    """What is not installed, and what fails, has a row that says so; the others are measured."""
    absent = Peer("absent", joblib_memory, "each call", package="durable-nb-absent")
    failing = Peer("unknown to the process", joblib_memory, "each call")
    measured = measure([LOOP, absent, failing], ITEMS, rounds=1, kills=0, seconds=0, folder=tmp_path)
    found = rows(table(measured, ITEMS))

    assert "not installed" == found["absent"]["kept"]
    assert found["unknown to the process"]["kept"].startswith("failed: KeyError")
    assert "0" == found[LOOP.name]["wrong"]


def test_a_vector_that_is_missing_or_not_its_own_counts_as_wrong() -> None:
    """Each document is compared with what is true of it, to the bit, in its own place."""
    true = workload.documents(4)
    vectors = [workload.embed(doc) for doc in true]
    almost = vectors[3].copy()
    almost[7] = np.nextafter(almost[7], np.float32(9))

    assert 0 == wrong(vectors, 4)
    assert 0 == wrong([vector.tolist() for vector in vectors], 4)
    assert 2 == wrong([vectors[1], vectors[0], *vectors[2:]], 4)
    assert 1 == wrong([*vectors[:3], almost], 4)
    assert 1 == wrong([None, *vectors[1:]], 4)
    assert 1 == wrong(vectors[:3], 4)
    assert 1 == wrong([*vectors, vectors[0]], 4)
