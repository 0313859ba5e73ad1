"""The picture of all documents in a saved notebook."""

from __future__ import annotations

import struct
import zlib

import pytest

from durable_nb import mosaics

WAITING, RESTORED, COMPUTED, FAILED = range(4)


def pixels(picture: bytes) -> list[bytes]:
    """The rows of an 8-bit palette PNG, every checksum checked."""
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(picture):
        (length,) = struct.unpack_from(">I", picture, at)
        kind, data = picture[at + 4 : at + 8], picture[at + 8 : at + 8 + length]
        assert zlib.crc32(kind + data) == struct.unpack_from(">I", picture, at + 8 + length)[0]
        chunks[kind], at = data, at + 12 + length
    width, height, depth, colour = struct.unpack_from(">IIBB", chunks[b"IHDR"])
    assert (depth, colour) == (8, 3)
    lines = zlib.decompress(chunks[b"IDAT"])
    assert len(lines) == height * (width + 1)
    return [lines[row * (width + 1) + 1 : (row + 1) * (width + 1)] for row in range(height)]


def test_few_documents_have_a_cell_each() -> None:
    """Each document is a cell, in order; those that were not seen yet are waiting."""
    states = bytes([RESTORED, COMPUTED, FAILED])
    rows = pixels(mosaics.png(states, 5))

    assert states + bytes([WAITING] * 2) == mosaics.cells(states, 5)
    assert [RESTORED + 1, COMPUTED + 1, FAILED + 1, WAITING + 1, WAITING + 1] == list(rows[0][::6])
    assert (6, 30) == (len(rows), len(rows[0]))


@pytest.mark.parametrize("position", [0, 1, 555_555, 999_999])
def test_one_failure_among_a_million_is_seen(position: int) -> None:
    """The worst state of a cell wins, wherever in its share the document lies."""
    states = bytearray([COMPUTED]) * 1_000_000
    states[position] = FAILED
    drawn = mosaics.cells(bytes(states), 1_000_000)

    assert 160 * 12 == len(drawn)
    assert {COMPUTED: 160 * 12 - 1, FAILED: 1} == {state: drawn.count(state) for state in set(drawn)}


def test_a_cell_is_durable_only_when_all_of_it_is() -> None:
    """One document that waits keeps its cell from looking finished."""
    drawn = mosaics.cells(bytes([RESTORED] * 9_999), 10_000)

    assert [RESTORED, WAITING] == [drawn[0], drawn[-1]]
    assert 1 == drawn.count(WAITING)


def test_a_picture_of_what_is_only_announced_needs_no_byte_for_each() -> None:
    """A loop over all numbers wants a million millions."""
    drawn = mosaics.cells(bytes([COMPUTED] * 300), 10**12)

    assert bytes([WAITING]) * (160 * 12) == drawn
    assert FAILED == mosaics.cells(bytes([COMPUTED, FAILED]), 10**12)[0]


def test_a_million_documents_make_a_small_picture() -> None:
    """The picture is at most a few kilobytes, whatever happens in the run: it is saved with the notebook."""
    states = bytes(n * n % 7 % 4 for n in range(1_000_000))
    rows = pixels(mosaics.png(states, None))

    assert (960, 72) == (len(rows[0]), len(rows))
    assert len(mosaics.png(bytes(1_000_000), None)) < 1_000
    assert len(mosaics.png(states, None)) < 8_000


def test_no_documents_make_no_picture() -> None:
    """There is nothing to draw before the first document."""
    assert b"" == mosaics.png(b"", None) == mosaics.png(b"", 0)
