"""Results by key, many at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable_nb.store import keyed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from durable_nb.records import Saved
    from durable_nb.store.connect import Database


class Lookups:
    """The part of a store that finds results."""

    _database: Database

    def look_up(self, run_id: int, step_ids: Sequence[int], keys: Sequence[bytes]) -> dict[bytes, Saved]:
        """Committed results of those ``keys`` that have one; a step earlier in ``step_ids`` wins."""
        return self._database.ask(keyed.look_up, run_id, step_ids, keys, self._database.seal)

    def found(self, run_id: int, step_ids: Sequence[int], keys: Sequence[bytes]) -> dict[bytes, Saved]:
        """As `look_up`, with the payloads left where they are: the codec of each is `STORED`."""
        return self._database.ask(keyed.found, run_id, step_ids, keys)

    def cost_of(self, run_id: int, calls: Iterable[tuple[int, bytes]]) -> float:
        """What these results had cost together, by the id of their step and their key."""
        return self._database.ask(keyed.cost_of, run_id, calls)

    def known(self, run_id: int, step_ids: Sequence[int]) -> dict[bytes, int]:
        """Checkpoint id by key of all committed results, without reading them; a step earlier in the list wins."""
        return self._database.ask(keyed.known, run_id, step_ids)

    def fetch(
        self, run_id: int, step_ids: Sequence[int], *, from_id: int, limit: int
    ) -> list[tuple[int, bytes, Saved]]:
        """Up to ``limit`` committed results in the order they were saved, from checkpoint ``from_id`` on.

        Looks 16 x ``limit`` ids ahead: a gap left by other runs ends a page early, so go on from the next wanted id.
        """
        return self._database.ask(keyed.fetch, run_id, step_ids, self._database.seal, from_id=from_id, limit=limit)

    def following(self, run_id: int, step_id: int, *, from_id: int, limit: int) -> list[tuple[int, bytes, Saved]]:
        """The same of one step."""
        return self._database.ask(keyed.following, run_id, step_id, self._database.seal, from_id=from_id, limit=limit)

    def found_following(self, run_id: int, step_id: int, *, from_id: int, limit: int) -> list[tuple[int, bytes, Saved]]:
        """The same with the payloads left where they are."""
        return self._database.ask(keyed.found_following, run_id, step_id, from_id=from_id, limit=limit)

    def id_of(self, run_id: int, step_id: int, key: bytes) -> int | None:
        """The checkpoint of one call."""
        return self._database.ask(keyed.id_of, run_id, step_id, key)
