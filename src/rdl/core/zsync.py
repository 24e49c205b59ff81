"""The .zsync index of a file: its length, its SHA-1, and two short sums of each of its blocks.

Bytes in, values out; what makes no sense is a ProtocolError. What is read:
docs/formats/zsync.md.
"""

from __future__ import annotations

import re

from msgspec import Struct

from rdl.core.text import safe_text
from rdl.errors import ProtocolError

MOST_HEADER = 64 << 10
MOST_LENGTH, MOST_BLOCK = 1 << 50, 1 << 20
"""Bytes, of the file and of a block: MD4 of few long blocks would be slower than most networks."""
MOST_BLOCKS = 1 << 23
RSUM_BYTES, CHECKSUM_BYTES = 4, 16
"""What a block has at most, and where the index says nothing."""

_NUMBER = re.compile(r"[0-9]{1,16}")
_LENGTHS = re.compile(r"([0-9]{1,2}),([0-9]{1,2}),([0-9]{1,2})")
_SHA1 = re.compile(r"[0-9A-Fa-f]{40}")
_GZIP = frozenset(("Z-Map2", "Z-URL", "Z-Filename", "Recompress"))
_KNOWN = frozenset(
    ("zsync", "Filename", "MTime", "Blocksize", "Length", "Hash-Lengths", "URL", "SHA-1", "Safe")
)


class Zsync(Struct, frozen=True):
    """The blocks of a file of `total` bytes, all of `block` bytes, the last one filled up with
    zeros. `sums`: of each one the last `rsum_bytes` of its rolling sum and the first
    `checksum_bytes` of its MD4, in a row; a block is only found where `seq_matches` in
    succession are."""

    total: int
    block: int
    sha1: str | None
    seq_matches: int
    rsum_bytes: int
    checksum_bytes: int
    sums: bytes

    @property
    def count(self) -> int:
        """Blocks."""
        return -(-self.total // self.block)


def parse_zsync(data: bytes) -> Zsync:
    """The index `data`. Raises ProtocolError."""
    try:
        return _parsed(data)
    except ValueError as error:
        raise ProtocolError("zsync index", str(error)) from None


def _parsed(data: bytes) -> Zsync:
    said, start = _header(data)
    total = _number(said, "Length", 0, MOST_LENGTH)
    block = _number(said, "Blocksize", 1, MOST_BLOCK)
    if block & block - 1:
        raise ValueError("its block size is no power of two")
    found = _LENGTHS.fullmatch(said.get("Hash-Lengths", f"1,{RSUM_BYTES},{CHECKSUM_BYTES}"))
    matches, rsum, checksum = map(int, found.groups()) if found else (0, 0, 0)
    if not (1 <= matches <= 2 and 1 <= rsum <= RSUM_BYTES and 3 <= checksum <= CHECKSUM_BYTES):
        raise ValueError("the lengths of its sums make no sense")
    sha1 = said.get("SHA-1")
    if sha1 is not None and not _SHA1.fullmatch(sha1):
        raise ValueError("its SHA-1 does not have 40 hex digits")
    count = -(-total // block)
    if count > MOST_BLOCKS:
        raise ValueError(f"more than {MOST_BLOCKS} blocks")
    if len(data) - start != (wanted := count * (rsum + checksum)):
        why = f"{len(data) - start} bytes of sums, where {total} bytes of content have {wanted}"
        raise ValueError(why)
    hexes = sha1.lower() if sha1 else None
    return Zsync(total, block, hexes, matches, rsum, checksum, data[start:])


def _header(data: bytes) -> tuple[dict[str, str], int]:
    """What its lines say, and where the sums begin: after the first empty line."""
    if not data.startswith(b"zsync:"):
        raise ValueError("not a zsync index")
    said: dict[str, str] = {}
    safe: set[str] = set()
    start = 0
    while (end := data.find(b"\n", start, MOST_HEADER)) != start:
        if end < 0:
            raise ValueError("its header does not end")
        key, colon, value = data[start:end].decode("utf-8", "replace").partition(":")
        value, start = value.strip(), end + 1
        if not colon:
            raise ValueError("a line of its header has no name")
        if key in _GZIP:
            raise ValueError("it is of what a gzip file contains, which is not read")
        if key not in _KNOWN and key not in safe:
            raise ValueError(f"its header says '{safe_text(key, 40)}', which is not known here")
        if key == "Safe":
            safe.update(value.split())
        elif said.setdefault(key, value) != value and key in _KNOWN - {"URL"}:
            raise ValueError(f"its header says '{key}' twice")
    if said["zsync"].startswith("0.0."):
        raise ValueError("it is of a zsync before 0.1, which is not read")
    return said, start + 1


def _number(said: dict[str, str], key: str, least: int, most: int) -> int:
    text = said.get(key, "")
    if not _NUMBER.fullmatch(text) or not least <= int(text) <= most:
        raise ValueError(f"its {key} is not a number from {least} to {most}")
    return int(text)
