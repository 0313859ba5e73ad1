"""Texts that are held as bytes."""

from __future__ import annotations

import pickle

from hypothesis import given
from hypothesis import strategies as st

from durable_nb.texts import Texts

any_texts = st.lists(st.text(st.characters(codec=None), max_size=5), max_size=8)


@given(st.lists(st.tuples(st.integers(0, 12), any_texts), max_size=6))
def test_reads_like_a_list(puts: list[tuple[int, list[str]]]) -> None:
    """Whatever is put where: length, indexes, slices and equality are those of a list, lone surrogates too."""
    texts, plain = Texts(), list[str]()
    for first, some in puts:
        texts.put(first, some)
        plain = [*plain[:first], *[""] * (first - len(plain)), *some]

        assert plain == texts
        assert len(plain) == len(texts)
        assert plain[1:-1] == texts[1:-1]
        assert plain[-2::-1] == texts[-2::-1]
        assert plain == pickle.loads(pickle.dumps(texts))
        assert (plain[-1] if plain else None) == (texts[-1] if plain else None)
