"""A Store in memory for one reader in order: a ring of fixed size, nothing on disk.

The heart begins nothing beyond a window's length from what the reader has released. Some bytes
behind that stay, to compare others with that are joined to them. A worker whose end moved closer
may still bring bytes that were released since: they are let fall.
"""

from __future__ import annotations

import threading

from rdl.core.order import behind
from rdl.errors import LocalFileError
from rdl.storage.base import Header
from rdl.storage.volatile import Volatile


class WindowStore(Volatile):
    """`size`: bytes of the window. `start`: where the span begins, known after begin()."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._ring = memoryview(bytearray())
        self._kept = self._released = 0
        self._lock = threading.Lock()
        self.start: int | None = None

    def begin(self, header: Header) -> None:
        """Make the ring; one that is larger than all there is would be a waste."""
        size = self._size + behind(self._size)
        size = size if header.size is None else min(size, header.size)
        self._ring = memoryview(bytearray(max(1, size)))
        self.start = self._kept = self._released = header.start

    def reserve(self, size: int) -> None:
        """The ring is all the room there is."""

    def write_at(self, offset: int, data: memoryview) -> None:
        with self._lock:
            late = max(0, min(self._released - offset, len(data)))
            offset, data, ring = offset + late, data[late:], self._ring
            if not ring:
                return
            if offset + len(data) > self._kept + len(ring):
                raise LocalFileError("stream", "bytes beyond the window")
            self._put(offset, data)

    def _put(self, offset: int, data: memoryview) -> None:
        ring = self._ring
        while data:
            place = (offset - (self.start or 0)) % len(ring)
            part = data[: len(ring) - place]
            ring[place : place + len(part)] = part
            offset, data = offset + len(part), data[len(part) :]

    def pass_by(self, offset: int, data: memoryview) -> None:
        """The reader has taken these bytes elsewhere, in their turn: only the end of them stays,
        to compare others with."""
        with self._lock:
            if not self._ring:
                return
            stop, kept = offset + len(data), min(len(data), behind(self._size))
            self._put(stop - kept, data[len(data) - kept :])
            self._let_go(stop)

    def read_into(self, offset: int, view: memoryview) -> int:
        """0 for what is not kept any more."""
        with self._lock:
            if offset < self._kept or not self._ring:
                return 0
            part = self.view(offset, len(view))
            view[: len(part)] = part
        return len(part)

    def view(self, offset: int, size: int) -> memoryview:
        """The bytes themselves, up to the end of the ring, good until they are released. What
        was not delivered is not to be read."""
        place = (offset - (self.start or 0)) % len(self._ring)
        return self._ring[place : place + size]

    def release(self, upto: int) -> None:
        """The reader has taken the bytes before `upto`."""
        with self._lock:
            self._let_go(upto)

    def _let_go(self, upto: int) -> None:
        self._released = max(self._released, upto)
        self._kept = max(self._kept, upto - behind(self._size))

    def close(self, *, discard: bool = False) -> None:
        """The ring goes; nothing more is kept or can be read."""
        with self._lock:
            self._ring = memoryview(b"")
