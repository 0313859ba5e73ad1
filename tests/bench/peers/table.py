"""The measurements as a Markdown table for the README, and what was aimed at."""

from __future__ import annotations

from statistics import median

from tests.bench.peers.contract import Peer
from tests.bench.peers.measuring import Took
from tests.bench.peers.ours import BATCHED, INLINE
from tests.bench.peers.pipelines import HUGGING_FACE
from tests.bench.peers.references import LOOP, RAW
from tests.bench.peers.workflows import STEPS

HEAD = (
    "| | kept | µs an item | × raw | from a list | all again, s | × raw | of it without imports, s | lost at SIGKILL "
    "| calls beyond items | wrong | bytes an item | MB | threads |"
)
Measured = dict[Peer, Took]


def added(peer: Peer, measured: Measured, what: str = "computing") -> list[float]:
    """Seconds that keeping the items takes beyond computing them, for each round: of the wall; of the "cpu"; of the "whole"
    way from a list of items."""
    own, loop = getattr(measured[peer], what), getattr(measured[LOOP], what)
    return [seconds - bare for seconds, bare in zip(own, loop, strict=False)]


def ratio(peer: Peer, to: Peer, measured: Measured, what: str = "computing") -> float | None:
    """Of what two peers add to an item: the median of the ratios within the rounds. None if one has no numbers."""
    if to not in measured or peer not in measured:
        return None
    pairs = zip(added(peer, measured, what), added(to, measured, what), strict=False)
    ratios = [one / other for one, other in pairs if other > 0]
    return median(ratios) if ratios else None


def row(peer: Peer, measured: Measured, items: int) -> str:
    """One peer; one without numbers says why."""
    took = measured[peer]
    if took.failed and not took.computing:
        return f"| {peer.name} | {took.failed} |" + " |" * (HEAD.count("|") - 3)
    again = [seconds + imports for seconds, imports in zip(took.again, took.imports, strict=True)]
    raw = measured.get(RAW, Took())
    whole = [seconds + imports for seconds, imports in zip(raw.again, raw.imports, strict=True)]
    recomputed = max(took.recomputed)
    cells = [
        peer.name,
        peer.keeps,
        "" if peer is LOOP else f"{median(added(peer, measured)) / items * 1e6:,.1f}",
        "" if peer is LOOP else figure(ratio(peer, RAW, measured)),
        "" if peer is LOOP else f"{median(added(peer, measured, 'whole')) / items * 1e6:,.1f}",
        f"{median(again):.2f}" + (f" ({recomputed:,} computed again)" if recomputed else ""),
        figure(median(again) / median(whole) if whole and not recomputed else None),
        f"{median(took.again):.2f}",
        took.failed or worst(took.lost),
        worst(took.beyond),
        f"{took.wrong + took.short:,}",
        f"{median(took.bytes) / items:,.0f}",
        f"{median(took.memory) / 2**20:,.0f}",
        f"{max(took.threads):,}",
    ]
    return f"| {' | '.join(cells)} |"


def figure(number: float | None) -> str:
    """Two digits for what is small; nothing for what was not measured."""
    return "" if number is None else f"{number:,.1f}" if number < 10 else f"{number:,.0f}"


def worst(numbers: list[int]) -> str:
    """Median and worst of the kills."""
    if not numbers:
        return ""
    return f"{max(numbers):,}" if len(set(numbers)) == 1 else f"{median(numbers):,.0f}, worst {max(numbers):,}"


def table(measured: Measured, items: int) -> str:
    """All that were asked for, in the order of what they add to an item; those without numbers last."""

    def place(peer: Peer) -> float:
        return median(added(peer, measured)) if measured[peer].computing else float("inf")

    lines = [HEAD, "|---|---|" + "---:|" * (HEAD.count("|") - 3)]
    return "\n".join(lines + [row(peer, measured, items) for peer in sorted(measured, key=place)])


def versions(measured: Measured) -> str:
    """Of the packages whose peers were measured."""
    found = {f"{peer.package} {peer.version}": None for peer in measured if peer.package and peer.version}
    return ", ".join(found)


def targets(measured: Measured) -> str:
    """What was aimed at, with what was found."""
    aims = [
        (INLINE, RAW, "at most 2"),
        (BATCHED, RAW, "at most 2"),
        (STEPS, INLINE, "at least 100"),
        (BATCHED, HUGGING_FACE, "level, about 1"),
    ]
    lines = ["| what is added to an item | wall | CPU | wall, from a list | aimed at |", "|---|---:|---:|---:|---|"]
    for peer, to, aim in aims:
        ratios = [ratio(peer, to, measured, what) for what in ("computing", "cpu", "whole")]
        found = [figure(number) or "not measured" for number in ratios]
        lines.append(f"| {peer.name} ÷ {to.name} | {' | '.join(found)} | {aim} |")
    return "\n".join(lines)
