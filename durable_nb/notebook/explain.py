"""``%durable explain``: the cell with what is a step, what is run again and why, and what names a result."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from durable_nb.notebook.callees import Callee
    from durable_nb.notebook.preflight import Preflight
    from durable_nb.notebook.replay import Replay
    from durable_nb.notebook.sites import Plan, Site

_KEPT, _AGAIN, _UNKNOWN = "kept", "run again", "open"
_SIGNS = {_KEPT: "✓", _AGAIN: "↻", _UNKNOWN: "?"}
_SHOWN_PARTS = 8


class Remark(NamedTuple):
    """About one expression."""

    line: int
    verdict: str
    text: str
    why: tuple[str, ...]


class Explanation:
    """A durable cell, annotated. Shown as text everywhere, in a notebook as preformatted text."""

    def __init__(self, name: str, source: str, plan: Plan, preflight: Preflight) -> None:
        self.name, self.source = name, source
        self.remarks = [
            _remark(site, preflight.verdicts.get(site.number)) for site in plan.sites if not preflight.is_part(site)
        ]
        self.remarks = [remark for remark in self.remarks if remark.verdict]
        self._reaches_steps = preflight.reaches_steps()

    def __repr__(self) -> str:
        lines = []
        for number, text in enumerate(self.source.splitlines(), 1):
            lines.append(f"{number:3d}  {text}".rstrip())
            here = [remark for remark in self.remarks if remark.line == number]
            for remark in dict.fromkeys(here):
                lines.append(f"     {_SIGNS[remark.verdict]} {remark.verdict:10s} {remark.text}")
                lines += [f"{'':18s}{line}" for line in remark.why]
        return "\n".join([*lines, "", self._end()])

    def _end(self) -> str:
        if any(remark.verdict == _KEPT for remark in self.remarks):
            return (
                "When the cell is run again, finished calls of what is kept return at once;\n"
                "everything else runs again, as it is written."
            )
        if self._reaches_steps:
            return "Calls of a @step, and of its .map, are kept by themselves. Everything else in this cell runs again."
        return "Nothing in this cell is kept. Name what is worth keeping with --steps."

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"


def explained(cell: Replay | Explanation) -> Explanation:
    """A cell that has run in this kernel."""
    return cell if isinstance(cell, Explanation) else Explanation(cell.name, cell.source, cell.plan, cell.preflight)


def _remark(site: Site, callee: Callee | None) -> Remark:
    text = site.text if len(site.text) <= 70 else f"{site.text[:67]}…"
    if site.form == "order":
        return Remark(site.line, _AGAIN if callee is not None else "", text, ("the key of a sort",))
    if callee is None:
        return Remark(site.line, _UNKNOWN, text, ("decided when it is reached, by the object that is called",))
    if callee.step is None:
        # Data that is handed over where a function could stand is no call at all.
        verdict = "" if callee.why == "not a function" else _AGAIN
        return Remark(site.line, verdict, f"{site.callee}{'(…)' * (site.form != 'function')}: {callee.why}", ())
    return Remark(site.line, _KEPT, text, (_named_by(site, callee), _code_of(callee)))


def _named_by(site: Site, callee: Callee) -> str:
    receiver = " and the value of its object" if callee.bound else ""
    if site.form == "function":
        return f"each call is named by the values of its arguments{receiver}"
    read = ", ".join(site.names) or "constants only"
    what = "its arguments are built from" if site.form == "late" else "it reads"
    how = f"the values of its arguments ({read})" if site.form == "call" else f"the values that {what}: {read}"
    return f"named by {how}{receiver}"


def _code_of(callee: Callee) -> str:
    assert callee.step is not None
    parts = [part for part in callee.step.fingerprint(fresh=False).parts if part != "step"]
    more = f" and {len(parts) - _SHOWN_PARTS} more" if len(parts) > _SHOWN_PARTS else ""
    return f"asks before it runs if one of these was edited: {', '.join(parts[:_SHOWN_PARTS])}{more}"
