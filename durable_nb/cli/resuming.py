"""``durable-nb resume NAME``: the cell of a run, without its notebook."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from durable_nb.engine.session import current as session
from durable_nb.errors import ConfigError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable


def add_command(command: Callable[[str, Any, str], argparse.ArgumentParser]) -> None:
    """Declare it."""
    resume = command("resume", _resume, "run the cell of a run again, without its notebook: only the rest is computed")
    resume.add_argument("name")
    resume.add_argument("--make", action="store_true", help="execute again what made the names that are not saved")
    resume.add_argument("--on-change", choices=("keep", "recompute"), help="if a step was edited since")


def _resume(options: argparse.Namespace) -> int:
    from durable_nb.notebook import headless, pages

    store = session.existing_store(url=options.db)
    run = store.run(options.name)
    if run is None:
        raise ConfigError(f"there is no run {options.name!r} in {store.where}.", "See `durable-nb runs`.")
    status = headless.resume(store, run, make=options.make, on_change=options.on_change)
    if options.json and (now := store.run(options.name)) is not None:
        print(json.dumps(pages.run_as_dict(now) | {"status": status}))
    return status
