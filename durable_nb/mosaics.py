"""The states of all documents as one small PNG: for notebooks that are saved, exported or read without our front end.

At most 160 × 12 cells in reading order. Where a cell stands for several documents the worst state wins, so that one
failure among a million is seen; a cell is painted as durable only when all of it is.
"""

from __future__ import annotations

import base64
import itertools
import struct
import zlib

COLUMNS, ROWS = 160, 12
_SIDE, _GAP = 5, 1
_WORST_FIRST = (3, 0, 2, 1)  # failed, waiting, computed, restored
# Gap, then by state: waiting, restored, computed, failed; as display._COLOURS. The first two let the page shine through.
_COLOURS = ((0, 0, 0, 0), (128, 128, 128, 64), (59, 130, 214, 255), (47, 158, 95, 255), (217, 83, 79, 255))


def cells(states: bytes, total: int | None) -> bytes:
    """The state of each cell: one for each document while they fit, else the worst of equal shares.

    Parameters
    ----------
    states : bytes
        0 waiting, 1 restored, 2 computed, 3 failed, by position.
    total : int or None
        How many documents are wanted; those not seen yet are waiting.
    """
    count, most = max(len(states), total or 0), COLUMNS * ROWS
    if count <= most:
        return states.ljust(count, b"\0")
    bounds = [n * count // most for n in range(most + 1)]
    shares = ((states[start:end], end - start) for start, end in itertools.pairwise(bounds))
    return bytes(_worst(share if len(share) == size else share + b"\0") for share, size in shares)


def png(states: bytes, total: int | None) -> bytes:
    """The picture; b'' when there is no document."""
    drawn = cells(states, total)
    if not drawn:
        return b""
    columns = min(COLUMNS, len(drawn))
    width, height = columns * (_SIDE + _GAP), -(-len(drawn) // columns) * (_SIDE + _GAP)
    lines = bytearray()
    for start in range(0, len(drawn), columns):
        row = drawn[start : start + columns]
        line = b"".join(bytes((state + 1,)) * _SIDE + b"\0" * _GAP for state in row).ljust(width, b"\0")
        lines += (b"\0" + line) * _SIDE + bytes(1 + width) * _GAP  # each begins with its filter: none
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)  # 8 bits, palette
    palette = b"".join(bytes(colour[:3]) for colour in _COLOURS)
    opacity = bytes(colour[3] for colour in _COLOURS)
    chunks = (
        (b"IHDR", header),
        (b"PLTE", palette),
        (b"tRNS", opacity),
        (b"IDAT", zlib.compress(lines, 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def data_uri(picture: bytes) -> str:
    """A PNG as the source of an ``<img>`` that needs no file beside it."""
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


def _worst(share: bytes) -> int:
    return next(state for state in _WORST_FIRST if state in share)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
