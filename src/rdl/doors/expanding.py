"""Compressed bytes expanded a little at a time: no step makes more than it was asked for.

zipfile and bz2 expand what they read at one go, and 2 KB can be 3 GiB (docs/design.md); so the
decompressors of the standard library are driven here.
"""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from collections.abc import Callable
from typing import Protocol

from rdl.doors.spans import Bounded
from rdl.errors import ArchiveError

STEP = 1 << 20
"""Bytes that are made at a time, at most."""
INTAKE = 1 << 16
MEMORY = 256 << 20
"""Bytes that an LZMA or xz stream may ask for; its highest preset needs 65 MiB."""
RATIO = 1100
"""How many times larger than it is stored something may be: deflate makes 1032 of one."""
ALWAYS = 16 << 20
"""Bytes that may always be made of anything."""


class Expander(Protocol):
    """What bz2 and lzma call a decompressor."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Zlib:
    """zlib's decompressor as an Expander. `wbits`: as of zlib."""

    def __init__(self, wbits: int) -> None:
        self._of = zlib.decompressobj(wbits)
        self._full = False

    @property
    def eof(self) -> bool:
        return self._of.eof

    @property
    def needs_input(self) -> bool:
        return not (self._full or self._of.unconsumed_tail)

    @property
    def unused_data(self) -> bytes:
        return self._of.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        made = self._of.decompress(self._of.unconsumed_tail + data, max_length)
        self._full = len(made) == max_length  # there may be more in its window
        return made


class _Plain:
    """Stored as it is: it ends where nothing more comes."""

    unused_data = b""

    def __init__(self) -> None:
        self._rest, self.eof = b"", False

    @property
    def needs_input(self) -> bool:
        return not self._rest

    def decompress(self, data: bytes, max_length: int) -> bytes:
        data = self._rest + data
        self.eof = not data
        self._rest = data[max_length:]
        return data[:max_length]


def stored() -> Expander:
    return _Plain()


def deflated() -> Expander:
    return _Zlib(-zlib.MAX_WBITS)


def gzipped() -> Expander:
    return _Zlib(zlib.MAX_WBITS | 16)


def bzipped() -> Expander:
    return bz2.BZ2Decompressor()


def xzipped() -> Expander:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY)


def lzma_alone() -> Expander:
    return lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=MEMORY)


def too_large(size: int, stored_size: int) -> bool:
    """Whether that much is made of so little that it is meant to do harm."""
    return size > ALWAYS + RATIO * stored_size


class Expanded(Bounded):
    """What `feed(n)` (at most n bytes, none at the end) expands to, to be read forwards.

    `make` begins a stream; where `several`, streams may follow one another, zeros after them.
    Where `trusted` no ratio is too large. read() raises ArchiveError for what is damaged.
    """

    def __init__(
        self,
        feed: Callable[[int], bytes],
        make: Callable[[], Expander],
        *,
        several: bool = False,
        trusted: bool = False,
    ) -> None:
        super().__init__()
        self._feed, self._make, self._several, self._trusted = feed, make, several, trusted
        self._expander: Expander | None = make()
        self._input = b""
        self._taken = self._made = 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Forwards only, to the end at most."""
        if whence != io.SEEK_SET or offset < self._at:
            raise ArchiveError("archive", "it leads back to where it has been read")
        while self._at < offset:
            made = self._more(min(STEP, offset - self._at))
            if not made:
                break
            self._at += len(made)
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Exactly `size` bytes, fewer only at the end."""
        self._pay(size)
        parts: list[bytes] = []
        left = size
        while left and (made := self._more(min(left, STEP))):
            parts.append(made)
            left -= len(made)
        self._at += size - left
        return b"".join(parts)

    def drain(self) -> None:
        """Read on to the end, where check sums stand."""
        while made := self._more(STEP):
            self._at += len(made)

    def _more(self, most: int) -> bytes:
        """At most so many bytes; none at the end."""
        while self._expander is not None:
            made = self._step(self._expander, most)
            if self._expander.eof:
                self._end(self._expander)
            if made:
                self._made += len(made)
                if not self._trusted and too_large(self._made, self._taken):
                    why = f"it expands to more than {RATIO} times what is stored"
                    hint = "--max-filesize SIZE says that so much is wanted"
                    raise ArchiveError("archive", why, hint=hint)
                return made
        return b""

    def _step(self, expander: Expander, most: int) -> bytes:
        data = self._input
        if expander.needs_input and not data:
            data = self._feed(INTAKE)
            self._taken += len(data)
            if not data and not isinstance(expander, _Plain):
                raise ArchiveError("archive", "the compressed data ends early")
        self._input = b""
        try:
            return expander.decompress(data, most)
        except (zlib.error, lzma.LZMAError, EOFError, OSError, ValueError) as error:
            raise ArchiveError("archive", f"the compressed data is damaged: {error}") from error

    def _end(self, ended: Expander) -> None:
        """The stream is over: another may follow."""
        self._expander, rest = None, ended.unused_data
        while self._several:
            rest = rest.lstrip(b"\0")
            if rest:
                self._input, self._expander = rest, self._make()
                return
            rest = self._feed(INTAKE)
            self._taken += len(rest)
            if not rest:
                return
