"""■ in the seven shapes of the tests: when control is back, and what is run twice; plain and durable, in one run."""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from tests.kernels import Kernel, lines, wait_until
from tests.notebook.test_cell_interrupts import CALL_S, ITEMS, SETUP, SHAPES


class Stop(NamedTuple):
    """One press of ■."""

    seconds: float
    ended: int
    """Calls that had ended when control was back."""
    later: int
    """Calls that ended afterwards, within five times the length of one."""
    twice: int | None
    """Items whose call ended more than once after the cell was run again; None for a plain cell, which begins anew."""


def once(shape: str, *, durable: bool, log: str, count: int) -> Stop:
    """Press ■ as soon as ``log`` has so many lines."""
    folder = Path(tempfile.mkdtemp(prefix="interrupts-"))
    ended = folder / "ended.log"
    cell = f"%%durable {shape}\n{SHAPES[shape]}" if durable else SHAPES[shape]
    with Kernel(folder) as kernel:
        kernel.ok("%load_ext durable_nb")
        kernel.ok(SETUP)
        message = kernel.start(cell)
        wait_until(lambda: len(lines(folder / log)) >= count, describing=f"{count} lines in {log}")
        pressed = time.monotonic()
        kernel.interrupt()
        kernel.finish(message)
        seconds, at_return = time.monotonic() - pressed, len(lines(ended))
        time.sleep(5 * CALL_S)
        later = len(lines(ended)) - at_return
        if not durable:
            return Stop(seconds, at_return, later, None)
        kernel.ok(cell)
    calls = Counter(lines(ended))
    assert set(calls) == set(map(str, range(ITEMS)))
    return Stop(seconds, at_return, later, sum(number - 1 for number in calls.values()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of each moment: in the middle of a call, at its end")
    parser.add_argument("--shapes", default=",".join(SHAPES))
    options = parser.parse_args()
    print(
        f"{ITEMS} calls of {CALL_S} s; ■ in the middle of a call and at the end of one, {options.rounds} times each\n"
    )
    print(
        "| | plain: s until back, worst | ended | after that | durable: s until back, worst | ended | after that | twice |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for shape in options.shapes.split(","):
        found: dict[bool, list[Stop]] = {False: [], True: []}
        for number in range(options.rounds):
            for log in ("begun.log", "ended.log"):
                for durable, stops in found.items():
                    stops.append(once(shape, durable=durable, log=log, count=7 + number))
        cells = [shape]
        for stops in found.values():
            waits = [stop.seconds for stop in stops]
            cells.append(f"{statistics.median(waits):.2f}, {max(waits):.2f}")
            cells += [f"{statistics.median(stop.ended for stop in stops):.0f}", str(max(stop.later for stop in stops))]
        cells.append(str(sum(stop.twice or 0 for stop in found[True])))
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
