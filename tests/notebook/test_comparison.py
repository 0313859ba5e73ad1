"""The same application in several ways: what the README says about its lines is counted here, and its kernel is killed."""

from __future__ import annotations

import importlib.util

import pytest

from tests.bench.comparison.counting import code_lines, counted
from tests.bench.comparison.variants import STEP, VARIANTS, edited, reordered

NAMED = {variant.name: variant for variant in VARIANTS}


def test_one_line_by_magic() -> None:
    """The application gets one line more, the notebook one that loads the extension; nothing beside the notebook."""
    count = counted(NAMED["durable_magic"])

    assert (1, 0) == (count.added - count.added_in_setup, count.removed)
    assert (1, 0) == (count.added_in_setup, count.removed_in_setup)
    assert (0, ()) == (count.files, NAMED["durable_magic"].services)


def test_four_lines_by_decorator() -> None:
    """Added and removed, import and all."""
    count = counted(NAMED["durable_decorator"])

    assert count.added + count.removed <= 4
    assert (0, ()) == (count.files, NAMED["durable_decorator"].services)


def test_lines_are_counted_as_they_are_read() -> None:
    """Comments, docstrings and blank lines are no code; a magic and every line of a long call are."""
    source = '%load_ext durable_nb\n\n# why\ndef f():\n    """What.\n\n    More.\n    """\n    return max(\n        1,\n        2,\n    )\n'

    assert 6 == code_lines(source)


@pytest.mark.parametrize("name", NAMED)
def test_edits_apply_to_every_variant(name: str) -> None:
    """Each finds the texts that the scenarios replace, once, in its cells or files."""
    variant = NAMED[name]
    text = "\n".join([cell.source for cell in variant.cells()] + list(variant.extra().values()))
    for edit in (STEP, reordered(variant)):
        assert 1 == text.count(edit[0])
        assert text != edited(text, (edit,))


@pytest.mark.skipif(
    any(importlib.util.find_spec(module) is None for module in ("wordllama", "llama_index", "pypdf", "reportlab")),
    reason="the application's own libraries are not installed",
)
@pytest.mark.matrix  # half a minute
def test_a_killed_kernel_costs_a_document() -> None:
    """By magic, after SIGKILL: at most the document in flight is read again, and the store has one row for each chunk."""
    from tests.bench.comparison.places import truth
    from tests.bench.comparison.scenarios import DOCUMENTS, sigkill

    assert "" == sigkill(NAMED["durable_magic"], {"now": truth(DOCUMENTS)})
