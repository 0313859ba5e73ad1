"""What users do to notebooks, done to each variant: every function tries one thing and says what is wrong, '' if nothing is."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import TYPE_CHECKING

from tests.bench.comparison.places import Hangs, Place, Rows, finished, place, run
from tests.bench.comparison.variants import STEP, Variant, reordered
from tests.postgres import Postgres

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.kernels import Kernel, Reply

DOCUMENTS = 24
KILL_AT = 10
VALUES = "import json\nprint('@' + json.dumps([(one.url.rpartition('/')[2], one.chunks) for one in indexed]))"
ANSWER = ("%durable index-pdfs", "%durable index-pdfs --on-change recompute")
NOT_APPLICABLE = "–"
Expected = dict[str, Rows]
"""The true rows: of the documents as they are, with the edited step ("step"), and with one more in front ("inserted")."""


def again(here: Place, kernel: Kernel) -> Reply:
    """Run the cell; if the library asks about edited code, answer that results are to be computed anew."""
    reply = run(kernel, here.cell)
    if reply.error.startswith("CodeChanged"):
        answer = "import durable_nb\ndurable_nb.configure(on_change='recompute')"
        reply = run(kernel, here.cell.replace(*ANSWER) if ANSWER[0] in here.cell else f"{answer}\n{here.cell}")
    return reply


def wrong(here: Place, kernel: Kernel, reply: Reply, rows: Rows, *, calls: int) -> str:
    """What is not as it should be at the end: the cell, its value, the vector store, or the number of calls."""
    if reply.status != "ok":
        return f"error: {reply.error.partition(':')[0]}"
    stored = here.rows()
    if found := stray(stored, rows):
        return found
    said = run(kernel, VALUES)
    chunks = Counter(document for document, _, _ in rows.elements())
    names = sorted(here.site.names, key=len) if "sorted(" in here.cell else here.site.names
    expected = [[name, chunks[name]] for name in names]
    if said.status != "ok" or sorted(json.loads(said.stdout.partition("@")[2])) != sorted(expected):
        return "wrong value"
    made = len(here.site.asked)
    return f"{made} calls for {len(here.site.names)}" if made > calls else ""


def stray(stored: Rows, rows: Rows) -> str:
    """Rows that are missing, doubled, or of something else."""
    missing, surplus = rows - stored, stored - rows
    doubled = sum(count for row, count in surplus.items() if row in rows)
    other = surplus.total() - doubled
    parts = [(other, "wrong"), (missing.total(), "missing"), (doubled, "duplicate")]
    return ", ".join(f"{count} {kind} rows" for count, kind in parts if count)


def started(here: Place, documents: int = KILL_AT) -> tuple[Kernel, str]:
    """A kernel in the middle of the cell."""
    kernel = here.kernel()
    message = kernel.start(here.cell)
    here.wait_for(documents)
    return kernel, message


def revived(here: Place) -> Kernel:
    """A new kernel; and a new worker where there is one."""
    if here.variant.is_temporal and len(here.processes) == 1:
        here.start_worker()
    return here.kernel()


def sigkill(variant: Variant, expected: Expected) -> str:
    """Killed at 10 of 24; the same cells in a new kernel."""
    with place(variant, DOCUMENTS) as here:
        here.kill(started(here)[0])
        kernel = revived(here)
        return wrong(here, kernel, again(here, kernel), expected["now"], calls=DOCUMENTS + variant.workers)


def interrupt(variant: Variant, expected: Expected) -> str:
    """■ at 10 of 24; the cell again in the same kernel."""
    with place(variant, DOCUMENTS) as here:
        kernel, message = started(here)
        kernel.interrupt()
        finished(kernel, message)
        return wrong(here, kernel, again(here, kernel), expected["now"], calls=DOCUMENTS + variant.workers)


def edit_step(variant: Variant, expected: Expected) -> str:
    """Killed at 10, the step edited: all rows must be of the new code."""
    with place(variant, DOCUMENTS) as here:
        here.kill(started(here)[0])
        here.edit(STEP)
        kernel = revived(here)
        return wrong(here, kernel, again(here, kernel), expected["step"], calls=2 * DOCUMENTS)


def edit_orchestration(variant: Variant, expected: Expected) -> str:
    """Killed at 10, documents taken in another order: what is done stays done."""
    with place(variant, DOCUMENTS) as here:
        here.kill(started(here)[0])
        here.edit(reordered(variant))
        kernel = revived(here)
        return wrong(here, kernel, again(here, kernel), expected["now"], calls=DOCUMENTS + variant.workers)


def inserted_first(variant: Variant, expected: Expected) -> str:
    """Killed at 10, one more document at the front: it is computed, and every row is of its own document."""
    with place(variant, DOCUMENTS + 1) as here:
        names, here.site.names = here.site.names, here.site.names[1:]
        here.kill(started(here)[0])
        here.site.names = names
        kernel = revived(here)
        return wrong(here, kernel, again(here, kernel), expected["inserted"], calls=DOCUMENTS + 1 + variant.workers)


def failing_then_fixed(variant: Variant, expected: Expected) -> str:
    """The sixth document cannot be read; when the cell has failed, or after 8 s, it is put right: the cell again."""
    with place(variant, DOCUMENTS) as here:
        bad = here.site.names[5]
        here.site.broken.add(bad)
        kernel = here.kernel()
        message = kernel.start(here.cell)
        try:
            reply = finished(kernel, message, timeout=8)
            here.site.broken.clear()
            reply = again(here, kernel)
        except Hangs:  # it tries again by itself
            here.site.broken.clear()
            reply = finished(kernel, message)
        tries = here.site.asked.count(bad)
        return wrong(here, kernel, reply, expected["now"], calls=DOCUMENTS - 1 + tries)


def two_kernels(variant: Variant, expected: Expected) -> str:
    """A second kernel runs the same cells while the first is at it: no document twice, and the first ends well."""
    with place(variant, DOCUMENTS) as here:
        first, second = here.kernel(), here.kernel()
        message = first.start(here.cell)
        here.wait_for(KILL_AT // 2)
        other = second.start(here.cell)
        reply = finished(first, message)
        finished(second, other)
        return wrong(here, first, reply, expected["now"], calls=DOCUMENTS)


def late_class(variant: Variant, expected: Expected) -> str:
    """Everything done; in a new kernel the class of the results is defined below the cell. If the cell fails, it is run again then."""
    if variant.is_temporal:
        return NOT_APPLICABLE
    with place(variant, DOCUMENTS) as here:
        first = here.kernel()
        reply = run(first, here.cell)
        assert reply.status == "ok", reply.text
        here.kill(first)
        late = "class Indexed"
        kernel = here.kernel(without=late)
        reply = again(here, kernel)
        run(kernel, next(cell.source for cell in variant.cells() if late in cell.source))
        if reply.status != "ok":
            reply = again(here, kernel)
        return wrong(here, kernel, reply, expected["now"], calls=DOCUMENTS)


def database_restarted(variant: Variant, expected: Expected) -> str:
    """The database of the checkpoints (PostgreSQL; Temporal's own) is away for a second in the middle of the cell."""
    if not variant.url and not variant.is_temporal:
        return NOT_APPLICABLE
    server = None if variant.is_temporal else Postgres()
    try:
        with place(variant, DOCUMENTS) as here:
            if server is not None:
                here.environment[variant.url] = server.url
            kernel, message = started(here, KILL_AT // 2)
            if server is None:
                here.processes[0].kill()
                here.processes[0].wait()
                time.sleep(1)
                here.start_server()
                here.processes[0] = here.processes.pop()
            else:
                server.stop()
                time.sleep(1)
                server.start()
            reply = finished(kernel, message)
            return wrong(here, kernel, reply, expected["now"], calls=DOCUMENTS + variant.workers)
    finally:
        if server is not None:
            server.close()


SCENARIOS: dict[str, Callable[[Variant, Expected], str]] = {
    "SIGKILL": sigkill,
    "interrupt ■": interrupt,
    "step edited": edit_step,
    "orchestration edited": edit_orchestration,
    "document inserted first": inserted_first,
    "failing document fixed": failing_then_fixed,
    "two kernels": two_kernels,
    "class defined late": late_class,
    "database restarted": database_restarted,
}


def tried(name: str, variant: Variant, expected: Expected) -> str:
    """What is wrong after a scenario; '' if nothing is."""
    try:
        return SCENARIOS[name](variant, expected)
    except Hangs:
        return "hangs"
    except AssertionError as problem:
        return f"failed: {str(problem).partition('; so far')[0][:60]}"
