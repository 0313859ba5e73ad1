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
    outcome: Future[Any] = Future()

    def invoke() -> None:
        try:
            outcome.set_result(function())
        except BaseException as error:  # carried to the caller
            outcome.set_exception(error)

    threading.Thread(target=copy_context().run, args=(invoke,), name="durable-deadline", daemon=True).start()
    try:
        return outcome.result(timeout_s)
    except TimeoutError as error:
        if outcome.done():  # just now; or it is the user's own
            return outcome.result()
        raise TimeIsUp from error
