"""What calls print while they are computed: kept beside their results, and told of when they are restored."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from durable_nb.credentials import known_in
from durable_nb.engine.context import inside
from durable_nb.locks import lock_of
from durable_nb.records import Costed, State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Future

    from durable_nb.engine.context import Inside
    from durable_nb.engine.runs import LiveRun
    from durable_nb.records import Checkpoint
    from durable_nb.store import Store
    from durable_nb.store.outputs import Printed

MOST = 64 << 10
"""Characters that are kept of one call."""

_TOGETHER = 1_000
Name = tuple[int, bytes]
"""Step id and key of a call."""

OUT, ERR, SHOWN, CUT = "out", "err", "shown", "cut"
"""Kinds of what is said: text on stdout and stderr, data by MIME type, and that more followed."""


class _Said:
    """What one attempt of a call has said so far."""

    __slots__ = ("by", "lines", "logged", "parts", "room", "shown")

    def __init__(self, by: Inside) -> None:
        self.by, self.room = by, MOST
        self.parts: list[tuple[str, Any]] = []
        self.lines = self.shown = self.logged = 0

    def add(self, kind: str, content: Any, size: int) -> None:
        if self.room > 0:
            self.room -= size
            self.parts.append((kind, content) if self.room >= 0 else (CUT, ""))

    def whole(self, hide: Callable[[str], str], *, keeps_text: bool) -> tuple[int, int, int, str, bool]:
        merged: list[tuple[str, Any]] = []
        for kind, content in self.parts if keeps_text else ():
            if merged and kind in (OUT, ERR) and merged[-1][0] == kind:
                merged[-1] = kind, merged[-1][1] + content
            else:
                merged.append((kind, content))
        computation, call = self.by[:2]
        ignored = computation.step.ignored

        def told(content: Any) -> Any:
            if isinstance(content, dict):
                return {kind: told(text) for kind, text in content.items()}
            return hide(content if ignored is None else ignored.taken_out(content, call.args, call.kwargs))

        merged = [(kind, told(content)) for kind, content in merged]
        return self.lines, self.shown, self.logged, json.dumps(merged) if merged else "", True


class Outputs:
    """What the calls of one run print, in the process that computes it.

    Parameters
    ----------
    live : LiveRun
        Its steps are told by ``listen``.
    show : callable, optional
        Shows again what a restored call had said; without it that is counted.
    names : mapping
        Of the notebook: what those stand for that say credential is taken out.

    Attributes
    ----------
    shows : bool
        Whether it is shown again.
    lines, shown, logged : int
        What restored calls had said and nobody was told again, once ``count`` was called.
    """

    def __init__(
        self,
        live: LiveRun,
        show: Callable[[Printed], None] | None = None,
        names: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self._live, self._hide = live, known_in(names).hidden_in
        self._store, self._run_id, self._keeps_text = live.store, live.record.id, live.settings.labels
        self._show, self.shows, self._is_any = show, show is not None, live.store.has_printed(live.record.id)
        self._said: dict[Name, _Said] = {}
        self._restored: list[Name] = []
        self._lock = lock_of(self)
        self.lines = self.shown = self.logged = 0

    def printed(self, kind: str, text: str) -> None:
        """Text was written while the calls of this context were computed."""
        for said in self._here():
            said.lines += text.count("\n")
            said.add(kind, text, len(text))

    def displayed(self, data: dict[str, Any], size: int) -> None:
        """Data of so many characters was shown."""
        for said in self._here():
            said.shown += 1
            said.add(SHOWN, data, size)

    def told(self) -> None:
        """A record was logged that a handler of the user's hears."""
        for said in self._here():
            said.logged += 1

    def beside(self, checkpoint: Checkpoint) -> Checkpoint:
        """The checkpoint of a call, with what the call has said."""
        said = self._said.pop((checkpoint.step_id, checkpoint.key), None)
        if said is None or checkpoint.state != State.DONE:
            return checkpoint
        made = checkpoint if isinstance(checkpoint, Costed) else Costed(*checkpoint)
        made.printed = said.whole(self._hide, keeps_text=self._keeps_text)
        return made

    def save(self, checkpoint: Checkpoint) -> None:
        """As `Store.save`."""
        self._store.save(self.beside(checkpoint) if self._said else checkpoint)

    def save_all(self, checkpoints: list[Checkpoint]) -> None:
        """As `Store.save_all`."""
        self._store.save_all([self.beside(one) for one in checkpoints] if self._said else checkpoints)

    def save_now(self, checkpoint: Checkpoint) -> Future[None]:
        """As `Store.save_now`."""
        return self._store.save_now(self.beside(checkpoint) if self._said else checkpoint)

    def restored(self, names: Sequence[Name]) -> None:
        """These calls are restored now."""
        if not self._is_any:
            return
        if self._show is not None:
            self._again(names)
            return
        with self._lock:
            self._restored += names
            full, self._restored = (self._restored, []) if len(self._restored) >= _TOGETHER else ([], self._restored)
        self._count(full)

    def count(self) -> None:
        """Count the rest; the run is over."""
        with self._lock:
            rest, self._restored = self._restored, []
        self._count(rest)

    def _again(self, names: Sequence[Name]) -> None:
        found = self._store.printed(self._run_id, names, with_text=True)
        for name in names:
            printed = found.get(name)
            if printed is None:
                continue
            with self._lock:
                self.logged += printed.logged
            if printed.said and self._show is not None:
                self._show(printed)
            else:
                self._add(printed._replace(logged=0))

    def _count(self, names: list[Name]) -> None:
        for printed in self._store.printed(self._run_id, names).values() if names else ():
            self._add(printed)

    def _add(self, printed: Printed) -> None:
        with self._lock:
            self.lines += printed.lines
            self.shown += printed.shown
            self.logged += printed.logged

    def _here(self) -> list[_Said]:
        """Of the call that is computed here and of those around it, whose results stand for it when they are restored."""
        found, here = inside.get(), []
        while found is not None and found[0].live is self._live:  # not of a run in the background
            name = (found[0].entered.step_id, found[1].key)
            said = self._said.get(name)
            if said is None or said.by is not found:  # another attempt
                said = self._said[name] = _Said(found)
            here.append(said)
            found = found[3]
        return here


def saver_of(live: LiveRun) -> Outputs | Store:
    """What saves the results of a run: what nobody listens to costs nothing."""
    return live.outputs or live.store
