"""Arguments that do not count, ``@step(ignore=("api_key",))``: they name no call and no document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable_nb.engine.hidden import hide_in, without
from durable_nb.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SHORTEST = 4  # shorter texts are part of too many others to be taken out of a message

_Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class Ignored:
    """The ignored parameters of one function."""

    def __init__(self, function: Callable[..., Any], name: str, names: tuple[str, ...]) -> None:
        import inspect  # not needed for a step that ignores nothing

        kinds, parameters = inspect.Parameter, inspect.signature(function).parameters.values()
        known = [one.name for one in parameters]
        rest = next((one.name for one in parameters if one.kind is kinds.VAR_KEYWORD), None)
        unknown = [one for one in names if one not in known and rest is None]
        if unknown:
            listed = ", ".join(known) or "none"
            raise ConfigError(
                f"{name} has no parameter {', '.join(map(repr, unknown))} to ignore.", f"Its parameters: {listed}."
            )
        by_place = [one.name for one in parameters if one.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)]
        more = next((one.name for one in parameters if one.kind is kinds.VAR_POSITIONAL), None)
        self.names = frozenset(names)
        self._places = {place for place, one in enumerate(by_place) if one in self.names}
        self._from = len(by_place) if more in self.names else None  # of *more, all
        self._keywords = set(known) - {rest} if rest in self.names else None  # of **rest, all

    def covers(self, place: int) -> bool:
        """Whether the positional argument at a place is ignored."""
        return place in self._places or (self._from is not None and place >= self._from)

    def without(self, args: tuple[Any, ...], kwargs: dict[str, Any], *, start: int = 0) -> _Arguments:
        """The arguments that count, of those from ``start`` on."""
        kept = tuple(value for place, value in enumerate(args) if place >= start and not self.covers(place))
        return kept, {name: value for name, value in kwargs.items() if not self._covers_keyword(name)}

    def hide(self, error: BaseException, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Let nothing that is stored about ``error`` say the ignored texts."""
        hide_in(error, self._texts(args, kwargs))

    def taken_out(self, text: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """``text`` without the ignored texts."""
        return without(text, self._texts(args, kwargs))

    def _covers_keyword(self, name: str) -> bool:
        return name in self.names or (self._keywords is not None and name not in self._keywords)

    def _texts(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[str]:
        values = [value for place, value in enumerate(args) if self.covers(place)]
        for value in (*values, *(value for name, value in kwargs.items() if self._covers_keyword(name))):
            text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
            if isinstance(text, str) and len(text) >= _SHORTEST:
                yield text


def ignoring(function: Callable[..., Any], name: str, ignore: tuple[str, ...]) -> Ignored | None:
    """What a step ignores; None, which costs its calls nothing, if that is nothing.

    Raises
    ------
    ConfigError
        The function has no such parameter; the text lists those that it has.
    """
    return Ignored(function, name, ignore) if ignore else None
