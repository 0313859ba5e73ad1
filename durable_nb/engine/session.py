"""The current store and settings of this process; the only process-wide state."""

from __future__ import annotations

import contextlib
import threading
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from durable_nb import config
from durable_nb.errors import ConfigError, StoreError
from durable_nb.signals import put_off
from durable_nb.slots import paused_gc

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from durable_nb.config import Settings
    from durable_nb.engine.runs import LiveRun
    from durable_nb.store import Store


class Session:
    """Settings given with ``configure``, the stores they led to, and the runs that are live now."""

    def __init__(self) -> None:
        self.given: dict[str, Any] = {}
        self.kernel = ""
        """Jupyter kernel id, for the message that tells a second kernel who holds a run."""
        self.notebook = ""
        """Path of the notebook, '' outside of one."""
        self.cell = ""
        """Jupyter id of the cell that runs now, '' if nobody said so; a hint, kept with the runs that it begins."""
        self.statements: Callable[[str], str | None] | None = None
        self.observers: list[Callable[[LiveRun], None]] = []
        """Told of every run that begins; the notebook layer shows its panel from here."""
        self.live: list[LiveRun] = []
        self._folder: Path | None = None
        self._stores: dict[tuple[str, str, bool], Store] = {}
        self._lock = threading.RLock()

    @property
    def folder(self) -> Path:
        """Folder of the notebook, else where this process was when it first asked: chdir must not change the store."""
        if self._folder is None:
            self._folder = Path(self.notebook).parent if self.notebook else Path.cwd()
        return self._folder

    def settings(self, **given: Any) -> Settings:
        """The settings in force; ``given`` are those of one call or magic line and win where not None."""
        merged = self.given | {name: value for name, value in given.items() if value is not None}
        return config.settings(merged, folder=self.folder)

    def store(self, **given: Any) -> Store:
        """The store of the settings in force, opened once and kept open."""
        settings = self.settings(**given)
        url = config.database_url(settings.url, folder=self.folder)
        identity = (url, settings.durability, settings.trust)
        with self._lock:
            store = self._stores.get(identity)
            if store is not None and store.is_gone and not self.live:
                # Somebody deleted the database: a new one is made, rather than saving into a file nobody can open. What
                # the old one could not save was an error in the cell.
                with contextlib.suppress(StoreError):
                    self._stores.pop(identity).close()
                store = None
            if store is None:
                store = _stores().open(url, durability=settings.durability, trust=settings.trust)
                self._stores[identity] = store
            return store

    def existing_store(self, **given: Any) -> Store:
        """As ``store``, for those who only look: a database that is not there is told, not made.

        Raises
        ------
        ConfigError
        """
        if not self.has_store(**given):
            url = config.database_url(self.settings(**given).url, folder=self.folder)
            raise ConfigError(f"there is no database at {config.file_of(url)} yet.", "Run a durable cell first.")
        return self.store(**given)

    def has_store(self, **given: Any) -> bool:
        """Whether the database of the settings in force is there; of a server only opening it can tell."""
        return _stores().exists(config.database_url(self.settings(**given).url, folder=self.folder))

    def close(self) -> None:
        """Close every store; what was saved is committed first."""
        with self._lock:
            while self._stores:
                self._stores.popitem()[1].close()
            self._folder = None


@cache
def _stores() -> type[Store]:
    """SQLAlchemy comes with them: 120 ms, paid at the first durable cell and not at import."""
    # Collections are an eighth of the time, and more in a kernel that holds much. Of an import that ■ breaks off SQLAlchemy
    # is left half: each cell that follows would fail.
    with paused_gc(), put_off():
        from durable_nb.store import Store
    return Store


current = Session()
"""The session of this process."""


def configure(
    *,
    url: str | os.PathLike[str] | None = None,
    on_change: str | None = None,
    durability: str | None = None,
    trust: bool | None = None,
    labels: bool | None = None,
    capsule_mb: float | None = None,
) -> None:
    """Set what holds for every later run of this process; what is not given stays as it is.

    Parameters
    ----------
    url : str or path, optional
        Where results live: a path (SQLite), ``sqlite:///…`` or ``postgresql+psycopg://user@host/database``. Default
        ``.durable_nb/durable.db`` beside the notebook. Opened when the next run begins, so a wrong one is reported then.
    on_change : {'ask', 'keep', 'recompute'}, optional
        What happens when a step that has saved results was edited. Default ``ask``: an error with the diff.
    durability : {'normal', 'full'}, optional
        ``normal`` survives the death of any process; ``full`` also power loss, at an fsync for each commit.
    trust : bool, optional
        Read pickled values from a database that this user did not create. Reading a pickle can run any code.

    labels : bool, optional
        False: nothing of an argument is stored, not even the first 60 characters of a document, by which the panel and
        messages call it otherwise; they say its number (``#12``). Nor is what calls print, or data of the notebook for
        ``%durable resume``. Default True.
    capsule_mb : float, optional
        Megabytes of data that may be noted when a durable cell begins, for ``%durable resume`` in a fresh kernel: written
        each time it begins. 0 notes nothing at all. Default 0.9.

    Raises
    ------
    ConfigError
        For a value that is not possible; nothing is changed then.
    """
    asked = {"url": url, "on_change": on_change, "durability": durability, "trust": trust, "labels": labels}
    every: dict[str, Any] = asked | {"capsule_mb": capsule_mb}
    given = {name: value for name, value in every.items() if value is not None}
    if current.live:
        busy = current.live[0].name
        raise ConfigError(f"run {busy!r} is running here.", "Change settings between runs.")
    current.settings(**given)
    current.given.update(given)
