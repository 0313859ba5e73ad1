"""``durable-nb trust | gc | export | import`` and ``check --repair``: look after a database."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from durable_nb import config
from durable_nb.cli.output import show
from durable_nb.display import size_text
from durable_nb.engine.session import current as session
from durable_nb.errors import ConfigError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_BYTES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def add_commands(command: Callable[[str, Any, str], argparse.ArgumentParser]) -> None:
    """Declare them."""
    trust = command("trust", _trust, "vouch for what is in a database: it may be unpickled from now on")
    trust.add_argument("database", nargs="?", help="path or URL; default as in a notebook of this folder")
    gc = command("gc", _gc, "drop runs that nobody has used for long, and give their space back")
    gc.add_argument("--older", metavar="30d", help="not used for so long: 12h, 30d, 8w")
    gc.add_argument(
        "--max-size", metavar="2GB", help="and those used last longest ago, until it takes no more than this"
    )
    gc.add_argument("--dry-run", action="store_true", help="only say what would go")
    export = command("export", _export, "write a run with its results to one file")
    export.add_argument("name")
    export.add_argument("file")
    take = command("import", _import, "take over the run of such a file")
    take.add_argument("file")
    take.add_argument("--as", metavar="NAME", dest="name", help="name it so here")


def repair(options: argparse.Namespace) -> int:
    """``check --repair NEW.db``; 1 when something could not be read."""
    from durable_nb.store import Store

    urls = [
        config.database_url(url, folder=session.folder)
        for url in (session.settings(url=options.db).url, options.repair)
    ]
    found = Store.repair(*urls)
    problems = [
        f"{count:,} {text}"
        for count, text in (
            (found.unreadable, "rows lie on damaged pages and could not be read"),
            (found.unfit, "results could be read and were not what was saved"),
        )
        if count
    ]
    said = "; ".join([f"{options.repair}: {found.results:,} results are in it", *problems])
    remedy = "It is a database as any: configure(url=…), or put it in the place of the other one."
    show(options, found._asdict(), f"{said}. {remedy}")
    return 1 if problems else 0


def _trust(options: argparse.Namespace) -> int:
    store = session.existing_store(url=options.database or options.db)
    signed = store.trust()
    said = f"{signed:,} results of others are signed as yours now" if signed else "there was nothing left to sign"
    text = f"{store.where}: {said}. What others add later is not read before you say so again."
    show(options, {"where": store.where, "signed": signed}, text)
    return 0


def _gc(options: argparse.Namespace) -> int:
    store = session.existing_store(url=options.db)
    older, most = (
        _parsed("--older", options.older, _SECONDS, "30d"),
        _parsed("--max-size", options.max_size, _BYTES, "2GB"),
    )
    swept = store.gc(older_s=older, max_bytes=None if most is None else int(most), dry_run=options.dry_run)
    verb = "would be dropped" if options.dry_run else "dropped"
    lines = [f"  {name}" for name in swept.runs]
    lines += [
        f"{len(swept.runs):,} runs {verb}; {store.where}: {size_text(swept.before)} before, {size_text(swept.after)} after."
    ]
    show(options, swept._asdict() | {"dry_run": options.dry_run}, "\n".join(lines))
    return 0


def _export(options: argparse.Namespace) -> int:
    count = session.existing_store(url=options.db).export_run(options.name, options.file)
    text = (
        f"{options.file}: run {options.name!r} with {count:,} checkpoints. `durable-nb import` takes it over elsewhere."
    )
    show(options, {"run": options.name, "file": options.file, "checkpoints": count}, text)
    return 0


def _import(options: argparse.Namespace) -> int:
    store = session.store(url=options.db)
    name, count = store.import_run(options.file, name=options.name)
    foreign = store.foreign()
    text = f"{store.where}: run {name!r} with {count:,} checkpoints."
    if foreign:
        text += f" {foreign:,} of its results are not read before you vouch for them: `durable-nb trust`."
    show(options, {"run": name, "where": store.where, "checkpoints": count, "foreign": foreign}, text)
    return 0


def _parsed(option: str, text: str | None, units: dict[str, int], example: str) -> float | None:
    """'30d' in seconds, '2GB' in bytes; None for None."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,12}(?:\.\d{1,6})?) ?([a-zA-Z]?)(?:[bB]?)", text, re.ASCII)
    unit = None if found is None else units.get(found[2], units.get(found[2].lower(), units.get(found[2].upper())))
    if found is None or unit is None:
        raise ConfigError(f"{option} {text!r:.40} is not understood.", f"Write it like {example}.")
    return float(found[1]) * unit
