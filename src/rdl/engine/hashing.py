"""Digests that follow the contiguous head of a row while the rest still arrives.

The bytes are read back from the file: what is verified is what is on disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
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
        """Of each of these, as hex; LocalFileError when they cannot be read."""
        found = []
        for range in ranges:
            digest = hashlib.new(algorithm)
            self._read(range, [digest])
            found.append(digest.hexdigest())
        return tuple(found)

    def _read(self, range: ByteRange, digests: Sequence[hashlib._Hash]) -> int:
        """Feed the bytes of `range`; where that ended."""
        if not self._buffer:
            self._buffer = bytearray(STEP)
        view, at = memoryview(self._buffer), range.start
        while at < range.stop and not self.stopped:
            count = self._store.read_into(at, view[: min(STEP, range.stop - at)])
            if count == 0:
                raise LocalFileError("part file", "it is shorter than what was written")
            for digest in digests:
                digest.update(view[:count])
            at += count
        return at

    def digests(self) -> dict[str, str]:
        """Algorithm to hex of all that was fed."""
        return {name: digest.hexdigest() for name, digest in self._hashes.items()}
