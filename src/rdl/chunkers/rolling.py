"""Blocks of a .zsync index in the part file, where they belong, and in seeds, at any offset.

What is found is right but for sums of few bytes: the digest of the whole proves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rdl.chunkers import needed
from rdl.core.byterange import ByteRange
from rdl.core.chunks import Alive, unwatched
from rdl.core.reads import Read, filled
from rdl.core.zsync import Zsync

LANES, LEAST_WINDOW, MOST_WINDOW = 4096, 1 << 20, 32 << 20
"""So many blocks are looked at together, MD4 being slow on few, in so many bytes."""
STEP = 4 << 20
"""The same where they stand in their place."""
WHAT = "zsync index"


def blocks_in_place(index: Zsync, read: Read, here: Iterable[ByteRange]) -> Iterator[int]:
    """Which blocks stand in their own place, in order, looked for `here`. Raises UsageError where
    numpy is missing."""
    with needed(WHAT):
        from rdl.chunkers.groups import right_blocks
    block = index.block
    view = memoryview(bytearray(max(STEP, block)))
    for run in (one.clip(ByteRange(0, index.total)) for one in here):
        for start in range(-(-run.start // block) * block, run.stop, len(view)):
            data = view[: min(len(view), run.stop - start)]
            yield from right_blocks(index, start // block, data[: filled(read, start, data)])


class Sought:
    """The wanted blocks (None: every one), to be found in one seed after another. Raises
    UsageError where numpy is missing, and what `alive` raises."""

    def __init__(
        self, index: Zsync, wanted: Iterable[int] | None = None, alive: Alive = unwatched
    ) -> None:
        with needed(WHAT):
            from rdl.chunkers.groups import Groups
        self._index, self._groups = index, Groups(index, wanted, alive)

    def within(self, read: Read, size: int) -> Iterator[tuple[int, int]]:
        """Each block that this seed of `size` bytes has, and none before it: its number and where
        it begins in the seed, all of it being there; in no order."""
        index, groups = self._index, self._groups
        padding = index.count * index.block - index.total
        window = min(max(LANES * index.block, LEAST_WINDOW), MOST_WINDOW, size + padding)
        buffer = memoryview(bytearray(window + groups.span))
        base = 0
        while groups.wanted and (offsets := size + padding - groups.span - base + 1) > 0:
            offsets = min(offsets, window)
            data = buffer[: offsets + groups.span - 1]
            here = min(len(data), size - base)
            count = filled(read, base, data[:here])
            if count < here:  # it was cut meanwhile
                size = base + count
            data[count:] = bytes(len(data) - count)
            yield from groups.found(data, base, size)
            base += offsets
