"""What a command prints: text for people, or one JSON value."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse


def show(options: argparse.Namespace, answer: Any, text: str) -> None:
    """Print the answer as the user asked for it."""
    print(json.dumps(answer) if options.json else printable(text))


def printable(text: str) -> str:
    """The text with everything spelt out that a terminal would obey; names and errors may be anybody's."""
    return "".join(
        one if one.isprintable() or one == "\n" else one.encode("unicode_escape").decode("ascii") for one in text
    )
