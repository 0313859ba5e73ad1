"""What the house style promises, held by machinery: sizes, docstrings, and prose that names only what exists."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

import durable_nb

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "durable_nb").rglob("*.py"))
TESTS = sorted(path for path in (ROOT / "tests").rglob("test_*.py"))
# Exact sizes of what is over the cap: a file may shrink, and then its number here; it may not grow.
TOO_LONG = {"durable_nb/store/writer.py": 310}
FILE_LINES, FUNCTION_LINES = 300, 50


def functions_of(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function of a file, nested ones too."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_small(path: Path) -> None:
    """No source file is over 300 lines, no function over 50 (its docstring not counted)."""
    allowed = TOO_LONG.get(str(path.relative_to(ROOT)), FILE_LINES)
    long = {}
    for node in functions_of(path):
        documented = ast.get_docstring(node) is not None
        first = node.body[1] if documented and len(node.body) > 1 else node.body[0]
        lines = (node.end_lineno or 0) - first.lineno + 1
        if lines > FUNCTION_LINES:
            long[node.name] = lines

    assert len(path.read_text().splitlines()) <= allowed
    assert {} == long


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_test_says_what_it_promises(path: Path) -> None:
    """Each test has a docstring, and none sleeps."""
    undocumented = [
        node.name for node in functions_of(path) if node.name.startswith("test_") and not ast.get_docstring(node)
    ]

    assert [] == undocumented


def test_the_front_door_is_small() -> None:
    """At most twelve public names, all there, each with a docstring."""
    names = durable_nb.__all__

    assert len(names) <= 12
    assert [] == [name for name in names if not getattr(durable_nb, name).__doc__]


def test_paths_and_names_in_the_readme_exist() -> None:
    """Every path and every dotted durable_nb name that the README mentions is there."""
    text = (ROOT / "README.md").read_text()
    paths = set(re.findall(r"`((?:tests|notebooks|durable_nb|extension|\.ci)/[\w./-]*)`", text))
    paths |= set(re.findall(r"\]\((?!http)([\w./-]+)\)", text))
    missing = [path for path in paths if not (ROOT / path).exists()]
    for dotted in set(re.findall(r"\bdurable_nb(?:\.\w+)+\b", text)):
        try:
            importlib.import_module(dotted)
        except ModuleNotFoundError:
            module, _, name = dotted.rpartition(".")
            if not hasattr(importlib.import_module(module), name):
                missing.append(dotted)

    assert [] == missing


def test_only_the_clock_reads_the_time() -> None:
    """No module but clock imports time, so that a frozen clock freezes everything."""
    guilty = [
        path.name
        for path in SOURCES
        if path.name != "clock.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import) and any(alias.name == "time" for alias in node.names)
    ]

    assert [] == guilty
