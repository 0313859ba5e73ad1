"""What the owner of a run has written of it beside its counts, looked at before a view is made of it."""

from __future__ import annotations

from math import inf
from types import NoneType
from typing import Any

from durable_nb.records import Group
from durable_nb.store.misfits import Misfit, fitting, json_of

_NUMBERS = (
    "running", "rate", "eta_s", "saved_s", "committed", "workers", "limit_workers", "per_minute", "spent", "saved_cost",
)  # fmt: skip
_FIGURES: dict[str, tuple[type, ...]] = dict.fromkeys(_NUMBERS, (int, float, NoneType)) | {"groups": (list, tuple)}


def figures_of(text: Any) -> dict[str, Any]:
    """The figures in a row of ``runs``; Misfit for what no ledger writes."""
    figures = json_of(text, dict) if text else {}
    for name, value in figures.items():
        kinds = _FIGURES.get(name, (int, float, str, NoneType))
        if not isinstance(value, kinds) or (isinstance(value, float) and not abs(value) < inf):
            raise Misfit(f"the figure {name!r:.40} of a run is {value!r:.60}")
    return figures


def groups_of(found: list[Any]) -> tuple[Group, ...]:
    """Failures by reason, of the figures."""
    if not all(isinstance(group, list) and len(group) == len(Group._fields) for group in found):
        raise Misfit(f"the failures of a run are {found!r:.60}")
    return tuple(fitting(Group(*group)) for group in found)
