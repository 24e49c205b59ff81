"""Blocks of a row whose digests are known: which of them to look at, and which are right. Pure."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from itertools import chain

from pyroaring import BitMap

from rdl.core.byterange import ByteRange
from rdl.core.chunks import Chunks
from rdl.core.row import Row

Repeat = tuple[ByteRange, ByteRange]
"""Bytes, and where the same bytes stand again."""

FEW = 8


class Blocks:
    """All blocks of a file. `repeats`: what is copied from blocks that are right; the bytes
    there are whole blocks of it, in ascending order."""

    def __init__(self, chunks: Chunks, repeats: tuple[Repeat, ...] = ()) -> None:
        self._chunks = chunks
        self._repeats: dict[int, list[Repeat]] = {}
        """By the numbers of the blocks that are repeated."""
        for repeat in repeats:
            for number in chunks.numbers(repeat[0]):
                self._repeats.setdefault(number, []).append(repeat)
        self._ready: deque[Repeat] = deque()
        self._asked, self._right = BitMap(), BitMap()
        self._wrong: dict[int, int] = {}
        self._under_way: Counter[int] = Counter()

    @property
    def algorithm(self) -> str:
        return self._chunks.algorithm

    @property
    def complete(self) -> bool:
        """Whether all are right."""
        return len(self._right) == len(self._chunks)

    def due(self, row: Row, span: ByteRange) -> Iterator[ByteRange]:
        """The blocks that touch `span`, are here, and were not asked for."""
        upto = 0
        for number in chain.from_iterable(map(self._chunks.numbers, row.present(span))):
            if number in self._asked:
                continue
            block = self._chunks.chunk(number)
            if upto < block.stop:  # else it is in a run that was looked up
                upto = row.held_upto(block.start)
            if block.stop <= upto:
                self._asked.add(number)
                self._under_way[number] += 1
                yield block

    @property
    def hopeless(self) -> bool:
        """Whether so many were wrong that the digests are of another file."""
        return len(self._wrong) > FEW + len(self._chunks) // 16

    def excuse(self, block: ByteRange) -> None:
        """No source brought it: that it was wrong says nothing of its digest."""
        self._wrong.pop(self._chunks.numbers(block)[0], None)

    def forgive(self) -> None:
        """Those that were wrong are of a source that is left."""
        self._wrong.clear()

    def judge(self, block: ByteRange, digest: str) -> int:
        """How often this block was wrong, now included; 0 when it is right, nobody asked, or was
        asked again since: what was read then may have come again."""
        number = self._chunks.numbers(block)[0]
        others = self._under_way.pop(number, 0) - 1
        if others > 0:
            self._under_way[number] = others
        # fewer than none: it is of a row before this one
        if others or number not in self._asked or number in self._right:
            return 0
        if bytes.fromhex(digest)[: self._chunks.width] == self._chunks.digest(number):
            self._right.add(number)
            self._ready.extend(filter(self._proved, self._repeats.get(number, ())))
            return 0
        self._wrong[number] = self._wrong.get(number, 0) + 1
        return self._wrong[number]

    def doubted(self, span: ByteRange) -> Iterator[ByteRange]:
        """The parts of `span` that lie in blocks which are not known to be right."""
        for number in self._chunks.numbers(span):
            if number not in self._right:
                yield span.clip(self._chunks.chunk(number))

    def next_repeat(self) -> Repeat | None:
        """What can be copied now, and was not told yet since its blocks are right."""
        while self._ready:
            if self._proved(repeat := self._ready.popleft()):
                return repeat
        return None

    def _proved(self, repeat: Repeat) -> bool:
        return all(number in self._right for number in self._chunks.numbers(repeat[0]))

    def reopen(self, span: ByteRange) -> None:
        """These bytes are to come again."""
        for number in self._chunks.numbers(span):
            self._asked.discard(number)
            self._right.discard(number)
