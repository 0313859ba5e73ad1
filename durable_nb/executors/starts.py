"""How the first calls of a map begin: some at once, the others one after the other.

A service that has had enough can say so before all of them have asked.
"""

AT_ONCE = 8
"""So many begin together."""

_APART_S, _ALL_S = 0.005, 0.2


def apart_s(workers: int) -> float:
    """Seconds between two of the others, so that all have begun soon."""
    return min(_APART_S, _ALL_S / workers)
