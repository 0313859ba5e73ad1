"""Whose results may be unpickled: each row that could run code when it is read bears a signature of who saved it.

As with Jupyter's notebooks, every user has a random key of their own, and it never leaves the state folder. A database
has a random id, and both together make the secret that signs its rows: so neither a database from elsewhere, nor a row
that somebody put into one of ours, nor a row carried from one database, run or call to another is taken for our own.

A signature is part of the codec, ``signed:SIGNATURE+pickle``, before the codec it vouches for; there is one for each user
who vouches. Text, arrays and plain data have none, since reading them runs nothing: a signature would take 3 µs of the 20
that saving a small dict takes. In a database that is not the user's home, plain data is only read with more care.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import struct
from itertools import repeat
from typing import TYPE_CHECKING, Any

from durable_nb import registry
from durable_nb.codecs import FOREIGN, RISKY
from durable_nb.errors import ConfigError
from durable_nb.records import STORED, Checkpoint, Saved, made
from durable_nb.store.misfits import Misfit
from durable_nb.store.tables import BLOB_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SIGNED = "signed:"
STORED_RISKY = (*RISKY, *(BLOB_PREFIX + codec for codec in RISKY))
"""How the codecs of rows begin that need a signature."""

MARKED = (SIGNED, BLOB_PREFIX + SIGNED, *STORED_RISKY)
"""The same, signed ones too."""

_CAREFUL = (*MARKED, "data", BLOB_PREFIX + "data")
_PARTS = re.compile(rf"((?:{re.escape(BLOB_PREFIX)})?)((?:{SIGNED}[0-9a-f]{{32}}\+)*)(.*)", re.DOTALL)
_HEAD = struct.Struct("<qqII")
_KEY_BYTES = 32
_KEY_OF_THIS_PROCESS = secrets.token_bytes(_KEY_BYTES)


class Seal:
    """Signs the rows of one database for one user.

    Parameters
    ----------
    key : bytes
        Of the user.
    database : str
        The random id of the database.
    trusts_all : bool
        Take what anybody saved for the user's own.

    Attributes
    ----------
    is_home : bool
        The user made the database, or has vouched for it.
    """

    def __init__(self, key: bytes, database: str, *, trusts_all: bool = False) -> None:
        secret = hashlib.blake2b(database.encode("utf-8", "replace"), key=key, digest_size=32).digest()
        self._keyed = hashlib.blake2b(key=secret, digest_size=16, person=b"durable_nb row")
        self.trusts_all = self.is_home = trusts_all
        self.home = f"home of {hashlib.blake2b(key=secret, digest_size=16, person=b'durable_nb home').hexdigest()}"
        """Key in ``meta`` of a database that is the user's home."""

    @classmethod
    def of_nobody(cls) -> Seal:
        """For who decodes nothing and saves nothing."""
        return cls(_KEY_OF_THIS_PROCESS, "")

    def signed(self, row: Checkpoint) -> Checkpoint:
        """A row that begins with one of `STORED_RISKY`, with our signature."""
        assert row.payload is not None
        codec = row.codec
        own = self.signature(row.run_id, row.step_id, row.key, codec, row.payload)
        is_apart = codec.startswith(BLOB_PREFIX)
        signed = f"{BLOB_PREFIX}{own}{codec[len(BLOB_PREFIX) :]}" if is_apart else own + codec
        return Checkpoint(*row[:10], signed, row.payload)  # _replace takes twice as long

    def vouched(self, run_id: int, step_id: int, key: bytes, codec: str, payload: bytes) -> str:
        """A stored codec with our signature before those it has."""
        blob, signatures, plain = _parts(codec)
        own = self.signature(run_id, step_id, key, blob + plain, payload)
        return codec if own in signatures else blob + own + signatures + plain

    def is_ours(self, run_id: int, step_id: int, key: bytes, codec: str, payload: bytes) -> bool:
        """Whether a stored row runs nothing when it is read, or bears our signature."""
        blob, signatures, plain = _parts(codec)
        if not plain.startswith(RISKY):
            return True
        return bool(signatures) and self.signature(run_id, step_id, key, blob + plain, payload) in signatures

    def opened(self, run_ids: Iterable[int], *columns: tuple[Any, ...]) -> list[Saved]:
        """Stored rows (columns key, codec, payload, seconds, step_id and position) for whoever decodes them: without
        signatures, and marked as foreign unless we vouch for them.

        Raises
        ------
        Misfit
            The columns hold what is never saved.
        """
        keys, codecs, payloads, seconds, step_ids, positions = columns
        for column, kind in ((keys, bytes), (codecs, str), (payloads, bytes), (seconds, float), (positions, int)):
            if not {kind}.issuperset(map(type, column)):
                odd = next(position for one, position in zip(column, positions, strict=True) if type(one) is not kind)
                raise Misfit(f"checkpoint of document {odd!r:.20}")
        if STORED in (different := set(codecs)):
            raise Misfit(f"codec {STORED!r} of a checkpoint")
        if any(codec.startswith(_CAREFUL) for codec in different):
            codecs = tuple(map(self._told, run_ids, step_ids, keys, codecs, payloads))
        return list(map(made, repeat(Saved), zip(codecs, payloads, seconds, step_ids, positions, strict=True)))

    def _told(self, run_id: int, step_id: int, key: bytes, codec: str, payload: bytes) -> str:
        if not codec.startswith(_CAREFUL):
            return codec
        blob, _, plain = _parts(codec)
        is_risky = plain.startswith(RISKY)
        ours = self.trusts_all or (self.is_ours(run_id, step_id, key, codec, payload) if is_risky else self.is_home)
        return blob + ("" if ours else FOREIGN) + plain

    def of_output(self, run_id: int, step_id: int, key: bytes, said: str) -> str:
        """Our signature of what a call showed: a page may run what stands in it."""
        return self.signature(run_id, step_id, key, "output", said.encode("utf-8", "replace"))

    def signature(self, run_id: int, step_id: int, key: bytes, codec: str, payload: bytes) -> str:
        """What this user's rows bear before their codec."""
        name = codec.encode("utf-8", "replace")
        digest = self._keyed.copy()
        digest.update(_HEAD.pack(run_id, step_id, len(key), len(name)) + key + name)
        digest.update(payload)
        return f"{SIGNED}{digest.hexdigest()}+"


def plain_codec(codec: str) -> str:
    """The codec of a stored row without signatures, and without saying whether its payload lies apart."""
    return _parts(codec)[2]


def digest_of(payload: bytes) -> bytes:
    """What a blob is called: 32 bytes that nobody can find another payload for."""
    return hashlib.blake2b(payload, digest_size=32).digest()


def user_key() -> bytes:
    """The key of this user, made when it is first asked for; without a writable home, one of this process.

    Raises
    ------
    ConfigError
        The file is there and holds no key.
    """
    try:
        path = registry.state_folder() / "signing-key"
        if not path.exists():
            _make_key(path)
        key = path.read_bytes()
    except (OSError, RuntimeError):
        return _KEY_OF_THIS_PROCESS
    if len(key) != _KEY_BYTES:
        remedy = "Move it away; databases that you had vouched for need `durable-nb trust` once more."
        raise ConfigError(f"{path} should hold the {_KEY_BYTES} bytes that sign your results, and does not.", remedy)
    return key


def _make_key(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    handle = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
            file.flush()
            os.fsync(handle)
        with contextlib.suppress(FileExistsError):  # of two kernels that start together the first one's is everybody's
            os.link(fresh, path)  # not rename: that would replace it; and nobody ever sees half a key
    finally:
        fresh.unlink()


def _parts(codec: str) -> tuple[str, str, str]:
    """``blob+`` or '', the signatures, and the codec that `durable_nb.codecs` knows."""
    found = _PARTS.fullmatch(codec)
    assert found is not None, "each part may be empty"
    return found[1], found[2], found[3]
