"""A zip: its directory is zipfile's to read; the bytes of a member come through Expanded.

The local header must agree with the directory, no member may reach into the next, and what a
member expands to has the size and the CRC that the directory says.
"""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import IO, cast

from rdl.core.reads import Carrier
from rdl.core.text import safe_text
from rdl.doors import expanding
from rdl.doors.expanding import STEP, Expanded, Expander
from rdl.doors.members import MAX_MEMBERS, Kind, Member, checked, too_many
from rdl.doors.spans import Spans
from rdl.errors import ArchiveError, DigestMismatch

TAIL = 128 << 10
"""Bytes at the end, asked for at once: what a remote file brings when it is asked for its size."""
MAX_DIRECTORY = 256 << 20
_ENTRY = b"PK\x01\x02"
_LOCAL = struct.Struct("<4s2x4H3I2H")
"""signature, flags, method, time and date (no use), CRC, both sizes, lengths (APPNOTE 4.3.7)"""
_ENCRYPTED, _ENDED_BY_MARK, _DESCRIBED, _STRONG, _UTF8 = 1, 2, 8, 0x40, 0x800
_IN_EXTRA = 0xFFFFFFFF
_UNIX = 3
_ODD = (zipfile.BadZipFile, OSError, NotImplementedError, struct.error, ValueError)
_METHODS: dict[int, Callable[[], Expander]] = {
    zipfile.ZIP_STORED: expanding.stored,
    zipfile.ZIP_DEFLATED: expanding.deflated,
    zipfile.ZIP_BZIP2: expanding.bzipped,
    zipfile.ZIP_LZMA: expanding.lzma_alone,
}


class _Directory(Spans):
    """As zipfile reads it: refused before an object is made of each of too many."""

    def read(self, size: int = -1) -> bytes:
        data = super().read(size)
        if data.count(_ENTRY) > MAX_MEMBERS:
            raise too_many()
        return data


class ZipArchive:
    """An Archive. Raises ArchiveError where there is no directory, or it makes no sense."""

    verified_by = ("zip:crc32",)

    def __init__(self, carrier: Carrier, *, trusted: bool = False) -> None:
        self._file, self._trusted = _Directory(carrier), trusted
        self._file.expect(self._file.length - TAIL, self._file.length)
        self._file.grant(MAX_DIRECTORY + TAIL)
        try:
            found = zipfile.ZipFile(cast("IO[bytes]", self._file))
        except _ODD as error:
            raise ArchiveError("archive", f"no zip that can be read: {error}") from error
        self._infos, self._end = found.filelist, found.start_dir

    @property
    def alone(self) -> bool:
        """Whether it begins where the carrier does: then it is no part of something else."""
        return not self._end or any(one.header_offset == 0 for one in self._infos)

    @property
    def fetched(self) -> int:
        """As Archive.fetched."""
        return self._file.fetched

    def members(self) -> Iterator[Member]:
        """As the directory has them."""
        return map(_member, range(len(self._infos)), self._infos)

    def find(self, name: str) -> Member:
        """As Archive.find()."""
        names = [_name(info) for info in self._infos]
        last = next((i for i in reversed(range(len(names))) if names[i] == name), None)
        found = None if last is None else _member(last, self._infos[last])
        return checked(name, found, names)

    def chunks(self, member: Member) -> Iterator[bytes]:
        """As Archive.chunks()."""
        info = self._infos[member.place]
        if not self._trusted and expanding.too_large(info.file_size, info.compress_size):
            why = f"it is said to be {info.file_size} bytes, and {info.compress_size} are stored"
            hint = "--max-filesize SIZE says that so much is wanted"
            raise ArchiveError(_shown(info), why, hint=hint)
        data = self._expanded(info, self._enter(info))
        crc, left = 0, info.file_size
        while left:
            data.grant(STEP)
            chunk = data.read(min(STEP, left))
            if not chunk:
                raise ArchiveError(_shown(info), f"it ends {left} bytes early")
            crc, left = zlib.crc32(chunk, crc), left - len(chunk)
            yield chunk
        data.grant(1)
        if data.read(1):
            raise ArchiveError(_shown(info), "it is larger than the directory says")
        if crc != info.CRC:
            why = f"its CRC-32 is {crc:08x}, and the directory says {info.CRC:08x}"
            raise DigestMismatch(_shown(info), why)

    def _enter(self, info: zipfile.ZipInfo) -> int:
        """Go to the member's data; how many bytes it has at most, from there on."""
        starts = sorted({one.header_offset for one in self._infos} | {self._end})
        after = bisect_right(starts, info.header_offset)
        if info.header_offset < 0 or after == len(starts):
            raise ArchiveError(_shown(info), "the directory says that it is outside of the archive")
        start, stop = info.header_offset, starts[after]
        self._file.expect(start, stop)
        self._file.seek(start)
        self._file.grant(STEP)
        head = self._file.read(_LOCAL.size)
        if len(head) < _LOCAL.size or not head.startswith(b"PK\x03\x04"):
            raise ArchiveError(_shown(info), "it has no header where the directory says")
        _, flags, method, _, _, crc, stored, size, named, extra = _LOCAL.unpack(head)
        name = self._file.read(named)
        encoding = "utf-8" if flags & _UTF8 else "cp437"
        same = (
            name.decode(encoding, "replace") == info.orig_filename and method == info.compress_type
        )
        if not flags & _DESCRIBED:
            same = same and crc == info.CRC
            same = same and stored in (info.compress_size, _IN_EXTRA)
            same = same and size in (info.file_size, _IN_EXTRA)
        if not same:
            raise ArchiveError(_shown(info), "its header and the directory disagree")
        self._file.seek(self._file.tell() + extra)
        if self._file.tell() + info.compress_size > stop:
            raise ArchiveError(_shown(info), "it reaches into what follows it")
        return info.compress_size

    def _expanded(self, info: zipfile.ZipInfo, left: int) -> Expanded:
        def feed(most: int) -> bytes:
            nonlocal left
            self._file.grant(most)
            data = self._file.read(min(most, left))
            left -= len(data)
            return data

        first = b""
        if info.compress_type == zipfile.ZIP_LZMA and info.compress_size:
            first, left = self._lzma_head(info), left - 9

        def feed_headed(most: int) -> bytes:
            nonlocal first
            head, first = first, b""
            return head or feed(most)

        make = _METHODS[info.compress_type] if info.compress_size else expanding.stored
        return Expanded(feed_headed, make, trusted=True)

    def _lzma_head(self, info: zipfile.ZipInfo) -> bytes:
        """The header of a .lzma file in place of the zip's own (APPNOTE 5.8.8)."""
        head = self._file.read(9)
        if info.compress_size < 9 or head[2:4] != b"\x05\x00":
            raise ArchiveError(_shown(info), "its LZMA header is damaged")
        size = b"\xff" * 8 if info.flag_bits & _ENDED_BY_MARK else struct.pack("<Q", info.file_size)
        return head[4:] + size


def _name(info: zipfile.ZipInfo) -> str:
    """The whole of it: zipfile cuts a name off at a NUL."""
    return info.orig_filename if "\0" in info.orig_filename else info.filename


def _shown(info: zipfile.ZipInfo) -> str:
    return f"'{safe_text(_name(info))}'"


def _member(place: int, info: zipfile.ZipInfo) -> Member:
    kind = _kind(info)
    return Member(
        _name(info),
        info.file_size,
        place,
        kind,
        info.compress_size,
        _modified(info),
        f"{info.CRC:08x}",
        refusal=_refusal(info) if kind == "file" else "",
    )


def _kind(info: zipfile.ZipInfo) -> Kind:
    if info.filename.endswith("/"):
        return "directory"
    mode = info.external_attr >> 16 if info.create_system == _UNIX else 0
    if stat.S_ISLNK(mode):
        return "symlink"
    return "file" if stat.S_IFMT(mode) in (0, stat.S_IFREG) else "other"


def _refusal(info: zipfile.ZipInfo) -> str:
    if info.flag_bits & (_ENCRYPTED | _STRONG):
        return "it is encrypted"
    if info.compress_type not in _METHODS:
        return f"it is compressed by method {info.compress_type}, which is not known here"
    if info.compress_type == zipfile.ZIP_STORED and info.file_size != info.compress_size:
        return "it is stored as it is, and the directory says two sizes"
    return ""


def _modified(info: zipfile.ZipInfo) -> float | None:
    try:
        return datetime(*info.date_time, tzinfo=UTC).timestamp()
    except ValueError:  # day 0 of month 0: not known
        return None
