"""Whatever happens to a store in whatever order, it is a dictionary: saves, kills, reopening, gc, take-overs."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from durable_nb.records import State
from durable_nb.store import Store, leases, owner_of_this_process
from tests.matrix import IS_WHOLE
from tests.store.examples import Counts, begin, failure, key, python, result

KEYS = range(8)
VALUES = st.binary(max_size=30)

# Another process that holds the run, saves what it is told to, says so, and is then killed.
_MORTAL = """
import json, sys
store = Store.open(sys.argv[1]); run, owner, step = begin(store)
store.watch(run.id, owner=owner, ledger=Counts())
for n, payload in json.loads(sys.argv[2]):
    store.save(result(run.id, step, n, payload=bytes.fromhex(payload)))
store.flush()
print("saved", flush=True)
sys.stdin.readline()
"""


class StoreIsADictionary(RuleBasedStateMachine):
    """``model`` is what the database has to hold of one run, ``unsaved`` what was saved and is not yet committed."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="laws-"))
        self.url = f"sqlite:///{self.folder}/durable.db"
        self.model: dict[bytes, bytes] = {}
        self.mortals: list[subprocess.Popen[str]] = []
        self.others = 0

    @initialize()
    def open(self) -> None:
        """A store and its run."""
        self.store = Store.open(self.url)
        self.hold()

    def hold(self) -> None:
        """The run is ours."""
        self.run, self.owner, self.step = begin(self.store)
        self.store.watch(self.run.id, owner=self.owner, ledger=Counts())

    @rule(n=st.sampled_from(KEYS), payload=VALUES, now=st.booleans())
    def save(self, n: int, payload: bytes, now: bool) -> None:
        """A result, waited for or not."""
        row = result(self.run.id, self.step, n, payload=payload)
        self.store.save_now(row).result() if now else self.store.save(row)
        self.model[key(n)] = payload

    @rule(n=st.sampled_from(KEYS))
    def fail(self, n: int) -> None:
        """A failure replaces no result."""
        self.store.save(failure(self.run.id, self.step, n))

    @rule()
    def reopen(self) -> None:
        """The store is closed in order, and the run is begun again."""
        self.store.finish(self.run.id, owner=self.owner, state=State.DONE)
        self.store.close()
        self.open()

    @rule(rows=st.lists(st.tuples(st.sampled_from(KEYS), VALUES), max_size=5))
    def kill(self, rows: list[tuple[int, bytes]]) -> None:
        """Another process takes the run in order, saves, is killed: what it was told is committed stays."""
        self.store.finish(self.run.id, owner=self.owner, state=State.INTERRUPTED)
        child = python(_MORTAL, self.url, json.dumps([(n, payload.hex()) for n, payload in rows]))
        assert "saved\n" == child.stdout.readline()
        child.kill()
        child.communicate()
        self.model.update({key(n): payload for n, payload in rows})
        self.hold()

    @rule(early=VALUES, late=VALUES, n=st.sampled_from(KEYS))
    def be_robbed(self, early: bytes, late: bytes, n: int) -> None:
        """Taken over while we were away: our late results replace none of the new owner's."""
        self.store.save(result(self.run.id, self.step, n, payload=early))
        self.store.flush()
        thief = Store.open(self.url)
        self._expire()
        owner = owner_of_this_process()
        taken = thief.begin("embed", owner=owner)
        thief.watch(taken.id, owner=owner, ledger=Counts())
        thief.save_now(result(taken.id, self.step, n, payload=late)).result()
        self.store.save_now(result(self.run.id, self.step, n, payload=early)).result()
        assert self.store.lost(self.run.id)
        thief.finish(taken.id, owner=owner, state=State.DONE)
        thief.close()
        self.store.unwatch(self.run.id)
        self.model[key(n)] = late
        self.hold()

    @rule()
    def collect(self) -> None:
        """Space is given back, and a run that nobody wants is dropped, while ours lives."""
        self.others += 1
        run, owner, step = begin(self.store, f"other {self.others}")
        self.store.save(result(run.id, step, 1))
        self.store.finish(run.id, owner=owner, state=State.DONE)
        self.store.forget(f"other {self.others}")
        self.store.compact()

    @precondition(lambda self: self.model)
    @rule()
    def forget(self) -> None:
        """A run that is over may be dropped; begun again it is empty."""
        self.store.finish(self.run.id, owner=self.owner, state=State.DONE)
        assert self.store.forget("embed") >= len(self.model)
        self.model.clear()
        self.hold()

    @invariant()
    def holds_what_was_saved(self) -> None:
        """Exactly that, by each way of asking; the store is sound."""
        if not hasattr(self, "store"):
            return
        self.store.flush()
        found = self.store.look_up(self.run.id, [self.step], list(map(key, KEYS)))
        assert self.model == {name: saved.payload for name, saved in found.items()}
        assert set(self.model) == set(self.store.known(self.run.id, [self.step]))
        assert [] == self.store.check()

    def teardown(self) -> None:
        """Nothing is left behind."""
        if hasattr(self, "store"):
            self.store.unwatch(self.run.id)
            self.store.close()
        shutil.rmtree(self.folder)

    def _expire(self) -> None:
        """As if this process were one of another machine, not heard of for longer than its lease."""
        with self.store._database.writing() as conn:
            runs: Any = leases.runs
            conn.execute(runs.update().values(owner_machine="elsewhere", heartbeat=0.0))


TestStoreIsADictionary = StoreIsADictionary.TestCase
TestStoreIsADictionary.__doc__ = (
    "The store behaves as a dictionary under any interleaving of save, kill, reopen, gc, take-over."
)
_EXAMPLES = 60 if IS_WHOLE else 8
TestStoreIsADictionary.settings = settings(max_examples=_EXAMPLES, stateful_step_count=10, deadline=None)
