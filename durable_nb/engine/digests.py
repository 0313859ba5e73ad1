"""A set of very many digests, in a quarter of the memory of a set: of a million calls all have to be told apart.

Each by the first eight of its bytes. Two digests that begin alike count as one: of a million calls two do once in eighteen
million runs. The second one is then taken for an equal call, which has a key of its own, so it is computed once more.
"""

from __future__ import annotations

import sys
from array import array
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_FREE, _LEFT = 0, 1  # places of the table; names of digests are above
_SMALLEST = 1 << 12
_MANY = 100_000  # taken out, before sorted arrays are made anew without them


class Digests:
    """With open addressing, and at least half of the table free.

    Attributes
    ----------
    count : int, how many are here
    """

    def __init__(self) -> None:
        self._table, self._mask = array("Q", bytes(8 * _SMALLEST)), _SMALLEST - 1
        self._used = self.count = 0

    def add(self, digests: Sequence[bytes]) -> None:
        """Take these in; none of them is here yet."""
        if 2 * (self._used + len(digests)) > len(self._table):
            self._grow(self.count + len(digests))
        self._put(int.from_bytes(digest[:8], "little") | 2 for digest in digests)  # `_name`, without a call

    def among(self, digests: Sequence[bytes]) -> set[bytes]:
        """Which of these are here."""
        table, mask, found = self._table, self._mask, set()
        for digest in digests:
            name = int.from_bytes(digest[:8], "little") | 2  # `_name`, without a call
            at = name >> 2 & mask
            while (there := table[at]) not in (_FREE, name):
                at = at + 1 & mask
            if there:
                found.add(digest)
        return found

    def discard(self, digest: bytes) -> bool:
        """Take it out; whether it was here."""
        table, name = self._table, _name(digest)
        at = name >> 2 & self._mask
        while (there := table[at]) not in (_FREE, name):
            at = at + 1 & self._mask
        if there:
            table[at] = _LEFT  # a hole would hide those behind it
            self.count -= 1
        return bool(there)

    def _put(self, names: Iterable[int]) -> None:
        table, mask = self._table, self._mask
        for name in names:
            at = name >> 2 & mask
            while table[at]:
                at = at + 1 & mask
            table[at] = name
            self._used, self.count = self._used + 1, self.count + 1

    def _grow(self, count: int) -> None:
        names, size = self._table, 1 << (2 * count).bit_length()
        self._table, self._mask, self._used, self.count = array("Q", bytes(8 * size)), size - 1, 0, 0
        self._put(name for name in names if name > _LEFT)


class SortedDigests:
    """In sorted arrays of numpy, each more than twice as long as the next: the same, five times as fast.

    Attributes
    ----------
    count : int, how many are here
    """

    def __init__(self) -> None:
        import numpy as np

        self._np, self._arrays, self.count = np, list[Any](), 0
        self._gone = set[int]()  # what was taken out, and is still in the arrays

    def add(self, digests: Sequence[bytes]) -> None:
        """As `Digests.add`."""
        names, np = self._array(digests), self._np
        self.count += len(names)
        if self._gone:
            back = self._gone.intersection(names.tolist())
            self._gone -= back
            names = names[~np.isin(names, np.array(list(back), names.dtype))]
        names = np.sort(names)
        while self._arrays and len(self._arrays[-1]) <= 2 * len(names):
            names = np.sort(np.concatenate((self._arrays.pop(), names)))
        self._arrays.append(names)

    def among(self, digests: Sequence[bytes]) -> set[bytes]:
        """As `Digests.among`."""
        names, here = self._np.sort(self._array(digests)), set[int]()  # in order they are found in half the time
        for array_ in filter(len, self._arrays):  # of none, none can be taken
            there = array_.take(self._np.searchsorted(array_, names), mode="clip") == names
            if there.any():
                here.update(names[there].tolist())
        here -= self._gone
        return {digest for digest in digests if int.from_bytes(digest[:8], "little") in here} if here else set()

    def discard(self, digest: bytes) -> bool:
        """As `Digests.discard`."""
        if not self.among((digest,)):
            return False
        self._gone.add(int(self._array((digest,))[0]))
        self.count -= 1
        if len(self._gone) > _MANY:
            gone = self._np.array(list(self._gone), "<u8")
            self._arrays = [array_[~self._np.isin(array_, gone)] for array_ in self._arrays]
            self._gone = set()
        return True

    def _array(self, digests: Sequence[bytes]) -> Any:
        return self._np.frombuffer(b"".join(digests), "<u8")[::2]


def nothing_yet() -> Digests | SortedDigests:
    """An empty set; in arrays if whoever computes has numpy, which is not loaded for this."""
    return SortedDigests() if "numpy" in sys.modules else Digests()


def _name(digest: bytes) -> int:
    return int.from_bytes(digest[:8], "little") | 2
