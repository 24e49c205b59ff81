"""Blob indexes of casync and desync (`.caibx`): the chunks of one file, in order.

Bytes in, values out (docs/formats/caibx.md); whatever makes no sense is a ProtocolError.
"""

from __future__ import annotations

import struct
from array import array

from msgspec import Struct

from rdl.core.chunks import Chunks
from rdl.errors import ProtocolError

LARGEST = 256 << 20
"""Bytes of an index: of 400 GiB in chunks of 64 KiB."""
MOST_TOTAL = 1 << 50
MOST_CHUNK = 128 << 20
"""casync's own limit."""
SHA512_256 = 1 << 61
OF_BLOBS = 0b1111 << 60
"""Flags that the index of one file may have; all others speak of a tree's metadata."""
INDEX, TABLE, END = 0x96824D9C7B129FF9, 0xE75B9E112F17417D, 0x4B4F050E5549ECD1
ENDLESS = (1 << 64) - 1
WHAT = "chunk index"
_HEADER, _TABLE, _TAIL = struct.Struct("<6Q"), struct.Struct("<2Q"), struct.Struct("<5Q")
_ITEM, _STOP, _DIGEST = 40, struct.Struct("<Q32x"), struct.Struct("<8x32s")
_HEAD = _HEADER.size + _TABLE.size


class Caibx(Struct, frozen=True):
    """What an index says. How it was cut: chunks of `average` bytes, `least` to `most`."""

    least: int
    average: int
    most: int
    chunks: Chunks

    @property
    def total(self) -> int:
        """Bytes of the file."""
        return self.chunks.span.stop


def parse_caibx(data: bytes) -> Caibx:
    """The index `data`. Raises ProtocolError."""
    if len(data) > LARGEST:
        raise ProtocolError(WHAT, f"it is larger than {LARGEST >> 20} MiB")
    if len(data) < _HEAD:
        raise ProtocolError(WHAT, "it is no .caibx, or cut short")
    size, kind, flags, least, average, most = _HEADER.unpack_from(data)
    if (size, kind) != (_HEADER.size, INDEX):
        raise ProtocolError(WHAT, "it is no .caibx: it does not begin like one")
    if flags & ~OF_BLOBS:
        hint = "an index of one file (.caibx) can be read"
        raise ProtocolError(WHAT, "it is of a directory tree (.caidx)", hint=hint)
    if not 0 < least <= average <= most <= MOST_CHUNK:
        why = f"chunks of {least} to {most} bytes, {average} on average, make no sense"
        raise ProtocolError(WHAT, why)
    if _TABLE.unpack_from(data, _HEADER.size) != (ENDLESS, TABLE):
        raise ProtocolError(WHAT, "its table of chunks does not begin like one")
    items = memoryview(data)[_HEAD : -_TAIL.size]
    length = len(data) - _HEADER.size
    cut = len(data) < _HEAD + _TAIL.size or len(items) % _ITEM
    if cut or _TAIL.unpack_from(data, len(data) - _TAIL.size) != (0, 0, size, length, END):
        raise ProtocolError(WHAT, "its table of chunks is cut short, or damaged at its end")
    stops = array("Q", (stop for (stop,) in _STOP.iter_unpack(items)))
    _check(stops, most)
    digests = bytearray()  # joined at once they would all be objects together
    for (digest,) in _DIGEST.iter_unpack(items):
        digests += digest
    algorithm = "sha512_256" if flags & SHA512_256 else "sha256"
    return Caibx(least, average, most, Chunks(algorithm, 32, stops, bytes(digests)))


def _check(stops: array[int], most: int) -> None:
    before = 0
    for number, stop in enumerate(stops):
        if not before < stop <= before + most:
            why = f"chunk {number} is from {before} to {stop}, where {most} bytes are the most"
            raise ProtocolError(WHAT, why)
        before = stop
    if before > MOST_TOTAL:
        raise ProtocolError(WHAT, f"a file of {before} bytes is too large")
