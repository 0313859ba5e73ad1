"""Texts that nothing which is stored about an exception may say: the exception carries them, wherever it goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable_nb.credentials import known_in
from durable_nb.errors import fields_of

if TYPE_CHECKING:
    from collections.abc import Iterable

_HIDDEN = "_durable_nb_hidden"
_INSTEAD = "[ignored]"


def hide_in(error: BaseException, texts: Iterable[str]) -> None:
    """Take ``texts`` out of all that will be stored about ``error``; what it says itself stays."""
    found = tuple(sorted({*texts, *fields_of(error).get(_HIDDEN, ())}, key=len, reverse=True))
    if found:
        fields_of(error)[_HIDDEN] = found  # not setattr: it may be frozen


def told_of(error: BaseException, text: str) -> str:
    """``text``, about ``error``, as it may be stored: without what looks like a credential, too."""
    return known_in().hidden_in(without(text, fields_of(error).get(_HIDDEN, ())))


def without(text: str, hidden: Iterable[str]) -> str:
    """``text`` with all of that taken out."""
    for one in sorted(hidden, key=len, reverse=True):
        text = text.replace(one, _INSTEAD)
    return text
