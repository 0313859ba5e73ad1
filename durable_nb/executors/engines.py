"""What every engine is asked, and how it says that something went wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

Outcome = tuple[Any, ...]
"""What became of one call; see `worker.run_batch`."""


class Task(NamedTuple):
    """Some calls of one function, to be computed one after the other in a worker."""

    function: bytes
    items: bytes
    calls: int
    timeout_s: float | None
    """For each call."""
    is_group: bool
    """The function takes a list, and each of its results is saved by itself."""


class Engine(Protocol):
    """Computes tasks somewhere else. Safe to use from several threads."""

    initializer: Callable[..., Any] | None
    """What each worker calls first, if it is known."""

    def call(self, task: Task) -> list[Outcome]:
        """Block until the calls of a task are computed; what became of each of them, or of each document of a group.

        Raises
        ------
        WorkerLost, TimeIsUp, Abandoned
        ConfigError
            The engine itself does not work.
        """

    def cancel(self) -> None:
        """Drop what has not begun and give what runs a moment to end. Does not wait."""

    def close(self) -> None:
        """Nobody waits for anything any more; end what is ours."""


class WorkerLost(Exception):
    """The process died that computed a task.

    Attributes
    ----------
    deaths : int
        How many processes died; some engines try again by themselves.
    is_certain : bool
        They died of this very task: not of another one that ran elsewhere in a pool which breaks as a whole.
    """

    def __init__(self, deaths: int = 1, *, is_certain: bool) -> None:
        super().__init__(deaths, is_certain)
        self.deaths, self.is_certain = deaths, is_certain

    def __str__(self) -> str:
        return "the worker process died"


class Stale(Exception):
    """A worker has another version of a module of the user than the process that computes the run: what, and what to do."""


class TimeIsUp(Exception):
    """The task took longer than its calls may take."""


class Abandoned(Exception):
    """Nobody wants the task any more."""


GRACE_S = 1.0
"""How long calls that run may go on after an interrupt; the notebook has its prompt back after two seconds."""

LOOK_S = 0.1
"""Who waits for a worker looks this often whether it is still wanted."""
