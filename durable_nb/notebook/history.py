"""``%durable history NAME`` and ``%durable diff A B``, as a notebook and a shell show them."""

from __future__ import annotations

from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any

from durable_nb import display, sources

if TYPE_CHECKING:
    from collections.abc import Iterator

    from durable_nb.engine.diffs import Diff, StepDiff
    from durable_nb.records import Run
    from durable_nb.store import Store
    from durable_nb.store.histories import Numbered

_EVENTS = 100
_CODE_LINES = 60
_PRE = f"style='overflow:auto;border-left:3px solid {display.FAINT};padding-left:8px'"


class HistoryPage:
    """Versions of the code behind a run, what is saved of each, and what happened to the run."""

    def __init__(self, store: Store, run: Run) -> None:
        self.run, self._where = run, store.where
        self.versions = store.numbered(run.id)
        self.origins, self.events = store.origins(run.id), store.events(run.id)
        by_step = {one.version.name: store.versions(run.id, one.version.name)[0].id for one in self.versions}
        self._standing = {one.version.id: _standing(store, run, one, by_step) for one in self.versions}

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: ``versions`` with what became of each, ``events``."""
        return {
            "run": self.run.name,
            "origins": self.origins,
            "versions": [
                one.version._asdict() | one._asdict() | {"version": one.number, "standing": standing}
                for one, standing in self._standings()
            ],
            "events": [event._asdict() for event in self.events],
        }

    def __repr__(self) -> str:
        lines = [f"{display.one_line(self.run.name)}: {self._head()}"]
        before: Numbered | None = None
        for one, standing in self._standings():
            lines.append(f"  {display.one_line(_version_line(one, standing, self.run))}")
            if before is not None and before.version.name == one.version.name:
                lines += [f"    changed: {display.one_line(part)}" for part in _changed(before, one)]
            before = one
        lines += [f"  {line}" for line in self._reading()]
        for event in self.events[-_EVENTS:]:
            told = (_moment(event.at), display.one_line(event.kind), display.one_line(event.detail))
            lines.append(f"  {'  '.join(told)}".rstrip())
        return "\n".join([*lines, f"  in {self._where}"])

    def _repr_html_(self) -> str:
        items, before = [], None
        for one, standing in self._standings():
            changed = ""
            if before is not None and before.version.name == one.version.name:
                parts = ", ".join(f"<code>{escape(part)}</code>" for part in _changed(before, one))
                code = sources.diff(before.version.source, one.version.source)
                changed = f"<div>changed: {parts}</div>{_code_html(code)}"
            items.append(f"<li>{escape(_version_line(one, standing, self.run))}{changed}</li>")
            before = one
        events = "".join(
            f"<li>{_moment(event.at)} <b>{escape(event.kind)}</b> {escape(event.detail)}</li>"
            for event in self.events[-_EVENTS:]
        )
        reading = "".join(f"<div>{escape(line)}</div>" for line in self._reading())
        return (
            f"<div><b>{escape(self.run.name)}</b> {escape(self._head())}</div><ul>{''.join(items)}</ul>{reading}"
            f"<ul>{events}</ul><div style='opacity:.8'>in {escape(self._where)}</div>"
        )

    def _head(self) -> str:
        attempts = "1 attempt" if self.run.attempts == 1 else f"{self.run.attempts:,} attempts"
        origins = f", forked from {', '.join(self.origins)}" if self.origins else ""
        return f"{self.run.state}, {attempts}{origins}"

    def _standings(self) -> Iterator[tuple[Numbered, str]]:
        return ((one, self._standing[one.version.id]) for one in self.versions)

    def _reading(self) -> list[str]:
        if not self.versions:
            return ["no results are saved yet"]
        last = max(one.number for one in self.versions)
        steps = {one.version.name for one in self.versions}
        step = "" if len(steps) == 1 else f"{self.versions[0].version.name!r}, "
        compare = f"; to compare: %durable diff {self.run.name}@{last - 1} {self.run.name}@{last}" if last > 1 else ""
        return [f"to read them: run({self.run.name!r}).results({step}version={last}){compare}"]


class DiffPage:
    """Two runs beside each other, or two versions of one."""

    def __init__(self, store: Store, first: str, second: str) -> None:
        from durable_nb.engine import diffs

        self.diff: Diff = diffs.diff(store, first, second)
        self._where = store.where

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; ``steps`` holds what `StepDiff` does."""
        steps = []
        for one in self.diff.steps:
            far = None if one.far is None else one.far._asdict()
            more = {"far": far, "spent": [spent._asdict() for spent in one.spent]}
            steps.append(one._asdict() | more | {"examples": [example._asdict() for example in one.examples]})
        return {"names": self.diff.names, "steps": steps}

    def __repr__(self) -> str:
        one, other = map(display.one_line, self.diff.names)
        lines = [f"{one} → {other}", *(f"  {display.one_line(line)}" for line in _sides(self.diff))]
        for step in self.diff.steps:
            lines.append(display.one_line(_step_head(step)))
            lines += [f"  {display.one_line(line)}" for line in _facts(step, self.diff.names)]
            code = [f"    {_tame(line)}" for line in step.code.splitlines()]
            rest = len(code) - _CODE_LINES
            lines += [*code[:_CODE_LINES], *([f"    ... and {rest:,} more lines"] if rest > 0 else [])]
        return "\n".join([*lines, f"in {self._where}"])

    def _repr_html_(self) -> str:
        one, other = map(escape, self.diff.names)
        sides = "".join(f"<div>{escape(line)}</div>" for line in _sides(self.diff))
        steps = "".join(
            f"<div style='margin-top:8px'><b>{escape(_step_head(step))}</b></div><ul>"
            + "".join(f"<li>{escape(fact)}</li>" for fact in _facts(step, self.diff.names))
            + f"</ul>{_code_html(step.code)}"
            for step in self.diff.steps
        )
        return (
            f"<div><b>{one} &rarr; {other}</b></div>{sides}{steps}"
            f"<div style='opacity:.8'>in {escape(self._where)}</div>"
        )


def _standing(store: Store, run: Run, one: Numbered, last_of: dict[str, int]) -> str:
    last = last_of[one.version.name]
    if one.version.id == last:
        return "in use last"
    choice = store.choices(run.id, last).get(one.version.id)
    return {"keep": "kept", "recompute": "computed again"}.get(choice or "", "not decided about")


def _version_line(one: Numbered, standing: str, run: Run) -> str:
    facts = [f"{one.version.saved:,} results"]
    facts += [f"{one.failed:,} failed"] if one.failed else []
    facts += [f"cost {display.amount(one.cost)}"] if one.cost else []
    facts += [f"of {one.run}"] if one.run != run.name else []
    head = f"step {one.version.name}, version {one.number} (code {one.version.fingerprint[:8]})"
    return f"{head}: {', '.join(facts)}, since {_moment(one.first)}, {standing}"


def _changed(before: Numbered, now: Numbered) -> tuple[str, ...]:
    return sources.changed(before.version.parts, now.version.parts)


def _sides(diff: Diff) -> Iterator[str]:
    for name, side in zip(diff.names, diff.sides, strict=True):
        run = side.run
        attempts = "1 attempt" if run.attempts == 1 else f"{run.attempts:,} attempts"
        total = run.done if run.total is None else run.total
        yield f"{name}: {run.state}, {run.done:,} / {total:,} durable, {run.failed:,} failed, {attempts}"


def _step_head(step: StepDiff) -> str:
    old, new = (f"version {number}" if number else "no results" for number in step.versions)
    return f"step {step.step}: {old} → {new}"


def _facts(step: StepDiff, names: tuple[str, str]) -> Iterator[str]:
    one, other = step.spent
    took = f"{display.duration(one.seconds)} → {display.duration(other.seconds)}"
    cost = f", cost {display.amount(one.cost)} → {display.amount(other.cost)}" if one.cost or other.cost else ""
    yield f"results {step.results[0]:,} → {step.results[1]:,}, computed in {took}{cost}"
    alone = "".join(f", {count:,} only in {name}" for count, name in zip(step.only, names, strict=True) if count)
    yield f"{step.equal:,} equal, {step.different:,} different{alone}"
    if step.by_label:
        yield f"{step.by_label:,} of them have other arguments, and are compared by their label"
    if step.unread:
        yield f"{step.unread:,} could not be compared: {step.why_unread}"
    if step.far is not None:
        far = step.far
        angle = "" if far.cosine is None else f"cosine {far.cosine:.4f} on average, at least {far.least_cosine:.4f}; "
        apart = "no two of them can be compared"
        if far.relative is not None:
            apart = f"relative difference {far.relative:.2g} on average, at most {far.most_relative:.2g}"
        shapes = f"; {far.shapes:,} of other shapes" if far.shapes else ""
        yield f"{far.vectors:,} that differ are numbers: {angle}{apart}{shapes}"
    yield from (f"{example.label}: {example.how}" for example in step.examples)
    for name, labels, count in zip(names, step.missing, step.only, strict=True):
        if labels:
            yield f"only in {name}: {', '.join(labels)}{' …' if count > len(labels) else ''}"
    yield from (f"changed: {part}" for part in step.parts)


def _code_html(code: str) -> str:
    return f"<details><summary>code</summary><pre {_PRE}>{escape(code)}</pre></details>" if code else ""


def _tame(line: str) -> str:
    """A line of code without what a terminal would obey; its indentation stays."""
    return "".join(one if one.isprintable() or one == "\t" else one.encode("unicode_escape").decode() for one in line)


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "seconds")
