"""Ranges of bytes are half-open, `[start, stop)`, everywhere inside rdl.

First-pos and last-pos (RFC 9110 section 14) exist only on the wire and on the screen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct


class ByteRange(Struct, frozen=True, order=True):
    """The bytes `start <= i < stop`; empty when the two are equal."""

    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.stop:
            raise ValueError(f"not a range: [{self.start}, {self.stop})")

    def __len__(self) -> int:
        return self.stop - self.start

    def __bool__(self) -> bool:
        return self.stop > self.start

    def __contains__(self, offset: int) -> bool:
        return self.start <= offset < self.stop

    def clip(self, other: ByteRange) -> ByteRange:
        """The part of this range that lies in `other`; empty where they do not meet."""
        start = min(max(self.start, other.start), self.stop)
        return ByteRange(start, max(start, min(self.stop, other.stop)))

    def without(self, other: ByteRange) -> Iterator[ByteRange]:
        """What of this range lies before `other`, and what after it; no empty ones."""
        if self.start < min(self.stop, other.start):
            yield ByteRange(self.start, min(self.stop, other.start))
        if max(self.start, other.stop) < self.stop:
            yield ByteRange(max(self.start, other.stop), self.stop)

    def covers(self, other: ByteRange) -> bool:
        """Whether every byte of `other` is in this range."""
        return self.start <= other.start and other.stop <= self.stop


Runs = tuple[ByteRange, ...]
"""Ranges, in order."""


class Extent(Struct, frozen=True):
    """A run of present bytes, at most a MiB, with the checksum (xxh3-64) of what was written."""

    start: int
    stop: int
    checksum: int


def joined(ranges: Iterable[ByteRange]) -> Iterator[ByteRange]:
    """Ranges, ascending by their starts, as the runs that they make together."""
    run: ByteRange | None = None
    for one in ranges:
        if run is not None and one.start <= run.stop:
            run = ByteRange(run.start, max(run.stop, one.stop))
            continue
        if run is not None:
            yield run
        run = one
    if run is not None:
        yield run
