"""The work that every peer is given: 2 KB of text in, 256 float32 out."""

from __future__ import annotations

import random
import string

import numpy as np

_WORDS = ["".join(random.Random(i).choices(string.ascii_lowercase, k=3 + i % 7)) for i in range(2000)]
BASE = np.random.default_rng(7).standard_normal(256).astype(np.float32)


def documents(count: int) -> list[str]:
    """Unique texts of about 2 KB: a number of eight digits, then one of 64 bodies."""
    bodies = [" ".join(random.Random(i).choices(_WORDS, k=400))[:2040] for i in range(64)]
    return [f"{i:08d}{bodies[i % 64]}" for i in range(count)]


def embed(doc: str) -> np.ndarray:
    """A vector that only this document has."""
    return BASE * np.float32(int(doc[:8]) + 1)


def wrong(vectors: object, count: int) -> int:
    """How many of ``count`` vectors are not bit for bit those of their document."""
    found = np.asarray(vectors)
    true = BASE[None, :] * (np.arange(count, dtype=np.float32) + np.float32(1))[:, None]
    return int((found != true).any(axis=1).sum()) if found.shape == true.shape else count
