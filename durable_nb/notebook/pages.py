"""One run in full, as ``%durable show NAME`` and ``durable-nb show NAME`` print it."""

from __future__ import annotations

from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any

from durable_nb.notebook import display
from durable_nb.records import Snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durable_nb.records import Failure, Run, StepVersion
    from durable_nb.store import Store

_EVENTS = 12


class RunPage:
    """Counts, versions of the code, failures and history of one run."""

    def __init__(self, store: Store, run: Run) -> None:
        self.run = run
        self.versions: Sequence[StepVersion] = store.contents(run.id)
        self.failures: Sequence[Failure] = store.failures(run.id)
        self.events = store.events(run.id)
        self._where = store.where

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: the run, and ``versions``, ``failures``, ``events`` as lists of objects."""
        return run_as_dict(self.run) | {
            "versions": [version._asdict() for version in self.versions],
            "failures": [failure._asdict() for failure in self.failures],
            "events": [event._asdict() for event in self.events],
        }

    def __repr__(self) -> str:
        lines = [display.text(self._snapshot())]
        lines += [f"  step {v.name}, code {v.fingerprint[:8]}: {v.saved:,} results saved" for v in self.versions]
        lines += [f"  {_moment(event.at)}  {event.kind}  {event.detail}".rstrip() for event in self.events[-_EVENTS:]]
        return "\n".join([*lines, f"  in {self._where}"])

    def _repr_html_(self) -> str:
        versions = "".join(
            f"<li>step <b>{escape(v.name)}</b>, code <code>{v.fingerprint[:8]}</code>: {v.saved:,} results saved</li>"
            for v in self.versions
        )
        events = "".join(
            f"<li>{_moment(event.at)} <b>{escape(event.kind)}</b> {escape(event.detail)}</li>"
            for event in self.events[-_EVENTS:]
        )
        return (
            f"{display.html(self._snapshot())}<ul>{versions}</ul><details><summary>History</summary><ul>{events}</ul>"
            f"</details><div style='opacity:.8'>in {escape(self._where)}</div>"
        )

    def _snapshot(self) -> Snapshot:
        """The stored counts in the shape that all views know."""
        run = self.run
        return Snapshot(
            name=run.name, state=run.state, total=run.total, restored=run.restored, computed=run.done - run.restored,
            failed=run.failed, running=0, rate=0.0, eta_s=None, elapsed_s=max(0.0, run.updated - run.created),
            saved_s=0.0, commit_age_s=None, failures=tuple(self.failures),
        )  # fmt: skip


def run_as_dict(run: Run) -> dict[str, Any]:
    """A run as JSON has it."""
    return run._asdict() | {"state": str(run.state), "owner": run.owner._asdict() if run.owner else None}


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "seconds")
