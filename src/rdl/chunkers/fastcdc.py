"""FastCDC 2020 with normalization level 1 (docs/formats/chunkers.md), over pyfastcdc."""

from __future__ import annotations

from operator import attrgetter

from pyfastcdc import FastCDC

_OFFSET = attrgetter("offset")


class FastCdc:
    """See `Chunker`. Sizes in bytes: 64 to a MiB, 256 to 4 MiB, a KiB to 16 MiB; raises ValueError
    for others, and for an odd `least`, below which a chunk could be cut."""

    def __init__(self, least: int, average: int, most: int) -> None:
        if least % 2:
            raise ValueError("the least size is odd")
        self.most = most
        self._cutter = FastCDC(average, min_size=least, max_size=most, normalized_chunking=1)

    def cuts(self, data: memoryview, *, final: bool) -> list[int]:
        """See `Chunker`. What ends before the data does was cut by the content, or is as long as
        may be; more data moves neither."""
        starts = list(map(_OFFSET, self._cutter.cut_buf(data)))
        if starts and (final or len(data) - starts[-1] == self.most):
            starts.append(len(data))
        return starts[1:]
