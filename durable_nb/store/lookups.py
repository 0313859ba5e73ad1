"""Results by key, many at a time; where a run has none of its own, those of the runs that it was forked from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable_nb.store import histories, keyed, lineages, outputs, overlaps, reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from durable_nb.records import Saved, StepVersion
    from durable_nb.store.connect import Database
    from durable_nb.store.histories import Labelled, Numbered, Spent
    from durable_nb.store.outputs import Printed


class Lookups:
    """The part of a store that finds results."""

    _database: Database
    _lineages: dict[int, tuple[int, ...]]

    def lineage(self, run_id: int) -> tuple[int, ...]:
        """A run and those that it was forked from, the nearest first; asked once, since it never changes."""
        found = self._lineages.get(run_id)
        if found is None:
            found = self._lineages[run_id] = self._database.ask(lineages.lineage_of, run_id)
        return found

    def look_up(self, run_id: int, step_ids: Sequence[int], keys: Sequence[bytes]) -> dict[bytes, Saved]:
        """Committed results of those ``keys`` that have one; a step earlier in ``step_ids`` wins."""
        return self._by_keys(keyed.look_up, run_id, step_ids, keys, self._database.seal)

    def found(self, run_id: int, step_ids: Sequence[int], keys: Sequence[bytes]) -> dict[bytes, Saved]:
        """As `look_up`, with the payloads left where they are: the codec of each is `STORED`."""
        return self._by_keys(keyed.found, run_id, step_ids, keys)

    def cost_of(self, run_id: int, calls: Iterable[tuple[int, bytes]]) -> float:
        """What these results had cost together, by the id of their step and their key."""
        costs: dict[tuple[int, bytes], float] = {}
        calls = list(calls)
        for one in self.lineage(run_id):
            costs |= self._database.ask(keyed.costs_of, one, [call for call in calls if call not in costs])
        return sum(costs.values())

    def known(self, run_id: int, step_ids: Sequence[int]) -> dict[bytes, int]:
        """Checkpoint id by key of all committed results, without reading them; a step earlier in the list wins."""
        lineage = self.lineage(run_id)
        if len(lineage) == 1:
            return self._database.ask(keyed.known, run_id, step_ids)
        found: dict[bytes, int] = {}
        for step_id in reversed(step_ids):
            for one in reversed(lineage):
                found |= self._database.ask(keyed.known, one, [step_id])
        return found

    def names(self, run_id: int, step_ids: Sequence[int], *, most: int) -> set[bytes] | None:
        """Keys that `look_up` may find, and perhaps some more; None if they are more than ``most``.

        None of a fork, too: its origin may be computing still.
        """
        if len(self.lineage(run_id)) > 1:
            return None
        found = set(self._database.ask(keyed.names, run_id, step_ids, most + 1))
        return found if len(found) <= most else None

    def fetch(
        self, run_id: int, step_ids: Sequence[int], *, from_id: int, limit: int
    ) -> list[tuple[int, bytes, Saved]]:
        """Up to ``limit`` committed results in the order they were saved, from checkpoint ``from_id`` on.

        Looks 16 x ``limit`` ids ahead: a gap left by other runs ends a page early, so go on from the next wanted id.
        """
        runs = self.lineage(run_id)
        return self._database.ask(keyed.fetch, runs, step_ids, self._database.seal, from_id=from_id, limit=limit)

    def following(self, run_id: int, step_id: int, *, from_id: int, limit: int) -> list[tuple[int, bytes, Saved]]:
        """The same of one step."""
        return self._database.ask(keyed.following, run_id, step_id, self._database.seal, from_id=from_id, limit=limit)

    def found_following(self, run_id: int, step_id: int, *, from_id: int, limit: int) -> list[tuple[int, bytes, Saved]]:
        """The same with the payloads left where they are."""
        return self._database.ask(keyed.found_following, run_id, step_id, from_id=from_id, limit=limit)

    def id_of(self, run_id: int, step_id: int, key: bytes) -> int | None:
        """The checkpoint of one call."""
        return self._database.ask(keyed.id_of, run_id, step_id, key)

    def versions(self, run_id: int, name: str) -> list[StepVersion]:
        """Versions of a step with saved results, the one in use last first; those in use in the run itself before others."""
        found: dict[int, StepVersion] = {}
        lineage = self.lineage(run_id)
        for one in lineage:
            for version in self._database.ask(reader.versions, one, name, with_chosen=len(lineage) > 1):
                before = found.get(version.id)
                more = before.saved if before is not None else 0
                found[version.id] = version._replace(saved=version.saved + more)
        for step_id, eclipsed in self._database.ask(overlaps.eclipsed, lineage, list(found)).items():
            found[step_id] = found[step_id]._replace(saved=found[step_id].saved - eclipsed.results)
        return [version for version in found.values() if version.saved]

    def choices(self, run_id: int, step_id: int) -> dict[int, str]:
        """'keep' or 'recompute' by the id of an older version of the step."""
        made: dict[int, str] = {}
        for one in reversed(self.lineage(run_id)):
            made |= self._database.ask(reader.choices_of, one, step_id)
        return made

    def numbered(self, run_id: int) -> list[Numbered]:
        """Versions of all steps with results that the run has, step by step, in the order of their first results."""
        return self._database.ask(histories.numbered, self.lineage(run_id))

    def spent(self, run_id: int, step_ids: Sequence[int]) -> Spent:
        """Seconds and cost of the results of these versions. Reads all of them but their payloads."""
        return self._database.ask(histories.spent, self.lineage(run_id), step_ids)

    def labelled(self, checkpoint_ids: Iterable[int]) -> list[Labelled]:
        """The documents of results, by the ids that ``known`` gives, in their order."""
        return self._database.ask(histories.labelled, checkpoint_ids)

    def has_printed(self, run_id: int) -> bool:
        """Whether a result that the run may restore printed something when it was computed."""
        return self._database.ask(outputs.is_any, self.lineage(run_id))

    def printed(
        self, run_id: int, calls: Sequence[tuple[int, bytes]], *, with_text: bool = False
    ) -> dict[tuple[int, bytes], Printed]:
        """What those of the calls printed that did, by step id and key."""
        found: dict[tuple[int, bytes], Printed] = {}
        for one in self.lineage(run_id):
            rest = [call for call in calls if call not in found]
            found |= self._database.ask(outputs.of_calls, one, rest, self._database.seal, with_text=with_text)
        return found

    def _by_keys(
        self,
        read: Callable[..., dict[bytes, Saved]],
        run_id: int,
        step_ids: Sequence[int],
        keys: Sequence[bytes],
        *more: Any,
    ) -> dict[bytes, Saved]:
        lineage = self.lineage(run_id)
        if len(lineage) == 1:
            return self._database.ask(read, run_id, step_ids, keys, *more)
        found: dict[bytes, Saved] = {}
        for step_id in step_ids:
            for one in lineage:
                missing = [key for key in keys if key not in found]
                found |= self._database.ask(read, one, [step_id], missing, *more) if missing else {}
        return found
