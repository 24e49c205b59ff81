"""What the readers of a flight may have: of which version, how long it is, which bytes are here."""

from __future__ import annotations

from collections.abc import Sequence

from rdl.core.byterange import ByteRange
from rdl.core.representation import Representation
from rdl.core.row import ENDLESS, Row


class Shown:
    """Changes and looks are the flight's, under its lock. `epoch` counts what was taken back: bytes
    that were read across a change of it may be others."""

    def __init__(self) -> None:
        self.row: Row | None = None
        self.size: int | None = None
        self.epoch = 0

    def known(self, representation: Representation, size: int | None) -> None:
        """What it is; `size` None: that is not known yet."""
        if self.row is None or size != self.size:
            present, total = self.present(), representation.total
            self.row = Row(representation, ByteRange(0, ENDLESS if total is None else total), None)
            self.row.add(present)
            if size is not None and total is None:
                self.row.end()
        self.size = size

    def add(self, ranges: Sequence[ByteRange]) -> None:
        """These bytes are here."""
        assert self.row is not None
        self.row.add(ranges)

    def hide(self, ranges: Sequence[ByteRange]) -> None:
        """And these are not any more."""
        self.epoch += 1
        if self.row is not None and self.row.representation.total is not None:
            self.row.discard(one for one in ranges if one)
        elif ranges:
            self.row = self.size = None

    def holds(self, range: ByteRange) -> bool:
        """Whether all of these bytes are here, as far as the file has them."""
        return self.row is not None and self.row.holds(self.clipped(range))

    def tells(self, range: ByteRange | None) -> bool:
        """Whether all of these bytes are here; None: whether it is known how long it is."""
        return self.size is not None if range is None else self.holds(range)

    def present(self) -> tuple[ByteRange, ...]:
        """Runs of bytes that are here."""
        return tuple(self.row.present()) if self.row else ()

    def head(self) -> int:
        """The end of the bytes that are here from the first one on."""
        return self.row.head() if self.row else 0

    def ready(self, offset: int) -> int:
        """The end of the bytes that are here from this one on."""
        if self.row is None:
            return offset
        gap = next(self.row.missing(ByteRange(offset, max(offset, self.row.span.stop))), None)
        return self.row.span.stop if gap is None else gap.start

    def clipped(self, range: ByteRange) -> ByteRange:
        """The part of it that lies in the file, as far as that is known."""
        if self.size is None:
            return range
        return ByteRange(min(range.start, self.size), min(range.stop, self.size))
