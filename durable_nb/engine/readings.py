"""What is saved of a run, by its name: NAME is what it has now, NAME@2 what the second version of its code computed."""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING, Any, NamedTuple

from durable_nb.engine.session import current as session
from durable_nb.errors import ConfigError
from durable_nb.records import STORED, Saved
from durable_nb.results import Results

if TYPE_CHECKING:
    from durable_nb.records import Run
    from durable_nb.store import Store
    from durable_nb.store.histories import Numbered


class StepRead(NamedTuple):
    """Results of one step."""

    version: Numbered
    """The last one of those that count."""
    accepted: tuple[int, ...]
    """Ids of the versions whose results count, the first found wins."""


class Reading(NamedTuple):
    """Results of one run, or of one version of it."""

    name: str
    """As it was asked for."""
    run: Run
    steps: dict[str, StepRead]


def reading(store: Store, name: str, version: int | None = None) -> Reading:
    """What ``name`` means; with a ``version`` it is the name of a run.

    Raises
    ------
    ConfigError
        There is no such run or version.
    """
    run, asked = store.run(name), name
    if version is not None:
        version = _number(version)
    if run is None and version is None:
        before, at, number = name.rpartition("@")
        if at and number.isascii() and number.isdigit():
            run, version = store.run(before), int(number)
    elif version is not None:
        asked = f"{name}@{version}"
    if run is None:
        known = ", ".join(one.name for one in store.runs()[:10]) or "none yet"
        raise ConfigError(f"there is no run {name!r} in {store.where}.", f"There are: {known}.")
    numbered = store.numbered(run.id)
    numbers = {one.number for one in numbered}
    if version is not None and not 1 <= version <= max(numbers, default=0):
        raise ConfigError(
            f"run {run.name!r} has no version {version} with results.", f"See %durable history {run.name}"
        )
    by_step: dict[str, list[Numbered]] = {}
    for one in numbered:
        by_step.setdefault(one.version.name, []).append(one)
    if version is None:
        return Reading(asked, run, {step: _now(store, run, step, found) for step, found in by_step.items()})
    # A step with fewer versions was not edited when the others were.
    chosen = {step: found[min(version, len(found)) - 1] for step, found in by_step.items()}
    return Reading(asked, run, {step: StepRead(one, (one.version.id,)) for step, one in chosen.items()})


def results(name: str, step: str | None = None, *, version: int | None = None, url: str | None = None) -> Results:
    """See `Block.results`."""
    store = session.existing_store(url=url)
    found = reading(store, name, version)
    if step is None and len(found.steps) == 1:
        (step,) = found.steps
    if not isinstance(step, str) or step not in found.steps:
        listed = ", ".join(map(repr, found.steps)) or "none"
        problem = f"has {len(found.steps)} steps" if step is None else f"has no results of a step {step!r}"
        raise ConfigError(f"run {found.name!r} {problem}.", f"Name one of: {listed}.")
    accepted = found.steps[step].accepted
    documents = store.labelled(store.known(found.run.id, accepted).values())
    fetch = functools.partial(store.look_up, found.run.id, accepted)
    made = Results(step, where=store.where, fetch=fetch)
    made.expect(0, documents, [label for _, label, _ in documents])
    made.put_restored(range(len(documents)), [Saved(STORED, key, 0.0, accepted[0]) for key, _, _ in documents])
    return made


def _number(version: Any) -> int:
    try:
        return operator.index(version)
    except TypeError:
        raise ConfigError(f"version={version!r:.60} is no number of a version.", "They are counted from 1.") from None


def _now(store: Store, run: Run, step: str, numbered: list[Numbered]) -> StepRead:
    last, *older = (version.id for version in store.versions(run.id, step))
    choices = store.choices(run.id, last)
    version = next(one for one in numbered if one.version.id == last)
    return StepRead(version, (last, *(one for one in older if choices.get(one) == "keep")))
