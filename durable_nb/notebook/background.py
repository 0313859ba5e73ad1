"""Durable cells in threads of their own: the prompt is back at once, and what a cell assigns appears when it is done.

Such a cell runs in a copy of the notebook's names, with the tree and the run that it would have in front: cells that are run
meanwhile change none of its variables, and it none of theirs. Functions keep the notebook's names, and objects are shared.
The run is claimed, and a change of code asked about, before the prompt is back.
"""

from __future__ import annotations

import ast
import contextlib
import contextvars
import inspect
import sys
import threading
from types import FunctionType
from typing import TYPE_CHECKING, Any

from durable_nb import clock
from durable_nb.errors import ConfigError
from durable_nb.notebook.marking import MARKER

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType

    from IPython.core.interactiveshell import InteractiveShell

    from durable_nb.engine.runs import LiveRun
    from durable_nb.notebook.explain import Explanation
    from durable_nb.notebook.replay import Replay
    from durable_nb.notebook.statements import ExecutedCells

_GONE = object()
_OURS = frozenset({MARKER, "__builtins__", "_", "__", "___"})
_GRACE_S = 2.0  # for running calls, when the kernel exits: Jupyter kills it after five


class Kept(dict[str, Any]):
    """By name what a cell in the background has assigned, and the user too: the user's stay in the notebook."""

    def __repr__(self) -> str:
        return "kept apart, since you have set them meanwhile: " + ", ".join(self)


class BackgroundCell:
    """One durable cell that is computed in a thread.

    Attributes
    ----------
    over : Event
        Set when its run has ended.
    error : BaseException or None
        What the cell raised.
    kept : Kept
        What was not given to the notebook.
    replays : dict
        For the marked expressions of the cell, which find this object by the name of our marker.
    """

    def __init__(
        self,
        backgrounds: Backgrounds,
        shell: InteractiveShell,
        executed: ExecutedCells,
        scope: dict[str, Any],
        source: str,
    ) -> None:
        self.over, self.kept = threading.Event(), Kept()
        self.error: BaseException | None = None
        self.replays: dict[int, Replay] = {}
        self._shell, self._executed, self._ended = shell, executed, backgrounds.ended
        self._before, self._scope = dict(scope), scope
        self._apart = executed.set_apart(scope, source)
        self._context = contextvars.copy_context()

    def start(self, cell: ast.Module, number: int, replay: Replay, claim: Callable[[], LiveRun]) -> None:
        """Claim the run, which is the current one in the context of this cell alone, and begin to compute it."""
        compiler: Any = self._shell.compile
        try:
            with compiler.extra_flags(ast.PyCF_ALLOW_TOP_LEVEL_AWAIT):
                code = compiler(cell, self._apart.filename, "exec")
            self.live = self._context.run(claim)
        except BaseException:
            self._executed.rejoin(self._apart, is_whole=False)
            raise
        self.live.finished.append(replay.end)
        self.replays[number] = replay
        self._scope[MARKER] = self
        work = (self._compute, code, replay)
        try:
            replay.begin(self.live)
            threading.Thread(target=self._context.run, args=work, name="durable-background", daemon=True).start()
        except BaseException as error:
            self._executed.rejoin(self._apart, is_whole=False)
            self._context.run(self.live.finish, error)
            raise

    def begin(self, _line: str, **_options: Any) -> None:
        """First statement of the cell, here in its thread."""
        self._apart.frame = sys._getframe(1)  # noqa: SLF001 - documented, and there is no other way to the line
        self.live.adopt()

    def _compute(self, code: CodeType, replay: Replay) -> None:
        from durable_nb.notebook import endings

        error: BaseException | None = None
        try:
            made = eval(code, self._scope)  # noqa: S307 - the cell, as IPython itself evaluates it
            if code.co_flags & inspect.CO_COROUTINE:
                import asyncio

                asyncio.run(made)
        except BaseException as raised:
            error = raised.with_traceback(raised.__traceback__ and raised.__traceback__.tb_next)
        try:
            self.error = endings.ended(self.live, replay, error)
        except BaseException as failure:
            self.error = failure
        self.over.set()
        self._ended()

    def publish(self) -> None:
        """Give the notebook what the cell has assigned; not what the user has set meanwhile, nor anything of a cell that failed."""
        names, scope, before = self._shell.user_ns, self._scope, self._before
        self._executed.rejoin(self._apart, is_whole=self.error is None)
        self._let_go()
        if self.error is not None:
            return
        changed = {name: scope.get(name, _GONE) for name in scope.keys() | before.keys() if name not in _OURS}
        given = []
        for name, value in sorted(changed.items()):
            if value is before.get(name, _GONE):
                continue
            if names.get(name, _GONE) is not before.get(name, _GONE):
                self.kept[name] = value
            elif value is _GONE:
                names.pop(name, None)
            else:
                names[name] = self._rebound(value, scope)
                given.append(name)
        self._tell(given)

    def _let_go(self) -> None:
        """Of the notebook's objects as they were: what the user deletes has to be gone."""
        self._scope = self._before = {}
        self.replays, self._apart.frame, self._apart.scope = {}, None, {}

    def _rebound(self, value: Any, scope: dict[str, Any]) -> Any:
        """A function that the cell defined, with the notebook's names: they are what its next call has to see."""
        from durable_nb.engine.steps import Step

        if isinstance(value, Step):
            function = self._rebound(value.function, scope)
            return value if function is value.function else value.of(function)
        if type(value) is not FunctionType or value.__globals__ is not scope:
            return value
        names, closure = self._shell.user_ns, value.__closure__
        made = FunctionType(value.__code__, names, value.__name__, value.__defaults__, closure)
        made.__kwdefaults__, made.__qualname__ = value.__kwdefaults__, value.__qualname__
        made.__annotations__ = value.__annotations__
        vars(made).update(vars(value))
        return made

    def _tell(self, given: list[str]) -> None:
        """Below the cell itself, where the front end can tell the outputs of threads apart."""
        shown = [name for name in given if not name.startswith("_")]
        said = f"Run {self.live.name!r} is done. Now there: {', '.join(shown) or 'no names'}."
        if self.kept:
            said += (
                f" Not set: {', '.join(self.kept)}, which you have set meanwhile; `kept = %durable wait {self.live.name}` "
                "gives what the run has for them."
            )
        with contextlib.suppress(Exception):  # an output that is gone must not cost the names
            self._context.copy().run(print, said)


class Backgrounds:
    """The durable cells of one kernel that are computed in the background.

    Parameters
    ----------
    replays : dict
        By number, the durable cells of this kernel; of one that has ended here only its explanation is kept.
    is_busy : callable
        Whether a cell is being executed in front: names do not change in the middle of one.
    """

    def __init__(
        self,
        shell: InteractiveShell,
        executed: ExecutedCells,
        replays: dict[int, Replay | Explanation],
        is_busy: Callable[[], bool],
    ) -> None:
        self._shell, self._executed, self._replays, self._is_busy = shell, executed, replays, is_busy
        self._cells: dict[str, BackgroundCell] = {}
        self._unsettled: list[BackgroundCell] = []
        self._lock = threading.RLock()
        self._is_watching_exit = False

    def find(self, name: str) -> BackgroundCell | None:
        """The last cell of a run that this kernel has computed in the background."""
        return self._cells.get(name)

    def forget(self, name: str) -> None:
        """That run is begun anew, somehow."""
        self._cells.pop(name, None)

    def start(
        self,
        source: str,
        cell: ast.Module,
        scope: dict[str, Any],
        number: int,
        replay: Replay,
        claim: Callable[[], LiveRun],
    ) -> None:
        """Claim the run of a cell, show its panel, and compute it in a thread."""
        made = BackgroundCell(self, self._shell, self._executed, scope, source)
        self._watch_exit()
        with self._lock:  # it may end at once
            made.start(cell, number, replay, claim)
            self._unsettled.append(made)
        name = made.live.name
        self._cells[name] = made
        print(f"Run {name!r} goes on in the background; what it assigns appears when it is done.")
        print(f"%durable wait {name} waits for that, %durable stop {name} ends it.")

    def ended(self) -> None:
        """A cell has ended, in its thread."""
        if not self._is_busy():
            self.settle()

    def settle(self) -> None:
        """Give the notebook the names of the cells that have ended; between cells."""
        from durable_nb.notebook.explain import explained

        with self._lock:
            for cell in [one for one in self._unsettled if one.over.is_set()]:
                self._unsettled.remove(cell)
                for number, replay in cell.replays.items():
                    self._replays[number] = explained(replay)
                cell.publish()

    def close(self) -> None:
        """Nothing is left to do; raises ConfigError while a run goes on."""
        self.settle()
        going = [cell.live.name for cell in self._unsettled]
        if going:
            raise ConfigError(
                f"run {going[0]!r} goes on in the background.",
                f"%durable wait {going[0]}, or %durable stop {going[0]} and wait, before you unload durable_nb.",
            )

    def _watch_exit(self) -> None:
        """When the kernel ends by itself (Restart, Shutdown), runs end as by ■: no document is to blame for that."""
        if not self._is_watching_exit:
            self._is_watching_exit = True
            # Not atexit: before that, Python waits for all that was submitted to pools of threads.
            threading._register_atexit(self._stop_all)  # type: ignore[attr-defined]  # noqa: SLF001 - no public way

    def _stop_all(self) -> None:
        going = [cell for cell in self._unsettled if not cell.over.is_set()]
        for cell in going:
            cell.live.stop()
        until = clock.monotonic() + _GRACE_S
        for cell in going:
            cell.over.wait(max(0.0, until - clock.monotonic()))
