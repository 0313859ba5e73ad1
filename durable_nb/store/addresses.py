"""Where a store is: the address of a database, and what kind of disk a file lies on."""

from __future__ import annotations

import hashlib
import os
import re

import sqlalchemy as sa

from durable_nb.config import file_of, file_url
from durable_nb.errors import ConfigError

_FORMS = "Write sqlite:///results.db or postgresql+psycopg://user@host/database."
_NETWORK = {
    "nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "lustre", "gpfs", "9p", "afs", "ceph", "glusterfs", "beegfs",
    "pvfs2", "drvfs", "vboxsf", "virtiofs", "fakeowner",
}  # fmt: skip


_MANNERS = frozenset(
    {"application_name", "connect_timeout", "tcp_user_timeout", "target_session_attrs", "client_encoding"}
)
_SAFE = frozenset({("sslmode", "require"), ("sslmode", "verify-ca"), ("sslmode", "verify-full")})
"""Options of a connection that lead to no other server, and do not bare what is sent there."""


def address_of(url: str) -> sa.URL:
    """The checked address of a store; a relative SQLite path becomes absolute, so that ``os.chdir`` changes nothing.

    Raises
    ------
    ConfigError
        Malformed, in memory, with options, or of a database that durable_nb does not speak.
    """
    try:
        address = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError, AttributeError):
        # No chaining: older SQLAlchemy repeats the text, password included.
        raise ConfigError("the address of the store is not a database URL.", _FORMS) from None
    kind, _, driver = address.drivername.partition("+")
    if kind in ("postgresql", "postgres") and driver in ("", "psycopg"):
        return address.set(drivername="postgresql+psycopg")
    if kind == "postgresql":
        raise ConfigError(f"durable_nb reaches PostgreSQL through psycopg, not {driver}.", _FORMS)
    if kind != "sqlite" or driver not in ("", "pysqlite"):
        raise ConfigError(f"durable_nb cannot keep results in {address.drivername}.", _FORMS)
    if address.database in (None, "", ":memory:"):
        raise ConfigError("a store in memory would not survive the kernel.", "Name a file: sqlite:///results.db.")
    if address.query or address.host:
        raise ConfigError(
            "the address of an SQLite store is a path and nothing else.", "Three slashes, no options: sqlite:///x.db."
        )
    # Not as SQLAlchemy reads it: 2.0 leaves %20 as it is.
    return address.set(drivername="sqlite", database=os.path.abspath(os.path.expanduser(file_of(url))))


def url_of(address: sa.URL) -> str:
    """A checked address as text that `address_of` reads, password included: not for messages."""
    is_file = address.drivername == "sqlite"
    return file_url(str(address.database)) if is_file else address.render_as_string(hide_password=False)


def identity_of(address: sa.URL) -> str:
    """12 hex digits, the same for every way to write the address of a database; no password matters, and no option but those
    that may lead elsewhere, as ``?host=`` and ``?service=`` do.
    """
    if address.drivername == "sqlite":
        text = f"sqlite:{os.path.realpath(str(address.database))}"
    else:
        text = (
            f"postgresql:{address.username or ''}@{address.host or ''}:{address.port or 5432}/{address.database or ''}"
        )
        leading = sorted(
            (name, value)
            for name, value in address.query.items()
            if (name, value) not in _SAFE and name not in _MANNERS
        )
        text += f"?{leading}" if leading else ""
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=6).hexdigest()


def file_system_of(path: str, mounts: str) -> str:
    """Type of the file system that holds ``path``; '' when unknown. ``mounts`` is the text of /proc/mounts."""
    best, kind = "", ""
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) < 3:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), fields[1])  # blank is \040
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):  # of two mounts on one place the later one is seen
            best, kind = point, fields[2]
    return kind


def is_network(file_system: str) -> bool:
    """True where several hosts may see the file, so that the shared memory of WAL cannot work."""
    return file_system in _NETWORK or file_system.startswith("fuse.")
