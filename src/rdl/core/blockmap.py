"""Which bytes of a row are here, to the byte.

Full blocks are bits of a roaring bitmap, partly present blocks a few ranges each. No
operation walks over single bytes or blocks: the cost grows with the runs, not the size.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from pyroaring import BitMap

from rdl.core.byterange import ByteRange

MIN_BLOCK = 4 << 10
DEFAULT_BLOCK = 256 << 10
MAX_BLOCKS = 1 << 18

Span = tuple[int, int]


def block_size_for(total: int, asked: int | None = None) -> int:
    """The block size in bytes for a row of `total` bytes: a power of two, 256 KiB or what
    was asked for (4 KiB or more), raised until there are at most 2**18 blocks.

    Raises ValueError when `asked` is no power of two or below 4 KiB.
    """
    size = DEFAULT_BLOCK if asked is None else asked
    if size < MIN_BLOCK or size & (size - 1):
        raise ValueError(f"not a power of two of at least {MIN_BLOCK} bytes: {size}")
    while -(-total // size) > MAX_BLOCKS:
        size *= 2
    return size


class BlockMap:  # noqa: PLW1641 - a value that changes has no hash
    """The present bytes of `[0, total)`. Not safe for several threads at once.

    Every range must lie in `[0, total)`, else ValueError.
    """

    __slots__ = ("_blocks", "_bytes", "_full", "_partial", "_partly", "block_size", "total")

    def __init__(self, total: int, block_size: int) -> None:
        if total < 0 or block_size < 1:
            raise ValueError(f"not a row: {total} bytes in blocks of {block_size}")
        self.total, self.block_size = total, block_size
        self._blocks = -(-total // block_size)
        if self._blocks > 1 << 31:
            raise ValueError(f"too many blocks: {self._blocks}")
        self._full = BitMap()
        self._partly = BitMap()
        """The keys of `_partial`, to find the next one quickly."""
        self._partial: dict[int, list[Span]] = {}
        self._bytes = 0

    @property
    def present_bytes(self) -> int:
        return self._bytes

    @property
    def complete(self) -> bool:
        return self._bytes == self.total

    def add(self, range: ByteRange) -> None:
        """Mark bytes as present; those that are already stay so."""
        self._bytes += len(range) - self.count(range)
        low, high = self._whole_blocks(range)
        if low < high:
            self._drop_partial(low, high)
            self._full.add_range(low, high)
        for block, start, stop in self._edges(range, low, high):
            if block not in self._full:
                self._set(block, _union(self._partial.get(block, []), start, stop))

    def discard(self, range: ByteRange) -> None:
        """Mark bytes as missing."""
        self._bytes -= self.count(range)
        low, high = self._whole_blocks(range)
        if low < high:
            self._drop_partial(low, high)
            self._full.remove_range(low, high)
        for block, start, stop in self._edges(range, low, high):
            self._set(block, _without(self._spans(block), start, stop))

    def contains(self, range: ByteRange) -> bool:
        """Whether every byte of `range` is present; true for an empty one."""
        self._check(range)
        return not range or self.held_upto(range.start) >= range.stop

    def held_upto(self, offset: int) -> int:
        """The first missing byte at or after `offset`, or total."""
        while offset < self.total:
            block = offset // self.block_size
            if block in self._full:
                offset = self._next_clear(block) * self.block_size
                continue
            for start, stop in self._partial.get(block, []):
                if start <= offset < stop:
                    offset = stop
                    break
            if offset < self._end_of(block):
                return offset
        return self.total

    def count(self, range: ByteRange) -> int:
        """How many bytes of `range` are present."""
        low, high = self._whole_blocks(range)
        found = 0
        if low < high:
            found = self._full.range_cardinality(low, high) * self.block_size
            if high == self._blocks and high - 1 in self._full:
                found -= self._blocks * self.block_size - self.total
            for block in self._partial_blocks(low, high):
                found += sum(stop - start for start, stop in self._partial[block])
        for block, start, stop in self._edges(range, low, high):
            for first, last in self._spans(block):
                found += max(0, min(last, stop) - max(first, start))
        return found

    def next_missing(self, offset: int, stop: int | None = None) -> ByteRange | None:
        """The first run of missing bytes at or after `offset`, cut at `offset` and `stop`."""
        end = self.total if stop is None else min(stop, self.total)
        start = self.held_upto(offset)
        if start >= end:
            return None
        return ByteRange(start, min(self._next_held(start), end))

    def next_present(self, offset: int, stop: int | None = None) -> ByteRange | None:
        """The first run of present bytes at or after `offset`, cut at `offset` and `stop`."""
        end = self.total if stop is None else min(stop, self.total)
        start = self._next_held(offset)
        if start >= end:
            return None
        return ByteRange(start, min(self.held_upto(start), end))

    def missing(self, within: ByteRange | None = None) -> Iterator[ByteRange]:
        """The runs of missing bytes, ascending. The map may change meanwhile: each run is
        looked up when it is asked for."""
        start, stop = (0, self.total) if within is None else (within.start, within.stop)
        while (run := self.next_missing(start, stop)) is not None:
            yield run
            start = run.stop

    def present(self, within: ByteRange | None = None) -> Iterator[ByteRange]:
        """The runs of present bytes, ascending; as lazy as `missing`."""
        start, stop = (0, self.total) if within is None else (within.start, within.stop)
        while (run := self.next_present(start, stop)) is not None:
            yield run
            start = run.stop

    def head(self) -> int:
        """The end of the run of present bytes that starts at 0; 0 when there is none."""
        return self.held_upto(0)

    def coverage(self, cells: int, span: ByteRange | None = None) -> tuple[float, ...]:
        """The present share, 0..1, of `cells` equal slices, of `span` or of the row; with fewer
        bytes than cells a slice is the byte that it falls into. Of no bytes all are present."""
        start, size = (0, self.total) if span is None else (span.start, len(span))
        if not size:
            return (1.0,) * cells
        edges = [start + size * cell // cells for cell in range(cells + 1)]
        parts = [ByteRange(first, max(first + 1, stop)) for first, stop in pairwise(edges)]
        return tuple(self.count(part) / len(part) for part in parts)

    def copy(self) -> BlockMap:
        """An independent map of the same bytes."""
        twin = BlockMap(self.total, self.block_size)
        twin._full, twin._partly = self._full.copy(), self._partly.copy()
        twin._partial = {block: list(spans) for block, spans in self._partial.items()}
        twin._bytes = self._bytes
        return twin

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BlockMap):
            return NotImplemented
        mine = (self.total, self.block_size, self._full, self._partial)
        return mine == (other.total, other.block_size, other._full, other._partial)

    def __repr__(self) -> str:
        runs: list[str] = []
        for run in self.present():
            if len(runs) == 16:
                runs.append("...")
                break
            runs.append(f"{run.start}-{run.stop}")
        state = f"{self._bytes}/{self.total} by {self.block_size}: {' '.join(runs) or 'empty'}"
        return f"<BlockMap {state}>"

    def _check(self, range: ByteRange) -> None:
        if range.stop > self.total:
            raise ValueError(f"{range} is beyond the row of {self.total} bytes")

    def _end_of(self, block: int) -> int:
        return min((block + 1) * self.block_size, self.total)

    def _whole_blocks(self, range: ByteRange) -> Span:
        """The blocks `[low, high)` that lie in `range` completely; low >= high: none do."""
        self._check(range)
        at_end = range.stop == self.total
        high = self._blocks if at_end and range else range.stop // self.block_size
        return -(-range.start // self.block_size), high

    def _edges(self, range: ByteRange, low: int, high: int) -> Iterator[tuple[int, int, int]]:
        """The parts of `range` before block `low` and from block `high` on: at most two."""
        if not range:
            return
        first = range.start // self.block_size
        if first < low:
            yield first, range.start, min(range.stop, self._end_of(first))
        last = (range.stop - 1) // self.block_size
        if last >= high and last >= low:
            yield last, last * self.block_size, range.stop

    def _spans(self, block: int) -> list[Span]:
        if block in self._full:
            return [(block * self.block_size, self._end_of(block))]
        return self._partial.get(block, [])

    def _set(self, block: int, spans: list[Span]) -> None:
        self._full.discard(block)
        self._partly.discard(block)
        self._partial.pop(block, None)
        if spans == [(block * self.block_size, self._end_of(block))]:
            self._full.add(block)
        elif spans:
            self._partly.add(block)
            self._partial[block] = spans

    def _partial_blocks(self, low: int, high: int) -> Iterator[int]:
        while (block := _next_bit(self._partly, low)) is not None and block < high:
            yield block
            low = block + 1

    def _drop_partial(self, low: int, high: int) -> None:
        for block in list(self._partial_blocks(low, high)):
            del self._partial[block]
        self._partly.remove_range(low, high)

    def _next_held(self, offset: int) -> int:
        """The first present byte at or after `offset`, or total."""
        if offset >= self.total:
            return self.total
        block = offset // self.block_size
        for start, stop in self._spans(block):
            if offset < stop:
                return max(start, offset)
        found = [_next_bit(bits, block + 1) for bits in (self._full, self._partly)]
        following = min((number for number in found if number is not None), default=None)
        return self.total if following is None else self._spans(following)[0][0]

    def _next_clear(self, block: int) -> int:
        """The first block after the full `block` that is not full: gallop, then bisect."""
        low, step = block + 1, 1
        while self._full.contains_range(low, low + step):
            low, step = low + step, step * 2
        while step > 1:
            step //= 2
            if self._full.contains_range(low, low + step):
                low += step
        return low


def _next_bit(bits: BitMap, start: int) -> int | None:
    return int(bits.next_set_bit(start)) if bits and start <= bits.max() else None


def _union(spans: list[Span], start: int, stop: int) -> list[Span]:
    """Sorted disjoint `spans` with `[start, stop)` in them; touching ones are joined."""
    before = [span for span in spans if span[1] < start]
    after = [span for span in spans if span[0] > stop]
    for first, last in spans[len(before) : len(spans) - len(after)]:
        start, stop = min(start, first), max(stop, last)
    return [*before, (start, stop), *after]


def _without(spans: list[Span], start: int, stop: int) -> list[Span]:
    """Sorted disjoint `spans` without the bytes of `[start, stop)`."""
    left = [(first, min(last, start)) for first, last in spans if first < start]
    right = [(max(first, stop), last) for first, last in spans if last > stop]
    return left + right
