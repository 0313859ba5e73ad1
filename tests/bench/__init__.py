"""Measurements, each a program: ``python -m tests.bench.NAME``."""

from __future__ import annotations

import os


def as_installed() -> None:
    """Let the processes that are started from here keep bytecode, as an installed library has it.

    Without it each would compile a hundred modules first: 0.2 s.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
