"""Digests that follow the contiguous head of a row while the rest still arrives.

The bytes are read back from the file: what is verified is what is on disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from rdl.core.byterange import ByteRange
from rdl.errors import LocalFileError

STEP = 1 << 18


class Readable(Protocol):
    """What can be read at any offset, from several threads at once."""

    def read_into(self, offset: int, view: memoryview) -> int:
        """Read at most len(view) bytes; 0 at the end."""
        ...


class Follower:
    """Hashes ranges in order; a range that does not follow the one before starts anew."""

    def __init__(self, store: Readable) -> None:
        self._store, self._next = store, -1
        self._hashes: dict[str, hashlib._Hash] = {}
        self._buffer = bytearray()
        self.stopped = False
        """Set by another thread to give up; feed then returns at once."""

    def feed(self, range: ByteRange, algorithms: Sequence[str]) -> None:
        """Hash the bytes of `range`; LocalFileError when they cannot be read."""
        if range.start != self._next:
            self._hashes = {name: hashlib.new(name) for name in algorithms}
        self._next = self._read(range, list(self._hashes.values()))

    def digests_of(self, ranges: Iterable[ByteRange], algorithm: str) -> tuple[str, ...]:
        """Of each of these, as hex; LocalFileError when they cannot be read. Those that follow one
        another are read together: a read for each of many small ones would cost more than these."""
        found: list[str] = []
        for group in _together(ranges):
            start, stop = group[0].start, group[-1].stop
            if stop - start > STEP:
                digest = hashlib.new(algorithm)
                self._read(group[0], [digest])
                found.append(digest.hexdigest())
                continue
            view, at = self._room()[: stop - start], 0
            while at < len(view) and not self.stopped:
                at += self._read_some(start + at, view[at:])
            parts = (view[range.start - start : range.stop - start] for range in group)
            found += (hashlib.new(algorithm, part).hexdigest() for part in parts)
        return tuple(found)

    def _read(self, range: ByteRange, digests: Sequence[hashlib._Hash]) -> int:
        """Feed the bytes of `range`; where that ended."""
        view, at = self._room(), range.start
        while at < range.stop and not self.stopped:
            count = self._read_some(at, view[: min(STEP, range.stop - at)])
            for digest in digests:
                digest.update(view[:count])
            at += count
        return at

    def _room(self) -> memoryview:
        if not self._buffer:
            self._buffer = bytearray(STEP)
        return memoryview(self._buffer)

    def _read_some(self, at: int, view: memoryview) -> int:
        if count := self._store.read_into(at, view):
            return count
        raise LocalFileError("part file", "it is shorter than what was written")

    def digests(self) -> dict[str, str]:
        """Algorithm to hex of all that was fed."""
        return {name: digest.hexdigest() for name, digest in self._hashes.items()}


def _together(ranges: Iterable[ByteRange]) -> Iterator[list[ByteRange]]:
    """Those that follow one another, STEP bytes of them at most; a longer one is alone."""
    group: list[ByteRange] = []
    for range in ranges:
        if group and (range.start != group[-1].stop or range.stop - group[0].start > STEP):
            yield group
            group = []
        group.append(range)
    if group:
        yield group
