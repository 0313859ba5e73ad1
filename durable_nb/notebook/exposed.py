"""What a call may change of the globals that its code only reads, as their types tell it.

Code reads functions, modules, texts and numbers most of all, which no call changes. They are told apart once for a
fingerprint, so that before each call only the others are looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from durable_nb.notebook.contents import can_be_put_back
from durable_nb.notebook.inside import may_change_inside
from durable_nb.origins import is_generator

if TYPE_CHECKING:
    from durable_nb.sources import Fingerprint

Named = tuple[tuple[tuple[str, str], object], ...]
"""Objects with the module and the name that each is read by."""


class Exposed(NamedTuple):
    """The globals of one fingerprint that a call may change."""

    held: Named
    """Those in which a change can be put back."""
    inside: Named
    """Those without a value, whose attributes may change."""
    generators: Named
    """Those that random numbers are drawn from."""
    iterators: tuple[str, ...]
    """Names of those that may be advanced."""

    @classmethod
    def of(cls, fingerprint: Fingerprint) -> Exposed:
        """As the code is now."""
        read = [((str(scope.get("__name__") or ""), name), one) for scope, name, one in fingerprint.globals_read]
        return cls(
            tuple((place, one) for place, one in read if place[0] and can_be_put_back(one)),
            tuple((place, one) for place, one in read if place[0] and may_change_inside(one)),
            tuple((place, one) for place, one in read if is_generator(one)),
            tuple(name for (_, name), one in read if hasattr(type(one), "__next__")),
        )
