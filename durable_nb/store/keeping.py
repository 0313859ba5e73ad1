"""What an owner asks of a store now and then: is it whole, whose is it, give space back."""

from __future__ import annotations

from durable_nb.store import signing, upkeep
from durable_nb.store.views import Views


class Keeping(Views):
    """The part of a store that looks after it."""

    def flush(self) -> None:
        """Return when everything saved so far is committed."""
        raise NotImplementedError

    def check(self) -> list[str]:
        """What is wrong with the store, one sentence each; [] when it is sound. Reads everything."""
        with self._database.reading() as conn:
            found = upkeep.check(conn)
        if count := self.foreign():
            found.append(
                f"{count:,} results that could run code when they are read were saved by others, or changed since: they are "
                "not read unless you vouch for them (`durable-nb trust`)"
            )
        return found

    def foreign(self) -> int:
        """How many results are not read, because they could run code and bear no signature of this user."""
        if self._database.seal.trusts_all:
            return 0
        with self._database.reading() as conn:
            return signing.foreign(conn, self._database.seal)

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
                    signing.make_home(conn, self._database.seal)
                    return signed
            after, signed = page[0], signed + page[1]

    def forget(self, name: str) -> int:
        """Drop a run that is not alive (else RunBusy) and what only it referred to; how many checkpoints that were."""
        self.flush()
        with self._database.writing() as conn:
            return upkeep.forget(conn, name)

    def compact(self) -> None:
        """Drop what nothing refers to and give the space back to the disk."""
        self.flush()
        with self._database.writing() as conn:
            upkeep.drop_orphans(conn)
        self._database.vacuum()
