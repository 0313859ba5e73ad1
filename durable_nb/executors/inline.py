"""Calls one after the other in the caller's thread: ``workers=1``, and what a debugger or a GUI toolkit wants."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from durable_nb.records import Call


def run(
    work: Callable[[Call], None], chunks: Iterable[Sequence[Call]], *, halted: Callable[[], bool], **_: object
) -> None:
    """Work through ``chunks`` until they end or ``halted()``."""
    for chunk in chunks:
        for call in chunk:
            if halted():
                return
            work(call)
