"""Items that an iterator gives once more at once: as they were, or with something else put into them."""

from __future__ import annotations

import copy
from contextlib import suppress
from typing import Any

from durable_nb import keys

_FIXED = frozenset({type(None), bool, int, float, complex, str, bytes})


def can_change(item: Any) -> bool:
    """Whether something else may be put into an item."""
    return type(item).__hash__ is None


def noted(item: Any) -> Any:
    """What `copied` compares an item with that can change; None if nobody can say later whether it did."""
    kind = type(item)
    # Naming these as well would take ten times as long, for every item, and hardly any comes again.
    if (kind is dict and _FIXED.issuperset(map(type, item.values())) and _FIXED.issuperset(map(type, item))) or (
        kind is list and _FIXED.issuperset(map(type, item))
    ):
        return item.copy()
    with suppress(Exception):  # whoever names its call says why it has no name
        return keys.digest(item)
    return None


def copied(item: Any, was: Any) -> Any:
    """A copy of an item that is what it ``was`` when it came before, else None: the next may be put into it during its call."""
    with suppress(Exception):  # it cannot be copied, or is being changed
        again = copy.deepcopy(item)
        if was is not None and keys.digest(again) == (was if type(was) is bytes else keys.digest(was)):
            return again
    return None
