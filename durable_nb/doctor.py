"""``durable-nb doctor``: versions, the settings in force, and what could go wrong on this machine."""

from __future__ import annotations

import platform
import sqlite3
from importlib import metadata
from typing import Any

from durable_nb import config
from durable_nb.engine.session import current as session
from durable_nb.errors import DurableError

_PACKAGES = (
    "durable-nb", "ipython", "ipykernel", "sqlalchemy", "ipywidgets", "anywidget", "cloudpickle", "xxhash",
    "jupyterlab", "psycopg", "numpy", "pandas",
)  # fmt: skip


def examine(url: str | None = None) -> dict[str, Any]:
    """Findings, JSON-ready: ``versions``, ``settings``, ``store`` and ``problems`` (a list of sentences)."""
    problems: list[str] = []
    versions = {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    if sqlite3.sqlite_version_info < (3, 35):
        problems.append(f"SQLite {sqlite3.sqlite_version} is too old; 3.35 is needed. Use a newer Python.")
    settings: dict[str, Any] = {}
    store: dict[str, Any] = {"where": "not there yet: the first durable cell makes it"}
    try:
        settings = config.shown(session.settings(url=url), folder=session.folder)
        if session.has_store(url=url):
            opened = session.store(url=url)
            store = {"where": opened.where, "foreign": opened.foreign(), "runs": len(opened.runs())}
            problems += opened.check()
    except DurableError as error:
        problems.append(str(error))
    return {"versions": versions, "settings": settings, "store": store, "problems": problems}


def text(findings: dict[str, Any]) -> str:
    """The findings as lines to read."""
    lines = [f"  {name:<12} {value}" for name, value in findings["versions"].items()]
    lines += [f"  {name:<12} {value}" for name, value in findings["settings"].items()]
    lines += [f"  {name:<12} {value}" for name, value in findings["store"].items()]
    return "\n".join([*lines, "", *(findings["problems"] or ["No problem found."])])
