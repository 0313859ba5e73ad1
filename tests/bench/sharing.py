"""What a shared map costs: ``python -m tests.bench.sharing``. Kernels at one run on PostgreSQL, calls that only sleep.

Prints the seconds of the map in each kernel, and how many documents each computed.
"""

from __future__ import annotations

import subprocess
import sys

from tests.crash.faults import ask
from tests.postgres import throwaway_postgres

KERNEL = """
import sys, time
from durable_nb import configure, step
url, seconds, documents, shared = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "True"
configure(url=url)
executed = []

@step(version="1")
def work(number):
    executed.append(number)
    if seconds:
        time.sleep(seconds)
    return number

before = time.perf_counter()
work.map(range(documents), shared=shared)
print(f"{time.perf_counter() - before:6.2f} s ({len(executed):,})", end="  ", flush=True)
"""


def main() -> None:
    """The table."""
    with throwaway_postgres() as url:
        for seconds, documents in ((0.0, 10_000), (0.01, 2_000), (0.1, 400)):
            for shared, kernels in ((False, 1), (True, 1), (True, 2), (True, 3)):
                ask(url, "DROP SCHEMA IF EXISTS durable_nb CASCADE")
                print(
                    f"{documents:,} of {1000 * seconds:g} ms, {'shared' if shared else 'alone'}: ", end="", flush=True
                )
                command = [sys.executable, "-c", KERNEL, url, str(seconds), str(documents), str(shared)]
                started = [subprocess.Popen(command) for _ in range(kernels)]
                for one in started:
                    one.wait()
                print()


if __name__ == "__main__":
    main()
