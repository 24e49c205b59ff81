"""Where a group of blocks of a .zsync index is in the bytes of a seed.

The rolling sums of all offsets come from two cumulative sums; where they are those of the
index, MD4 decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from rdl.chunkers.md4 import Bytes, Words, md4
from rdl.core.chunks import Alive, unwatched
from rdl.core.zsync import Zsync

Numbers: TypeAlias = NDArray[np.int64]
Scalar = TypeVar("Scalar", bound=np.generic)

STEP = 256 << 10
"""Offsets whose sums are computed together, at least."""
TRIES, EFFORT = 8, 16
"""In one window: how often sums that prove false are tried elsewhere, and how many times its
bytes go through MD4. Beyond that a block counts as missing: no index makes this endless."""
_FACTORS = (0x9E3779B1, 0x85EBCA6B)
_LEAST_BITS, _MOST_BITS, _SPARSE_BITS = 16, 26, 7
"""Of the table that most offsets are turned away by; the last: beyond those of the blocks."""


class Groups:
    """What is looked for. Blocks count in *groups* of as many in succession as the index wants
    (group n begins with block n); all sums of a group together, weak ones, are its *key*."""

    def __init__(
        self, index: Zsync, wanted: Iterable[int] | None, alive: Alive = unwatched
    ) -> None:
        self._index = index
        self._many = min(index.seq_matches, index.count)
        self.span = self._many * index.block
        """Bytes of a group."""
        self._open = np.full(index.count, wanted is None)
        if wanted is not None:
            self._open[np.fromiter(wanted, np.int64)] = True
        self.wanted = int(np.count_nonzero(self._open))
        if not self.wanted:
            return
        rows = _rows(index)
        parts = self._members(_weak(rows, index.rsum_bytes))
        alive()
        self._keys, self._key_of = np.unique(_joined(parts), return_inverse=True)
        alive()
        self._bits = min(max(index.count.bit_length() + _SPARSE_BITS, _LEAST_BITS), _MOST_BITS)
        table = np.zeros(1 << self._bits, np.bool_)
        table[self._folded(parts)] = True
        self._table = np.packbits(table, bitorder="little")
        self._sums = _rows_of(self._key_of, self._members(rows[:, index.rsum_bytes :]))
        alive()
        self._order = np.argsort(self._sums, kind="stable")
        alive()
        self._done = np.zeros(len(self._order) + 1, np.bool_)
        """Of groups with the same sums the first in order: all of them were found."""
        self._alive = np.zeros(len(self._key_of), np.bool_)
        for member in self._members(self._open):
            self._alive |= member
        self._left = np.bincount(self._key_of[self._alive], minlength=len(self._keys))

    def found(self, window: memoryview, base: int, size: int) -> Iterator[tuple[int, int]]:
        """The blocks in `window`, which begins at `base` of a seed of `size` bytes, that were
        not found before, and where they are in the seed."""
        data = np.frombuffer(window, np.uint8)
        offsets, keys = self._candidates(data)
        room = EFFORT * (len(data) // self._index.block + 1)
        for _ in range(TRIES):
            alive = self._left[keys] > 0
            offsets, keys = offsets[alive], keys[alive]
            if not len(keys) or room <= 0:
                return
            tried = np.sort(np.unique(keys, return_index=True)[1])[:room]
            room -= len(tried)
            yield from self._proved(data, offsets[tried], keys[tried], base, size)
            offsets, keys = np.delete(offsets, tried), np.delete(keys, tried)

    def _candidates(self, data: Bytes) -> tuple[Numbers, Numbers]:
        """Where a group may begin, as rolling sums have it, and the number of its key there. Of
        neighbours with the same key the first alone: they are mostly one byte repeated."""
        index = self._index
        offsets: list[Numbers] = []
        keys: list[Numbers] = []
        count = len(data) - self.span + 1
        step = max(STEP, self.span)
        for start in range(0, count, step):
            part = data[start : start + step + self.span - 1]
            parts = self._members_at(rolling_sums(part, index.block, index.rsum_bytes))
            hits = np.flatnonzero(self._perhaps(self._folded(parts)))
            joined = _joined([part[hits] for part in parts])
            order = np.argsort(joined)  # neighbours are found faster after one another
            key = np.empty(len(hits), np.int64)
            key[order] = np.searchsorted(self._keys, joined[order])
            key[key == len(self._keys)] = 0
            good = (self._keys[key] == joined) & (self._left[key] > 0)
            hits, key = hits[good], key[good]
            fresh = np.ones(len(hits), np.bool_)
            fresh[1:] = (np.diff(hits) > 1) | (np.diff(key) != 0)
            kept = _first_of_each(key, np.flatnonzero(fresh))
            kept = kept[: EFFORT * (len(part) // index.block)]
            offsets.append(hits[kept] + start)
            keys.append(key[kept])
        return np.concatenate(offsets), np.concatenate(keys)

    def _proved(
        self, data: Bytes, offsets: Numbers, keys: Numbers, base: int, size: int
    ) -> Iterator[tuple[int, int]]:
        """The blocks of the groups at these offsets that MD4 says are there."""
        index, block = self._index, self._index.block
        places = [offsets + one * block for one in range(self._many)]
        distinct, back = np.unique(np.concatenate(places), return_inverse=True)
        digests = md4(data, distinct, block)[:, : index.checksum_bytes]
        members = [digests[one] for one in np.split(back, self._many)]
        there = _rows_of(keys, members)
        first = np.searchsorted(self._sums, there, "left", sorter=self._order)
        counts = np.searchsorted(self._sums, there, "right", sorter=self._order) - first
        counts[self._done[first]] = 0
        self._done[first[(counts > 0) & (offsets + base + self.span <= size)]] = True
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        groups = self._order[np.repeat(first, counts) + within]
        at = np.repeat(offsets, counts) + base
        stops = np.minimum((groups + self._many) * block, index.total) - groups * block + at
        groups, at = groups[stops <= size], at[stops <= size]
        for one in range(self._many):
            blocks, where = np.unique(groups + one, return_index=True)
            blocks, where = blocks[self._open[blocks]], where[self._open[blocks]]
            self._close(blocks)
            yield from zip(blocks.tolist(), (at[where] + one * block).tolist(), strict=True)

    def _close(self, blocks: Numbers) -> None:
        """These were found; groups of which nothing is wanted any more are not looked for."""
        self._open[blocks] = False
        self.wanted -= len(blocks)
        groups = np.unique(np.concatenate([blocks - one for one in range(self._many)]))
        groups = groups[(groups >= 0) & (groups < len(self._alive))]
        for one in range(self._many):
            groups = groups[~self._open[groups + one]]
        groups = groups[self._alive[groups]]
        self._alive[groups] = False
        np.subtract.at(self._left, self._key_of[groups], 1)

    def _members(self, of_blocks: NDArray[Scalar]) -> list[NDArray[Scalar]]:
        """What the first blocks of all groups have, and what the second ones have."""
        groups = len(of_blocks) - self._many + 1
        return [of_blocks[one : one + groups] for one in range(self._many)]

    def _members_at(self, weak: Words) -> list[Words]:
        """The same of groups that begin at each offset."""
        block = self._index.block
        count = len(weak) - (self._many - 1) * block
        return [weak[one * block : one * block + count] for one in range(self._many)]

    def _folded(self, parts: list[Words]) -> Words:
        """Keys in few bits."""
        folded = parts[0] * np.uint32(_FACTORS[0])
        for part, factor in zip(parts[1:], _FACTORS[1:], strict=False):
            folded += part * np.uint32(factor)
        folded >>= 32 - self._bits
        return folded

    def _perhaps(self, folded: Words) -> NDArray[np.bool_]:
        """Whether these may be keys of the index."""
        bits = self._table.take(folded >> 3, mode="wrap")
        bits >>= folded.astype(np.uint8) & 7
        bits &= 1
        return bits.view(np.bool_)


def rolling_sums(data: Bytes, block: int, width: int) -> Words:
    """The last `width` bytes of the rolling sums of the blocks at all offsets of `data`."""
    most = (1 << 8 * width) - 1
    sums = np.zeros(len(data) + 1, np.uint16)
    np.cumsum(data, dtype=np.uint16, out=sums[1:])
    of_sums = np.cumsum(sums, dtype=np.uint16)
    weighted = of_sums[block:] - of_sums[:-block]
    weighted -= sums[:-block] * np.uint16(block & 0xFFFF)
    rolling = weighted.astype(np.uint32)
    if most > 0xFFFF:
        rolling |= (sums[block:] - sums[:-block]).astype(np.uint32) << 16
    rolling &= most
    return rolling


def right_blocks(index: Zsync, first: int, data: memoryview) -> list[int]:
    """Which of the blocks that `data`, some MiB, begins with have their sums, by number; the
    first is number `first`. What is not all of a block is none."""
    block, width = index.block, index.rsum_bytes
    stop = min(first * block + len(data), index.total)
    count = (index.count if stop == index.total else stop // block) - first
    if count <= 0:
        return []
    padded = np.zeros(count * block, np.uint8)
    here = min(len(padded), stop - first * block)
    padded[:here] = np.frombuffer(data, np.uint8)[:here]
    rows = _rows(index)[first : first + count]
    digests = md4(padded, np.arange(count) * block, block)[:, : index.checksum_bytes]
    right = (rows[:, width:] == digests).all(axis=1)
    right &= _weak(rows, width) == rolling_sums(padded, block, width)[::block]
    return [first + int(one) for one in np.flatnonzero(right)]


def _rows(index: Zsync) -> Bytes:
    return np.frombuffer(index.sums, np.uint8).reshape(index.count, -1)


def _weak(rows: Bytes, width: int) -> Words:
    """The rolling sums of blocks, which are the first `width` bytes of these rows."""
    weak = np.zeros(len(rows), np.uint32)
    for column in range(width):
        weak <<= 8
        weak |= rows[:, column]
    return weak


def _first_of_each(key: Numbers, places: Numbers) -> Numbers:
    """Of the places of each key the first TRIES, ascending."""
    order = places[np.argsort(key[places], kind="stable")]
    begins = np.ones(len(order), np.bool_)
    begins[TRIES:] = key[order[TRIES:]] != key[order[:-TRIES]]
    return np.sort(order[begins])


def _joined(parts: list[Words]) -> NDArray[np.uint64]:
    """Weak sums of a group as one number."""
    joined = parts[0].astype(np.uint64)
    for part in parts[1:]:
        joined = joined << np.uint64(32) | part
    return joined


def _rows_of(keys: Numbers, digests: list[Bytes]) -> NDArray[Any]:
    """Keys and the digests of their groups, as rows of bytes that can be sorted and compared."""
    numbers = keys.astype(">u4").view(np.uint8).reshape(len(keys), 4)
    rows = np.ascontiguousarray(np.hstack([numbers, *digests]))
    return rows.view(f"V{rows.shape[1]}").reshape(len(keys))
