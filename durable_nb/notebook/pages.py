"""The runs of a database, and one of them in full, as ``%durable`` and ``durable-nb`` print them."""

from __future__ import annotations

from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any

from durable_nb import clock, display
from durable_nb.records import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from durable_nb.records import Failure, Run, Snapshot, StepVersion
    from durable_nb.store import Store

_EVENTS = 12
_SILENT_S = 60.0  # four missed heartbeats: a run that is still "running" by then is not shown as such
_NO_RUNS = "no runs yet: write %%durable NAME on top of a cell and run it"
_HEADINGS = ("run", "state", "durable", "failed", "attempts", "updated", "notebook")


def spared(name: str, count: int) -> str:
    """The sentence about so many documents of a run that were set aside and are to be tried again."""
    if not count:
        return f"Nothing is set aside in run {name!r}; what failed is tried again whenever its cell is run."
    noun = "document that was" if count == 1 else "documents that were"
    return f"{count:,} {noun} set aside in run {name!r}: run its cell again, and each is tried once more."


class RunTable:
    """The runs of a database, as a table in a notebook and as lines in a terminal."""

    def __init__(self, runs: Iterable[Run]) -> None:
        self.runs = tuple(runs)

    def __repr__(self) -> str:
        return runs_text(self.runs)

    def _repr_html_(self) -> str:
        return runs_html(self.runs)


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
    style = f'style="text-align:left;padding:3px 12px 3px 0;border-bottom:1px solid {display.FAINT}"'
    head = "".join(f'<th scope="col" {style}>{heading}</th>' for heading in _HEADINGS)
    body = "".join(
        "<tr>" + "".join(f"<td {style}>{escape(cell)}</td>" for cell in _run_cells(run)) + "</tr>" for run in runs
    )
    return f'<table style="border-collapse:collapse"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


class RunPage:
    """Counts, versions of the code, failures and history of one run."""

    def __init__(self, store: Store, run: Run) -> None:
        self.run = run
        self._snapshot = _snapshot(store, run)
        mosaic = store.mosaic(run.id)
        self._states = b"" if mosaic is None else mosaic.states
        self.versions: Sequence[StepVersion] = store.contents(run.id)
        self.failures: Sequence[Failure] = store.failures(run.id, counted=run.failed)
        self.events, self.origins = store.events(run.id), store.origins(run.id)
        self._where = store.where

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: the run, ``origins``, and ``versions``, ``failures``, ``events`` as lists of objects."""
        return run_as_dict(self.run) | {
            "origins": self.origins,
            "versions": [version._asdict() for version in self.versions],
            "failures": [failure._asdict() for failure in self.failures],
            "events": [event._asdict() for event in self.events],
        }

    def __repr__(self) -> str:
        lines = [display.text(self._snapshot)]
        more = [f"step {v.name}, code {v.fingerprint[:8]}: {v.saved:,} results saved" for v in self.versions]
        lines += [f"  {display.one_line(line)}" for line in more]
        lines += [f"  {display.one_line(_forked(self.origins))}"] if self.origins else []
        for event in self.events[-_EVENTS:]:
            told = (_moment(event.at), display.one_line(event.kind), display.one_line(event.detail))
            lines.append(f"  {'  '.join(told)}".rstrip())
        return "\n".join([*lines, f"  in {self._where}"])

    def _repr_html_(self) -> str:
        versions = "".join(
            f"<li>step <b>{escape(v.name)}</b>, code <code>{escape(v.fingerprint[:8])}</code>: {v.saved:,} results saved</li>"
            for v in self.versions
        )
        events = "".join(
            f"<li>{_moment(event.at)} <b>{escape(event.kind)}</b> {escape(event.detail)}</li>"
            for event in self.events[-_EVENTS:]
        )
        forked = f"<div>{escape(_forked(self.origins))}</div>" if self.origins else ""
        picture = display.html(self._snapshot, self._states)
        return (
            f"{picture}<ul>{versions}</ul>{forked}<details><summary>History</summary><ul>{events}</ul></details>"
            f"<div style='opacity:.8'>in {escape(self._where)}</div>"
        )


def _forked(origins: Sequence[str]) -> str:
    return f"forked from {', '.join(origins)}: takes results from there where it has none of its own"


def run_as_dict(run: Run) -> dict[str, Any]:
    """A run as JSON has it."""
    return run._asdict() | {"state": str(run.state), "owner": run.owner._asdict() if run.owner else None}


def _snapshot(store: Store, run: Run) -> Snapshot:
    snapshot = store.snapshot(run.name)
    assert snapshot is not None, "the run was read a moment ago"
    return snapshot


def _run_cells(run: Run) -> tuple[str, ...]:
    durable = f"{run.done:,}" if run.total is None else f"{run.done:,} / {run.total:,}"
    notebook = run.notebook.replace("\\", "/").rpartition("/")[2]
    updated = f"{display.duration(clock.now() - run.updated)} ago"
    cells = (run.name, _believable_state(run), durable, f"{run.failed:,}", f"{run.attempts:,}", updated, notebook)
    return tuple(display.one_line(cell) for cell in cells)


def _believable_state(run: Run) -> str:
    silence = clock.now() - run.heartbeat
    if run.state is State.RUNNING and silence > _SILENT_S:
        return f"interrupted (no heartbeat for {display.duration(silence)})"
    return str(run.state)


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "seconds")
