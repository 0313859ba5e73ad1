"""``%%durable`` and ``%durable``: parse, delegate, show."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring

from durable_nb.engine.session import current as session
from durable_nb.errors import CodeChanged, ConfigError
from durable_nb.notebook import cellid, endings, marking
from durable_nb.notebook.background import Backgrounds
from durable_nb.notebook.cellid import Cell
from durable_nb.notebook.cells import DurableCells
from durable_nb.notebook.names import names_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import ExecutionInfo, ExecutionResult, InteractiveShell

    from durable_nb.engine.runs import LiveRun
    from durable_nb.notebook.explain import Explanation
    from durable_nb.notebook.makers import Makers
    from durable_nb.notebook.replay import Replay
    from durable_nb.notebook.statements import ExecutedCells


_logger = logging.getLogger("durable_nb")


@magics_class
class DurableMagics(Magics):
    """The magics, and the run of the cell that is being executed."""

    def __init__(self, shell: InteractiveShell, executed: ExecutedCells) -> None:
        super().__init__(shell)
        self._shell, self.executed = shell, executed
        self.attempts: dict[str, int] = {}  # by name of a run, its last one in this kernel
        self.urls: dict[str, str] = {}
        """By name of a run that was resumed, the database that it was found in."""
        self._live: LiveRun | None = None
        self._cells: list[Cell] = []  # the cell that is being executed, inside those that run it
        self._told: set[str] = set()  # names made for cells without one
        self._began_at = 0
        self.cells = DurableCells()
        self.replays: dict[int, Replay | Explanation] = {}
        """The durable cells of this kernel, by the number that their marked expressions bear."""
        self._replay: Replay | None = None
        self.background = Backgrounds(shell, executed, self.replays, lambda: bool(self._cells))
        self.answers: dict[str, str] = {}  # by name of the run: what was pressed below its last cell

    @magic_arguments()
    @argument("name", nargs="?", default="", help="Name of the run, found again after a restart: embed-filings")
    @argument("--on-change", choices=("ask", "keep", "recompute"), help="If a step was edited since results were saved")
    @argument("--steps", metavar="NAMES", default="", help="Also keep calls of these: embed,model.encode")
    @argument("--replay", metavar="NAMES", default="", help="Run calls of these again: load,Image.open")
    @argument("--db", metavar="URL", help="Database: a path, sqlite:///… or postgresql+psycopg://…")
    @argument("--yes", action="store_true", help="With forget: do not ask")
    @argument("--background", action="store_true", help="The prompt is back at once; names appear when the run is done")
    @argument("--make", action="store_true", help="With resume: execute again what made the names that are not saved")
    @argument(
        "--detach", action="store_true", help="In a process of its own, which outlives this kernel and its server"
    )
    @argument("--fork", metavar="OLD", default="", help="Begin NAME with the results of run OLD")
    @argument("--replay-output", action="store_true", help="Show again what restored calls had printed and displayed")
    @argument("rest", nargs="*", help="With show and forget: the name of the run")
    @line_cell_magic
    def durable(self, line: str, cell: str | None = None) -> Any:
        """Keep what the steps of a cell compute, and see what is kept.

        ::

            %%durable embed-filings                     first line of a cell that calls steps: its results survive
            %durable embed-filings                      the same, and linters still read the cell
            %%durable                                   the same under a name made from the notebook and the cell
            %%durable embed-filings --replay-output     show again what restored calls had printed
            %%durable embed-filings --on-change keep    a step was edited: keep its results, new code for the rest
            %%durable embed-large --fork embed-filings  begin with the results of another run
            %%durable embed-filings --db postgresql+psycopg://me@host/db
            %%durable embed-filings --background        go on working; what the cell assigns appears when it is done
            %%durable embed-filings --detach            the same in a process that outlives this kernel and its server

            %durable                                    the runs of this database, newest first
            %durable show embed-filings                 one run: counts, versions of the code, failures
            %durable resume embed-filings               in a fresh kernel: what its cell needs, then the cell
            %durable history embed-filings              versions of the code, what is saved of each, and how to read it
            %durable diff embed-filings embed-large     how the results of two runs differ; of two versions: NAME@1 NAME@2
            %durable retry embed-filings                what was set aside (kernels died during it) is tried once more
            %durable wait embed-filings                 until a run in the background ends; raises what its cell raised
            %durable stop embed-filings                 end a live run, wherever it is computed; what is finished is kept
            %durable attach embed-filings               its panel, moving, wherever it is computed
            %durable forget embed-filings               drop its results (asks first)
            %durable config                             the settings in force, and where the database is
            %durable explain                            what the last durable cell keeps, what it runs again, and why

        After a kernel restart run the cell again: finished calls return at once, the others run.
        """
        __tracebackhide__ = True
        if cell is not None:  # only callers of run_cell_magic come here; a typed cell never does (see transform)
            return self.run(f"%%durable {line}\n{cell}")
        if line.split() in (["--help"], ["-h"]):
            print(self.durable.__doc__)
            return None
        arguments = self._parsed(line)
        from durable_nb.notebook import commands

        command, name = arguments.name, " ".join(arguments.rest)
        if command in commands.COMMANDS:
            return commands.perform(command, commands.Asked(self, name, arguments))
        if name:
            known = ", ".join(commands.COMMANDS)
            raise UsageError(f"%durable has no sub-command {command!r}. There are: {known}. See %durable?")
        asked = commands.Asked(self, command, arguments)
        if command and marking.stands_above_code(self.cell.source, line):
            raise UsageError(
                f"%durable {line} makes a cell durable where it is its first line, above comments too. Move it there; to see "
                f"the run, write: %durable show {command}"
            )
        return commands.perform("show", asked) if command else commands.listed(asked)

    def run(self, cell: str) -> None:
        """Run a cell as if it were typed; raises what it raises."""
        self._shell.run_cell(cell).raise_error()

    def begin(self, line: str, *, plan: int = 0, refused: str = "") -> None:
        """First statement of a durable cell: look at what it calls, open its run, show its panel."""
        from durable_nb.notebook import interrupts, opening, outputs  # with the engine: not by %load_ext

        if self._live is not None and len(self._cells) > self._began_at:
            raise ConfigError(
                f"a cell of run {self._live.name!r} cannot run another durable cell.", "Run that one on its own."
            )
        self.end_leftover()
        arguments = self._arguments(line, refused)
        aside = self.cells.aside.pop(plan, None)
        if arguments.background or arguments.detach or aside is not None:
            opening.go_apart(self, arguments, plan, aside)
            return
        replay = self.planned(plan, arguments, self._shell.user_ns)
        self._live = opening.opened(self, arguments, replay)
        self._began_at = len(self._cells)
        outputs.listen(self._shell, self._live, again=arguments.replay_output)
        self._live.finished.append(interrupts.also_on_interrupt(self._live.stop, self._live.saving.withholds))
        if replay is not None:
            replay.begin(self._live)
            self._live.finished.append(replay.end)
            self._replay = replay

    def makers(self) -> Makers:
        """Which statements of the cells that were executed made which names."""
        from durable_nb.notebook.makers import Makers

        return Makers(self.executed.cells(), self.executed.adopted, self._shell.transform_cell)

    def _parsed(self, line: str) -> Any:
        try:
            arguments = parse_argstring(self.durable, line)
        except ValueError as error:  # of shlex
            raise UsageError(f"%durable {line}: {str(error).lower()}. Close the quotes, or leave them out.") from None
        if arguments.db:
            arguments.db = self._address(arguments.db)
        return arguments

    def _address(self, written: str) -> str:
        """A path or URL as in any magic: in quotes, or by a variable."""
        if len(written) > 1 and written[0] == written[-1] and written[0] in "'\"":
            written = written[1:-1]
        address = str(self._shell.var_expand(written))
        if address.startswith("$") or "{" in address:
            raise ConfigError(f"--db {written}: this notebook has no such variable.", "Give a path or a URL.")
        return address

    def _arguments(self, line: str, refused: str) -> Any:
        """The options of the first line; raises for a cell that cannot be durable at all."""
        if refused == "empty":
            raise UsageError("%%durable: the cell is empty. Put the code to keep below the first line.")
        if refused:
            raise UsageError(f"%%durable cannot wrap %%{refused}: its body is not run as Python of this notebook.")
        arguments = self._parsed(line)
        if arguments.rest:
            raise ConfigError(f"a run has one name, and this line has {1 + len(arguments.rest)} words.", f"{line!r}")
        arguments.name = arguments.name or self._made_name(arguments)
        return arguments

    @property
    def cell(self) -> Cell:
        """The cell that is being executed."""
        return self._cells[-1] if self._cells else Cell("", "")

    def _made_name(self, arguments: Any) -> str:
        """For a cell without one; told once."""
        notebook, cell = session.notebook, self.cell
        name = cellid.derived_name(notebook, cell)
        if cell.id:
            name = cellid.known_name(name, notebook, cell, session.store(url=arguments.db).runs())
        if name not in self._told:
            self._told.add(name)
            anew = "" if cell.id else " Without one, an edited cell starts anew."
            print(f"This cell has no name, so its results are kept as {name}. To choose one: %%durable NAME.{anew}")
        return name

    def planned(self, number: int, arguments: Any, scope: dict[str, Any]) -> Replay | None:
        """The replay of the cell; None in a shell that does not run AST transformers."""
        plan = self.cells.plans.pop(number, None)
        if plan is None:
            return None
        from durable_nb.notebook.replay import Replay

        steps, replays = names_in(arguments.steps), names_in(arguments.replay)
        source = self.cell.source
        replay = Replay(plan, scope, name=arguments.name, source=source, steps=steps, replays=replays)
        self.replays[number] = replay
        return replay

    def enter_cell(self, info: ExecutionInfo) -> None:
        """``pre_run_cell``: cells may run cells, and only the one that began the run ends it."""
        if not self._cells:
            self.end_leftover()
            self.background.settle()
        self._cells.append(cellid.cell_of(info))
        session.cell = self.cell.id

    def leave_cell(self, result: ExecutionResult | None) -> None:
        """``post_run_cell``: the run of the cell ends with it. None for a cell that was cancelled."""
        if result is not None and result.info is not None:
            raw = result.info.raw_cell
            if raw not in [cell.source for cell in self._cells]:
                return  # never announced: an empty cell, one that awaits inside one that does not, the one with %load_ext
            while self._cells[-1].source != raw:
                self._cells.pop()
        try:
            if self._live is not None and len(self._cells) <= self._began_at:
                self._end(result)
            error = None if result is None else result.error_in_exec
            if isinstance(error, CodeChanged):
                self.ask(error)
        finally:
            if self._cells:
                self._cells.pop()
            session.cell = self.cell.id
            if not self._cells:
                self.background.settle()

    def _end(self, result: ExecutionResult | None) -> None:
        live, replay, self._live, self._replay = self._live, self._replay, None, None
        assert live is not None
        raised = KeyboardInterrupt() if result is None else result.error_before_exec or result.error_in_exec
        error = endings.ended(live, replay, raised)
        if error is None or error is raised:
            return
        if result is None:
            raise error
        # The cell has failed all the same: raised from here that would be printed only, and Run All would go on without the
        # results (promise 4).
        result.error_in_exec = error
        self._shell.showtraceback((type(error), error, error.__traceback__))

    def ask(self, error: CodeChanged) -> None:
        """Two buttons: keep the results of older code, or compute them again."""
        from durable_nb.notebook import question

        def answer(choice: str) -> None:
            self.answers[error.run] = choice

        try:
            question.ask(error, answer)
        except Exception as failure:  # the error above says the same in words
            _logger.warning("durable_nb: no buttons (%s)", failure)

    def end_leftover(self) -> None:
        """End the run of a cell whose end was never announced (a front end that died in the middle)."""
        live, self._live = self._live, None
        if live is not None:
            live.finish(KeyboardInterrupt())

    def when_idle(self, undo: Callable[[], None]) -> None:
        """Do something now, or if a durable cell is being executed, when it has ended."""
        if not self._cells or self._replay is None:
            undo()
            return
        shell = self._shell

        def ended(*_: Any) -> None:
            shell.events.unregister("post_run_cell", ended)
            undo()

        shell.events.register("post_run_cell", ended)
