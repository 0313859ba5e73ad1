"""The heart: look up which calls are known, compute the missing ones, checkpoint each, put the results in order."""

from __future__ import annotations

import contextlib
import itertools
import random
import threading
from typing import TYPE_CHECKING, Any

from durable_nb import clock, codecs, keys
from durable_nb.engine import labels
from durable_nb.errors import DurableError, StepFailed, StepTimeout, Unsaveable
from durable_nb.executors import inline, threads
from durable_nb.records import Call, Checkpoint, Failure
from durable_nb.results import Results

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

    from durable_nb.engine.runs import StepInRun
    from durable_nb.engine.steps import Step

# A call that took this long is committed before it returns: the commit (0.1 to 0.3 ms) is a few per cent of it. Faster
# ones are committed in groups, and SIGKILL can cost at most what was finished within one group's 50 ms.
_COMMIT_AT_ONCE_S = 0.005
# Items looked up with one SELECT. An iterator is read less far ahead: its items may be large, and exist only for us.
_CHUNK, _CHUNK_OF_ITERATOR = 500, 64


class Computation:
    """How the calls of one step are computed and saved in one run."""

    def __init__(self, step: Step[..., Any], entered: StepInRun) -> None:
        self.step, self.entered, self.live = step, entered, entered.live
        self._invoke = _with_deadline(step) if step.timeout_s and not step.is_async else step.function
        self._run_id, self._step_id = self.live.record.id, entered.step_id
        self._save, self._save_now = self.live.store.save, self.live.store.save_now

    def compute(self, call: Call) -> Any:
        """The value of a call, saved; the exception of its last attempt is raised as it is."""
        attempt = 1
        while True:
            started, before = clock.now(), clock.stopwatch()
            try:
                value = self._invoke(*call.args, **call.kwargs)
            except Exception as error:
                delay = self._failed(call, error, attempt, started, clock.stopwatch() - before)
                if delay is None:
                    raise
            else:
                break
            clock.wait(self.live.stopping, delay)
            self.live.check()
            attempt += 1
        commit = self._succeeded(call, value, attempt, started, clock.stopwatch() - before)
        if commit is not None:
            commit.result()
        return value

    async def compute_async(self, call: Call) -> Any:
        """As ``compute``, for a step that is a coroutine function."""
        import asyncio

        attempt = 1
        while True:
            started, before = clock.now(), clock.stopwatch()
            try:
                value = await self._awaited(call)
            except Exception as error:
                delay = self._failed(call, error, attempt, started, clock.stopwatch() - before)
                if delay is None:
                    raise
            else:
                break
            await asyncio.sleep(delay)
            self.live.check()
            attempt += 1
        commit = self._succeeded(call, value, attempt, started, clock.stopwatch() - before)
        if commit is not None:
            await asyncio.wrap_future(commit)
        return value

    async def _awaited(self, call: Call) -> Any:
        if self.step.timeout_s is None:
            return await self._invoke(*call.args, **call.kwargs)
        import asyncio

        limit = asyncio.timeout(self.step.timeout_s)
        try:
            async with limit:
                return await self._invoke(*call.args, **call.kwargs)
        except TimeoutError as error:
            if not limit.expired():
                raise  # the user's own
            raise StepTimeout(self.step.name, call.label, self.step.timeout_s) from error

    def _succeeded(self, call: Call, value: Any, attempt: int, started: float, seconds: float) -> Future[None] | None:
        """Save ``value``; the commit to wait for, if the call was slow enough to be worth it."""
        try:
            codec, payload = codecs.encode(value)
            if not self.entered.proven:
                # The classic trap pickles and cannot be unpickled: found at the first result, not after the restart.
                codecs.verify(codec, payload)
                self.entered.proven = True
        except Unsaveable as error:
            located = Unsaveable(error.type_name, error.reason, self.step.name, call.label)
            self._save(self._failure(call, located, attempt, started, seconds))
            raise located from error
        checkpoint = Checkpoint(
            self._run_id, self._step_id, call.key, "done", call.position, call.label, attempt, None,
            started, seconds, codec, payload,
        )  # fmt: skip
        if seconds < _COMMIT_AT_ONCE_S:
            self._save(checkpoint)
            return None
        return self._save_now(checkpoint)

    def _failed(self, call: Call, error: Exception, attempt: int, started: float, seconds: float) -> float | None:
        """Seconds until the next attempt; None after the last, which is recorded."""
        delay = self.step.retry.delay(attempt, error, random.random())  # noqa: S311 - jitter, not a secret
        if delay is None:
            self._save(self._failure(call, error, attempt, started, seconds))
            if attempt > 1:
                error.add_note(f"durable_nb: {self.step.name} gave up after {attempt} attempts")
        return delay

    def _failure(self, call: Call, error: Exception, attempt: int, started: float, seconds: float) -> Checkpoint:
        return Checkpoint(
            self._run_id, self._step_id, call.key, "failed", call.position, call.label, attempt,
            f"{labels.of_error(error)}\n{labels.traceback_of(error)}", started, seconds, "", None,
        )  # fmt: skip


class PlainCall:
    """One call written as ``embed(doc)``: found, or computed under its number among the equal calls of the run."""

    def __init__(self, computation: Computation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.computation, self.entered = computation, computation.entered
        self.args, self.kwargs = args, kwargs
        self.digest = keys.call_digest(args, kwargs)
        self.occurrence = self.entered.numbers((self.digest,))[0]
        self.key = keys.numbered(self.digest, self.occurrence)
        self.saved = self.entered.find(self.key)

    def restored(self) -> Any:
        """The saved value, decoded."""
        assert self.saved is not None
        live = self.entered.live
        value = codecs.decode(self.saved.codec, self.saved.payload, trusted=live.store.trusted, where=live.store.where)
        live.progress.restore(1, self.saved.seconds)
        return value

    def __enter__(self) -> Call:
        self.entered.live.check()
        position = next(self.entered.positions)
        return Call(position, self.key, labels.of_arguments(self.args, self.kwargs, position), self.args, self.kwargs)

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if kind is not None:
            self.entered.give_back(self.digest, self.occurrence)


class Batch:
    """One ``map``: items in, results in the same order out."""

    def __init__(self, computation: Computation, *, workers: int, key: Callable[[Any], Any] | None = None) -> None:
        self.computation, self.step, self.workers = computation, computation.step, workers
        self.entered, self.live = computation.entered, computation.live
        store = self.live.store
        self.results = Results(self.step.name, where=store.where, trusted=store.trusted, retry=self._retry)
        self.failed: dict[int, Call] = {}
        self._key = key
        # Two lists rather than one of pairs: the garbage collector need not visit bytes and small integers.
        self._digests: list[bytes] = []
        self._occurrences: list[int] = []
        self._errors: dict[int, StepFailed] = {}
        self._cancelled = threading.Event()
        self.live.progress.workers = workers

    def run(self, items: Iterable[Any]) -> None:
        """Compute what is missing, on threads, or inline with one worker."""
        executor = inline if self.workers == 1 else threads
        with self._giving_back():
            try:
                chunks = self._chunks(items)
                if not self.entered.proven:
                    chunks = self._after_pilot(chunks)
                executor.run(self._one, chunks, workers=self.workers, halted=self._halted)
            finally:
                self.live.store.flush()
            self.live.check()

    async def run_async(self, items: Iterable[Any]) -> None:
        """Compute what is missing on the running loop."""
        import asyncio

        from durable_nb.executors import aio

        with self._giving_back():
            try:
                chunks = self._chunks(items)
                if not self.entered.proven:
                    chunks = await self._after_pilot_async(chunks)
                await aio.run(self._one_async, chunks, workers=self.workers, halted=self._halted)
            finally:
                await asyncio.to_thread(self.live.store.flush)
            self.live.check()

    def run_again(self, results: Results, failed: dict[int, Call]) -> None:
        """Compute the calls that failed before, into the results they are missing from."""
        self.results = results
        self.live.progress.expect(len(results))
        self.live.progress.restore(len(results) - len(failed), 0.0)
        executor = inline if self.workers == 1 else threads
        try:
            executor.run(self._one, [list(failed.values())], workers=self.workers, halted=self._halted)
        finally:
            self.live.store.flush()
        self.live.check()

    def cancel(self) -> None:
        """Start no further call; safe from any thread."""
        self._cancelled.set()

    def raise_failures(self) -> None:
        """Raise for the first item that failed, telling how many more did."""
        for position in sorted(self._errors):
            error = self._errors[position]
            more = len(self._errors) - 1
            raise StepFailed(error.step, error.label, error.attempts, error.error, more) from error.__cause__

    def _chunks(self, items: Iterable[Any]) -> Iterator[list[Call]]:
        """Calls that are not known, a look-up at a time; restored results are put in place on the way."""
        progress, sized = self.live.progress, hasattr(items, "__len__")
        if sized:
            progress.expect(len(items))  # type: ignore[arg-type]
        iterator, first = iter(items), 0
        while batch := list(itertools.islice(iterator, _CHUNK if sized else _CHUNK_OF_ITERATOR)):
            if not sized:
                progress.expect(len(batch))
            yield self._missing(batch, first)
            first += len(batch)

    def _missing(self, items: list[Any], first: int) -> list[Call]:
        """The calls of one chunk that are not known; a record is made for these only."""
        entered, live, results = self.entered, self.live, self.results
        names, call_keys = list(map(labels.of_item, items, itertools.count(first))), self._keys(items)
        results.grow(first + len(items))
        results.labels[first:] = names
        known = live.store.look_up(live.record.id, entered.accepted, call_keys) if entered.saved else {}
        missing, restored, seconds = [], [], 0.0
        for position, (item, key, name) in enumerate(zip(items, call_keys, names, strict=True), first):
            saved = known.get(key)
            if saved is None:
                missing.append(Call(position, key, name, (item,), {}))
            else:
                restored.append((position, saved))
                seconds += saved.seconds
        if restored:
            results.put_restored(restored)
            live.progress.restore(len(restored), seconds)
        return missing

    def _keys(self, items: list[Any]) -> list[bytes]:
        call_digest, numbered, key = keys.call_digest, keys.numbered, self._key
        digests = [call_digest((item if key is None else key(item),), {}) for item in items]
        occurrences = self.entered.numbers(digests)
        self._digests += digests
        self._occurrences += occurrences
        return [numbered(digest, n) if n else digest for digest, n in zip(digests, occurrences, strict=True)]

    def _after_pilot(self, chunks: Iterator[list[Call]]) -> Iterator[list[Call]]:
        """The first missing call goes alone: if its result cannot be saved, no second one is wasted (promise H)."""
        for chunk in chunks:
            if chunk:
                self._one(chunk[0])
                return itertools.chain([chunk[1:]], chunks)
        return iter(())

    async def _after_pilot_async(self, chunks: Iterator[list[Call]]) -> Iterator[list[Call]]:
        for chunk in chunks:
            if chunk:
                await self._one_async(chunk[0])
                return itertools.chain([chunk[1:]], chunks)
        return iter(())

    def _one(self, call: Call) -> None:
        try:
            value = self.computation.compute(call)
        except DurableError as error:
            # Ours say that nothing can be saved, or that the run is over; only a timeout is about this one document.
            if not isinstance(error, StepTimeout):
                raise
            self._put_failure(call, error)
        except Exception as error:  # recorded for this document, raised after the others are finished
            self._put_failure(call, error)
        else:
            self.results.put_value(call.position, value)

    async def _one_async(self, call: Call) -> None:
        try:
            value = await self.computation.compute_async(call)
        except DurableError as error:
            if not isinstance(error, StepTimeout):
                raise
            self._put_failure(call, error)
        except Exception as error:
            self._put_failure(call, error)
        else:
            self.results.put_value(call.position, value)

    def _put_failure(self, call: Call, error: Exception) -> None:
        attempts, text = self.step.retry.retries + 1, labels.of_error(error)
        failed = StepFailed(self.step.name, call.label, attempts, text)
        failed.__cause__ = error
        self.failed[call.position] = call
        self._errors[call.position] = failed
        failure = Failure(call.position, call.label, text, attempts, labels.traceback_of(error))
        self.results.put_failure(failure, failed)

    def _retry(self, results: Results) -> None:
        self.step.try_again(self.live.name, results, self.failed, workers=self.workers)

    def _halted(self) -> bool:
        return self._cancelled.is_set() or self.live.halted

    @contextlib.contextmanager
    def _giving_back(self) -> Iterator[None]:
        """A map that raised does not use up the numbers of its calls: the same map, tried again, finds its results."""
        try:
            yield
        except BaseException:
            self.give_back()
            raise

    def give_back(self) -> None:
        """See ``StepInRun.give_back``, for every call of this batch."""
        for digest, occurrence in zip(self._digests, self._occurrences, strict=True):
            self.entered.give_back(digest, occurrence)
        self._digests.clear()
        self._occurrences.clear()
        self.entered.refresh()


def _with_deadline(step: Step[..., Any]) -> Callable[..., Any]:
    """``step.function``, given up after its timeout.

    Python cannot stop a thread: the call goes on in one of its own, and its late result is dropped.
    """
    from concurrent.futures import Future
    from contextvars import copy_context

    timeout_s = step.timeout_s
    assert timeout_s is not None

    def limited(*args: Any, **kwargs: Any) -> Any:
        outcome: Future[Any] = Future()

        def call() -> None:
            try:
                outcome.set_result(step.function(*args, **kwargs))
            except BaseException as error:  # carried to the caller
                outcome.set_exception(error)

        threading.Thread(target=copy_context().run, args=(call,), name="durable-deadline", daemon=True).start()
        try:
            return outcome.result(timeout_s)
        except TimeoutError as error:
            if outcome.done():
                raise  # the user's own
            raise StepTimeout(step.name, labels.of_arguments(args, kwargs, 0), timeout_s) from error

    return limited
