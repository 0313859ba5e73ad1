"""What a call adds to a global: done again where the global is not what it was, because documents came or went.

A counter goes up by as much, a list grows by the same items, a dict gets the same entries. What is not like that (a list
that was sorted, an array) has no delta.
"""

from __future__ import annotations

from typing import Any

from durable_nb.notebook.contents import is_own
from durable_nb.origins import SCALARS, is_data

Delta = tuple[Any, ...]
"""('add', amount), ('extend', items) or ('fill', deltas by key, values by key, keys that are gone); () for no change."""


def before_of(value: Any) -> Any:
    """What ``delta`` will have to know of a global."""
    if isinstance(value, dict):
        return {key: before_of(item) for key, item in value.items()}
    if type(value) is list:
        return [before_of(item) for item in value]
    return _Fields(before_of(vars(value))) if is_own(value) else value


def delta(before: Any, after: Any) -> Delta | None:
    """From ``before_of`` a global to what it is; None if it is something else altogether."""
    if isinstance(before, _Fields):
        return _filled(before.entries, vars(after)) if is_own(after) else None
    if isinstance(before, dict):
        return _filled(before, after) if isinstance(after, dict) else None
    if type(before) is list:
        return _extended(before, after) if type(after) is list else None
    if _is_number(before) and _is_number(after):
        return ("add", after - before) if after != before else ()
    if isinstance(before, SCALARS):
        return () if type(before) is type(after) and before == after else None
    return () if before is after and not is_data(after) else None  # of other data nobody knows what it was


def add(now: Any, change: Delta) -> Any:
    """What becomes of a global by a delta, in place if it can change. What does not fit is left as it is."""
    match change:
        case ("add", amount) if _is_number(now):
            return now + amount
        case ("extend", items) if type(now) is list:
            now.extend(items)
        case ("fill", changed, new, gone):
            entries = vars(now) if is_own(now) else now
            if isinstance(entries, dict):
                entries.update({key: add(entries[key], inner) for key, inner in changed.items() if key in entries})
                entries.update(new)
                for key in gone:
                    entries.pop(key, None)
    return now


class _Fields:
    """The attributes of an object."""

    __slots__ = ("entries",)

    def __init__(self, entries: dict[str, Any]) -> None:
        self.entries = entries


def _extended(before: list[Any], after: list[Any]) -> Delta | None:
    if len(after) < len(before) or any(delta(*pair) != () for pair in zip(before, after, strict=False)):
        return None
    return ("extend", after[len(before) :]) if len(after) > len(before) else ()


def _filled(before: dict[Any, Any], after: dict[Any, Any]) -> Delta | None:
    changed, new = {}, {}
    for key, item in after.items():
        inner = delta(before[key], item) if key in before else None
        if inner is None:
            if key in before and not isinstance(item, SCALARS):
                return None
            new[key] = item
        elif inner:
            changed[key] = inner
    gone = tuple(key for key in before if key not in after)
    return ("fill", changed, new, gone) if changed or new or gone else ()


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)
