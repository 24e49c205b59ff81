"""Cuts where a hash of the last bytes says so, between a least and a most: the hash of every
window of a strip at once, then the limits.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Marks = Callable[[NDArray[np.uint8]], NDArray[np.bool_]]
"""Whether the hash of the window that begins at each byte says so: WINDOW - 1 fewer than bytes."""

WINDOW = 48
"""Bytes that a hash is made of."""
_STRIP = 1 << 16
"""Windows at a time: what is worked out for them stays in a processor's cache."""


def limited(
    data: memoryview, marks: Marks, before: int, least: int, most: int, *, final: bool
) -> list[int]:
    """As `Chunker.cuts`. A window is cut after `before` of its bytes; `least` is not less. Hashes
    of windows that no cut can come from are not asked for."""
    content = np.frombuffer(data, np.uint8)
    end = len(content) + 1  # a window that is not all here says nothing, which is right
    cuts: list[int] = []
    start = low = 0
    while (low := max(low, start + least)) < end:
        high = min(low + _STRIP, end)
        strip = content[low - before : high - before + WINDOW - 1]
        found = [*(np.flatnonzero(marks(strip)) + low).tolist(), high]
        at = 0
        while True:
            at = bisect_left(found, start + least, at, len(found) - 1)
            stop = min(found[at], start + most)
            if stop == high:
                break
            cuts.append(stop)
            start = stop
        low = high
    if final and start < len(content):
        cuts.append(len(content))
    return cuts
