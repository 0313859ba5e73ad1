"""The text of a durable cell → Python that IPython runs on its normal path; pure, line numbers kept.

A cell magic that ran its body itself would lose top-level ``await``, the shown last expression and, for an error, "stop
Run All". So the first line becomes one Python statement, and everything below it stays as it was typed.
"""

from __future__ import annotations

import re

from durable_nb.config import RESERVED

MARKER = "__durable_nb__"
"""Name in ``builtins`` of the object whose ``begin`` the first line calls: there it survives ``%reset``."""

_HEAD = re.compile(r"^(%%?)durable(?:[ \t]+(.*))?$")
_MAGIC = re.compile(r"^%%(\w+)")
# Magics that run their body as a cell of this notebook, so that our line may become the first line of that body.
_WRAPPING = frozenset({"time", "capture"})


def durable_cell(lines: list[str]) -> list[str]:
    """The lines of a cell, with the first replaced if it marks the cell as durable.

    Registered as an input transformer. ipykernel calls it twice for a cell, so it must stay free of side effects.
    """
    head = _HEAD.match(lines[0].rstrip()) if lines else None
    if head is None:
        return lines
    arguments, body = (head[2] or "").strip(), lines[1:]
    first = next((index for index, line in enumerate(body) if line.strip()), None)
    if head[1] == "%" and (first is None or arguments.split(" ")[0] in RESERVED):
        return lines  # the line magic: %durable, %durable show NAME
    if first is None:
        return [_begin(arguments, "empty")]
    inner = _MAGIC.match(body[first])
    if inner is None:
        return [_begin(arguments), *body]
    if inner[1] in _WRAPPING:
        return [body[first], _begin(arguments), *body[:first], *body[first + 1 :]]
    return [_begin(arguments, inner[1]), *("\n" for _ in body)]


def stands_above_code(source: str, arguments: str) -> bool:
    """Whether the line magic with these arguments has code of its cell below it: somebody meant to mark that."""
    lines = [line.strip() for line in source.splitlines()]
    places = [place for place, line in enumerate(lines) if line.split() == ["%durable", *arguments.split()]]
    return bool(places) and any(line and not line.startswith("#") for line in lines[places[0] + 1 :])


# IPython's check_complete skips transformers that say so; without it terminal IPython would take the first line of a
# durable cell for a complete statement and run it before the rest is typed.
durable_cell.has_side_effects = True  # type: ignore[attr-defined]


def _begin(arguments: str, refused: str = "") -> str:
    rest = f", refused={refused!r}" if refused else ""
    return f"{MARKER}.begin({arguments!r}{rest})  # %%durable\n"
