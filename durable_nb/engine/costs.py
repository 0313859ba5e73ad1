"""What a result cost, as the step says."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from durable_nb.errors import ConfigError
from durable_nb.records import Costed

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable_nb.engine.steps import Step
    from durable_nb.records import Checkpoint


def costed(
    checkpoint: Checkpoint, value: Callable[[], Any], step: Step[..., Any], *, save: Callable[[Checkpoint], Any]
) -> Costed:
    """The checkpoint with the cost of what ``value`` gives.

    Raises
    ------
    ConfigError
        The cost cannot be told. The result, which is paid for, is saved without it, also where SystemExit or an interrupt
        comes in between; that of a transaction is not, because the error rolls back what was written beside it.
    """
    assert step.cost is not None
    try:
        cost = step.cost(value())
        if isinstance(cost, bool | str) or not 0 <= float(cost) < math.inf:
            raise ValueError(f"it returned {cost!r:.80}")
    except BaseException as error:
        if not step.transaction:
            save(checkpoint)
        if not isinstance(error, Exception):  # sys.exit, or an interrupt that it was in the way of
            raise
        raise ConfigError(
            f"{step.name}: the function given as cost= failed on the result of {checkpoint.label}: {error!r:.200}.",
            "It takes a result and returns a number from 0. "
            + ("What the call wrote is rolled back." if step.transaction else "The result is saved."),
        ) from error
    made = Costed(*checkpoint)
    made.cost = float(cost)
    return made
