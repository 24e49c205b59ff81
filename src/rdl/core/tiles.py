"""A row in tiles of whole chunks, in an order of its own: who receives the file in another order
lacks others, and can be asked for these.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence

from rdl.core.byterange import ByteRange
from rdl.core.chunks import Chunks
from rdl.core.gate import Ask
from rdl.core.planner import Flow, gaps
from rdl.core.row import Row
from rdl.core.shuffle import Permutation

LEAST, MOST = 1 << 20, 256
"""Bytes of a tile, and tiles of a row: what is being fetched nobody else can be asked for, so each
is to be a small part of it."""


class Tiles:
    """Those of a file of these chunks, which has bytes. Its order is that of the `seed`."""

    def __init__(self, chunks: Chunks, seed: int) -> None:
        self._cut = [*_cut(chunks)]
        order = Permutation.seeded(len(self._cut), seed).slots
        self._left = [self._cut[number] for number in order]
        self._first = self._left[0]

    def next(self, row: Row, flows: Sequence[Flow]) -> ByteRange | None:
        """What is asked for next: of the first tile of which something is missing that no flow
        brings. One that is here is looked at no more; what is taken back of it is in no tile."""
        for tile in tuple(self._left):
            missing = tuple(row.missing(tile))
            for gap in gaps(missing, flows):
                return gap
            if not missing:
                self._left.remove(tile)
        return None

    def first(self, ask: Ask, overlap: int) -> Ask:
        """No more than a tile of the first request, `overlap` bytes of which are here already."""
        if not ask.ranged or ask.suffix is not None:
            return ask
        if not overlap and ask.start == 0 and ask.stop is None:
            return Ask(self._first.start, self._first.stop)
        after = bisect_right(self._cut, ask.start + overlap, key=lambda tile: tile.stop)
        if after == len(self._cut):
            return ask
        stop = self._cut[after].stop
        return Ask(ask.start, stop if ask.stop is None else min(stop, ask.stop))


def _cut(chunks: Chunks) -> Iterator[ByteRange]:
    span = chunks.span
    size, start = max(LEAST, len(span) // MOST), span.start
    for stop in chunks.stops:
        if stop - start >= size or (stop == span.stop and stop > start):
            yield ByteRange(start, stop)
            start = stop
