"""Which statements made an object: read from the cells that this kernel has executed."""

from __future__ import annotations

import ast
import linecache
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from durable_nb.loads import note_loads
from durable_nb.mutations import are_possible
from durable_nb.notebook.makers import Made
from durable_nb.notebook.names import names_bound
from durable_nb.provenance import parse_cell, statements_about

if TYPE_CHECKING:
    from types import CodeType, FrameType

    from IPython.core.interactiveshell import ExecutionResult, InteractiveShell

    from durable_nb.engine.runs import LiveRun

_CO_NEWLOCALS = 0x2  # inspect.CO_NEWLOCALS: a function's
_LOOPS = (ast.For, ast.AsyncFor, ast.While, ast.comprehension)


class Apart:
    """A cell that is executed with names of its own, in a thread, while other cells are."""

    def __init__(self, scope: dict[str, Any], before: list[str], number: int, filename: str) -> None:
        self.scope, self.number, self.filename = scope, number, filename
        self.frame: FrameType | None = None
        """Of the cell, once it runs."""
        self._before = before

    def cells(self) -> list[str]:
        """What made the objects that its names stand for."""
        return [*self._before, self._executed()]

    def changes(self) -> str:
        """What it has done to objects that the notebook has too; the names it binds are its own until it has ended."""
        tree = parse_cell(self._executed())
        body = [] if tree is None else tree.body
        first = next((n for n, one in enumerate(body) if any(isinstance(part, _LOOPS) for part in ast.walk(one))), None)
        return ast.unparse(ast.Module([one for one in body[:first] if not names_bound([one])], type_ignores=[]))

    def _executed(self) -> str:
        return "" if self.frame is None else _executed(self.frame.f_code, self.frame.f_lineno)


class ExecutedCells:
    """The statements of the notebook that were executed, found by the names that they bind.

    Of a cell only what was executed counts, so the cells come from the kernel's history, not from the notebook file.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        self._cut: dict[int, str] = {}  # by number in the history: what was executed of a cell that raised
        self.adopted: dict[str, Made] = {}
        """By name, how it was made in the kernel that a capsule is from: as if that had been executed here, first."""
        self.adopted_at: dict[str, float] = {}
        """By name, the time of that capsule."""
        self._frame: FrameType | None = None  # of the cell whose run is open: its threads and tasks are asked too
        self._apart: dict[int, Apart] = {}  # by id of the scope

    def find(self, name: str, scope: dict[str, Any]) -> str | None:
        """What made the object that ``name`` stands for in the notebook's namespace; a statement finder."""
        apart = self._apart.get(id(scope))
        if apart is None and scope is not self._shell.user_ns:
            return None
        adopted = self.adopted.get(name)
        cells = self.cells() if apart is None else apart.cells()
        before = [adopted.statements] if adopted else []
        if not are_possible(scope.get(name)):
            return statements_about([*before, *cells], name)
        shown = {len(before) + number for number in self._shell.user_ns.get("Out", ())}
        return statements_about([*before, *cells], name, scope, shown)

    def updated(self, module: str) -> object:
        """When the file was written that IPython's autoreload took a module from last, be it in place; None if never."""
        reloader = getattr(self._shell.magics_manager.registry.get("AutoreloadMagics"), "_reloader", None)
        time = getattr(reloader, "modules_mtimes", {}).get(module)
        return None if time in getattr(reloader, "failed", {}).values() else time

    def cells(self) -> list[str]:
        """What was executed, by number; of the cell that is running what comes before its current line."""
        cells, running = self._cells(), self._running()
        return [*cells[:-1], running] if running is not None else cells

    def _cells(self) -> list[str]:
        history = self._shell.history_manager
        cells = [] if history is None else list(history.input_hist_raw)
        cut = self._cut | {apart.number: apart.changes() for apart in list(self._apart.values())}
        for number, executed in cut.items():
            if 0 <= number < len(cells):
                cells[number] = executed
        return cells

    def set_apart(self, scope: dict[str, Any], source: str) -> Apart:
        """The cell that is running goes on in ``scope``, a copy of the notebook's names."""
        cells = self._cells()
        is_noted = bool(cells) and cells[-1] == source  # not where no history is kept
        frame = self._frame_here()
        filename = "<cell>" if frame is None else frame.f_code.co_filename
        before, number = (cells[:-1], len(cells) - 1) if is_noted else (cells, -1)
        apart = Apart(scope, before, number, filename)
        self._apart[id(scope)] = apart
        return apart

    def rejoin(self, apart: Apart, *, is_whole: bool) -> None:
        """That cell has ended; unless it is ``is_whole``, the notebook has none of its names."""
        if not is_whole:
            self._cut[apart.number] = apart.changes()
        self._apart.pop(id(apart.scope), None)

    def enter_run(self, live: LiveRun) -> None:
        """An observer of runs."""
        frame = None if live.apart else self._frame_here()
        if frame is not None:
            live.finished.append(partial(setattr, self, "_frame", self._frame))  # that of the run around this one
            self._frame = frame

    def leave_cell(self, result: ExecutionResult | None) -> None:
        """``post_run_cell``: of a cell that raised only what comes before counts. Modules that it loaded are noted."""
        note_loads()
        number = getattr(result, "execution_count", None)
        if result is None or number is None or result.success:
            return
        traceback = getattr(result.error_in_exec, "__traceback__", None)
        executed = ""
        while traceback is not None:
            if self._is_of_cell(traceback.tb_frame):
                executed = _executed(traceback.tb_frame.f_code, traceback.tb_lineno)
            traceback = traceback.tb_next
        self._cut[number] = executed

    def _running(self) -> str | None:
        """What has been executed of the cell that is running; None outside of a cell."""
        frame = self._frame_here() or self._frame
        return None if frame is None else _executed(frame.f_code, frame.f_lineno)

    def _frame_here(self) -> FrameType | None:
        frame: FrameType | None = sys._getframe()  # noqa: SLF001 - documented, and there is no other way to the line
        while frame is not None and not self._is_of_cell(frame):
            frame = frame.f_back
        return frame

    def _is_of_cell(self, frame: FrameType) -> bool:
        """Not by its locals: those of a cell within a comprehension are another object, since Python 3.12."""
        return frame.f_globals is self._shell.user_ns and not frame.f_code.co_flags & _CO_NEWLOCALS


def _executed(code: CodeType, line: int) -> str:
    """The statements before a line, and a block around it: which of its lines were executed is not known."""
    tree = parse_cell("".join(linecache.getlines(code.co_filename)))
    if tree is None:
        return ""
    blocks = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.Match)
    body = [
        statement
        for statement in tree.body
        if (statement.end_lineno or 0) < line or (statement.lineno <= line and isinstance(statement, blocks))
    ]
    return ast.unparse(ast.Module(body=body, type_ignores=[]))
