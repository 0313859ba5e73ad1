"""One application, six ways: lines, behaviour in real kernels, figures; as Markdown.

::

    python -m tests.bench.comparison [--quick] [--parts lines,behaviour] [--variants plain,dbos_steps,…] > table.md
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from notebooks import pdf_site
from tests.bench.comparison.counting import counted
from tests.bench.comparison.figures import Figures, Ten, measured, ten_thousand
from tests.bench.comparison.places import Hangs, truth
from tests.bench.comparison.scenarios import DOCUMENTS, KILL_AT, NOT_APPLICABLE, SCENARIOS, Expected, tried
from tests.bench.comparison.variants import STEP, VARIANTS, Variant

if TYPE_CHECKING:
    from collections.abc import Iterable

PARTS = ("lines", "figures", "behaviour", "chunks")
AT_ONCE = 2
"""Scenarios; each is mostly a kernel that starts."""


def missing(variant: Variant) -> str:
    """What a variant needs and is not here; '' if nothing."""
    modules = {"dbos": "dbos", "temporal": "temporalio"}
    module = next((module for name, module in modules.items() if variant.name.startswith(name)), "")
    if module and importlib.util.find_spec(module) is None:
        return f"needs {module}"
    if variant.is_temporal and not Path(sys.executable).with_name("temporal").exists():
        return "needs Temporal's server"
    return ""


def row(title: str, cells: Iterable[object]) -> str:
    """Of a table."""
    return f"| {title} | " + " | ".join(str(cell) for cell in cells) + " |"


def lines(variants: list[Variant]) -> list[str]:
    """The table of what each variant takes."""
    counts = [counted(variant) for variant in variants]
    changed = [f"+{one.added} −{one.removed}" for one in counts]
    setup = [f"+{one.added_in_setup} −{one.removed_in_setup}" for one in counts]
    body = [f"+{one.added - one.added_in_setup} −{one.removed - one.removed_in_setup}" for one in counts]
    return [
        row("", (variant.title for variant in variants)),
        "|---|" + "---:|" * len(variants),
        row("lines: physical, not blank, code", (f"{one.physical}, {one.not_blank}, {one.code}" for one in counts)),
        row("lines added and removed", changed),
        row("… of them in set-up, once a notebook", setup),
        row("… of them in the application", body),
        row("extra files", (one.files for one in counts)),
        row("extra services", (len(variant.services) for variant in variants)),
    ]


def behaviour(variants: list[Variant], expected: Expected) -> dict[tuple[str, str], str]:
    """(scenario, variant) → what is wrong."""
    jobs = [(name, variant) for name in SCENARIOS for variant in variants if not missing(variant)]

    def one(job: tuple[str, Variant]) -> str:
        began = time.monotonic()
        found = tried(job[0], job[1], expected)
        print(f"{job[0]}, {job[1].name}: {found or 'passed'} ({time.monotonic() - began:.0f} s)", file=sys.stderr)
        return found

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(((name, variant.name) for name, variant in jobs), pool.map(one, jobs), strict=True))


def _mark(found: str | None) -> str:
    if found is None:
        return "not executed"
    return {"": "✓", NOT_APPLICABLE: NOT_APPLICABLE}.get(found, f"✗ {found}")


def figures_of(variants: list[Variant], expected: Expected) -> dict[str, Figures]:
    """By name; a variant that hangs has none."""

    def one(variant: Variant) -> Figures | None:
        try:
            return measured(variant, expected["now"])
        except (Hangs, AssertionError) as problem:
            print(f"no figures of {variant.name}: {problem}", file=sys.stderr)
            return None

    some = [variant for variant in variants if not missing(variant)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return {variant.name: found for variant, found in zip(some, pool.map(one, some), strict=True) if found}


def figure_rows(variants: list[Variant], found: dict[str, Figures]) -> list[str]:
    """Of the table, after SIGKILL."""

    def of(text: str) -> list[str]:
        return [text.format(found[variant.name]) if variant.name in found else "–" for variant in variants]

    return [
        row("extra processes", of("{0.processes}")),
        row("documents executed again", of("{0.again}")),
        row("rows wrong, missing, duplicate", of("{0.wrong}, {0.missing}, {0.duplicates}")),
        row("duplicate rows of a store that appends, 3 kills", of("{0.appended_duplicates}")),
        row("first new document after", of("{0.first_new_s:.1f} s")),
        row("bytes of checkpoints a document", of("{0.bytes_a_document:,.0f}")),
        row("threads of the kernel, peak", of("{0.peak_threads}")),
    ]


def enough(chunks: int) -> int:
    """How many documents have so many chunks, about: one for 950 characters, measured with 1,340 documents."""
    total = 0
    for number, text in enumerate(pdf_site.documents(5 * chunks).values(), 1):
        total += len(text)
        if total > chunks * 955:
            return number
    raise SystemExit(f"not enough text for {chunks} chunks")


def big(variants: list[Variant], chunks: int) -> list[str]:
    """The table of ten thousand chunks, of durable_nb."""
    documents = enough(chunks)
    rows = truth(documents)
    out = [
        "| | chunks | in the store when killed | executed after | of them in flight | rows astray | answered by | wall |"
    ]
    out.append("|---|---:|---:|---:|---:|---|---|---:|")
    for variant in variants:
        if variant.is_ours:
            ten: Ten = ten_thousand(variant, rows, documents)
            out.append(
                row(variant.title, (
                    f"{ten.chunks:,}", f"{ten.at_kill:,}", f"{ten.after:,}", ten.in_flight, ten.stray or "none",
                    ten.answer, f"{ten.seconds:.0f} s",
                ))
            )  # fmt: skip
    return out


def main() -> None:
    """The tables on standard output, what is going on on standard error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="the parts lines and behaviour")
    parser.add_argument("--variants", default=",".join(variant.name for variant in VARIANTS))
    parser.add_argument("--chunks", type=int, default=10_000)
    options = parser.parse_args()
    parts = ["lines", "behaviour"] if options.quick else options.parts.split(",")
    began = time.monotonic()
    sys.stdout = os.fdopen(os.dup(1), "w")  # of the tables alone: kernels inherit the other one, and some of them talk
    os.dup2(2, 1)
    variants = [variant for variant in VARIANTS if variant.name in options.variants.split(",")]
    print("\n".join(lines(variants)), flush=True)
    expected = {"now": truth(DOCUMENTS), "step": truth(DOCUMENTS, STEP), "inserted": truth(DOCUMENTS + 1)}
    if "figures" in parts:
        print("\n".join(figure_rows(variants, figures_of(variants, expected))), flush=True)
    failed = []
    if "behaviour" in parts:
        found = behaviour(variants, expected)
        for name in SCENARIOS:
            print(row(name, (_mark(found.get((name, variant.name))) for variant in variants)), flush=True)
        failed = [name for (name, variant), what in found.items() if variant.startswith("durable") and what]
    for variant in variants:
        if reason := missing(variant):
            print(f"\n{variant.title}: not executed, {reason}")
    if "chunks" in parts:
        print("\n" + "\n".join(big(variants, options.chunks)), flush=True)
    print(
        f"\n{DOCUMENTS} documents, killed at {KILL_AT}; {time.monotonic() - began:.0f} s, load {os.getloadavg()[0]:.1f}"
    )
    raise SystemExit(f"durable_nb: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
