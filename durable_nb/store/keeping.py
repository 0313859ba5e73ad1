"""What an owner asks of a store now and then: is it whole, whose is it, give space back."""

from __future__ import annotations

import contextlib
import os
import secrets
from typing import NamedTuple

from durable_nb.config import run_name
from durable_nb.errors import ConfigError, RunBusy
from durable_nb.store import capsules, disposal, outputs, signing, transfer, upkeep
from durable_nb.store.addresses import address_of
from durable_nb.store.capsules import Capsule
from durable_nb.store.connect import Database
from durable_nb.store.dialects import at_one_moment
from durable_nb.store.salvage import Salvage, salvage
from durable_nb.store.views import Views


class Swept(NamedTuple):
    """What `Keeping.gc` did, or would do."""

    runs: tuple[str, ...]
    """Their names."""
    before: int
    """Bytes on disk."""
    after: int
    """The same afterwards; an estimate of a dry run."""


class Keeping(Views):
    """The part of a store that looks after it."""

    where: str

    def flush(self) -> None:
        """Return when everything saved so far is committed."""
        raise NotImplementedError

    def check(self) -> list[str]:
        """What is wrong with the store, one sentence each; [] when it is sound. Reads everything."""
        with self._database.reading() as conn:
            if damage := upkeep.damage(conn):
                return damage  # nothing else can be relied upon
            found = upkeep.check(conn)
        if count := self.foreign():
            found.append(
                f"{count:,} results that could run code when they are read were saved by others, or changed since: they are "
                "not read unless you vouch for them (`durable-nb trust`)"
            )
        return found

    def capsule(self, run_id: int) -> Capsule | None:
        """What a fresh kernel needs to run the cell of a run again; None if nothing was saved.

        Raises
        ------
        UntrustedStore
            Somebody else saved it: it is code, and nobody has vouched for it.
        """
        with self._database.reading() as conn:
            return capsules.of_run(conn, run_id, self._database.seal, self.where)

    def save_capsule(self, run_id: int, capsule: Capsule | None) -> None:
        """Keep it in the place of the one before; None keeps none."""
        with self._database.writing() as conn:
            capsules.save(conn, run_id, capsule, self._database.seal)

    def foreign(self) -> int:
        """How many results are not read, because they could run code and bear no signature of this user."""
        if self._database.seal.trusts_all:
            return 0
        with self._database.reading() as conn:
            return signing.foreign(conn, self._database.seal) + capsules.foreign(conn, self._database.seal)

    @staticmethod
    def repair(url: str, new_url: str) -> Salvage:
        """Copy what is intact of a damaged SQLite database into a new one, and leave the old one as it is.

        Raises
        ------
        ConfigError
            The new database exists, or one of the two is no SQLite file.
        StoreUnavailable
            The very first page is damaged: nothing tells where the rows are.
        """
        old, new = address_of(url), address_of(new_url)
        if not old.drivername == new.drivername == "sqlite":
            raise ConfigError("only SQLite files are repaired.", "A server has its own tools.")
        if os.path.exists(str(new.database)):
            raise ConfigError(f"{new.database} is there already.", "Name a database that is not.")
        database = Database(new_url, durability="full", busy_s=30.0)
        try:
            return salvage(str(old.database), database)
        except BaseException:
            database.dispose()
            os.unlink(str(new.database))
            raise
        finally:
            database.dispose()

    def trust(self) -> int:
        """Vouch for everything that is in the store now, by signing it; how many results that were.

        Signatures of others stay. What somebody saves later is foreign again.
        """
        self.flush()
        after, signed = 0, 0
        while True:
            with self._database.writing() as conn:
                page = signing.vouch(conn, self._database.seal, after=after)
                if page is None:
                    signed += capsules.vouch(conn, self._database.seal)
                    outputs.vouch(conn, self._database.seal)
                    signing.make_home(conn, self._database.seal)
                    return signed
            after, signed = page[0], signed + page[1]

    def forget(self, name: str) -> int:
        """Drop a run and what only it referred to; how many checkpoints that were.

        Raises
        ------
        RunBusy
            A live process holds it.
        ConfigError
            Another run was forked from it, and takes its results.
        """
        self.flush()
        with self._database.writing() as conn:
            return upkeep.forget(conn, name)

    def compact(self) -> None:
        """Drop what nothing refers to and give the space back to the disk."""
        self.flush()
        with self._database.writing() as conn:
            upkeep.drop_orphans(conn)
        self._database.vacuum()

    def gc(self, *, older_s: float | None = None, max_bytes: int | None = None, dry_run: bool = False) -> Swept:
        """Drop runs and give their space back to the disk; never one that is live, or that a live one was begun around.

        Parameters
        ----------
        older_s : float, optional
            Runs that nobody has used for more seconds go.
        max_bytes : int, optional
            Then those used last longest ago, until the database takes no more than this.
        dry_run : bool
            Only say what would go.
        """
        self.flush()
        with self._database.reading() as conn:
            before = disposal.bytes_on_disk(conn, self.where)
            doomed = disposal.plan(conn, older_s=older_s, max_bytes=max_bytes)
        if dry_run:
            return Swept(tuple(name for name, _ in doomed), before, max(0, before - sum(size for _, size in doomed)))
        dropped = []
        for name, _ in doomed:
            with contextlib.suppress(RunBusy, ConfigError):  # somebody has begun it, or forked it, in the meantime
                self.forget(name)
                dropped.append(name)
        self.compact()
        with self._database.reading() as conn:
            return Swept(tuple(dropped), before, disposal.bytes_on_disk(conn, self.where))

    def export_run(self, name: str, path: str | os.PathLike[str]) -> int:
        """Write a run with its results to one file that does not exist yet; how many checkpoints that were.

        Raises
        ------
        ConfigError
            There is no such run, or the file exists or cannot be written.
        """
        self.flush()
        run = self.run(name)
        if run is None:
            raise ConfigError(f"there is no run {name!r} in {self.where}.", "See `durable-nb runs`.")
        fresh = f"{os.fspath(path)}.{secrets.token_hex(4)}.part"
        try:
            handle = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            try:
                with os.fdopen(handle, "wb") as file, self._database.reading() as conn, at_one_moment(conn):
                    count = transfer.write(conn, run.id, file)
                os.link(fresh, path)  # not rename: what is there stays
            finally:
                os.unlink(fresh)
        except OSError as problem:
            reason = (problem.strerror or str(problem)).lower()
            raise ConfigError(f"{os.fspath(path)} cannot be written ({reason}).", "Choose another file.") from problem
        return count

    def import_run(self, path: str | os.PathLike[str], *, name: str | None = None) -> tuple[str, int]:
        """Take over the run of a file, under another ``name`` if given: its name, and how many checkpoints it brought.

        They are foreign: what could run code when it is read is not read before `trust`.

        Raises
        ------
        ConfigError
            The name is taken, or the file cannot be read.
        StoreError
            The file was cut off or changed, or nobody exported it.
        """
        self.flush()
        try:
            with open(path, "rb") as file:
                with transfer.refusing(path):
                    transfer.verify(file)
                with self._database.writing() as conn, transfer.refusing(path):
                    called = transfer.read(conn, file, None if name is None else run_name(name))
                    run_name(called[0])
                    return called
        except OSError as problem:
            reason = (problem.strerror or str(problem)).lower()
            raise ConfigError(f"{os.fspath(path)} cannot be read ({reason}).") from problem
