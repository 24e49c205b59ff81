"""Blocks of a row whose digests are known: which of them to look at, and which are right. Pure."""

from __future__ import annotations

from array import array
from collections import Counter, deque
from collections.abc import Iterator
from functools import partial
from itertools import chain

from msgspec import Struct, field
from pyroaring import BitMap

from rdl.core.byterange import ByteRange
from rdl.core.chunks import Alike, Chunks
from rdl.core.row import Row

FEW = 8


class Repeats(Struct, frozen=True):
    """Blocks whose bytes stand again: of each pair one's number is in `sources` and the other's, as
    long and further on, in `places`, which ascend. Packed: millions of blocks may be alike."""

    sources: array[int] = field(default_factory=partial(array, "I"))
    places: array[int] = field(default_factory=partial(array, "I"))

    def append(self, source: int, place: int) -> None:
        """One more pair."""
        self.sources.append(source)
        self.places.append(place)

    def cut(self, count: int) -> None:
        """Only so many pairs stay."""
        del self.sources[count:], self.places[count:]

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self.sources, self.places, strict=True)

    def __reversed__(self) -> Iterator[tuple[int, int]]:
        return zip(reversed(self.sources), reversed(self.places), strict=True)


class Blocks:
    """All blocks of a file. `repeats`: what is copied from blocks that are right."""

    def __init__(self, chunks: Chunks, repeats: Repeats | None = None) -> None:
        self._chunks, repeats = chunks, repeats or Repeats()
        self._repeated, self._alike = BitMap(repeats.sources), Alike(len(chunks))
        for source, place in reversed(repeats):
            self._alike.add(source, place)
        self._ready: deque[tuple[int, int]] = deque()
        """Blocks that are repeated, and the first place of each that was not told."""
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
        if self._chunks.has(number, bytes.fromhex(digest)):
            self._right.add(number)
            if number in self._repeated and (place := self._alike.after(number)) is not None:
                self._ready.append((number, place))
            return 0
        self._wrong[number] = self._wrong.get(number, 0) + 1
        return self._wrong[number]

    def doubted(self, span: ByteRange) -> Iterator[ByteRange]:
        """The parts of `span` that lie in blocks which are not known to be right."""
        for number in self._chunks.numbers(span):
            if number not in self._right:
                yield span.clip(self._chunks.chunk(number))

    def next_repeat(self) -> tuple[ByteRange, ByteRange] | None:
        """What can be copied now, and where to, if that was not told yet since its block is
        right."""
        while self._ready:
            source, place = self._ready.popleft()
            if source not in self._right:
                continue
            if (after := self._alike.after(place)) is not None:
                self._ready.appendleft((source, after))
            return self._chunks.chunk(source), self._chunks.chunk(place)
        return None

    def reopen(self, span: ByteRange) -> None:
        """These bytes are to come again."""
        for number in self._chunks.numbers(span):
            self._asked.discard(number)
            self._right.discard(number)
