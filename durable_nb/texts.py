"""Very many short texts, as bytes one after the other: a list of them takes 55 bytes more for each."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any, SupportsIndex, overload


class Texts(Sequence[str]):
    """Reads like a list of texts, and equals one."""

    def __init__(self) -> None:
        self._bytes, self._ends = bytearray(), array("Q", [0])

    def put(self, first: int, texts: Iterable[str]) -> None:
        """Set the texts from the place ``first`` on; what there was is dropped, what is missing before it is ''."""
        del self._ends[first + 1 :]
        del self._bytes[self._ends[-1] :]
        self._ends.extend(self._ends[-1:] * (first - len(self)))
        encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
        self._bytes += b"".join(encoded)
        self._ends.extend(accumulate(map(len, encoded), initial=self._ends.pop()))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: SupportsIndex) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        at = range(len(self))[index]
        return self._bytes[self._ends[at] : self._ends[at + 1]].decode("utf-8", "surrogatepass")

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, (list, Texts)) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(list(self))

    def __reduce__(self) -> tuple[type[list[Any]], tuple[list[str]]]:
        return list, (list(self),)
