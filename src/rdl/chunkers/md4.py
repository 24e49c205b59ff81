"""MD4 (RFC 1320) of many equally long blocks at once: hashlib has none where OpenSSL is 3.

Each block is a lane of uint32 arrays, which share the 48 steps.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Bytes: TypeAlias = NDArray[np.uint8]
Words: TypeAlias = NDArray[np.uint32]

STEP = 64
"""Bytes that 48 steps take."""
GATHERED = 4 << 20
"""Bytes of all lanes that are copied at a time, at most (or STEP of each)."""

_START = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476)
_WORDS = (
    tuple(range(16)),
    (0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15),
    (0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15),
)
_TURNS = ((3, 7, 11, 19), (3, 5, 9, 13), (3, 9, 11, 15))
_ADDED = (0, 0x5A827999, 0x6ED9EBA1 - 0x5A827999)
"""What each round adds to the words, beyond what the one before it did."""


def md4(data: Bytes, offsets: NDArray[np.int64], length: int) -> Bytes:
    """The digests of the blocks of `length` bytes at these offsets of `data`, 16 bytes a row."""
    lanes = len(offsets)
    state = [np.full(lanes, word, np.uint32) for word in _START]
    whole = length - length % STEP
    stride = max(GATHERED // max(lanes, 1) // STEP, 1) * STEP
    for at in range(0, whole, stride):
        _take(state, _gathered(data, offsets + at, min(stride, whole - at)))
    _take(state, _ending(data, offsets, length))
    return np.stack(state, axis=1).astype("<u4").view(np.uint8)


def _gathered(data: Bytes, offsets: NDArray[np.int64], width: int) -> Bytes:
    if not (len(offsets) and width):
        return np.empty((len(offsets), width), np.uint8)
    return sliding_window_view(data, width)[offsets]


def _ending(data: Bytes, offsets: NDArray[np.int64], length: int) -> Bytes:
    """What follows the last whole step of each block: its rest, a one bit, zeros, its bits."""
    rest = length % STEP
    ending = np.zeros((len(offsets), STEP if rest < STEP - 8 else 2 * STEP), np.uint8)
    ending[:, :rest] = _gathered(data, offsets + (length - rest), rest)
    ending[:, rest] = 0x80
    ending[:, -8:] = np.frombuffer((8 * length).to_bytes(8, "little"), np.uint8)
    return ending


def _take(state: list[Words], rows: Bytes) -> None:
    """Bring the state past these bytes, a row of each lane."""
    words = np.ascontiguousarray(rows.view("<u4").T, np.uint32)
    for at in range(0, len(words), 16):
        _mix(state, words[at : at + 16])


def _mix(state: list[Words], words: Words) -> None:
    """48 steps on 16 words of each lane, which they change; everything wraps at 32 bits."""
    a, b, c, d = (lane.copy() for lane in state)
    mixed, other = np.empty_like(a), np.empty_like(a)
    for number, (order, turns, added) in enumerate(zip(_WORDS, _TURNS, _ADDED, strict=True)):
        words += np.uint32(added)
        for step, word in enumerate(order):
            if number == 0:  # where b has a one that of c, else that of d
                np.bitwise_xor(c, d, out=mixed)
                mixed &= b
                mixed ^= d
            elif number == 1:  # what most of the three have
                np.bitwise_or(c, d, out=mixed)
                mixed &= b
                np.bitwise_and(c, d, out=other)
                mixed |= other
            else:
                np.bitwise_xor(b, c, out=mixed)
                mixed ^= d
            a += mixed
            a += words[word]
            np.left_shift(a, turns[step % 4], out=mixed)
            a >>= 32 - turns[step % 4]
            a |= mixed
            a, b, c, d = d, a, b, c
    for lane, more in zip(state, (a, b, c, d), strict=True):
        np.add(lane, more, out=lane)
