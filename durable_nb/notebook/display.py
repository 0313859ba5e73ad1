"""Text and HTML for a Snapshot and for a list of runs; the text always works.

The HTML is static and says what was true when it was made. It has to survive JupyterLab's sanitizer in a notebook that
is not trusted, nbconvert and GitHub: so inline styles only, no ``<style>``, ``<svg>`` or script, and a structure that
still reads well when every style is stripped.
"""

from __future__ import annotations

import math
import sys
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Any, TextIO

from durable_nb import clock, wire
from durable_nb.records import Failure, Run, Snapshot, State

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_BAR_WIDTH = 20
_FAILURES_IN_TEXT = 5
_FAILURES_IN_HTML = 50
_SILENT_S = 60.0  # four missed heartbeats: a run that is still "running" by then is not shown as such
_COLOURS = {  # mid tones: readable on the white of a page and on the near black of a dark lab
    State.RUNNING: "#3b82d6",
    State.DONE: "#2f9e5f",
    State.FAILED: "#d9534f",
    State.INTERRUPTED: "#c98512",
    State.CANCELLED: "#8a8a8a",
}
_BAR_STYLE = f"width:100%;height:8px;accent-color:{_COLOURS[State.DONE]}"
_FAINT = "rgba(128,128,128,.35)"


def as_dict(snapshot: Snapshot) -> dict[str, Any]:
    """As `wire.snapshot_json`."""
    return wire.snapshot_json(snapshot)


def text(snapshot: Snapshot) -> str:
    """One line with name, state, counts and a bar; below it the failures (at most 5) and the message.

    Everything but the user's own words is ASCII, so that it prints in any terminal and log.
    """
    facts = [f"{snapshot.restored:,} restored", f"{snapshot.computed:,} computed", f"{snapshot.failed:,} failed"]
    head = f"{_one_line(snapshot.name)}: {snapshot.state}  {_progress(snapshot)}"
    bar = _bar(snapshot)
    lines = ["  ".join(part for part in (head, bar, ", ".join(facts + _times(snapshot))) if part)]
    shown = snapshot.failures[:_FAILURES_IN_TEXT]
    lines += [f"  failed: {_one_line(f.label)}: {_one_line(f.error)} ({_tries(f)})" for f in shown]
    if shown and snapshot.failed > len(shown):
        lines.append(f"  ... and {snapshot.failed - len(shown):,} more")
    if snapshot.message:
        lines.append(f"  {_one_line(snapshot.message)}")
    return "\n".join(lines)


def html(snapshot: Snapshot) -> str:
    """A static picture of the run for a saved notebook; while it runs, it says at what time that was true."""
    colour = _COLOURS[snapshot.state]
    percent = percentage(snapshot)
    # Without a total an empty bar would read as "nothing done" and a moving one as alive: leave it out.
    bar = "" if percent is None else f'<progress value="{percent}" max="100" style="{_BAR_STYLE}"></progress>'
    counts = (
        ("restored", snapshot.restored, _COLOURS[State.RUNNING]),
        ("computed", snapshot.computed, _COLOURS[State.DONE]),
        ("failed", snapshot.failed, _COLOURS[State.FAILED if snapshot.failed else State.CANCELLED]),
    )
    dots = "&nbsp; ".join(f'<span style="color:{ink}">&#9679;</span> {count:,} {word}' for word, count, ink in counts)
    return (
        f'<div style="border:1px solid {_FAINT};border-radius:6px;padding:8px 12px;max-width:960px;'
        'font-family:system-ui,sans-serif;font-size:13px;line-height:1.6">'
        f'<div><b style="color:{colour}">{snapshot.state}</b> &nbsp;<b>{_safe(snapshot.name)}</b> &nbsp;'
        f"{_progress(snapshot)}</div>{bar}"
        f"<div>{dots} &nbsp;{' &middot; '.join(_times(snapshot))}</div>"
        f"{_note_html(snapshot)}{_failures_html(snapshot)}</div>"
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


class RunTable:
    """The runs of a database, as a table in a notebook and as lines in a terminal."""

    def __init__(self, runs: Iterable[Run]) -> None:
        self.runs = tuple(runs)

    def __repr__(self) -> str:
        return runs_text(self.runs)

    def _repr_html_(self) -> str:
        return runs_html(self.runs)


_HEADINGS = ("run", "state", "durable", "failed", "attempts", "updated", "notebook")


def runs_text(runs: Sequence[Run]) -> str:
    """One aligned line for each run, in the order given, under a line of headings."""
    if not runs:
        return _NO_RUNS
    rows = [_HEADINGS, *(_run_cells(run) for run in runs)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def runs_html(runs: Sequence[Run]) -> str:
    """The same as a table."""
    if not runs:
        return f"<p>{escape(_NO_RUNS)}</p>"
    style = f'style="text-align:left;padding:3px 12px 3px 0;border-bottom:1px solid {_FAINT}"'
    head = "".join(f'<th scope="col" {style}>{heading}</th>' for heading in _HEADINGS)
    body = "".join(
        "<tr>" + "".join(f"<td {style}>{escape(cell)}</td>" for cell in _run_cells(run)) + "</tr>" for run in runs
    )
    return f'<table style="border-collapse:collapse"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


class TerminalReporter:
    """Progress without a page: one line that rewrites itself on a terminal, and the full text once at the end.

    On anything that is not a terminal (a log, a pipe) only the end is printed.
    """

    def __init__(self, snapshot: Snapshot, stream: TextIO | None = None) -> None:
        self._snapshot = snapshot
        self._stream = stream if stream is not None else sys.stderr

    def show(self) -> None:
        """Draw the line for the first time."""
        self.update(self._snapshot)

    def update(self, snapshot: Snapshot) -> None:
        """Redraw the line, cut to the width of the terminal so that it never wraps."""
        if not self._stream.isatty():
            return
        from shutil import get_terminal_size

        line = text(snapshot).partition("\n")[0][: get_terminal_size().columns - 1]
        self._write(f"\r{line}\x1b[K")

    def finish(self, snapshot: Snapshot) -> None:
        """Replace the line by the final text."""
        erase = "\r\x1b[K" if self._stream.isatty() else ""
        self._write(f"{erase}{text(snapshot)}\n")

    def _write(self, written: str) -> None:
        encoding = self._stream.encoding or "utf-8"  # a name outside the terminal's alphabet must not end a run
        self._stream.write(written.encode(encoding, "backslashreplace").decode(encoding))
        self._stream.flush()


_NO_RUNS = "no runs yet: write %%durable NAME on top of a cell and run it"


def _run_cells(run: Run) -> tuple[str, ...]:
    durable = f"{run.done:,}" if run.total is None else f"{run.done:,} / {run.total:,}"
    notebook = run.notebook.replace("\\", "/").rpartition("/")[2]
    updated = f"{duration(clock.now() - run.updated)} ago"
    cells = (run.name, _believable_state(run), durable, f"{run.failed:,}", f"{run.attempts:,}", updated, notebook)
    return tuple(_one_line(cell) for cell in cells)


def _believable_state(run: Run) -> str:
    silence = clock.now() - run.heartbeat
    if run.state is State.RUNNING and silence > _SILENT_S:
        return f"interrupted (no heartbeat for {duration(silence)})"
    return str(run.state)


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
    running = snapshot.state is State.RUNNING
    left, elapsed, saved = _finite(snapshot.eta_s), _finite(snapshot.elapsed_s) or 0.0, _finite(snapshot.saved_s) or 0.0
    facts = [speed(_finite(snapshot.rate) or 0.0)] if running else []
    facts += [f"{duration(left)} left"] if running and left is not None else []
    facts.append(f"{duration(elapsed)} elapsed")
    facts += [f"{duration(saved)} saved by restoring"] if saved >= 1 else []
    return [fact for fact in facts if fact]


def _note_html(snapshot: Snapshot) -> str:
    notes = [_safe(snapshot.message)] if snapshot.message else []
    if snapshot.state is State.RUNNING:
        at = datetime.fromtimestamp(clock.now(), UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
        notes.append(f"As of {at}. If the kernel is gone since, run the cell again: what is durable is kept.")
    return "".join(f'<div style="opacity:.8">{note}</div>' for note in notes)


def _failures_html(snapshot: Snapshot) -> str:
    if not snapshot.failures:
        return ""
    shown = snapshot.failures[:_FAILURES_IN_HTML]
    cell = f'style="text-align:left;vertical-align:top;padding:2px 12px 2px 0;border-top:1px solid {_FAINT}"'
    head = "".join(f'<th scope="col" {cell}>{name}</th>' for name in ("document", "error", "attempts"))
    rows = "".join(
        f"<tr><td {cell}>{_safe(f.label)}</td><td {cell}><code>{_safe(f.error)}</code></td>"
        f"<td {cell}>{f.attempts:,}</td></tr>"
        for f in shown
    )
    rest = snapshot.failed - len(shown)
    more = f"<div>and {rest:,} more</div>" if rest > 0 else ""
    return (
        f"<details><summary>{snapshot.failed:,} failed</summary>"
        f'<table style="border-collapse:collapse"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
        f"{more}</details>"
    )


def _tries(failure: Failure) -> str:
    return "1 attempt" if failure.attempts == 1 else f"{failure.attempts:,} attempts"


def _safe(words: str) -> str:
    return escape(_one_line(words))


def _one_line(words: str) -> str:
    """White space collapsed and control characters spelled out: a label must not move the cursor of a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in " ".join(words.split()))


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None
