"""Memory that stays with the machine while it is measured.

A virtual machine pays up to two seconds a GiB for pages that it first touches, and gives free
blocks of 2 MiB back to its host soon after. Where one page of each is kept, none is given back.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager

BLOCK = 2 << 20


@contextmanager
def kept(size: int) -> Iterator[None]:
    """`size` bytes were touched and are free; the kernel hands broken blocks out first."""
    blocks = -(-size // BLOCK)
    with mmap.mmap(-1, blocks * BLOCK, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as area:
        area.madvise(mmap.MADV_NOHUGEPAGE)
        area.madvise(mmap.MADV_DONTFORK)
        for page in range(0, len(area), mmap.PAGESIZE):
            area[page] = 1
        for block in range(0, len(area), BLOCK):
            area.madvise(mmap.MADV_DONTNEED, block + mmap.PAGESIZE, BLOCK - mmap.PAGESIZE)
        yield
