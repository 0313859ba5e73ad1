"""Progress without a page: one line on stderr."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO

from durable_nb import display

if TYPE_CHECKING:
    from durable_nb.notebook.comm import Feed
    from durable_nb.records import Snapshot


class TerminalReporter:
    """One line that rewrites itself on a terminal, and the full text once at the end.

    On anything that is not a terminal (a log, a pipe) only the end is printed.

    Parameters
    ----------
    stream : file, optional
        Default stderr.
    beside_a_prompt : bool, optional
        Somebody types there meanwhile: the line stands once, and the text at the end.
    """

    def __init__(self, stream: TextIO | None = None, *, beside_a_prompt: bool = False) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._is_still = beside_a_prompt

    def show(self, feed: Feed) -> None:
        """Draw the line for the first time."""
        if self._is_still and self._stream.isatty():
            self._write(f"{display.line(feed.snapshot(), 200)}\n")
        self.update(feed.snapshot())

    def update(self, snapshot: Snapshot) -> None:
        """Redraw the line, never wider than the terminal, where it would wrap."""
        if self._is_still or not self._stream.isatty():
            return
        from shutil import get_terminal_size

        self._write(f"\r{display.line(snapshot, get_terminal_size().columns - 1)}\x1b[K")

    def finish(self, snapshot: Snapshot) -> None:
        """Replace the line by the final text."""
        before = "\n" if self._is_still else "\r\x1b[K"
        self._write(f"{before if self._stream.isatty() else ''}{display.text(snapshot)}\n")

    def _write(self, written: str) -> None:
        encoding = self._stream.encoding or "utf-8"  # a name outside the terminal's alphabet must not end a run
        self._stream.write(written.encode(encoding, "backslashreplace").decode(encoding))
        self._stream.flush()
