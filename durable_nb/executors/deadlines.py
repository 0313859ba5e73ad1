"""A call that is given up after a while."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from durable_nb.executors.engines import TimeIsUp

if TYPE_CHECKING:
    from collections.abc import Callable


def within(function: Callable[[], Any], timeout_s: float) -> Any:
    """What the function returns or raises, or TimeIsUp.

    Python cannot stop a thread: the call goes on in one of its own, and its late result is dropped.
    """
    # As a value: a future takes an exception that is false (an empty list of errors) for none, and its result is None then.
    outcome: Future[tuple[Any, BaseException | None]] = Future()

    def invoke() -> None:
        try:
            made: tuple[Any, BaseException | None] = function(), None
        except BaseException as error:  # carried to the caller
            made = None, error
        outcome.set_result(made)

    threading.Thread(target=copy_context().run, args=(invoke,), name="durable-deadline", daemon=True).start()
    try:
        value, raised = outcome.result(timeout_s)
    except TimeoutError as error:
        if not outcome.done():
            raise TimeIsUp from error
        value, raised = outcome.result()
    if raised is not None:
        raise raised
    return value
