"""What a document and an error are called in the panel, in messages and in the database."""

from __future__ import annotations

from typing import Any

from durable_nb.engine.hidden import told_of
from durable_nb.errors import fields_of
from durable_nb.executors import exceptions

_LENGTH, _CUT = 60, 59
_NUMBERS, _WRITTEN = (bool, int, float), 10**_LENGTH
_NAMING = ("id", "name", "path", "title", "url", "filename", "file_name", "doc_id", "key")
ASIDE = "; set aside"
"""How the error of a document ends that killed what computed it, whatever that was."""
TOLD = "_durable_nb_traceback"
"""Attribute of an error that comes from a worker: its traceback there, as text."""


def of_arguments(args: tuple[Any, ...], kwargs: dict[str, Any], position: int) -> str:
    """A short name of the document that a call is about: its first argument."""
    for value in (*args, *kwargs.values()):
        return of_item(value, position)
    return f"#{position}"


def of_item(item: Any, position: int) -> str:
    """The beginning of a text; the id, name, path, title or url of a record; otherwise ``#position``."""
    if type(item) is str:
        line = item[: _LENGTH + 1]
        if "\n" in line:
            line = item[: 4 * _LENGTH].strip().partition("\n")[0]
        return f"{line[:_CUT]}…" if len(line) > _LENGTH else line or f"#{position}"
    try:
        if isinstance(item, _NUMBERS):
            return repr(item) if type(item) is float or abs(item) <= _WRITTEN else f"#{position}"
        if isinstance(item, dict):
            value = next((item[name] for name in _NAMING if name in item), None)
        elif hasattr(type(item), "__fspath__"):  # of the type: a row may take any name for a column
            value = item.__fspath__()
        else:
            # Only what is stored on the instance: a property could run anything.
            fields = getattr(item, "__dict__", None) or {}
            value = next((fields[name] for name in _NAMING if name in fields), None)
        if isinstance(value, str):
            return of_item(value, position)
        return f"#{position}" if value is None else f"{value}"[:_LENGTH]
    except Exception:  # code of whoever wrote the class: a name is not worth a document
        return f"#{position}"


def numbered(_item: Any, position: int) -> str:
    """``#position``, for who wants nothing of a document to be stored."""
    return f"#{position}"


def of_error(error: BaseException) -> str:
    """Type and message on one line of at most 300 characters."""
    return exceptions.line_of(error, told_of(error, exceptions.said_by(error)))[:300]


def traceback_of(error: BaseException) -> str:
    """The traceback without the frames of this library, of an error in a worker the one there; its last 4,000 characters."""
    told: str | None = fields_of(error).get(TOLD)
    return told_of(error, exceptions.traceback_of(error) if told is None else told)[-4000:]


def text_of(error: BaseException) -> str:
    """What is saved of an error: one line, then the traceback."""
    return f"{of_error(error)}\n{traceback_of(error)}"
