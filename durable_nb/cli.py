"""``durable-nb``: the same from a shell."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from durable_nb.engine.session import current as session
from durable_nb.errors import ConfigError, DurableError

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 well, 1 something is wrong with the data, 2 it could not be done."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except DurableError as error:
        print(f"durable-nb: {error}", file=sys.stderr)
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
        added.set_defaults(command=function)
        return added

    command("runs", _runs, "the runs of a database, newest first")
    command("show", _show, "one run: counts, versions of the code, failures").add_argument("name")
    command("check", _check, "whether the database is whole")
    command("doctor", _doctor, "versions, settings in force, and what could go wrong here")
    demo = command("demo", _demo, "kill a real kernel in the middle of real work, and go on")
    demo.add_argument("--documents", type=int, default=2000, metavar="N", help="default 2000")
    demo.add_argument("--keep", action="store_true", help="leave notebook and database in ./durable-nb-demo")
    return parser


def _runs(options: argparse.Namespace) -> int:
    from durable_nb.notebook import display, pages

    runs = session.existing_store(url=options.db).runs()
    print(json.dumps([pages.run_as_dict(run) for run in runs]) if options.json else display.runs_text(runs))
    return 0


def _show(options: argparse.Namespace) -> int:
    from durable_nb.notebook.pages import RunPage

    store = session.existing_store(url=options.db)
    run = store.run(options.name)
    if run is None:
        raise ConfigError(f"there is no run {options.name!r} in {store.where}.", "See `durable-nb runs`.")
    page = RunPage(store, run)
    print(json.dumps(page.as_dict()) if options.json else page)
    return 0


def _check(options: argparse.Namespace) -> int:
    store = session.existing_store(url=options.db)
    problems = store.check()
    if options.json:
        print(json.dumps({"where": store.where, "problems": problems}))
    else:
        print("\n".join(problems) if problems else f"{store.where}: whole.")
    return 1 if problems else 0


def _doctor(options: argparse.Namespace) -> int:
    from durable_nb import doctor

    findings = doctor.examine(options.db)
    print(json.dumps(findings) if options.json else doctor.text(findings))
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


if __name__ == "__main__":
    sys.exit(main())
