"""What the state files of two other programs, smartremote and largefile, claim to be here.

Their claims are never believed: they say which bytes are worth a try. What is no such state
raises StateDamaged, with a reason of our own words.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Annotated

import msgspec
from msgspec import Meta
from pyroaring import BitMap

from rdl.core.byterange import ByteRange

MAX_STATE = 4 << 20
"""Bytes: the state of a TiB in smartremote's blocks has half of it."""
MAX_PLACES = 1 << 16
"""Runs that a state may claim."""
HEAD = 512
"""So many bytes tell whether it is a state at all."""
MAX_VARINT = 10
PLAIN, WITH_RUNS = 12346, 12347
"""Of the portable roaring format: how a bitmap begins (in 16 bits)."""
WORD = 64


class StateDamaged(ValueError):
    """Nothing can be taken from this state."""


def is_smartremote(head: bytes) -> bool:
    """Whether a file that begins so holds smartremote's state, damaged perhaps."""
    _, at = _varint(head)
    return at > 0 and int.from_bytes(head[at : at + 2], "little") in (PLAIN, WITH_RUNS)


def is_largefile(head: bytes) -> bool:
    """Whether a file that begins so holds largefile's index, damaged perhaps."""
    return head.lstrip().startswith(b"{") and b'"content_size"' in head


def smartremote_claims(data: bytes, size: int) -> tuple[ByteRange, ...]:
    """What of a file of `size` bytes is claimed: the zig-zag varint of the block size, then a
    roaring bitmap of blocks. Blocks past the end, which smartremote may note, claim nothing."""
    number, at = _varint(data)
    block = number >> 1
    if at == 0 or number & 1 or block == 0:
        raise StateDamaged("its blocks have no size")
    try:
        here = BitMap.deserialize(data[at:])
    except (ValueError, IndexError) as error:
        raise StateDamaged("its bitmap is broken") from error
    here.remove_range(min(-(-size // block), (1 << 32) - 1), 1 << 32)
    after = here.shift(1)
    starts, stops = here - after, after - here
    if len(starts) > MAX_PLACES:
        raise StateDamaged(f"it claims more than {MAX_PLACES} places")
    return _ranges(starts, stops, block, size)


class _Index(msgspec.Struct):
    """largefile's index: bits of blocks in hexadecimal words, the lowest block first."""

    content_size: Annotated[str, Meta(pattern=r"\A[0-9]{1,19}\Z")]
    block_size: Annotated[int, Meta(gt=0)]
    ranges: list[Annotated[str, Meta(pattern=r"\A[0-9a-fA-F]{1,16}\Z")]]


def largefile_claims(data: bytes, size: int) -> tuple[ByteRange, ...]:
    """What of a file of `size` bytes is claimed by an index that is for one of that size."""
    try:
        index = msgspec.json.decode(data, type=_Index)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise StateDamaged("it is torn, or not as largefile writes it") from error
    if int(index.content_size) != size:
        raise StateDamaged("it is for a file of another size")
    blocks = -(-size // index.block_size)
    if len(index.ranges) != -(-blocks // WORD):
        raise StateDamaged(f"it has {len(index.ranges)} words of bits for {blocks} blocks")
    edges = _edges(index.ranges)
    return _ranges(edges[::2], edges[1::2], index.block_size, size)


def _varint(data: bytes) -> tuple[int, int]:
    """The number that begins the data, and where it ends: at 0 when there is none."""
    number = 0
    for at, byte in enumerate(islice(data, MAX_VARINT)):
        number |= (byte & 0x7F) << 7 * at
        if byte < 0x80:
            return number, at + 1
    return 0, 0


def _edges(words: Sequence[str]) -> list[int]:
    """The numbers of the blocks at which a run of ones begins, and at which it ends."""
    edges: list[int] = []
    last = 0
    for base, text in enumerate(words):
        word = int(text, 16)
        change = word ^ ((word << 1 | last) & ((1 << WORD) - 1))
        last = word >> WORD - 1
        while change:
            edges.append(base * WORD + (change & -change).bit_length() - 1)
            change &= change - 1
        if len(edges) > 2 * MAX_PLACES:
            raise StateDamaged(f"it claims more than {MAX_PLACES} places")
    return [*edges, len(words) * WORD] if last else edges


def _ranges(
    starts: Iterable[int], stops: Iterable[int], block: int, size: int
) -> tuple[ByteRange, ...]:
    """Runs of blocks as bytes, within the file."""
    pairs = zip(starts, stops, strict=True)
    runs = (ByteRange(min(a * block, size), min(b * block, size)) for a, b in pairs)
    return tuple(run for run in runs if run)
