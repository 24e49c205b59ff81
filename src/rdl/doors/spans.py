"""A carrier of bytes as a seekable file for the standard library's readers of archives.

What is known to be wanted is said first, and asked for at once; nothing else is asked for. No read
may be longer than what was granted, so a length in an archive never decides about memory.
"""

from __future__ import annotations

import io

from rdl.core.reads import Carrier
from rdl.errors import ArchiveError

WINDOW = 8 << 20
"""Bytes asked for at once, at most, of a long span that was expected."""


class Bounded(io.RawIOBase):
    """A file to be read by read(), whose reads are paid for; seek() from the start only."""

    def __init__(self) -> None:
        self._granted = 0
        self._at = 0

    def grant(self, size: int) -> None:
        """So many bytes may be read from now on."""
        self._granted = size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def _pay(self, size: int) -> None:
        if not 0 <= size <= self._granted:
            raise ArchiveError("archive", "its directory, or a header in it, is too large")
        self._granted -= size


class Spans(Bounded):
    """A carrier, read by spans."""

    def __init__(self, carrier: Carrier) -> None:
        super().__init__()
        self._carrier = carrier
        self.length = carrier.size()
        self.fetched = 0
        """Bytes asked for of the carrier so far."""
        self._expected = (0, 0)
        self._held_at, self._held = 0, b""

    def expect(self, start: int, stop: int) -> None:
        """All of [start, stop) is going to be read."""
        self._expected = max(0, start), min(stop, self.length)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.length}[whence]
        if base + offset < 0:
            raise OSError("before the beginning of the archive")  # as files do
        self._at = base + offset
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Exactly `size` bytes (-1: all), fewer only at the end. Raises ArchiveError for more
        than what was granted."""
        rest = max(0, self.length - self._at)
        count = rest if size < 0 else min(size, rest)
        self._pay(count)
        found = self._from_held(count)
        while len(found) < count:
            self._fetch(count - len(found))
            more = self._from_held(count - len(found))
            if not more:
                raise ArchiveError("archive", "it is shorter than the server said")
            found += more
        return found

    def _from_held(self, count: int) -> bytes:
        start = self._at - self._held_at
        if start < 0:
            return b""
        found = self._held[start : start + count]
        self._at += len(found)
        return found

    def _fetch(self, count: int) -> None:
        begin, end = self._at, self._at + count
        start, stop = self._expected
        if start <= begin < stop:
            begin = start if stop - start <= WINDOW else begin
            end = max(end, min(stop, begin + WINDOW))
        self._held_at, self._held = begin, self._carrier.read_at(begin, end - begin)
        self.fetched += len(self._held)
