"""What importing durable_nb and loading the extension cost, beside ``import sqlalchemy``, in fresh processes."""

from __future__ import annotations

import statistics
import subprocess
import sys

from tests.bench import as_installed

ALONE = "import time; began = time.perf_counter(); {code}; print(time.perf_counter() - began)"
IN_A_KERNEL = (
    "import time; import ipykernel.ipkernel; from IPython.core.interactiveshell import InteractiveShell; "
    "shell = InteractiveShell.instance(); began = time.perf_counter(); {code}; print(time.perf_counter() - began)"
)
CASES = {
    "import sqlalchemy": (ALONE, "import sqlalchemy"),
    "import durable_nb": (ALONE, "import durable_nb"),
    "import sqlalchemy, in a kernel": (IN_A_KERNEL, "import sqlalchemy"),
    "import durable_nb, in a kernel": (IN_A_KERNEL, "import durable_nb"),
    "%load_ext durable_nb, in a kernel": (IN_A_KERNEL, "shell.run_line_magic('load_ext', 'durable_nb')"),
}


def main() -> None:
    as_installed()
    times: dict[str, list[float]] = {}
    for _ in range(9):
        for name, (template, code) in CASES.items():
            out = subprocess.run(
                [sys.executable, "-c", template.format(code=code)], capture_output=True, text=True, check=True
            )
            times.setdefault(name, []).append(float(out.stdout.split()[-1]) * 1000)
    base = statistics.median(times["import sqlalchemy"])
    print("| | ms | × import sqlalchemy |\n|---|---:|---:|")
    for name, found in times.items():
        print(f"| {name} | {statistics.median(found):.1f} | {statistics.median(found) / base:.2f} |")


if __name__ == "__main__":
    main()
