"""Which statements made an object: read from the cells that this kernel has executed."""

from __future__ import annotations

import ast
import linecache
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from durable_nb.notebook.makers import Made
from durable_nb.provenance import parse_cell, statements_about

if TYPE_CHECKING:
    from types import CodeType, FrameType

    from IPython.core.interactiveshell import ExecutionResult, InteractiveShell

    from durable_nb.engine.runs import LiveRun

_CO_NEWLOCALS = 0x2  # inspect.CO_NEWLOCALS: a function's


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

    def find(self, name: str, scope: dict[str, Any]) -> str | None:
        """What made the object that ``name`` stands for in the notebook's namespace; a statement finder."""
        if scope is not self._shell.user_ns or self._shell.history_manager is None:
            return None
        adopted = self.adopted.get(name)
        return statements_about([*([adopted.statements] if adopted else []), *self.cells()], name)

    def cells(self) -> list[str]:
        """What was executed, by number; of the cell that is running what comes before its current line."""
        history = self._shell.history_manager
        cells = [] if history is None else list(history.input_hist_raw)
        for number, executed in self._cut.items():
            if number < len(cells):
                cells[number] = executed
        running = self._running()
        return [*cells[:-1], running] if running is not None else cells

    def enter_run(self, live: LiveRun) -> None:
        """An observer of runs."""
        frame = self._frame_here()
        if frame is not None:
            live.finished.append(partial(setattr, self, "_frame", self._frame))  # that of the run around this one
            self._frame = frame

    def leave_cell(self, result: ExecutionResult | None) -> None:
        """``post_run_cell``: of a cell that raised only what comes before counts."""
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
