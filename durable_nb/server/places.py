"""Which databases this server may open: the configured ones, and those below its root that belong to a notebook.

A request names a store by its id and a notebook by its path below the root; it never gives a path or an address of a
database. What is opened comes from three places only:

(a) ``DurableServer.databases`` and ``DURABLE_NB_URL`` of the server: set by whoever started it, so anywhere.
(b) The settings of the notebook's folder. A repository that was only downloaded can hold a pyproject.toml, so a file
    must lie below the root, and an address on the network must have been used by a kernel of this user before: merely
    opening the folder must not make the server call somebody's host, with this user's saved password.
(c) The files that kernels of this user noted (`registry`), if they lie below the root.

Pure but for looking at the file system; opens no database.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from durable_nb import config, registry
from durable_nb.errors import ConfigError
from durable_nb.store import Store
from durable_nb.store.addresses import address_of, url_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from durable_nb.registry import Known


class Place(NamedTuple):
    """A database that may be opened."""

    store: str
    """Its id: a digest of the address."""
    url: str
    """What to open, password included: not for messages."""
    where: str
    """For people: the path below the root, else the address without password."""


class Places:
    """The databases of one server.

    Parameters
    ----------
    root : Path
        Folder that the server shows.
    configured : sequence of str
        URLs or paths that may be opened wherever they are.
    environ : mapping, optional
        The environment; default that of this process.
    known : callable, optional
        What kernels noted; default `registry.known`.
    """

    def __init__(
        self,
        root: Path,
        configured: Sequence[str] = (),
        *,
        environ: Mapping[str, str] | None = None,
        known: Callable[[], list[Known]] = registry.known,
    ) -> None:
        self.root = Path(os.path.realpath(root))
        self._environ = os.environ if environ is None else environ
        self._configured = [*configured, self._environ.get("DURABLE_NB_URL", "")]
        self._known = known

    def folder(self, relative: str) -> Path:
        """The real folder that ``relative`` to the root names; it need not exist.

        Raises
        ------
        ConfigError
            It is no relative path, or leaves the root, by ``..`` or by a symbolic link.
        """
        parts = relative.replace("\\", "/").split("/")
        absolute = relative.startswith(("/", "\\")) or Path(relative).is_absolute() or ":" in parts[0][1:2]
        if "\0" in relative or absolute or ".." in parts:
            raise ConfigError(f"{relative!r} is no path below the folder of this server.")
        try:
            real = Path(os.path.realpath(self.root / relative))
            real.exists()  # too long, or not ours to look at: better here than in the middle
        except (OSError, ValueError) as problem:
            raise ConfigError(f"{relative!r} is no path below the folder of this server.") from problem
        if not real.is_relative_to(self.root):
            raise ConfigError(f"{relative!r} leads out of the folder of this server.")
        return real

    def relative(self, path: str) -> str:
        """A path as it is below the root; as it was if it does not lie there."""
        real = Path(os.path.realpath(path)) if path else None
        return real.relative_to(self.root).as_posix() if real is not None and real.is_relative_to(self.root) else path

    def of_notebook(self, relative: str) -> list[Place]:
        """Of a notebook: the one its folder is set to, and others it has used.

        Raises
        ------
        ConfigError
            For a path that `folder` refuses, and for settings that cannot be read.
        """
        folder = self.folder(relative.replace("\\", "/").rpartition("/")[0])
        notebook = str(folder / relative.rpartition("/")[2])
        used = (self._below_root(entry) for entry in self._known() if os.path.realpath(entry.notebook) == notebook)
        return _distinct([*self.configured(), *self._of_folder(folder), *used])

    def of_folder(self, relative: str) -> list[Place]:
        """Of a folder: the one it is set to, and those noted that lie in it or below.

        Raises
        ------
        ConfigError
            For a path that `folder` refuses, and for settings that cannot be read.
        """
        folder = self.folder(relative)
        noted = (
            place
            for entry in self._known()
            if (place := self._below_root(entry)) and (self.root / place.where).is_relative_to(folder)
        )
        return _distinct([*self.configured(), *self._of_folder(folder), *noted])

    def find(self, store: str, notebook: str) -> Place | None:
        """The place of this id, looked for where a request may look; None when there is none.

        Raises
        ------
        ConfigError
            For a notebook that `folder` refuses.
        """
        folder = self.folder(notebook.replace("\\", "/").rpartition("/")[0])
        return next((place for place in self._allowed(folder) if place.store == store), None)

    def configured(self) -> list[Place]:
        """(a): what whoever started the server named; what cannot be an address is left out."""
        places = (self._place(text, anywhere=True) for text in self._configured if text)
        return _distinct(places)

    def _allowed(self, folder: Path) -> Iterator[Place]:
        yield from self.configured()
        try:
            yield from self._of_folder(folder)
        except ConfigError:  # told where the runs of that folder are listed
            pass
        yield from filter(None, map(self._below_root, self._known()))

    def _of_folder(self, folder: Path) -> list[Place]:
        """(b)."""
        url = config.settings({}, folder=folder, environ=self._environ).url
        place = self._place(config.database_url(url, folder=folder))
        if place is None:
            return []
        is_noted = any(entry.store == place.store for entry in self._known())
        return [place] if _is_file_address(place.url) or is_noted else []

    def _below_root(self, entry: Known) -> Place | None:
        """(c)."""
        return self._place(config.file_url(entry.where)) if os.path.isabs(entry.where) else None

    def _place(self, text: str, *, anywhere: bool = False) -> Place | None:
        """The place at an address; None for a file outside of the root unless ``anywhere``, or that is no file."""
        try:
            address = address_of(config.database_url(text, folder=self.root))
        except ConfigError:
            return None
        if address.drivername != "sqlite":
            where = address.set(query={}).render_as_string(hide_password=True)
            url = url_of(address)
            return Place(Store.identity(url), url, where)
        path = Path(os.path.realpath(str(address.database)))
        is_below = path.is_relative_to(self.root)
        if not path.is_file() or not (is_below or anywhere):
            return None
        url = config.file_url(path)  # the real path: what was checked is what is opened
        return Place(Store.identity(url), url, str(path.relative_to(self.root) if is_below else path))


def _is_file_address(url: str) -> bool:
    return url.startswith("sqlite:")


def _distinct(places: Sequence[Place | None] | Iterator[Place | None]) -> list[Place]:
    return list({place.store: place for place in places if place is not None}.values())
