"""Digests of blocks of a row: which are to be computed, and which blocks are right. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from pyroaring import BitMap

from rdl.core.byterange import ByteRange
from rdl.core.row import Row
from rdl.options import BlockDigests

FEW = 8


class Blocks:
    """The blocks of a file of `total` bytes."""

    def __init__(self, digests: BlockDigests, total: int) -> None:
        self._digests, self._total = digests, total
        self._asked, self._right = BitMap(), BitMap()
        self._wrong: dict[int, int] = {}
        self._under_way: Counter[int] = Counter()

    @staticmethod
    def fit(digests: BlockDigests, total: int) -> bool:
        """Whether there are as many digests as the file has blocks."""
        return len(digests.hexes) == -(-total // digests.size)

    @property
    def algorithm(self) -> str:
        return self._digests.algorithm

    @property
    def complete(self) -> bool:
        """Whether all are right."""
        return len(self._right) == len(self._digests.hexes)

    def due(self, row: Row, span: ByteRange) -> Iterator[ByteRange]:
        """The blocks that touch `span`, are here, and were not asked for."""
        size = self._digests.size
        for number in _numbers(span, size):
            block = ByteRange(number * size, min((number + 1) * size, self._total))
            if number not in self._asked and row.holds(block):
                self._asked.add(number)
                self._under_way[number] += 1
                yield block

    @property
    def hopeless(self) -> bool:
        """Whether so many were wrong that the digests are of another file."""
        return len(self._wrong) > FEW + len(self._digests.hexes) // 16

    def forgive(self) -> None:
        """Those that were wrong are of a source that is left."""
        self._wrong.clear()

    def judge(self, block: ByteRange, digest: str) -> int:
        """How often this block was wrong, now included; 0 when it is right, nobody asked, or was
        asked again since: what was read then may have come again."""
        number = block.start // self._digests.size
        self._under_way[number] -= 1
        if number not in self._asked or number in self._right or self._under_way[number] > 0:
            return 0
        if digest == self._digests.hexes[number]:
            self._right.add(number)
            return 0
        self._wrong[number] = self._wrong.get(number, 0) + 1
        return self._wrong[number]

    def doubted(self, span: ByteRange) -> Iterator[ByteRange]:
        """The parts of `span` that lie in blocks which are not known to be right."""
        size = self._digests.size
        for number in _numbers(span, size):
            if number not in self._right:
                yield span.clip(ByteRange(number * size, (number + 1) * size))

    def reopen(self, span: ByteRange) -> None:
        """These bytes are to come again."""
        for number in _numbers(span, self._digests.size):
            self._asked.discard(number)
            self._right.discard(number)


def _numbers(span: ByteRange, size: int) -> range:
    return range(span.start // size, -(-span.stop // size) if span else 0)
