"""The chunker of cafs (docs/formats/chunkers.md): Adler-32 of the last 48 bytes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rdl.chunkers.limited import WINDOW, limited

SIZES = (128, 8192, 131072)
"""Least, average and most, in bytes: its rule has no others."""
_PRIME, _DIVISOR, _REMAINDER = 65521, 8191, 4159
_INVERSE = np.uint32(pow(_DIVISOR, -1, 1 << 32))


class CafsAdler32:
    """See `Chunker`. Raises ValueError for other sizes than its own."""

    def __init__(self, least: int, average: int, most: int) -> None:
        if (least, average, most) != SIZES:
            raise ValueError("has sizes of its own")
        self.most, self._least = most, least

    def cuts(self, data: memoryview, *, final: bool) -> list[int]:
        """See `Chunker`. The byte that completes a window begins the next chunk."""
        return limited(data, _marks, WINDOW - 1, self._least, self.most, final=final)


def _marks(content: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """See `Marks`. (B * 65536 + A) mod 8191 is (8 * B + A) mod 8191."""
    a, b = _halves(content)
    b -= np.uint32(_PRIME) * (b // np.uint32(_PRIME))
    b *= np.uint32(8)
    b += a
    b += np.uint32(_DIVISOR - _REMAINDER)
    b *= _INVERSE  # of a multiple this is the quotient; of all else, more than any
    return b <= np.uint32(0xFFFFFFFF // _DIVISOR)


def _halves(content: NDArray[np.uint8]) -> tuple[NDArray[np.uint16], NDArray[np.uint32]]:
    """A, which stays below the prime, and B before it is reduced, of every window: from those of
    half as many bytes up to 16, where both fit 16 bits, then three of these make one of 48."""
    a = b = content.astype(np.uint16)
    size = 1
    while size < WINDOW // 3:
        b = b[:-size] + b[size:] + np.uint16(size) * a[:-size]
        a = a[:-size] + a[size:]
        size *= 2
    first, second, third = (slice(n * size, len(a) - (2 - n) * size) for n in range(3))
    whole = (np.uint16(2) * a[first] + a[second]).astype(np.uint32)
    whole *= np.uint32(size)
    whole += b[first]
    whole += b[second]
    whole += b[third]
    whole += np.uint32(WINDOW)
    return a[first] + a[second] + a[third] + np.uint16(1), whole
