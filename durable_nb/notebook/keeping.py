"""A capsule for the run that begins; a run never fails for want of one."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from durable_nb.engine.session import current as session

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from durable_nb.engine.runs import LiveRun
    from durable_nb.notebook.cellid import Cell
    from durable_nb.notebook.makers import Makers
    from durable_nb.store.capsules import Capsule

_logger = logging.getLogger("durable_nb")


def capsule_of(name: str, shell: InteractiveShell, cell: Cell, makers: Makers) -> Capsule:
    """What a fresh kernel needs to run a cell that is about to run here."""
    from durable_nb.notebook import capturing

    settings = session.settings()
    hidden = [name for name, value in shell.user_ns_hidden.items() if shell.user_ns.get(name) is value]
    return capturing.captured(
        name,
        cell,
        notebook=session.notebook,
        scope=shell.user_ns,
        hidden=hidden,
        makers=makers,
        transform=shell.transform_cell,
        largest=int(settings.capsule_mb * 1e6) if settings.labels else 0,
    )


def capture(live: LiveRun, shell: InteractiveShell, cell: Cell, makers: Makers) -> None:
    """Save it; what goes wrong is told in the history of the run, and when somebody resumes it."""
    try:
        if not session.settings().capsule_mb:
            live.store.save_capsule(live.record.id, None)
            return
        live.store.save_capsule(live.record.id, capsule_of(live.name, shell, cell, makers))
    except Exception as error:  # of the user's objects, of the database: the run says itself if that is gone
        _logger.debug("no capsule of %s", live.name, exc_info=error)
        live.store.tell(live.record.id, "not captured", f"{type(error).__name__}: {error}"[:300])
