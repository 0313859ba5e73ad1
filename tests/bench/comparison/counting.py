"""Lines, counted: of the cells and extra files of each notebook, and what was added and removed against the plain one."""

from __future__ import annotations

import ast
import difflib
import io
import tokenize
from typing import NamedTuple

from tests.bench.comparison.variants import VARIANTS, Variant

_LAYOUT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


class Count(NamedTuple):
    """Of one variant; changes count lines that are not blank."""

    physical: int
    not_blank: int
    code: int
    added: int
    removed: int
    added_in_setup: int
    """Of ``added``: in cells that only set up (imports, configuration, launch), once a notebook."""
    removed_in_setup: int
    files: int


def code_lines(source: str) -> int:
    """Lines with a token that is neither layout, comment nor docstring; a magic is code."""
    lines = [f"pass  # {line}" if line.lstrip().startswith("%") else line for line in source.splitlines()]
    text = "\n".join(lines) + "\n"
    documented = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            documented |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    found = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _LAYOUT:
            found |= set(range(token.start[0], token.end[0] + 1))
    return len(found - documented)


def sources(variant: Variant) -> list[str]:
    """Every cell and file."""
    return [cell.source for cell in variant.cells()] + list(variant.extra().values())


def _changed(old: list[str], new: list[str]) -> tuple[int, int]:
    before, after = ([line for source in side for line in source.splitlines() if line.strip()] for side in (old, new))
    marks = [line[0] for line in difflib.ndiff(before, after)]
    return marks.count("+"), marks.count("-")


def counted(variant: Variant, plain: Variant = VARIANTS[0]) -> Count:
    """The lines of a variant."""
    lines = [line for source in sources(variant) for line in source.splitlines()]
    in_setup, elsewhere = (
        _changed(
            [cell.source for cell in plain.cells() if cell.is_setup is is_setup],
            [cell.source for cell in variant.cells() if cell.is_setup is is_setup]
            + ([] if is_setup else list(variant.extra().values())),
        )
        for is_setup in (True, False)
    )
    return Count(
        physical=len(lines),
        not_blank=sum(1 for line in lines if line.strip()),
        code=sum(map(code_lines, sources(variant))),
        added=in_setup[0] + elsewhere[0],
        removed=in_setup[1] + elsewhere[1],
        added_in_setup=in_setup[0],
        removed_in_setup=in_setup[1],
        files=len(variant.files),
    )
