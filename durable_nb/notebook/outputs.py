"""What the calls of a durable cell print, show and log: listened to while it runs, and shown again for restored ones.

The streams and the publisher are the kernel's own, with another ``write`` on the object itself: so threads are heard too, and
whoever has replaced them inside of a call (``redirect_stdout``, ``%%capture``) shows nothing that could be missed.
"""

from __future__ import annotations

import functools
import json
import logging
import sys
from typing import TYPE_CHECKING, Any

from durable_nb.engine.context import inside
from durable_nb.engine.outputs import CUT, ERR, OUT, SHOWN, Outputs

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell

    from durable_nb.engine.runs import LiveRun
    from durable_nb.store.outputs import Printed

_TEXTS = ("text/plain", "text/html", "text/markdown", "text/latex")
"""What is kept of something that is shown; pictures are not, 20 of them take 4 MB."""

_PLAIN = _TEXTS[:1]


class Listening:
    """What calls say is heard from here on, until ``end``."""

    def __init__(self, shell: InteractiveShell, outputs: Outputs) -> None:
        self._outputs, self._is_over = outputs, False
        self._undo: list[Callable[[], None]] = []
        for kind, stream in ((OUT, sys.stdout), (ERR, sys.stderr)):
            self._replace(stream, "write", functools.partial(self._writing, kind))
        self._replace(shell.display_pub, "publish", self._publishing)
        self._hear_records()

    def end(self) -> None:
        """Put everything back; what somebody has replaced since calls the one before it."""
        self._is_over = True
        while self._undo:
            self._undo.pop()()

    def _replace(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        before, was_own = getattr(owner, name), name in getattr(owner, "__dict__", {})
        ours = make(before)
        try:
            setattr(owner, name, ours)
        except AttributeError:  # a stream of somebody's that cannot be listened to
            return

        def put_back() -> None:
            if getattr(owner, name) is ours:
                setattr(owner, name, before) if was_own else delattr(owner, name)

        self._undo.append(put_back)

    def _writing(self, kind: str, before: Callable[[str], Any]) -> Callable[[str], Any]:
        def write(text: str, /) -> Any:
            written = before(text)
            if inside.get() is not None and not self._is_over:
                self._outputs.printed(kind, text)
            return written

        return write

    def _publishing(self, before: Callable[..., Any]) -> Callable[..., Any]:
        def publish(data: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
            shown = before(data, *args, **kwargs)
            if inside.get() is not None and not (self._is_over or kwargs.get("update")):
                kept = {kind: data[kind] for kind in _TEXTS if isinstance(data.get(kind), str)}
                self._outputs.displayed(kept, sum(map(len, kept.values())))
            return shown

        return publish

    def _hear_records(self) -> None:
        before = logging.getLogRecordFactory()

        def made(*args: Any, **kwargs: Any) -> logging.LogRecord:
            record = before(*args, **kwargs)
            if inside.get() is not None and not self._is_over and _is_for_user(record):
                self._outputs.told()
            return record

        def put_back() -> None:
            if logging.getLogRecordFactory() is made:
                logging.setLogRecordFactory(before)

        logging.setLogRecordFactory(made)
        self._undo.append(put_back)


def listen(shell: InteractiveShell, live: LiveRun, *, again: bool) -> None:
    """Hear what the calls of a run say until it ends; of restored ones that is shown ``again``, or counted."""
    show = (lambda printed: _show(shell, printed)) if again else None
    outputs = live.outputs = Outputs(live, show, shell.user_ns)
    live.finished.append(Listening(shell, outputs).end)


def left_out(outputs: Outputs) -> list[str]:
    """Sentences about what restored calls had said and nobody was told."""
    outputs.count()
    parts = [
        f"{verb} {count:,} {noun if count == 1 else noun + 's'}"
        for verb, count, noun in (("printed", outputs.lines, "line"), ("showed", outputs.shown, "output"))
        if count
    ]
    told = []
    if parts:
        is_one = outputs.lines + outputs.shown == 1
        verb = "that is not" if is_one else "that are not"
        way = "what they said was not saved (labels=False)" if outputs.shows else "--replay-output shows them"
        told.append(f"restored calls {' and '.join(parts)} {verb} shown again; {way}")
    if outputs.logged:
        noun = "record that is" if outputs.logged == 1 else "records that are"
        told.append(f"restored calls logged {outputs.logged:,} {noun} not handed to your logging handlers again")
    return told


def _is_for_user(record: logging.LogRecord) -> bool:
    """Whether a handler that is defined in the notebook would hear of it."""
    logger: logging.Logger | None = logging.getLogger(record.name)
    while logger is not None:
        for handler in logger.handlers:
            if record.levelno >= handler.level and type(handler).__module__ == "__main__":
                return True
        logger = logger.parent if logger.propagate else None
    return False


def _show(shell: InteractiveShell, printed: Printed) -> None:
    """As it was said; of somebody else's database the plain text only, since a page runs what stands in HTML."""
    for kind, content in _parts(printed.said):
        if kind == SHOWN:
            kinds = _TEXTS if printed.is_ours else _PLAIN
            data = {kind: content[kind] for kind in kinds if isinstance(content.get(kind), str)}
            if data:
                shell.display_pub.publish(data if printed.is_ours else {"text/plain": _tame(data["text/plain"])})
        elif kind == CUT:
            print("[durable_nb: more was printed here than is kept]")
        else:
            stream = sys.stderr if kind == ERR else sys.stdout
            stream.write(content if printed.is_ours else _tame(content))


def _parts(said: str) -> list[tuple[str, Any]]:
    """What is understood of it; anybody may have written it."""
    try:
        found = json.loads(said)
    except (ValueError, RecursionError):
        return []
    kinds = {OUT: str, ERR: str, CUT: str, SHOWN: dict}
    return [
        (part[0], part[1])
        for part in (found if isinstance(found, list) else [])
        if isinstance(part, list)
        and len(part) == 2
        and isinstance(part[0], str)
        and isinstance(part[1], kinds.get(part[0], ()))
    ]


def _tame(text: str) -> str:
    """Without what a terminal would obey."""
    return "".join(one if one.isprintable() or one in "\n\t" else one.encode("unicode_escape").decode() for one in text)
