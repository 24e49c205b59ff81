"""The forms of cafs: SyncInfo, old and new, and its stream of chunks (docs/formats/cafs.md).

Pure. What makes no sense is a ProtocolError, before much memory is given to it. Its wishlists are
the bits of core/wishlist.py.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import accumulate
from typing import Annotated

import msgspec
from msgspec import Meta, Raw, Struct

from rdl.core import varint
from rdl.core.chunks import Chunks
from rdl.core.shuffle import MOST_SLOTS, TRIVIAL, Permutation, shuffle
from rdl.core.text import safe_text
from rdl.core.wishlist import Arrivals, ChunkBytes, Read, Wish, check_length
from rdl.errors import ChangedError, NetworkError, ProtocolError

LARGEST = 64 << 20
"""Bytes of a SyncInfo that is read."""
MOST_CHUNK = 1 << 17
WHAT, STREAM = "SyncInfo", "chunks of cafs"
_KEY = 32
_NOTHING = sha256().digest()
_MOST_PERM = MOST_SLOTS * 16
"""Bytes of a permutation in JSON, with room for spaces."""


class _Entry(Struct, rename="pascal", gc=False):
    key: Annotated[str, Meta(min_length=2 * _KEY, max_length=2 * _KEY)]
    size: Annotated[int, Meta(ge=0, le=MOST_CHUNK)]


class _Info(Struct, rename="pascal"):
    chunks: list[_Entry]
    perm: Raw


class _Written(Struct, rename="pascal"):
    chunks: list[_Entry]
    perm: Sequence[int]


class SyncInfo(Struct, frozen=True):
    """The chunks of a file, whole SHA-256, and the permutation of the order they are sent in. A
    chunk may have no bytes."""

    chunks: Chunks
    permutation: Permutation

    def shuffled(self) -> SyncInfo:
        """The same chunks as if the file had them in the order in which they are sent."""
        chunks = self.chunks
        sent = shuffle(self.permutation, range(len(chunks)))
        order = [number for number in sent if number is not None]
        sizes = (len(chunks.chunk(number)) for number in order)
        return _info(sizes, b"".join(map(chunks.digest, order)), TRIVIAL)

    def entries(self) -> Iterator[tuple[bytes, int]]:
        """Key and size of each chunk, in the order of the file."""
        chunks = self.chunks
        for number in range(len(chunks)):
            yield chunks.digest(number), len(chunks.chunk(number))


def parse_json(data: bytes) -> SyncInfo:
    """A SyncInfo as cafs writes it now. Raises ProtocolError."""
    _check_length(data)
    try:
        found = msgspec.json.decode(data, type=_Info)
        if len(memoryview(found.perm)) > _MOST_PERM:
            raise ProtocolError(WHAT, f"a permutation of more than {MOST_SLOTS} numbers")
        slots = msgspec.json.decode(found.perm, type=list[int])
        keys = bytearray()
        for one in found.chunks:
            keys += bytes.fromhex(one.key)
    except (ValueError, RecursionError) as error:  # also text that is not UTF-8, and depth
        raise ProtocolError(WHAT, safe_text(f"it makes no sense: {error}")) from None
    return _info((one.size for one in found.chunks), bytes(keys), Permutation(slots))


def encode_json(info: SyncInfo) -> bytes:
    """The same, written."""
    entries = [_Entry(key.hex(), size) for key, size in info.entries()]
    return msgspec.json.encode(_Written(entries, info.permutation.slots))


def parse_old(data: bytes) -> SyncInfo:
    """A SyncInfo in its old form. Raises ProtocolError."""
    _check_length(data)
    at, keys, sizes = 0, bytearray(), array("I")
    while at < len(data):
        found = varint.decode_signed(data, at + _KEY, MOST_CHUNK, WHAT)
        if found is None:
            raise ProtocolError(WHAT, f"it ends within chunk {len(sizes)}")
        if found[0] < 0:
            raise ProtocolError(WHAT, f"chunk {len(sizes)} has a size of {found[0]}")
        keys += data[at : at + _KEY]
        size, at = found
        sizes.append(size)
    return _info(sizes, bytes(keys), TRIVIAL)


def encode_old(info: SyncInfo) -> bytes:
    """The same, written. It has no place for the permutation."""
    return b"".join(key + varint.encode_signed(size) for key, size in info.entries())


class StreamSender(ChunkBytes):
    """Sends what was wished, of what `read` has."""

    def __init__(self, chunks: Chunks, numbers: Sequence[int], read: Read) -> None:
        super().__init__(chunks, numbers)
        self._chunks, self._numbers, self._read = chunks, numbers, read

    def answer(self) -> Iterator[bytes]:
        """The stream. Raises ChangedError for a chunk that is not here, or no longer as long as it
        was: it can only be cut then."""
        for number in self._numbers:
            data = self._read(number)
            if data is None:
                raise ChangedError(f"chunk {number}", "it is not here")
            check_length(self._chunks, number, data)
            yield varint.encode_signed(len(data))
            yield data
            self.transferred += len(data)


class StreamReceiver(Arrivals):
    """Reads a stream, fed in any portions. A failure is raised after all that came before it was
    handed out, and again each time."""

    def __init__(self, chunks: Chunks, wish: Wish) -> None:
        super().__init__(STREAM, chunks, wish)
        self._buffer = bytearray()

    def feed(self, data: bytes | bytearray | memoryview) -> Iterator[tuple[int, bytes]]:
        """What is complete now, to be taken to its end: numbers of chunks and their bytes, those
        of the same content each by itself. Raises ProtocolError."""
        self._buffer += data
        return self._found()

    def finish(self) -> None:
        """The stream is over. Raises NetworkError where chunks are lacking."""
        if self.left:
            raise NetworkError(STREAM, f"it was cut while {self.left} chunks were to come")

    def _found(self) -> Iterator[tuple[int, bytes]]:
        while self._buffer:
            self._next()
            start = varint.decode_signed(self._buffer, 0, MOST_CHUNK, STREAM)
            if start is None:
                return
            size, at = start
            self.expect(size)
            if len(self._buffer) < at + size:
                return
            data = bytes(self._buffer[at : at + size])
            numbers = self.take(data)
            del self._buffer[: at + size]
            for number in numbers:
                yield number, data


def _check_length(data: bytes) -> None:
    if len(data) > LARGEST:
        raise ProtocolError(WHAT, f"it is larger than {LARGEST >> 20} MiB")


def _info(sizes: Iterable[int], keys: bytes, permutation: Permutation) -> SyncInfo:
    """Raises ProtocolError where a key is not as long as its text, or a size is not of its key."""
    chunks = Chunks("sha256", _KEY, array("Q", accumulate(sizes)), keys)
    if len(keys) != _KEY * len(chunks):  # spaces between the digits
        raise ProtocolError(WHAT, "a key is not 64 hex digits")
    for number in range(len(chunks)):
        if bool(chunks.chunk(number)) is (chunks.digest(number) == _NOTHING):
            size = len(chunks.chunk(number))
            raise ProtocolError(WHAT, f"chunk {number} has {size} bytes and another's key")
    return SyncInfo(chunks, permutation)
