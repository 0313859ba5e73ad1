"""Which statement made an object: read from the cells that this kernel has executed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable_nb.provenance import last_assignment

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell


def finder(shell: InteractiveShell) -> Callable[[str, dict[str, Any]], str | None]:
    """A statement finder for the names of the notebook's namespace.

    Of a cell only what was executed counts, so the cells come from the kernel's history, not from the notebook file.
    """

    def find(name: str, scope: dict[str, Any]) -> str | None:
        history = shell.history_manager
        if scope is not shell.user_ns or history is None:
            return None
        return last_assignment(history.input_hist_raw, name)

    return find
