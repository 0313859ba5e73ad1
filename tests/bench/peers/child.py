"""One peer in this process: ``python -m tests.bench.peers.child NAME FOLDER REPORT --items N [--warm]``."""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import time
import warnings
from pathlib import Path

from tests.bench import workload
from tests.bench.peers import PEERS, work


def peak_memory() -> int:
    """Bytes: the most that was resident until now, as the kernel counts it; sampling would miss short peaks."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def main() -> None:
    """Write what it took into the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("folder", type=Path)
    parser.add_argument("report", type=Path)
    parser.add_argument("--items", type=int, required=True)
    parser.add_argument("--warm", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    peer, items = PEERS[options.name], workload.documents(options.items)
    memory, began = peak_memory(), time.perf_counter()
    for module in peer.modules:
        importlib.import_module(module)
    imports = time.perf_counter() - began
    began = time.perf_counter()
    with peer.opened(options.folder, work.embed) as compute:
        opening = time.perf_counter() - began
        if options.warm:
            compute(peer.given([work.WARM], options.folder))
        began = time.perf_counter()
        given = peer.given(items, options.folder)
        giving = time.perf_counter() - began
        spent, began = time.process_time(), time.perf_counter()
        vectors = list(compute(given))
        computing, spent = time.perf_counter() - began, time.process_time() - spent
    times = {"imports": imports, "opening": opening, "giving": giving, "computing": computing, "cpu": spent}
    report = times | {"memory": peak_memory() - memory, "wrong": work.wrong(vectors, options.items)}
    options.report.write_text(json.dumps(report))


if __name__ == "__main__":
    main()
