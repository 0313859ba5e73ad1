"""Settings: argument, else magic line, else environment, else pyproject.toml, else the default."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

from durable_nb.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

ON_CHANGE = ("ask", "keep", "recompute")
DURABILITY = ("normal", "full")
_SWITCHES = ("trust", "labels")
_TRUST_YOURSELF = "Leave it out; if you know who wrote both, `durable-nb trust`, or DURABLE_NB_TRUST=1."
RESERVED = frozenset(
    ("show", "resume", "retry", "forget", "explain", "wait", "stop", "attach", "diff", "history", "config", "gc")
)
"""Sub-commands of ``%durable``; no run may bear them."""


STEP_NAME_BYTES = 1_000


class Settings(NamedTuple):
    """What can be set, with the defaults."""

    url: str = ""
    """SQLAlchemy URL, or a path for SQLite; '' means ``.durable_nb/durable.db`` beside the notebook."""
    on_change: str = "ask"
    """What happens when a step with saved results was edited: ``ask``, ``keep`` or ``recompute``."""
    durability: str = "normal"
    """``normal`` survives the death of any process, ``full`` also power loss."""
    trust: bool = False
    """Whether pickled values may be read whoever saved them; never set by a file."""
    labels: bool = True
    """Whether the beginning of each document is stored, to call it by; else it has a number."""
    capsule_mb: float = 0.9
    """Megabytes of data that are noted for a fresh kernel when a durable cell begins; 0 notes nothing at all."""


def settings(given: Mapping[str, Any], *, folder: Path, environ: Mapping[str, str] | None = None) -> Settings:
    """The settings in force.

    Parameters
    ----------
    given : mapping
        What the caller set; None values count as not set.
    folder : Path
        Folder of the notebook: pyproject.toml is looked for there and above.
    environ : mapping, optional
        The environment; default that of this process.

    Raises
    ------
    ConfigError
        For an unknown name or value, naming where it was set.
    """
    environ = os.environ if environ is None else environ
    layers = [
        ("pyproject.toml", _from_pyproject(folder)),
        ("the environment", _from_environment(environ)),
        ("the call", {name: value for name, value in given.items() if value is not None}),
    ]
    merged: dict[str, Any] = {}
    for where, layer in layers:
        for name, value in layer.items():
            merged[name] = _checked(name, value, where)
    return Settings(**merged)


def database_url(url: str, *, folder: Path) -> str:
    """``url`` as SQLAlchemy wants it: a bare path means SQLite, '' the default beside the notebook."""
    if not url:
        return file_url(folder.absolute() / ".durable_nb" / "durable.db")
    scheme, separator, rest = url.partition("://")
    if not separator:
        return file_url((folder / Path(url).expanduser()).absolute())
    if scheme in ("postgres", "postgresql"):
        return f"postgresql+psycopg://{rest}"
    return url


def file_url(path: str | os.PathLike[str]) -> str:
    """The URL of an SQLite file; what would mean something else in a URL is escaped, and nothing more."""
    return f"sqlite:///{os.fspath(path).replace('%', '%25').replace('?', '%3F')}"


def file_of(url: str) -> str:
    """The path in the URL of an SQLite file; '' of any other URL."""
    scheme, _, rest = url.partition(":///")
    return unquote(rest.partition("?")[0]) if scheme in ("sqlite", "sqlite+pysqlite") else ""


def shown(settings: Settings, *, folder: Path) -> dict[str, Any]:
    """The settings by name, the address of the database whole, but without its password."""
    url = database_url(settings.url, folder=folder)
    if not file_of(url):
        scheme, _, rest = url.partition("?")[0].partition("://")  # the query may hold a password too
        credentials, at, host = rest.rpartition("@")
        url = f"{scheme}://{credentials.partition(':')[0]}{at}{host}"
    return settings._asdict() | {"url": url}


def run_name(name: str) -> str:
    """``name`` if a run may bear it.

    Raises
    ------
    ConfigError
        For an empty or reserved name, or one that could not be typed back after ``%durable show``.
    """
    if not isinstance(name, str):
        raise ConfigError(f"{name!r} cannot name a run: it is not text.", f'Write "{name}".')
    if not name:
        raise ConfigError("a run needs a name.", "Write one after the magic: %%durable embed-filings")
    bad = sorted({character for character in name if not (character.isalnum() or character in "-_./:@+=")})
    if bad or name[0] in "-." or len(name) > 200:
        suggestion = "".join(character if character.isalnum() or character in "-_." else "-" for character in name)
        reason = f"it holds {' '.join(map(repr, bad))}" if bad else "it starts with - or ., or is over 200 characters"
        raise ConfigError(
            f"{name!r} cannot name a run: {reason}.",
            f"Use letters, digits and - _ . / : @ + =, for example {suggestion.strip('-.')[:200] or 'my-run'!r}.",
        )
    if name in RESERVED:
        raise ConfigError(f"{name!r} is a sub-command of %durable.", f"Name the run otherwise, for example {name}-1.")
    return name


def step_name(name: str) -> str:
    """``name`` if every database takes it for that of a step.

    Raises
    ------
    ConfigError
        It is longer than 1,000 bytes.
    """
    length = len(name.encode("utf-8", "surrogatepass"))
    if length > STEP_NAME_BYTES:  # PostgreSQL has an index of them, whose rows take 2,704
        problem = f"{name[:40]!r}… cannot name a step: it has {length:,} bytes."
        raise ConfigError(problem, f"Use {STEP_NAME_BYTES:,} at most.")
    return name


def _is_name_of_file(text: str) -> bool:
    """Whether the file system takes it; a name of bytes that are no UTF-8 comes as what Python makes of those."""
    try:
        return b"\0" not in text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False


def _checked(name: str, value: Any, where: str) -> Any:
    allowed = {"on_change": ON_CHANGE, "durability": DURABILITY}.get(name)
    if name not in Settings._fields:
        raise ConfigError(f"there is no setting {name!r} ({where}).", f"There are: {', '.join(Settings._fields)}.")
    if allowed and not (isinstance(value, str) and value in allowed):
        raise ConfigError(f"{name}={value!r} ({where}) is not possible.", f"Use one of: {', '.join(allowed)}.")
    if name in _SWITCHES and not isinstance(value, bool):
        raise ConfigError(f"{name}={value!r} ({where}) is not possible.", "Use true or false, without quotes.")
    if name == "capsule_mb" and (
        isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1000
    ):
        raise ConfigError(f"capsule_mb={value!r} ({where}) is not possible.", "Use a number of megabytes, 0 to 1000.")
    if name == "url" and not isinstance(value, str):
        value = os.fspath(value) if isinstance(value, os.PathLike) else value
        if not isinstance(value, str):
            raise ConfigError(f"url={value!r} ({where}) is not text.", "Give a path or a database URL.")
    if name == "url" and not _is_name_of_file(value):
        raise ConfigError(f"url={value!r} ({where}) names no file.", "Give a path or a database URL of letters.")
    return value


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in Settings._fields:
        value = environ.get(f"DURABLE_NB_{name.upper()}")
        if value:
            found[name] = value.lower() in ("1", "true", "yes", "on") if name in _SWITCHES else value
            if name == "capsule_mb" and re.fullmatch(r"\d+(\.\d+)?", value, re.ASCII):
                found[name] = float(value)
    return found


def _from_pyproject(folder: Path) -> dict[str, Any]:
    folder = folder.absolute()
    for parent in (folder, *folder.parents):
        path = parent / "pyproject.toml"
        if path.is_file():
            break
    else:
        return {}
    try:
        found = dict(_table_in(path.read_text(encoding="utf-8")))
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError
        raise ConfigError(f"{path} is not valid TOML ({error}).", "Mend it, or set DURABLE_NB_URL instead.") from error
    if found.get("trust") is True:  # whoever wrote a project that was downloaded would vouch for themselves
        raise ConfigError(f"{path} may not say trust = true: it is as foreign as the database.", _TRUST_YOURSELF)
    if found.get("url"):
        # Written in a file, a relative path means relative to that file, not to whatever folder the kernel is in.
        found["url"] = database_url(str(found["url"]), folder=parent)
    return found


@lru_cache(maxsize=16)
def _table_in(text: str) -> dict[str, Any]:
    """Our table of a pyproject.toml: every map asks for it, and to read a long one takes longer than to open a run."""
    import tomllib

    table: dict[str, Any] = tomllib.loads(text).get("tool", {}).get("durable_nb", {})
    return table
