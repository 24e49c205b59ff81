"""Blocks of a .zsync index in a seed, at whatever offset they are there.

What is found is right but for sums of few bytes: the digest of the whole proves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from rdl.core.zsync import Zsync
from rdl.errors import UsageError

Read: TypeAlias = Callable[[int, memoryview], int]

LANES, LEAST_WINDOW, MOST_WINDOW = 4096, 1 << 20, 32 << 20
"""So many blocks are looked at together, MD4 being slow on few, in so many bytes."""


def find_blocks(
    index: Zsync, read: Read, size: int, wanted: Iterable[int] | None = None
) -> Iterator[tuple[int, int]]:
    """Each wanted block (None: every one) that a seed of `size` bytes has, once: its number and
    where it begins in the seed, all of it being there; in no order. `read(offset, into)` says
    how many bytes it has read, 0 at the end. Raises UsageError where numpy is missing."""
    try:
        from rdl.chunkers.groups import Groups
    except ImportError:
        hint = "pip install 'rdl-get[sync]'"
        raise UsageError("zsync index", "numpy is not installed", hint=hint) from None
    groups = Groups(index, wanted)
    padding = index.count * index.block - index.total
    window = min(max(LANES * index.block, LEAST_WINDOW), MOST_WINDOW, size + padding)
    buffer = memoryview(bytearray(window + groups.span))
    base = 0
    while groups.wanted and (offsets := size + padding - groups.span - base + 1) > 0:
        offsets = min(offsets, window)
        data = buffer[: offsets + groups.span - 1]
        here = min(len(data), size - base)
        count = _fill(read, base, data[:here])
        if count < here:  # it was cut meanwhile
            size = base + count
        data[count:] = bytes(len(data) - count)
        yield from groups.found(data, base, size)
        base += offsets


def _fill(read: Read, offset: int, into: memoryview) -> int:
    done = 0
    while done < len(into) and (count := read(offset + done, into[done:])):
        done += count
    return done
