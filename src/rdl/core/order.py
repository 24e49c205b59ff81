"""A reader that takes the bytes in order: what it has, and how far ahead of it one may fetch."""

from __future__ import annotations

from rdl.core.byterange import ByteRange
from rdl.core.row import Row

LEAST_ROOM = 1 << 20
"""With less room no request is begun, unless that is all there is to ask for."""
JOINT = 16 << 10
"""So many bytes at most before a gap come again within a run, and are compared."""


def behind(window: int) -> int:
    """How many bytes behind the reader a window keeps, to compare with what is joined."""
    return min(JOINT, window // 16)


class Order:
    """`window`: bytes. Offsets are those of the representation, from the span's start on.

    `out_of_order` counts reports of bytes that arrived before others they follow, `furthest`
    is how many bytes the furthest of them lay ahead of the reader's next byte.
    """

    def __init__(self, window: int) -> None:
        self.window = window
        self.consumed = self.delivered = -1
        self.frozen = False
        """Another version is about to be begun: nothing of this one is delivered any more."""
        self.out_of_order = self.furthest = 0

    def begin(self, row: Row) -> None:
        """The first version, or another one before anything was delivered."""
        self.consumed = self.delivered = row.span.start
        self.frozen = False

    @property
    def limit(self) -> int:
        """Where the window ends."""
        return self.consumed + self.window

    @property
    def ahead(self) -> bool:
        """Whether the reader has half a window to take: it is what is waited for."""
        return 2 * (self.delivered - self.consumed) >= self.window

    def comparable(self, at: int) -> int:
        """How many bytes before the offset `at` are in memory yet."""
        return max(0, at - self.consumed + behind(self.window))

    @property
    def least(self) -> int:
        """Bytes that are worth a request."""
        return LEAST_ROOM

    def tile(self, level: int) -> int:
        """Bytes of one request, where `level` run at a time."""
        return max(LEAST_ROOM, self.window // (2 * level))

    def within(self, row: Row) -> ByteRange:
        """What may be begun now."""
        stop = min(self.limit, row.span.stop)
        head = row.head()
        return ByteRange(head, stop if stop == row.span.stop or stop - head >= LEAST_ROOM else head)

    def note(self, arrived: ByteRange, head: int) -> None:
        """Bytes came; `head` is where the contiguous bytes end now."""
        if arrived.start > head:
            self.out_of_order += 1
            self.furthest = max(self.furthest, arrived.stop - head)

    def deliver(self, head: int) -> bool:
        """Whether the reader may take more than it was told before."""
        if self.frozen:
            return False
        fresh = head > self.delivered
        self.delivered = max(self.delivered, head)
        return fresh

    def begun(self, row: Row) -> bool:
        """Whether the reader has bytes already, so that nothing can be begun anew."""
        return self.delivered > row.span.start
