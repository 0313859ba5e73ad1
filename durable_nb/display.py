"""Text and HTML for a Snapshot; the text always works.

The HTML is static and says what was true when it was made. It has to survive JupyterLab's sanitizer in a notebook that
is not trusted, nbconvert and GitHub: so inline styles only, no ``<style>``, ``<svg>`` or script, and a structure that
still reads well when every style is stripped. The mosaic is a PNG inside the page, which JupyterLab 4.2 to 4.6 keeps; where
a sanitizer takes such pictures away, its alternative text says the same in numbers.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Any
from unicodedata import east_asian_width

from durable_nb import clock, mosaics
from durable_nb.records import Failure, Group, Snapshot, State

if TYPE_CHECKING:
    from collections.abc import Sequence

_BAR_WIDTH = 20
_FAILURES_IN_TEXT = 5
_FAILURES_IN_HTML = 50
_COLOURS = {  # mid tones: readable on the white of a page and on the near black of a dark lab
    State.RUNNING: "#3b82d6",
    State.DONE: "#2f9e5f",
    State.FAILED: "#d9534f",
    State.INTERRUPTED: "#c98512",
    State.CANCELLED: "#8a8a8a",
}
_PAUSED = "#c98512"
_LEAST_SHARE = 0.4  # per cent: one failure among 10,000 must still be seen
FAINT = "rgba(128,128,128,.35)"


def output(snapshot: Snapshot, states: bytes = b"") -> dict[str, Any]:
    """Picture and text by MIME type, as a notebook keeps them; ``states`` as in `html`."""
    return {"text/html": html(snapshot, states), "text/plain": text(snapshot)}


def text(snapshot: Snapshot) -> str:
    """One line with name, state, counts and a bar; below it the failures (at most 5) and the message.

    Everything but the user's own words is ASCII, so that it prints in any terminal and log.
    """
    facts = [f"{snapshot.restored:,} restored", f"{snapshot.computed:,} computed", f"{snapshot.failed:,} failed"]
    head = f"{one_line(snapshot.name)}: {_word(snapshot)}  {_progress(snapshot)}"
    bar = _bar(snapshot)
    lines = ["  ".join(part for part in (head, bar, ", ".join(facts + _times(snapshot) + _limits(snapshot))) if part)]
    lines += [f"  {group.documents:,} x {one_line(group.error)}" for group in _worth_grouping(snapshot)]
    shown = snapshot.failures[:_FAILURES_IN_TEXT]
    lines += [f"  failed: {one_line(f.label)}: {one_line(f.error)} ({_tries(f)})" for f in shown]
    if shown and snapshot.failed > len(shown):
        lines.append(f"  ... and {snapshot.failed - len(shown):,} more")
    lines += [f"  {one_line(note)}" for note in _notes(snapshot)]
    return "\n".join(lines)


def line(snapshot: Snapshot, width: int) -> str:
    """The figures that matter most, as many of them as fit into ``width`` columns of a terminal."""
    facts = [
        *_speed_and_left(snapshot),
        f"{snapshot.failed:,} failed" if snapshot.failed else "",
        *_limits(snapshot),
        _bar(snapshot),
        f"{snapshot.restored:,} restored" if snapshot.restored else "",
        *_notes(snapshot),
    ]
    shown = f"{one_line(snapshot.name)}: {_word(snapshot)}  {_progress(snapshot)}"
    for fact in filter(None, facts):
        longer = f"{shown}  {one_line(fact)}"
        if _columns(longer) <= width:
            shown = longer
    while _columns(shown) > width:
        shown = shown[:-1]
    return shown


def html(snapshot: Snapshot, states: bytes = b"") -> str:
    """A static picture of the run for a saved notebook; while it runs, it says at what time that was true.

    ``states`` are those of a `records.Mosaic`, one byte a document; drawn unless empty.
    """
    colour = _PAUSED if _is_paused(snapshot) else _COLOURS[snapshot.state]
    dots = "&nbsp; ".join(
        f'<span style="color:{ink}">&#9679;</span> {count:,} {word}' for word, count, ink in _inks(snapshot)
    )
    facts = " &middot; ".join(_times(snapshot) + _limits(snapshot))
    return (
        f'<div style="border:1px solid {FAINT};border-radius:6px;padding:8px 12px;max-width:960px;'
        'font-family:system-ui,sans-serif;font-size:13px;line-height:1.6">'
        f'<div><b style="color:{colour}">{_word(snapshot)}</b> &nbsp;<b>{_safe(snapshot.name)}</b> &nbsp;'
        f"{_progress(snapshot)}</div>{_bar_html(snapshot)}{_mosaic_html(snapshot, states)}"
        f"<div>{dots} &nbsp;{facts}</div>{_note_html(snapshot)}{_failures_html(snapshot)}</div>"
    )


def percentage(snapshot: Snapshot) -> int | None:
    """Whole per cents that are durable, rounded down so that 100 means all; None while the total is not known."""
    if snapshot.total is None:
        return None
    return min(100, 100 * snapshot.durable // snapshot.total) if snapshot.total else 100


def duration(seconds: float) -> str:
    """A length of time with at most two units: ``0.4 s``, ``19 s``, ``3 min 20 s``, ``34 min``, ``2 h 5 min``."""
    if seconds < 0.95:
        return f"{max(0.0, seconds):.1f} s"
    whole = int(seconds + 0.5)
    if whole < 60:
        return f"{whole} s"
    if whole < 600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    minutes = whole // 60
    if minutes < 60:
        return f"{minutes} min"
    hours = minutes // 60
    if hours < 48:
        return f"{hours} h {minutes % 60} min" if minutes % 60 else f"{hours} h"
    return f"{hours // 24} d {hours % 24} h" if hours % 24 else f"{hours // 24} d"


def speed(rate: float) -> str:
    """Documents per second, or per minute when that is the readable number; '' for none."""
    if rate >= 9.95:
        return f"{int(rate + 0.5):,}/s"
    if rate >= 0.95:
        return f"{rate:.1f}/s"
    return f"{rate * 60:.1f}/min" if rate * 60 >= 0.05 else ""


def size_text(count: int) -> str:
    """A number of bytes as people write it."""
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"


def amount(cost: float) -> str:
    """What something costs, in a unit that only the user knows: as many digits as matter."""
    if cost >= 100:
        return f"{int(cost + 0.5):,}"
    return f"{cost:.2f}" if cost >= 1 else f"{cost:.2g}"


def _word(snapshot: Snapshot) -> str:
    return "paused" if _is_paused(snapshot) else str(snapshot.state)


def _is_paused(snapshot: Snapshot) -> bool:
    return snapshot.paused and snapshot.state is State.RUNNING


def _inks(snapshot: Snapshot) -> Sequence[tuple[str, int, str]]:
    return (
        ("restored", snapshot.restored, _COLOURS[State.RUNNING]),
        ("computed", snapshot.computed, _COLOURS[State.DONE]),
        ("failed", snapshot.failed, _COLOURS[State.FAILED if snapshot.failed else State.CANCELLED]),
    )


def _limits(snapshot: Snapshot) -> list[str]:
    """What somebody asked for, while it holds."""
    if snapshot.state is not State.RUNNING:
        return []
    workers, rate = snapshot.limit_workers, _finite(snapshot.per_minute)
    facts = [] if workers is None else [f"at most {workers:,} at a time"]
    return facts if rate is None else [*facts, f"at most {rate:,.6g} a minute"]


def _notes(snapshot: Snapshot) -> list[str]:
    waiting = f"waits for {snapshot.waiting_for}" if snapshot.waiting_for and snapshot.state is State.RUNNING else ""
    return [note for note in (snapshot.message, waiting) if note]


def _worth_grouping(snapshot: Snapshot) -> list[Group]:
    """Failures by reason where that says more than the list of them."""
    return [group for group in snapshot.groups if group.documents > 1]


def _bar_html(snapshot: Snapshot) -> str:
    """The same stacked bar as in the live panel; the plain one inside is what is heard, and seen where styles are stripped."""
    if snapshot.total is None:
        return ""  # an empty bar would read as "nothing done" and a full one as the end
    whole = max(snapshot.total, snapshot.durable + snapshot.failed, 1)
    stops, end = list[str](), 0.0
    for _, count, ink in _inks(snapshot):
        start, end = end, min(100.0, end + (max(_LEAST_SHARE, 100 * count / whole) if count else 0.0))
        stops.append(f"{ink} {start:.4g}%,{ink} {end:.4g}%")
    stops.append(f"{FAINT} {end:.4g}%")
    style = f"height:8px;margin:4px 0;border-radius:4px;background:linear-gradient(90deg,{','.join(stops)})"
    percent = percentage(snapshot)
    plain = f'value="{percent}" max="100" title="{percent} % durable" style="width:100%;opacity:0"'
    return f'<div style="{style}"><progress {plain}></progress></div>'


def _mosaic_html(snapshot: Snapshot, states: bytes) -> str:
    if not states:
        return ""
    picture = mosaics.png(states, snapshot.total)
    waiting = 0 if snapshot.total is None else max(0, snapshot.total - snapshot.durable - snapshot.failed)
    counts = [(word, count) for word, count, _ in _inks(snapshot)] + [("waiting", waiting)]
    told = ", ".join(f"{count:,} {word}" for word, count in counts if count)
    return (
        f'<div><img src="{mosaics.data_uri(picture)}" alt="All documents in their order: {told or "none yet"}" '
        'style="max-width:100%;margin:4px 0;display:block"></div>'
    )


def _progress(snapshot: Snapshot) -> str:
    if snapshot.total is None:
        return f"{snapshot.durable:,} durable"
    return f"{snapshot.durable:,} / {snapshot.total:,} ({percentage(snapshot)}%)"


def _bar(snapshot: Snapshot) -> str:
    percent = percentage(snapshot)
    if percent is None:
        return ""
    filled = _BAR_WIDTH * percent // 100
    return f"[{'#' * filled}{'.' * (_BAR_WIDTH - filled)}]"


def _times(snapshot: Snapshot) -> list[str]:
    elapsed, saved = _finite(snapshot.elapsed_s) or 0.0, _finite(snapshot.saved_s) or 0.0
    facts = [*_speed_and_left(snapshot), f"{duration(elapsed)} elapsed"]
    costs = [(snapshot.spent, "spent"), (snapshot.saved_cost, "of cost saved by restoring")]
    return (
        facts
        + ([f"{duration(saved)} saved by restoring"] if saved >= 1 else [])
        + [f"{amount(cost)} {what}" for cost, what in costs if cost > 0]
    )


def _speed_and_left(snapshot: Snapshot) -> list[str]:
    """Only while there is something to wait for."""
    if snapshot.state is not State.RUNNING or snapshot.paused:
        return []
    rate, left = speed(_finite(snapshot.rate) or 0.0), _finite(snapshot.eta_s)
    return [fact for fact in (rate, "" if left is None else f"{duration(left)} left") if fact]


def _note_html(snapshot: Snapshot) -> str:
    notes = [_safe(note) for note in _notes(snapshot)]
    if snapshot.state is State.RUNNING:
        at = datetime.fromtimestamp(clock.now(), UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
        notes.append(f"As of {at}. If the kernel is gone since, run the cell again: what is durable is kept.")
    return "".join(f'<div style="opacity:.8">{note}</div>' for note in notes)


def _failures_html(snapshot: Snapshot) -> str:
    if not snapshot.failures:
        return ""
    shown = snapshot.failures[:_FAILURES_IN_HTML]
    groups = "".join(
        f"<div><b>{group.documents:,} &times;</b> <code>{_safe(group.error)}</code></div>"
        for group in _worth_grouping(snapshot)
    )
    cell = f'style="text-align:left;vertical-align:top;padding:2px 12px 2px 0;border-top:1px solid {FAINT}"'
    head = "".join(f'<th scope="col" {cell}>{name}</th>' for name in ("document", "error", "attempts"))
    rows = "".join(
        f"<tr><td {cell}>{_safe(f.label)}</td><td {cell}><code>{_safe(f.error)}</code></td>"
        f"<td {cell}>{f.attempts:,}</td></tr>"
        for f in shown
    )
    rest = snapshot.failed - len(shown)
    more = f"<div>and {rest:,} more</div>" if rest > 0 else ""
    return (
        f"<details><summary>{snapshot.failed:,} failed</summary>{groups}"
        f'<table style="border-collapse:collapse"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
        f"{more}</details>"
    )


def _tries(failure: Failure) -> str:
    return "1 attempt" if failure.attempts == 1 else f"{failure.attempts:,} attempts"


def _safe(words: str) -> str:
    return escape(one_line(words))


def one_line(words: str) -> str:
    """White space collapsed and control characters spelled out: a label must not move the cursor of a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in " ".join(words.split()))


def _columns(words: str) -> int:
    """How many columns of a terminal the text takes: East Asian letters take two."""
    return len(words) + sum(east_asian_width(character) in "WF" for character in words if character > "\u10ff")


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None
