"""Sums of .zsync indexes, computed one byte after the other: docs/formats/zsync.md as code."""

from __future__ import annotations

import struct
from collections.abc import Callable

from rdl.core.zsync import Zsync

_ROUNDS: tuple[tuple[Callable[[int, int, int], int], int, tuple[int, ...]], ...] = (
    (lambda x, y, z: x & y | ~x & z, 0, (3, 7, 11, 19)),
    (lambda x, y, z: x & y | x & z | y & z, 0x5A827999, (3, 5, 9, 13)),
    (lambda x, y, z: x ^ y ^ z, 0x6ED9EBA1, (3, 9, 11, 15)),
)
_ORDERS = (
    [4 * row + column for row in range(4) for column in range(4)],
    [4 * row + column for column in range(4) for row in range(4)],
    [4 * row + column for column in (0, 2, 1, 3) for row in (0, 2, 1, 3)],
)


def slow_md4(data: bytes) -> bytes:
    """RFC 1320."""
    state = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476)
    padded = data + b"\x80" + bytes((55 - len(data)) % 64) + struct.pack("<Q", 8 * len(data))
    for at in range(0, len(padded), 64):
        words, (a, b, c, d) = struct.unpack_from("<16I", padded, at), state
        for (mix, more, turns), order in zip(_ROUNDS, _ORDERS, strict=True):
            for step, word in enumerate(order):
                value = a + mix(b, c, d) + words[word] + more & 0xFFFFFFFF
                turn = turns[step % 4]
                a, b, c, d = d, (value << turn | value >> 32 - turn) & 0xFFFFFFFF, b, c
        state = tuple(x + y & 0xFFFFFFFF for x, y in zip(state, (a, b, c, d), strict=True))
    return struct.pack("<4I", *state)


def slow_sum(data: bytes) -> bytes:
    """The rolling sum of one block, all four bytes."""
    weighted = sum((len(data) - at) * byte for at, byte in enumerate(data))
    return struct.pack(">HH", sum(data) & 0xFFFF, weighted & 0xFFFF)


def sums_of(data: bytes, block: int, rsum: int, checksum: int) -> bytes:
    """Those of all blocks of a file, as an index has them."""
    blocks = (data[at : at + block].ljust(block, b"\0") for at in range(0, len(data), block))
    return b"".join(slow_sum(one)[-rsum:] + slow_md4(one)[:checksum] for one in blocks)


def index_of(
    data: bytes, block: int, *, matches: int = 2, rsum: int = 4, checksum: int = 16
) -> Zsync:
    """The index of a file."""
    sums = sums_of(data, block, rsum, checksum)
    return Zsync(len(data), block, None, matches, rsum, checksum, sums)
