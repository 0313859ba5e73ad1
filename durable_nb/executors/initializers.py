"""What the initializer of a pool sets in its workers, and a function that is sent there by value does not see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable_nb import sources
from durable_nb.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable_nb.sources import Fingerprint

_BY_VALUE = ("__main__", "__mp_main__")


def refuse_unseen(initializer: Callable[..., Any] | None, name: str, fingerprint: Fingerprint) -> None:
    """Refuse a step that reads globals of the notebook which the initializer sets.

    To let it see them would not be enough: its results would be saved under the values that they have here.

    Raises
    ------
    ConfigError
    """
    if initializer is None:
        return
    set_there = {
        variable for scope, variable in sources.current(initializer).state if scope.get("__name__") in _BY_VALUE
    }
    read = {variable for scope, variable, _ in fingerprint.globals_read if scope.get("__name__") in _BY_VALUE}
    for variable in sorted(set_there & read):
        raise ConfigError(
            f"{name} reads {variable}, which the initializer of the executor sets: functions of a notebook or script are sent "
            "with their globals as they are here, so it would compute with another value.",
            f"Hand {variable} over as an argument, make it inside of the function (once for each process, in a global), or put "
            "both into a module. If the value here is the right one, leave the initializer away.",
        )
