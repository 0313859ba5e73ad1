"""What a peer is: how it is opened, and what it promises to keep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

Work = Callable[[str], Any]
"""A text in, 256 float32 out."""
Compute = Callable[[Any], Sequence[Any]]
"""The vectors of what the peer is given, in order."""


def the_texts(items: list[str], folder: Path) -> Any:
    """What most peers are given: the list itself."""
    return items


class Peer(NamedTuple):
    """One way to compute the items. Opening is apart from computing, since only the second is paid for each item."""

    name: str
    opened: Callable[[Path, Work], AbstractContextManager[Compute]]
    """Opens what it keeps in the folder; leaving it closes that, as a program that ends does."""
    keeps: str
    """What is durable when, as a reader of the table is told."""
    modules: tuple[str, ...] = ()
    """What has to be imported; timed apart."""
    package: str | None = None
    """Whose version is shown, and what to install."""
    given: Callable[[list[str], Path], Any] = the_texts
    """What its users have instead of a list of texts; made beforehand, and timed apart."""
    results: str = "**/*"
    """Which files of the folder are its results."""

    @property
    def version(self) -> str | None:
        """Of its package; None if that is not installed."""
        try:
            return ".".join(version(self.package).split(".")[:2]) if self.package else ""
        except PackageNotFoundError:
            return None
