"""Wishlists: which chunks are wished, in which order, and what answers them.

Pure, for both sides (docs/formats/wishlist.md). What breaks the rules is a ProtocolError, before
memory is given to it.
"""

from __future__ import annotations

import hashlib
import struct
import sys
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from msgspec import Struct

from rdl.core import varint
from rdl.core.byterange import ByteRange
from rdl.core.chunks import Chunks
from rdl.core.manifest import MAX_COARSE, MAX_MOST, Manifest, fine_range, refined
from rdl.core.shuffle import MOST_SLOTS, TRIVIAL, Permutation
from rdl.core.text import safe_text
from rdl.errors import ChangedError, NetworkError, ProtocolError

CHUNKS_TYPE = "application/vnd.rdl.chunks"
FINE_TYPE = "application/vnd.rdl.fine"
WISHES_MAGIC, CHUNKS_MAGIC = b"RDLWISH\x01", b"RDLSENT\x01"
FINE_MAGIC = b"RDLFINE\x01"
_HEAD = struct.Struct("<8s32sIQI")
MOST_WISHES = _HEAD.size + (MAX_COARSE + MOST_SLOTS + 6) // 8
"""Bytes of the longest wishlist."""
MOST_REFINED = 1 << 20
"""Chunks of a list that is not of coarse ones alone."""
MOST_TEXT = 1000
"""Bytes of what a server says of a failure."""
WISHES, ANSWER = "wishlist", "answer to the wishlist"
END, ABSENT, FAILED, REFUSED = 0, 1, 2, 3

Read = Callable[[int], bytes | None]
"""The bytes of the chunk of this number; None where they are not here."""


class Wish(Struct, frozen=True):
    """What is to come: `numbers` of chunks in the order in which they come, and for some of them
    the others of the same content, which are not asked for."""

    numbers: Sequence[int]
    others: Mapping[int, Sequence[int]] = {}


class ChunkBytes:
    """Bytes of chunks: `to_transfer` in all, `transferred` up to now. Equal at the end."""

    def __init__(self, chunks: Chunks, numbers: Iterable[int]) -> None:
        self.to_transfer = sum(len(chunks.chunk(number)) for number in numbers)
        self.transferred = 0


def name_of(chunks: Chunks) -> bytes:
    """The 32 bytes that both sides name a list of chunks by."""
    stops = chunks.stops
    if sys.byteorder == "big":
        stops = stops[:]
        stops.byteswap()
    begin = chunks.algorithm.encode() + b"\0" + chunks.width.to_bytes(4, "little")
    return hashlib.sha256(begin + stops.tobytes() + chunks.digests).digest()


def wish(chunks: Chunks, permutation: Permutation, lacking: Iterable[int]) -> Wish:
    """Of the chunks that are lacking, each said once: none without bytes, and the same content
    once."""
    first: dict[bytes, int] = {}
    others: dict[int, list[int]] = {}
    numbers = array("I")
    for number in sorted(lacking, key=permutation.step):
        if not (size := len(chunks.chunk(number))):
            continue
        one = first.setdefault(chunks.digest(number), number)
        if one == number or len(chunks.chunk(one)) != size:
            numbers.append(number)
        else:
            others.setdefault(one, []).append(number)
    return Wish(numbers, others)


def bits_of(permutation: Permutation, count: int, numbers: Iterable[int]) -> bytes:
    """A bit for each step of a row of `count` chunks, 1 for these numbers."""
    bits = bytearray((permutation.steps(count) + 7) // 8)
    for number in numbers:
        step = permutation.step(number)
        bits[step >> 3] |= 0x80 >> (step & 7)
    return bytes(bits)


def numbers_in(permutation: Permutation, chunks: Chunks, bits: bytes) -> array[int]:
    """The chunks that are wished, in their order. Raises ProtocolError."""
    count = len(chunks)
    steps = permutation.steps(count)
    length = (steps + 7) // 8
    if len(bits) != length:
        how = "short" if len(bits) < length else "long"
        raise ProtocolError(WISHES, f"too {how}: {len(bits)} bytes for {steps} steps")
    numbers = array("I")
    for at, byte in enumerate(bits):
        if not byte:
            continue
        for step in range(8 * at, 8 * at + 8):
            if not byte & 0x80 >> (step & 7):
                continue
            if step >= steps:
                raise ProtocolError(WISHES, f"too long: a wish beyond its {steps} steps")
            number = permutation.number(step)
            if not 0 <= number < count:
                raise ProtocolError(WISHES, f"a wish at step {step}, where no chunk comes out")
            if not chunks.chunk(number):
                raise ProtocolError(WISHES, f"a wish for chunk {number}, which has no bytes")
            numbers.append(number)
    return numbers


def encode_wishlist(
    chunks: Chunks, slots: int, seed: int, wish: Wish, coarse: Chunks | None = None
) -> bytes:
    """The request for what was wished in the order of this permutation. `coarse`: of which some
    have their fine ones in their place in `chunks`."""
    permutation = Permutation.seeded(slots, seed)
    split = b"" if coarse is None else _split(coarse, chunks)
    head = _HEAD.pack(WISHES_MAGIC, name_of(chunks), slots, seed, len(split))
    return b"".join((head, split, bits_of(permutation, len(chunks), wish.numbers)))


def _split(coarse: Chunks, chunks: Chunks) -> bytes:
    """A bit for each coarse chunk, 1 where there are fine ones; nothing where there are none."""
    if len(coarse) == len(chunks):
        return b""
    known = set(coarse.stops)
    inner = (bisect_left(coarse.stops, stop) for stop in chunks.stops if stop not in known)
    return bits_of(TRIVIAL, len(coarse), inner)


def encode_fine(coarse: Chunks, numbers: Iterable[int]) -> bytes:
    """The request for what the manifest has of the fine chunks of these coarse ones."""
    head = _HEAD.pack(FINE_MAGIC, name_of(coarse), len(TRIVIAL), 0, 0)
    return head + bits_of(TRIVIAL, len(coarse), numbers)


def asks_fine(body: bytes) -> bool:
    """Whether the request is for what the manifest has, and not for chunks."""
    return body[: len(FINE_MAGIC)] == FINE_MAGIC


def list_in(manifest: Manifest, body: bytes, read: Callable[[ByteRange], bytes]) -> Chunks:
    """The list that a request may be about; of the manifest is `read` what lies under chunks that
    are not wished whole. Raises ProtocolError."""
    if not (length := _head_of(body)[3]):
        return manifest.coarse
    bits = body[_HEAD.size : _HEAD.size + length]
    numbers = numbers_in(TRIVIAL, manifest.coarse, bits)
    if len(manifest.coarse) + sum(manifest.counts[one] - 1 for one in numbers) > MOST_REFINED:
        raise ProtocolError(WISHES, f"its list has more than {MOST_REFINED} chunks")
    spans = {one: fine_range(manifest, one, one + 1) for one in numbers}
    return refined(manifest, {one: read(span) for one, span in spans.items()})


def parse_wishlist(chunks: Chunks, body: bytes) -> array[int]:
    """The chunks that a request wishes, in the order in which they are to come. Raises
    ProtocolError, and ChangedError where it is of another list."""
    name, slots, seed, length = _head_of(body)
    if name != name_of(chunks):
        raise ChangedError(WISHES, "it is of another list of chunks")
    return numbers_in(Permutation.seeded(slots, seed), chunks, body[_HEAD.size + length :])


def _head_of(body: bytes) -> tuple[bytes, int, int, int]:
    """Name, k, seed, and the length of what is between head and wishes. Raises ProtocolError."""
    _check_magic(WISHES, FINE_MAGIC if asks_fine(body) else WISHES_MAGIC, body)
    if len(body) < _HEAD.size:
        raise ProtocolError(WISHES, "too short: it ends within its head")
    _, name, slots, seed, length = _HEAD.unpack_from(body)
    if length and asks_fine(body):
        raise ProtocolError(WISHES, "fine chunks are under coarse ones only")
    return name, slots, seed, length


def ending(kind: int, text: str) -> bytes:
    """The record that ends an answer that could not be completed: FAILED or REFUSED. The text is
    for whoever asked: it names nothing of this machine."""
    said = safe_text(text, MOST_TEXT // 4).encode()
    return b"".join((b"\0", bytes([kind]), varint.encode(len(said)), said))


class Sender(ChunkBytes):
    """Answers a wishlist with what `read` has. It looks at lengths only: `read` knows what it may
    say is right."""

    def __init__(self, chunks: Chunks, numbers: Sequence[int], read: Read) -> None:
        super().__init__(chunks, numbers)
        self._chunks, self._numbers, self._read = chunks, numbers, read

    @property
    def length(self) -> int:
        """Bytes of the whole answer, where all chunks are here."""
        heads = sum(len(varint.encode(len(self._chunks.chunk(one)))) for one in self._numbers)
        end = 2 + len(varint.encode(len(self._numbers))) + 32
        return len(CHUNKS_MAGIC) + heads + self.to_transfer + end

    def answer(self) -> Iterator[bytes]:
        """The body, record by record. Raises ChangedError where a chunk is no longer as long as
        the list says, and what `read` raises; an ending() may be sent then."""
        yield CHUNKS_MAGIC
        digests, sent = hashlib.sha256(), 0
        for number in self._numbers:
            data = self._read(number)
            if data is None:
                self.to_transfer -= len(self._chunks.chunk(number))
                yield bytes([0, ABSENT])
                continue
            check_length(self._chunks, number, data)
            yield varint.encode(len(data)) + data
            digests.update(self._chunks.digest(number))
            sent += 1
            self.transferred += len(data)
        yield b"".join((bytes([0, END]), varint.encode(sent), digests.digest()))


def check_length(chunks: Chunks, number: int, data: bytes) -> None:
    """What is to be sent is as long as the list says. Raises ChangedError."""
    if len(data) != len(chunks.chunk(number)):
        raise ChangedError(f"chunk {number}", "the file is no longer as its list of chunks says")


class Arrivals(ChunkBytes):
    """What is to come, and what of it came: each chunk is let in with its size and digest only.
    `what` it came in is what errors are about."""

    def __init__(self, what: str, chunks: Chunks, wish: Wish) -> None:
        super().__init__(chunks, wish.numbers)
        self.what = what
        self._chunks, self._wish, self._at = chunks, wish, 0

    @property
    def left(self) -> int:
        """How many chunks are still to come."""
        return len(self._wish.numbers) - self._at

    def expect(self, size: int) -> None:
        """A chunk of this size comes next. Raises ProtocolError."""
        number = self._next()
        if size != (wished := len(self._chunks.chunk(number))):
            raise ProtocolError(self.what, f"chunk {number} has {size} bytes instead of {wished}")

    def take(self, data: bytes) -> tuple[int, ...]:
        """The next chunk has come: all numbers that it is the content of. Raises ProtocolError."""
        number = self._next()
        if not self._chunks.proves(number, data):
            raise ProtocolError(self.what, f"chunk {number} has not its digest")
        self._at += 1
        self.transferred += len(data)
        return number, *self._wish.others.get(number, ())

    def leave(self) -> int:
        """The next chunk does not come: its number. Raises ProtocolError."""
        number = self._next()
        self._at += 1
        self.to_transfer -= len(self._chunks.chunk(number))
        return number

    def _next(self) -> int:
        if not self.left:
            raise ProtocolError(self.what, "a chunk that was not wished")
        return self._wish.numbers[self._at]


class Receiver(Arrivals):
    """Reads an answer, fed in any portions. A failure is raised after all that came before it was
    handed out, and again each time. `absent`: wished chunks that the server has not; `failed`: it
    says that no more comes now."""

    def __init__(self, chunks: Chunks, wish: Wish) -> None:
        super().__init__(ANSWER, chunks, wish)
        self.absent = array("I")
        self._buffer = bytearray()
        self._greeted = self._ended = self.failed = False
        self._digests, self._sent = hashlib.sha256(), 0

    @property
    def ended(self) -> bool:
        """Whether all has come, and the record that says so."""
        return self._ended

    def feed(self, data: bytes | bytearray | memoryview) -> Iterator[tuple[int, bytes]]:
        """What is complete now, to be taken to its end: numbers of chunks and their bytes, those
        of the same content each by itself. Raises ProtocolError, and NetworkError where the server
        says FAILED."""
        self._buffer += data
        return self._found()

    def finish(self) -> None:
        """The body is over. Raises NetworkError where it was cut."""
        if not self._ended:
            raise NetworkError(ANSWER, f"it was cut while {self.left} chunks were to come")

    def _found(self) -> Iterator[tuple[int, bytes]]:
        if not self._greeted:
            _check_magic(ANSWER, CHUNKS_MAGIC, self._buffer)
            if len(self._buffer) < len(CHUNKS_MAGIC):
                return
            del self._buffer[: len(CHUNKS_MAGIC)]
            self._greeted = True
        while not self._ended and (start := varint.decode(self._buffer, 0, MAX_MOST, ANSWER)):
            size, at = start
            if size:
                self.expect(size)
                if len(self._buffer) < at + size:
                    return
                with memoryview(self._buffer) as view:
                    data = bytes(view[at : at + size])
                numbers = self._take(data)
                del self._buffer[: at + size]
                for number in numbers:
                    yield number, data
            elif not self._control(at):
                return
        if self._ended and self._buffer:
            raise ProtocolError(ANSWER, "bytes after its end")

    def _take(self, data: bytes) -> tuple[int, ...]:
        numbers = self.take(data)
        self._digests.update(self._chunks.digest(numbers[0]))
        self._sent += 1
        return numbers

    def _control(self, at: int) -> bool:
        """A record that is no chunk; False where it is not all there yet."""
        if at == len(self._buffer):
            return False
        kind = self._buffer[at]
        if kind == ABSENT:
            self.absent.append(self.leave())
            del self._buffer[: at + 1]
            return True
        if kind == END:
            return self._end(at + 1)
        if kind in {FAILED, REFUSED}:
            return self._fail(kind, at + 1)
        raise ProtocolError(ANSWER, f"a record of an unknown kind, {kind}")

    def _end(self, at: int) -> bool:
        if self.left:
            raise ProtocolError(ANSWER, f"it ends while {self.left} chunks were to come")
        found = varint.decode(self._buffer, at, MAX_COARSE, ANSWER)
        if found is None or len(self._buffer) < found[1] + 32:
            return False
        sent, at = found
        if sent != self._sent or self._buffer[at : at + 32] != self._digests.digest():
            raise ProtocolError(ANSWER, "its end speaks of other chunks than came")
        del self._buffer[: at + 32]
        self._ended = True
        return True

    def _fail(self, kind: int, at: int) -> bool:
        found = varint.decode(self._buffer, at, MOST_TEXT, ANSWER)
        if found is None or len(self._buffer) < sum(found):
            return False
        text = safe_text(self._buffer[found[1] : sum(found)].decode("utf-8", "replace"), MOST_TEXT)
        if kind == FAILED:
            self.failed = True
            raise NetworkError("the server cannot go on", text)
        raise ProtocolError("the server refused the wishlist", text)


def _check_magic(what: str, magic: bytes, data: bytes | bytearray) -> None:
    """`data` begins with it, or may do so when more has come. Raises ProtocolError."""
    start = bytes(data[: len(magic)])
    if not magic.startswith(start):
        if start[:-1] == magic[:-1]:
            raise ProtocolError(what, f"version {start[-1]}; this rdl knows {magic[-1]}")
        raise ProtocolError(what, "it does not begin like one")
