"""A tar, plain or compressed: its headers are tarfile's to read, and every oddity is an error.

A plain one is read header by header, and of a name the last is taken. A compressed one is read
once, from the beginning to the end, where its check sum stands: a name that comes twice is refused.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import IO, Self, cast

from msgspec import Struct

from rdl.core.reads import Carrier
from rdl.core.text import safe_text
from rdl.doors import expanding
from rdl.doors.expanding import STEP, Expanded, Expander
from rdl.doors.members import MAX_MEMBERS, Kind, Member, checked, too_many
from rdl.doors.spans import Bounded, Spans
from rdl.errors import ArchiveError

MAX_HEADER = 4 << 20
"""Bytes of one member's headers, extended ones and names included."""
_NAMES = 10_000


class Packing(Struct, frozen=True):
    """What a tar is compressed by. `magic`: how it begins; `proof`: its own check sum, empty where
    not every file of the kind has one."""

    magic: bytes
    make: Callable[[], Expander]
    proof: tuple[str, ...] = ()


PACKINGS = (
    Packing(b"\x1f\x8b", expanding.gzipped, ("gzip:crc32",)),
    Packing(b"BZh", expanding.bzipped, ("bzip2:crc32",)),
    Packing(b"\xfd7zXZ\0", expanding.xzipped),
)


class _Entry(tarfile.TarInfo):
    """tarfile takes a header that makes no sense for the end; here it is an error."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                raise  # the mark at the end
            raise tarfile.ReadError(str(error) if buf else "no end mark") from error


class _Reader(tarfile.TarFile):
    members: list[tarfile.TarInfo]
    """tarfile's own list of what it has read."""


class TarArchive:
    """An Archive; `packing` None is a plain tar. Raises ArchiveError where there is no member."""

    def __init__(
        self, carrier: Carrier, packing: Packing | None = None, *, trusted: bool = False
    ) -> None:
        self._spans = spans = Spans(carrier)
        self._plain = packing is None
        self._file: Bounded = spans
        self._expanded: Expanded | None = None
        self.verified_by: tuple[str, ...] = ()
        if packing is not None:
            spans.expect(0, spans.length)
            feed = _feeding(spans)
            self._expanded = Expanded(feed, packing.make, several=True, trusted=trusted)
            self._file, self.verified_by = self._expanded, packing.proof
        self._file.grant(MAX_HEADER)
        with _damaged():
            self._tar = _Reader(
                fileobj=cast("IO[bytes]", self._file),
                tarinfo=_Entry,
                encoding="utf-8",
                errors="surrogateescape",
            )
        first = self._next()
        if first is None:
            raise ArchiveError("archive", "it is empty, or no tar")
        self._rest = chain((first,), self._entries())

    @property
    def fetched(self) -> int:
        """As Archive.fetched."""
        return self._spans.fetched

    def members(self) -> Iterator[Member]:
        """As they come; a compressed one is read to its end."""
        yield from self._rest
        self._drain()

    def find(self, name: str) -> Member:
        """As Archive.find(); of a compressed one the first, see chunks()."""
        found, names = None, list[str]()
        for member in self._rest:
            if len(names) < _NAMES:
                names.append(member.name)
            if member.name == name:
                found = member
                if not self._plain:
                    break
        return checked(name, found, names)

    def chunks(self, member: Member) -> Iterator[bytes]:
        """As Archive.chunks(). Of a compressed one all of the rest is read, too: raises
        ArchiveError when the name comes once more."""
        if self._plain:
            self._spans.expect(member.place, member.place + member.size)
        with _damaged():
            self._file.seek(member.place)
        left = member.size
        while left:
            self._file.grant(STEP)
            chunk = self._file.read(min(STEP, left))
            if not chunk:
                raise ArchiveError(f"'{safe_text(member.name)}'", f"it ends {left} bytes early")
            left -= len(chunk)
            yield chunk
        if not self._plain:
            self._finish(member)

    def _finish(self, member: Member) -> None:
        for other in self._rest:
            if other.name == member.name:
                why = "the archive has two of this name, and is compressed"
                hint = "rdl get keeps the archive itself"
                raise ArchiveError(f"'{safe_text(member.name)}'", why, hint=hint)
        self._drain()

    def _drain(self) -> None:
        if self._expanded is not None:
            self._expanded.drain()

    def _entries(self) -> Iterator[Member]:
        for _ in range(MAX_MEMBERS):
            entry = self._next()
            if entry is None:
                return
            yield entry
        raise too_many()

    def _next(self) -> Member | None:
        self._file.grant(MAX_HEADER)
        with _damaged():
            entry = self._tar.next()
        if entry is None:
            return None
        self._tar.members.clear()  # a listing is not to grow
        if entry.size < 0 or self._tar.offset < entry.offset_data:
            raise ArchiveError("archive", "no tar that can be read: a negative size")
        return _member(entry)


@contextmanager
def _damaged() -> Iterator[None]:
    """What tarfile raises for headers that make no sense, in our words."""
    odd = (OSError, ValueError, IndexError, KeyError, OverflowError, RecursionError)
    try:
        yield
    except (tarfile.TarError, *odd) as error:
        raise ArchiveError("archive", f"no tar that can be read: {error}") from error


def _feeding(spans: Spans) -> Callable[[int], bytes]:
    def feed(most: int) -> bytes:
        spans.grant(most)
        return spans.read(most)

    return feed


def _member(entry: tarfile.TarInfo) -> Member:
    kind = _kind(entry)
    slash = "/" if kind == "directory" and not entry.name.endswith("/") else ""
    return Member(
        entry.name + slash,
        entry.size if kind == "file" else 0,
        entry.offset_data,
        kind,
        modified=float(entry.mtime),
        link=entry.linkname if kind in ("symlink", "hardlink") else "",
        refusal="it has holes, which are not unpacked" if entry.issparse() else "",
    )


def _kind(entry: tarfile.TarInfo) -> Kind:
    if entry.issym():
        return "symlink"
    if entry.islnk():
        return "hardlink"
    if entry.isdir():
        return "directory"
    return "file" if entry.isreg() else "other"


def begins_tar(head: bytes) -> bool:
    """Whether these first 512 bytes are a header of ustar, pax or GNU."""
    return head[257:262] == b"ustar"
