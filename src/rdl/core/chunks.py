"""Consecutive chunks of a file and their digests, packed: 8 bytes and a digest each, so that a
million of them are small.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right

from msgspec import Struct

from rdl.core.byterange import ByteRange
from rdl.options import BlockDigests


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

    def numbers(self, span: ByteRange) -> range:
        """Those that `span`, which may go beyond them, touches."""
        first = bisect_right(self.stops, span.start)
        last = min(bisect_left(self.stops, span.stop), len(self) - 1)
        return range(first, last + 1 if span else first)
