"""``@step(transaction=True)``: what a step writes beside its result. And what a function may know of its call."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from durable_nb import StepFailed, codecs, current_call, keys, run, step
from durable_nb.engine.session import current as session
from durable_nb.errors import ConfigError, StoreUnavailable, Unsaveable
from durable_nb.records import Checkpoint
from durable_nb.store import rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from durable_nb.store import Store

pytestmark = pytest.mark.usefixtures("store")

INSERT = sa.text("INSERT INTO sink VALUES (:n)")


@pytest.fixture
def sink(store: Store) -> Callable[[], list[int]]:
    """What is in a table of the user's, in the database of the results; no constraint keeps it from holding a row twice."""
    with store._database.writing() as conn:
        conn.exec_driver_sql("CREATE TABLE sink (n INTEGER)")

    def rows() -> list[int]:
        with store._database.reading() as conn:
            return sorted(conn.scalars(sa.text("SELECT n FROM sink")))

    return rows


@step(transaction=True)
def put(n: int, *, connection: sa.Connection) -> int:
    """Write one row."""
    connection.execute(INSERT, {"n": n})
    return n * n


@pytest.mark.parametrize("workers", [1, 8])
def test_writes_are_there_with_the_results(sink: Callable[[], list[int]], workers: int) -> None:
    """Each document is written once, also when the map is run again, and counts as computed and then as restored."""
    for _ in range(2):
        with run("put") as live:
            assert [n * n for n in range(50)] == list(put.map(range(50), workers=workers))

    assert list(range(50)) == sink()
    assert (50, 0) == (live.progress.restored, live.progress.failed)
    assert 50 == session.store().run("put").done


def test_a_coroutine_may_map_it(sink: Callable[[], list[int]]) -> None:
    """``amap`` runs it on threads."""
    assert [0, 1, 4] == list(asyncio.run(put.amap(range(3))))
    assert [0, 1, 2] == sink()


def test_plain_calls_write_once_too(sink: Callable[[], list[int]]) -> None:
    """Equal calls are separate calls, each written once."""
    for _ in range(2):
        with run("plain"):
            assert [1, 1, 4] == [put(1), put(1), put(2)]
    assert [1, 1, 2] == sink()


def test_what_failed_has_written_nothing(sink: Callable[[], list[int]]) -> None:
    """An attempt that raises is rolled back; the one that succeeds is committed."""
    attempts: list[int] = []

    @step(transaction=True, retries=1)
    def flaky(n: int, *, connection: sa.Connection) -> int:
        connection.execute(INSERT, {"n": n})
        attempts.append(n)
        if n == 2 or (n == 1 and attempts.count(1) == 1):
            raise ConnectionError("later")
        return n

    results = flaky.map(range(3), workers=1, on_error="collect")

    assert [0, 1] == results.ok
    assert [0, 1] == sink()
    assert [0, 1, 1, 2, 2] == attempts


def test_who_comes_second_writes_nothing(sink: Callable[[], list[int]], store: Store) -> None:
    """If a result of the call was committed meanwhile, by a kernel that took the run over, that one counts."""

    @step(transaction=True)
    def slow(n: int, *, connection: sa.Connection) -> int:
        live = session.live[0]
        entered, (codec, payload) = next(iter(live._versions.values())), codecs.encode(-1)
        key = keys.call_digest((n,), {})
        row = (live.record.id, entered.step_id, key, "done", 0, "1", 1, None, 1e9, 1.0, codec, payload)
        store.save_now(Checkpoint(*row)).result()
        connection.execute(INSERT, {"n": n})
        return n

    assert [-1] == list(slow.map([1]))
    assert [] == sink()
    assert [-1] == list(slow.map([1]))


def test_a_result_larger_than_the_database_takes_is_paid_for_once(
    sink: Callable[[], list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The map stops with the reason, nothing is written beside it, and the function is not called again."""
    monkeypatch.setattr(rows, "_MOST", dict.fromkeys(rows._MOST, 1_000))
    calls: list[int] = []

    @step(transaction=True, retries=3)
    def long(n: int, *, connection: sa.Connection) -> str:
        calls.append(n)
        connection.execute(INSERT, {"n": n})
        return "x" * n

    with pytest.raises(Unsaveable, match="it takes 2,000 bytes, and this database at most 1,000"):
        long.map([1, 2_000], workers=1)

    assert ([1, 2_000], [1]) == (calls, sink())


def away() -> StoreUnavailable:
    """The database cannot be reached, for a moment."""
    return StoreUnavailable("here", "is away.", may_pass=True)


@pytest.mark.parametrize("workers", [1, 4])
def test_a_document_that_was_changed_is_not_written_once_more(
    sink: Callable[[], list[int]], workers: int, store: Store
) -> None:
    """A function that the database was away from is called again, but not with a document that it has changed."""
    errors: list[Exception] = [away(), away(), ValueError("bad"), away()]

    @step(transaction=True, retries=2, version="1")
    def put_doc(doc: dict[str, int], *, connection: sa.Connection) -> int:
        connection.execute(INSERT, {"n": doc["n"]})
        if doc["n"] == 1 and errors:
            error = errors.pop(0)
            if not errors:
                doc["n"] = 100
            raise error
        return doc["n"]

    results = put_doc.map([{"n": 0}, {"n": 1}, {"n": 2}], workers=workers, on_error="collect")

    assert [0, 2] == results.ok == sink()
    (failure,) = results.failed
    assert 2 == failure.attempts
    assert "its document was changed in place" in failure.error
    assert isinstance(results.errors[1].__cause__, StoreUnavailable)
    assert not store._database.patience._waiting
    assert [0, 1, 2] == list(put_doc.map([{"n": 0}, {"n": 1}, {"n": 2}]))
    assert [0, 1, 2] == sink()


def test_what_was_committed_is_found_whatever_became_of_its_document(
    sink: Callable[[], list[int]], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A function that changed its document is not called again, if only the answer to the commit was lost."""
    opened, lost = store.transactions.open, []

    @contextlib.contextmanager
    def losing() -> Iterator[Any]:
        with opened() as transaction:
            yield transaction
        if not lost:
            lost.append(1)
            raise away()

    @step(transaction=True)
    def put_doc(doc: dict[str, int], *, connection: sa.Connection) -> int:
        connection.execute(INSERT, {"n": doc["n"]})
        doc["n"] = 100
        return 1

    monkeypatch.setattr(store.transactions, "open", losing)

    assert [1] == list(put_doc.map([{"n": 1}]))
    assert ([1], [1]) == (sink(), lost)


def test_the_step_does_not_commit_itself(sink: Callable[[], list[int]]) -> None:
    """A commit in the function is refused, and nothing is written; a part of it may be rolled back."""

    @step(transaction=True)
    def impatient(n: int, *, connection: sa.Connection) -> int:
        connection.execute(INSERT, {"n": n})
        connection.commit()
        return n

    @step(transaction=True)
    def careful(n: int, *, connection: sa.Connection) -> int:
        connection.execute(INSERT, {"n": n})
        with connection.begin_nested() as part:
            connection.execute(INSERT, {"n": -n})
            part.rollback()
        connection.rollback()
        connection.execute(INSERT, {"n": 10 * n})
        return n

    @step(transaction=True)
    def stubborn(n: int, *, connection: sa.Connection) -> int:
        with contextlib.suppress(ConfigError), connection.begin():
            connection.execute(INSERT, {"n": n})
        return n

    for refused in (impatient, stubborn):
        with pytest.raises(ConfigError, match="does not commit"):
            refused.map([1])
    assert [] == sink()

    assert [2] == list(careful.map([2]))
    assert [20] == sink()
    assert [9] == list(put.map([3]))


def test_other_steps_are_not_called_inside(sink: Callable[[], list[int]]) -> None:
    """They would wait for what the transaction holds: refused, with what to do."""
    inner = step(lambda n: n, name="inner")

    @step(transaction=True)
    def outer(n: int, *, connection: sa.Connection) -> int:
        connection.execute(INSERT, {"n": n})
        return inner(n)

    with pytest.raises(ConfigError, match="outer has transaction=True and calls another step"):
        outer.map([1])
    with run("known"):
        inner(1)
        with pytest.raises(ConfigError, match="calls another step"):
            outer(1)
    assert [] == sink()


def test_its_connection_stays_in_its_thread(sink: Callable[[], list[int]]) -> None:
    """A helper thread cannot begin it: the turn to write belongs to a thread."""
    raised: list[BaseException] = []

    @step(transaction=True)
    def helped(n: int, *, connection: sa.Connection) -> int:
        def help_it() -> None:
            try:
                connection.execute(INSERT, {"n": n})
            except ConfigError as error:
                raised.append(error)

        thread = threading.Thread(target=help_it)
        thread.start()
        thread.join()
        return n

    assert [1] == list(helped.map([1]))
    assert "another thread" in str(raised[0])
    assert [] == sink()


def test_a_large_result_is_committed_with_its_blob(sink: Callable[[], list[int]], store: Store) -> None:
    """Also what is kept apart by its content."""

    @step(transaction=True)
    def large(n: int, *, connection: sa.Connection) -> bytes:
        connection.execute(INSERT, {"n": n})
        return bytes(3 << 20)

    for _ in range(2):
        assert [bytes(3 << 20)] == list(large.map([1]))
    assert [1] == sink()
    assert [] == store.check()


def no_parameter(n: int) -> int:
    """Takes no connection."""
    return n


async def no_thread(n: int, *, connection: sa.Connection) -> int:
    """Runs on the loop."""
    return n


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: step(transaction=True)(no_parameter), r"Add: \*, connection"),
        (lambda: step(transaction=True)(no_thread), "async"),
        (lambda: put.options(timeout=5), "timeout and transaction=True"),
        (lambda: put.options(batch=8), "batch= and transaction=True"),
    ],
)
def test_what_cannot_be_is_refused_at_once(make: Callable[[], Any], says: str) -> None:
    """Where the step is made, with what to write instead."""
    with pytest.raises(ConfigError, match=says):
        make()


def test_outside_of_a_run_it_takes_a_connection_as_any_function(sink: Callable[[], list[int]], store: Store) -> None:
    """So it can be tried and tested without durable_nb."""
    with store._database.writing() as conn:
        assert 49 == put(7, connection=conn)
    assert [7] == sink()


def test_a_call_has_one_key_for_others() -> None:
    """Every attempt and every run of the cell sees the same; equal calls, other steps and other runs another one."""
    seen: list[tuple[str, int]] = []

    def order(item: str) -> str:
        call = current_call()
        seen.append(tuple(call))
        if call.attempt < 2:
            raise ConnectionError("later")
        return item

    first, other = step(order, name="order", retries=1), step(order, name="refund", retries=1)
    first.map(["a"])
    tried = [attempt for _, attempt in seen]
    keys_of_a = {key for key, _ in seen}
    with run("order"):
        first("a")  # restored
        first("a")  # an equal one
        other("a")
    with run("another"):
        first("a")
        asyncio.run(step(_async_order, name="order_async").amap(["a"]))

    assert [1, 2] == tried
    assert 1 == len(keys_of_a)
    assert {32} == {len(key) for key, _ in seen}
    assert 4 == len({key for key, _ in seen})
    assert 32 == len(_seen_async[-1])
    with pytest.raises(ConfigError, match="current_call"):
        current_call()


_seen_async: list[str] = []


async def _async_order(item: str) -> str:
    _seen_async.append(current_call().key)
    return item


def test_a_failed_document_keeps_its_key_when_it_is_tried_again() -> None:
    """Also in the next attempt of the run, and with edited code."""
    seen: list[str] = []

    def make(fails: bool) -> Any:
        @step(version=str(fails))
        def order(item: str) -> str:
            seen.append(current_call().key)
            if fails:
                raise ConnectionError(item)
            return item

        return order

    with pytest.raises(StepFailed):
        make(True).map(["a"])
    make(False).map(["a"])

    assert seen[0] == seen[1]


@pytest.mark.parametrize("where", ["its checkpoint", "its end"])
def test_an_interrupt_leaves_nothing_locked(sink: Callable[[], list[int]], where: str) -> None:
    """■ while the checkpoint is written, or the connection given back: the next transaction waits for nobody meanwhile."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def interrupt_executed(cursor: Any, statement: str, parameters: Any, _context: object) -> None:
        cursor.execute(statement, parameters)
        raise KeyboardInterrupt

    @step(transaction=True)
    def interrupted(n: int, *, connection: sa.Connection) -> int:
        connection.execute(INSERT, {"n": n})
        if where == "its checkpoint":
            sa.event.listen(connection.engine, "do_execute", interrupt_executed, once=True)
            return n
        sa.event.listen(connection, "rollback", interrupt)
        raise ValueError(n)

    with pytest.raises(KeyboardInterrupt) as kept, run("r"):
        interrupted(1)
    found: list[int] = []
    other = threading.Thread(target=lambda: found.extend(put.map([2], workers=1)), daemon=True)
    other.start()
    other.join(10)

    assert kept.tb is not None  # it holds the cursor
    assert [4] == found
    assert [2] == sink()
