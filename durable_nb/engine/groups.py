"""Steps that take many documents at once, ``@step(batch=64)``: each document has a checkpoint of its own all the same.

A group is computed like one call, noted and named by its first document; what it returned is taken apart and saved.
"""

from __future__ import annotations

import contextlib
from itertools import repeat
from typing import TYPE_CHECKING, Any

from durable_nb import codecs
from durable_nb.engine.computations import COMMIT_AT_ONCE_S, Computation
from durable_nb.engine.recorder import FREE, NOBODY, UNREAD
from durable_nb.errors import ConfigError, Unsaveable
from durable_nb.executors.worker import is_list, listed
from durable_nb.records import Call, Checkpoint, made

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from durable_nb.engine.computations import Save

_FIRST, _LARGEST = 8, 1024
_SHORT_S, _LONG_S = 0.05, 0.5
"""With ``batch="auto"`` a call of the function shall take between the two: long enough to be worth it, short enough to lose."""


class Group(Call):
    """One call of the function, with all its documents."""

    parts: tuple[Call, ...]
    noted: Sequence[slice] = ()
    """Where the documents after the first are noted while the call runs."""

    @classmethod
    def of(cls, parts: Sequence[Call]) -> Group:
        """The calls of some documents together."""
        first = parts[0]
        more = f" and {len(parts) - 1:,} more" if len(parts) > 1 else ""
        items = [part.args[-1] for part in parts]
        group = cls(first.position, first.key, f"{first.label}{more}", (*first.args[:-1], items), {}, first.document)
        group.parts = tuple(parts)
        return group

    @classmethod
    def halves(cls, parts: Sequence[Call]) -> list[Group]:
        """Groups of half the documents."""
        middle = len(parts) // 2
        return [cls.of(some) for some in (parts[:middle], parts[middle:]) if some]

    @classmethod
    def singles(cls, parts: Sequence[Call]) -> list[Group]:
        """Each document by itself."""
        return [cls.of([part]) for part in parts]


class Sizes:
    """How many documents go into one call of the function."""

    def __init__(self, batch: int | str) -> None:
        self._is_fixed = isinstance(batch, int)
        self.now: int = batch if isinstance(batch, int) else _FIRST

    def learn(self, documents: int, seconds: float) -> None:
        """A call with so many took so long."""
        if self._is_fixed:
            return
        if seconds < _SHORT_S and documents >= self.now:
            self.now = min(_LARGEST, 2 * documents)
        elif seconds > _LONG_S:
            self.now = max(1, documents // 2)


class Grouping:
    """Puts calls that are missing together; a group has the size that holds when it is full.

    Parameters
    ----------
    alone : collection of bytes
        Keys of calls that share no group.
    """

    def __init__(self, sizes: Sizes, alone: Collection[bytes]) -> None:
        self._sizes, self._alone, self._waiting = sizes, alone, list[Call]()

    def feed(self, chunk: Sequence[Call]) -> Iterator[list[Group]]:
        """The groups that are full with ``chunk``."""
        if self._alone:
            yield [Group.of([call]) for call in chunk if call.key in self._alone]
            chunk = [call for call in chunk if call.key not in self._alone]
        self._waiting += chunk
        while len(self._waiting) >= self._sizes.now:
            size = self._sizes.now
            yield [Group.of(self._waiting[:size])]
            del self._waiting[:size]

    def rest(self) -> Iterator[list[Group]]:
        """What is left when no chunk follows."""
        if self._waiting:
            yield [Group.of(self._waiting)]


class GroupComputation(Computation):
    """How groups of calls of one step are computed and saved in one run."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.sizes = Sizes(self.step.batch or 1)

    def _callee(self) -> Callable[..., Any]:
        return taking_lists(self.step.function, is_async=self.step.is_async)

    def compute(self, call: Call, halted: Callable[[], bool] | None = None, attempt: int = 1) -> Any:
        """The values of a group, saved; what its last attempt raised, unsaved unless it is of one document."""
        __tracebackhide__ = True
        with self._noted(call):
            return super().compute(call, halted, attempt)

    async def compute_async(self, call: Call, halted: Callable[[], bool] | None = None) -> Any:
        """As ``compute``, for a coroutine function."""
        __tracebackhide__ = True
        with self._noted(call):
            return await super().compute_async(call, halted)

    @contextlib.contextmanager
    def _noted(self, group: Call) -> Iterator[None]:
        """The first document is noted as any call is; if the kernel dies, each of the others may be to blame as well."""
        taken: list[slice] = []
        places, memory, mark = self._recorder.places, self._recorder.memory, self._mark
        others: tuple[Call, ...] = ()
        if isinstance(group, Group):
            group.noted, others = taken, group.parts[1:]
        try:
            for part in others:
                place = places.pop() if places else UNREAD
                taken.append(place)
                if place is UNREAD:  # so would be those of the others
                    break
                memory[place] = mark + part.key + NOBODY
            yield
        finally:
            self._unnote(taken)
            places += taken

    def _unnote(self, places: Iterable[slice]) -> None:
        memory = self._recorder.memory
        for place in places:
            memory[place] = FREE

    def _rest(self, call: Call, place: slice) -> None:
        if isinstance(call, Group):
            self._unnote(call.noted)
        super()._rest(call, place)

    def _succeeded(
        self, call: Call, value: Any, attempt: int, started: float, seconds: float, *, save: Save | None = None
    ) -> Future[None] | None:
        parts = parts_of(call)
        self.sizes.learn(len(parts), seconds)
        if not is_list(value):
            raise wrong_number(self.step.name, call, f"a {type(value).__name__}")
        if len(value) != len(parts):
            raise wrong_number(self.step.name, call, f"{len(value):,} results")
        share = seconds / len(parts)
        rows = self._encoded_alike(parts, value, attempt, started, share) if save is None else []
        if not rows:
            try:
                self._succeeded_singly(parts, value, attempt, started, share, save or rows.append)
            except BaseException:
                self._save_all(rows)
                raise
        last = rows.pop() if rows and seconds >= COMMIT_AT_ONCE_S else None
        self._save_all(rows)
        return last and self._save_now(last)  # one commit takes all of them along

    def _succeeded_singly(
        self, parts: tuple[Call, ...], values: Any, attempt: int, started: float, seconds: float, save: Save
    ) -> None:
        problem: ConfigError | Unsaveable | None = None
        for part, value in zip(parts, values, strict=True):
            try:
                super()._succeeded(part, value, attempt, started, seconds, save=save)
            except (ConfigError, Unsaveable) as error:  # ConfigError: what it cost cannot be told
                problem = problem or error  # the others are paid for as well
        if problem is not None:
            raise problem

    def _encoded_alike(
        self, parts: tuple[Call, ...], values: Any, attempt: int, started: float, seconds: float
    ) -> list[Checkpoint]:
        """The checkpoints of arrays of one layout, in a third of the time that they take one by one; [] of anything else."""
        one_by_one = self.ships or self.live.apart or self.step.cost is not None
        alike = None if one_by_one else codecs.encode_arrays(values)
        if alike is None:
            return []
        self.entered.proven = True
        codec, payloads = alike
        _, keys, names, _, _, documents, _ = zip(*parts, strict=True)
        columns = zip(
            repeat(self._run_id), repeat(self._step_id), keys, repeat("done"), documents, names, repeat(attempt),
            repeat(None), repeat(started), repeat(seconds), repeat(codec), payloads, strict=False,
        )  # fmt: skip
        return list(map(made, repeat(Checkpoint), columns))  # as `_checkpoint`

    def _documents(self, call: Call) -> Iterable[Call]:
        return parts_of(call)

    def _failed(self, call: Call, error: Exception, attempt: int, started: float, seconds: float) -> float | None:
        parts = parts_of(call)
        return super()._failed(parts[0], error, attempt, started, seconds) if len(parts) == 1 else None


def taking_lists(function: Callable[..., Any], *, is_async: bool) -> Callable[..., Any]:
    """A batched function that is handed a list of its own each time, and returns one.

    What it does to the first, no further attempt sees; the other one gives the same each time it is read.
    """
    if is_async:

        async def called_async(*args: Any) -> Any:
            __tracebackhide__ = True
            *bound, items = args
            return listed(await function(*bound, items.copy()))

        return called_async

    def called(*args: Any) -> Any:
        __tracebackhide__ = True
        *bound, items = args
        return listed(function(*bound, items.copy()))

    return called


def wrong_number(step: str, call: Call, returned: str) -> ConfigError:
    """The error of a function whose results are not as many as its documents."""
    return ConfigError(
        f"{step} returned {returned} for {len(parts_of(call)):,} documents ({call.label}).",
        'A batched step takes a list and returns a list of as many results, in its order: of a table .to_dict("records"), of a '
        "dict [found[doc] for doc in docs].",
    )


def parts_of(call: Call) -> tuple[Call, ...]:
    """The calls of the documents of a group; of any other call itself."""
    return call.parts if isinstance(call, Group) else (call,)
