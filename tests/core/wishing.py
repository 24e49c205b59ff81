"""What tests of wishlists are made of: lists of chunks, and both sides in memory."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from hashlib import sha256
from itertools import accumulate

from rdl.core.chunks import Chunks
from rdl.core.manifest import Cutting, Manifest, ManifestEncoder, Sizes, parse_coarse, parse_head
from rdl.core.shuffle import Permutation
from rdl.core.wishlist import Receiver, Sender, encode_wishlist, parse_wishlist, wish

SIZES = (1, 2, 3, 5, 10, 100, 1000)
"""Of permutations."""
COUNTS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 400)
"""Of chunks in a file."""


@cache
def seeded(size: int, seed: int = 7) -> Permutation:
    return Permutation.seeded(size, seed)


def chunks_of(parts: Iterable[bytes], width: int = 16) -> Chunks:
    parts = [*parts]
    stops = array("Q", accumulate(map(len, parts)))
    digests = b"".join(sha256(one).digest()[:width] for one in parts)
    return Chunks("sha256", width, stops, digests)


def manifest_of(fine: Iterable[Sequence[bytes]]) -> tuple[Manifest, bytes]:
    """Of coarse chunks of these fine ones; and all of it."""
    sizes, records = Sizes(64, 100, 5000), b""
    made = ManifestEncoder("a", Cutting("none", sizes, sizes))
    for parts in fine:
        digests = [sha256(one).digest() for one in parts]
        records += made.add(sha256(b"".join(parts)).digest(), map(len, parts), digests)
    first = made.first_level(bytes(32))
    return parse_coarse(parse_head(first), first), first + records


@cache
def part(number: int, name: str = "new") -> bytes:
    """A chunk that no other is like."""
    return f"{name} {number};".encode() * (1 + number % 4)


def portions(data: bytes, size: int) -> Iterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


def received(receiver: Receiver, answer: bytes, size: int = 1 << 16) -> dict[int, bytes]:
    """What it makes of a whole answer that comes in portions of this size."""
    found = {}
    for portion in portions(answer, size):
        found.update(receiver.feed(portion))
    receiver.finish()
    return found


def answered(
    chunks: Chunks, body: bytes, read: Callable[[int], bytes | None] | Mapping[int, bytes]
) -> bytes:
    """What a server says to this wishlist that has these chunks."""
    have = read if callable(read) else read.get
    return b"".join(Sender(chunks, parse_wishlist(chunks, body), have).answer())


def asked(
    chunks: Chunks, lacking: Iterable[int], has: Mapping[int, bytes], size: int = 3, seed: int = 7
) -> tuple[dict[int, bytes], Receiver]:
    """What a client gets that lacks these from a server that has those, and its receiver."""
    wanted = wish(chunks, seeded(size, seed), lacking)
    answer = answered(chunks, encode_wishlist(chunks, size, seed, wanted), has)
    receiver = Receiver(chunks, wanted)
    return received(receiver, answer), receiver
