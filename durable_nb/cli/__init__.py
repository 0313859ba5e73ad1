"""``durable-nb``: the same from a shell."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from durable_nb.cli import resuming, upkeep
from durable_nb.cli.output import printable, show
from durable_nb.engine.session import current as session
from durable_nb.errors import ConfigError, DurableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durable_nb.records import Run
    from durable_nb.store import Store


_CONTROLS = {
    "pause": "let a live run start no further call; running ones end",
    "unpause": "let a paused run go on",
    "stop": "end a live run; what is finished is kept",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 well, 1 something is wrong with the data, 2 it could not be done, 75 another process is at it."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except DurableError as error:
        print(printable(f"durable-nb: {error}"), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="one JSON value on stdout, for programs")
    common.add_argument("--db", metavar="URL", help="database; default as in a notebook of this folder")
    parser = argparse.ArgumentParser(prog="durable-nb", description="Notebook cells that survive, from a shell.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, function: Any, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, parents=[common], help=text, description=text)
        added.set_defaults(command=function, verb=name)
        return added

    command("runs", _runs, "the runs of a database, newest first")
    command("show", _show, "one run: counts, versions of the code, failures").add_argument("name")
    command("history", _history, "versions of the code behind a run, and what is saved of each").add_argument("name")
    compare = command("diff", _diff, "how the results of two runs, or of two versions NAME@1 NAME@2, differ")
    compare.add_argument("first")
    compare.add_argument("second")
    for name, text in _CONTROLS.items():
        command(name, _control, text).add_argument("name")
    resuming.add_command(command)
    command("retry", _retry, "let what was set aside, because kernels died during it, be tried again").add_argument(
        "name"
    )
    check = command("check", _check, "whether the database is whole, and whose it is")
    check.add_argument("--repair", metavar="NEW.db", help="copy what is intact into a new database")
    upkeep.add_commands(command)
    command("doctor", _doctor, "versions, settings in force, and what could go wrong here")
    demo = command("demo", _demo, "kill a real kernel in the middle of real work, and go on")
    demo.add_argument("--documents", type=int, default=2000, metavar="N", help="default 2000")
    demo.add_argument("--keep", action="store_true", help="leave notebook and database in ./durable-nb-demo")
    return parser


def _runs(options: argparse.Namespace) -> int:
    from durable_nb.notebook import pages

    runs = session.existing_store(url=options.db).runs()
    show(options, [pages.run_as_dict(run) for run in runs], pages.runs_text(runs))
    return 0


def _show(options: argparse.Namespace) -> int:
    from durable_nb.notebook.pages import RunPage

    store = session.existing_store(url=options.db)
    page = RunPage(store, _run(store, options.name))
    show(options, page.as_dict(), str(page))
    return 0


def _history(options: argparse.Namespace) -> int:
    from durable_nb.notebook.history import HistoryPage

    store = session.existing_store(url=options.db)
    page = HistoryPage(store, _run(store, options.name))
    show(options, page.as_dict(), str(page))
    return 0


def _diff(options: argparse.Namespace) -> int:
    from durable_nb.notebook.history import DiffPage

    page = DiffPage(session.existing_store(url=options.db), options.first, options.second)
    show(options, page.as_dict(), str(page))
    return 0


def _control(options: argparse.Namespace) -> int:
    """Ask the process that computes a run: it looks ten times a second, whatever it is doing."""
    from durable_nb.records import State

    store = session.existing_store(url=options.db)
    run = _run(store, options.name)
    if run.state is not State.RUNNING:
        raise ConfigError(f"nobody is computing run {run.name!r} now (it is {run.state}).", "There is nothing to do.")
    asked = store.control(run.id, "resume" if options.verb == "unpause" else options.verb)
    where = f" (pid {run.owner.pid} on {run.owner.host})" if run.owner else ""
    answer = {"run": run.name, "action": options.verb, "id": asked}
    show(options, answer, f"Asked run {run.name!r}{where} to {options.verb}.")
    return 0


def _retry(options: argparse.Namespace) -> int:
    from durable_nb.notebook import pages

    store = session.existing_store(url=options.db)
    run = _run(store, options.name)
    count = store.spare(run.id)
    show(options, {"run": run.name, "spared": count}, pages.spared(run.name, count))
    return 0


def _run(store: Store, name: str) -> Run:
    run = store.run(name)
    if run is None:
        raise ConfigError(f"there is no run {name!r} in {store.where}.", "See `durable-nb runs`.")
    return run


def _check(options: argparse.Namespace) -> int:
    if options.repair:
        return upkeep.repair(options)
    store = session.existing_store(url=options.db)
    problems = store.check()
    text = "\n".join(problems) if problems else f"{store.where}: whole."
    show(options, {"where": store.where, "problems": problems}, text)
    return 1 if problems else 0


def _doctor(options: argparse.Namespace) -> int:
    from durable_nb import doctor

    findings = doctor.examine(options.db)
    show(options, findings, doctor.text(findings))
    return 1 if findings["problems"] else 0


def _demo(options: argparse.Namespace) -> int:
    from durable_nb import demo

    outcome = demo.run(documents=options.documents, keep=options.keep, say=_say)
    print(demo.as_json(outcome) if options.json else demo.table(outcome))
    return 1 if outcome.lost or outcome.wrong else 0


def _say(line: str) -> None:
    """Progress on stderr: a line that starts with a carriage return replaces the one before, on a terminal."""
    if sys.stderr.isatty():
        print(f"\033[2K\r{line[1:]}" if line.startswith("\r") else f"\n{line}", end="", file=sys.stderr, flush=True)
    elif not line.startswith("\r"):
        print(line, file=sys.stderr, flush=True)
