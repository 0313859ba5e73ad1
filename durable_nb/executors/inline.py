"""Calls one after the other in the caller's thread: ``workers=1``, and what a debugger or a GUI toolkit wants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


def run(
    work: Callable[[Any], None], chunks: Iterable[Sequence[Any]], *, halted: Callable[[], bool], **_: object
) -> None:
    """Work through ``chunks`` until they end or ``halted()``."""
    for chunk in chunks:
        for call in chunk:
            if halted():
                return
            work(call)
