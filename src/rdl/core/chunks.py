"""Consecutive chunks of a file and their digests, packed: 8 bytes and a digest each, so that a
million of them are small.
"""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from msgspec import Struct

from rdl.core.byterange import ByteRange
from rdl.options import BlockDigests

PACE = 1 << 14
Alive = Callable[[], None]
"""Called now and then; raises where the work is to end."""
T = TypeVar("T")


def unwatched() -> None:
    """Nobody wants it to end."""


def paced(things: Iterable[T], alive: Alive) -> Iterator[T]:
    """These, of which there may be millions."""
    for number, one in enumerate(things):
        if number % PACE == 0:
            alive()
        yield one


class Chunks(Struct, frozen=True):
    """The chunks of the bytes from `start` on. `stops`: their ends ("Q"), ascending; `digests`:
    the first `width` bytes of each one's digest, in a row; `algorithm` is hashlib's name."""

    algorithm: str
    width: int
    stops: array[int]
    digests: bytes
    start: int = 0

    @classmethod
    def of_blocks(cls, known: BlockDigests, total: int) -> Chunks | None:
        """Those of a file of `total` bytes; None where it has not as many blocks."""
        ends = range(known.size, total + known.size, known.size)
        if len(known.hexes) != len(ends):
            return None
        stops = array("Q", (min(end, total) for end in ends))
        digests = bytes.fromhex("".join(known.hexes))
        return cls(known.algorithm, len(digests) // max(1, len(stops)), stops, digests)

    def __len__(self) -> int:
        return len(self.stops)

    @property
    def span(self) -> ByteRange:
        """The bytes that they cover."""
        return ByteRange(self.start, self.stops[-1] if self.stops else self.start)

    def chunk(self, number: int) -> ByteRange:
        """Where this one is."""
        return ByteRange(self.stops[number - 1] if number else self.start, self.stops[number])

    def digest(self, number: int) -> bytes:
        """The first `width` bytes of its digest."""
        return self.digests[number * self.width : (number + 1) * self.width]

    def has(self, number: int, digest: bytes) -> bool:
        """Whether this is its digest, of which only the first `width` bytes are known."""
        return digest[: self.width] == self.digest(number)

    def proves(self, number: int, data: bytes | bytearray | memoryview) -> bool:
        """Whether these bytes have its digest."""
        return self.has(number, hashlib.new(self.algorithm, data).digest())

    def numbers(self, span: ByteRange) -> range:
        """Those that `span`, which may go beyond them, touches."""
        first = bisect_right(self.stops, span.start)
        last = min(bisect_left(self.stops, span.stop), len(self) - 1)
        return range(first, last + 1 if span else first)


class Lookup:
    """Numbers of chunks by their digests, packed: a table of which no more than half is taken. A
    dict takes ten times as much."""

    def __init__(self, chunks: Chunks, most: int) -> None:
        """For `most` of these chunks."""
        self._chunks, self._mask = chunks, (1 << (2 * most).bit_length()) - 1
        self._table = array("I", bytes(4 * (self._mask + 1)))  # a number and one; 0: nothing

    def add(self, number: int) -> int:
        """The first that has its digest, which it may be itself."""
        place, first = self._find(self._chunks.digest(number))
        if first is None:
            self._table[place] = number + 1
            return number
        return first

    def first(self, digest: bytes) -> int | None:
        """The first of those with this digest."""
        return self._find(digest)[1]

    def _find(self, digest: bytes) -> tuple[int, int | None]:
        """Where it stands or would stand, and the first number that has it."""
        table, mask = self._table, self._mask
        place = hash(digest) & mask  # which nobody who makes up digests can foresee
        while found := table[place]:
            if self._chunks.digest(found - 1) == digest:
                return place, found - 1
            place = (place + 1) & mask
        return place, None


class Alike:
    """Which of `count` chunks is the next that is like one: 4 bytes each, for all may be alike."""

    def __init__(self, count: int) -> None:
        self._next = array("I", [0]) * count

    def add(self, first: int, number: int) -> None:
        """This one, which comes later, is next after the first."""
        self._next[number], self._next[first] = self._next[first], number

    def after(self, number: int) -> int | None:
        """The next one, if there is one."""
        return self._next[number] or None

    def take(self, number: int) -> int | None:
        """The same; it is told once."""
        found, self._next[number] = self.after(number), 0
        return found
