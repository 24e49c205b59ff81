"""Archives made by hand, right and wrong, and sources that remember what was asked of them."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rdl.doors.members import Archive

STAMP = 33 << 25 | 2 << 21 | 3 << 16 | 4 << 11 | 5 << 5 | 3  # 2013-02-03 04:05:06


class Memory:
    """A source; `asked` is what was asked of it: offset and size."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.asked: list[tuple[int, int]] = []

    def size(self) -> int:
        return len(self.data)

    def read_at(self, offset: int, size: int) -> bytes:
        self.asked.append((offset, size))
        return self.data[offset : offset + size]


class Sparse:
    """A source of `length` bytes, zeros but for the parts."""

    def __init__(self, length: int, parts: Mapping[int, bytes]) -> None:
        self.length, self.parts = length, parts
        self.asked: list[tuple[int, int]] = []

    def size(self) -> int:
        return self.length

    def read_at(self, offset: int, size: int) -> bytes:
        size = max(0, min(size, self.length - offset))
        self.asked.append((offset, size))
        assert size <= 16 << 20, "nobody needs so much of this"
        found = bytearray(size)
        for at, data in self.parts.items():
            start, stop = max(at, offset), min(at + len(data), offset + size)
            if start < stop:
                found[start - offset : stop - offset] = data[start - at : stop - at]
        return bytes(found)


@dataclass
class Entry:
    """One member of a zip: `local` and `central` say in which fields a header lies."""

    name: bytes = b"f"
    data: bytes = b"the bytes of f"
    packed: bytes | None = None
    method: int = 0
    flags: int = 0
    mode: int = 0
    local: dict[str, int] = field(default_factory=dict)
    central: dict[str, int] = field(default_factory=dict)
    local_name: bytes | None = None
    extra: bytes = b""
    after: bytes = b""

    def facts(self) -> dict[str, int]:
        """What both headers should say."""
        packed = self.data if self.packed is None else self.packed
        return {
            "flags": self.flags,
            "method": self.method,
            "stamp": STAMP,
            "crc": zlib.crc32(self.data),
            "stored": len(packed),
            "size": len(self.data),
        }

    def head(self) -> bytes:
        """The local header."""
        told = self.facts() | self.local
        name = self.name if self.local_name is None else self.local_name
        numbers = (told[one] for one in ("flags", "method", "stamp", "crc", "stored", "size"))
        return struct.pack("<4sHHHIIIIHH", b"PK\3\4", 20, *numbers, len(name), 0) + name

    def listed(self, offset: int) -> bytes:
        """Its entry in the directory."""
        told = self.facts() | {"offset": offset} | self.central
        numbers = (told[one] for one in ("flags", "method", "stamp", "crc", "stored", "size"))
        fixed = struct.pack("<4sHHHHIIII", b"PK\1\2", 20 | 3 << 8, 20, *numbers)
        lengths = struct.pack(
            "<HHHHHII", len(self.name), len(self.extra), 0, 0, 0, self.mode << 16, told["offset"]
        )
        return fixed + lengths + self.name + self.extra


def zip_of(*entries: Entry) -> bytes:
    """A zip of these members, however wrong they are."""
    body, directory = b"", b""
    for one in entries:
        directory += one.listed(len(body))
        body += one.head() + (one.data if one.packed is None else one.packed) + one.after
    end = struct.pack(
        "<4s4H2IH", b"PK\5\6", 0, 0, len(entries), len(entries), len(directory), len(body), 0
    )
    return body + directory + end


def made_zip(members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """As zipfile makes it."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


class Pipe(io.RawIOBase):
    """What cannot seek: then zipfile writes data descriptors."""

    def __init__(self) -> None:
        self.data = b""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.data += bytes(data)
        return len(data)


def streamed_zip(members: Mapping[str, bytes]) -> bytes:
    """With data descriptors, and zip64 fields in the local headers."""
    out = Pipe()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(data)
    return out.data


def link(name: str, kind: bytes, leads: str = "") -> tarfile.TarInfo:
    """An entry of a tar without bytes."""
    found = tarfile.TarInfo(name)
    found.type, found.linkname = kind, leads
    return found


def made_tar(
    members: Iterable[tuple[str, bytes]],
    packing: str = "",
    form: int = tarfile.PAX_FORMAT,
    *,
    others: Iterable[tarfile.TarInfo] = (),
    mtime: float = 1_000_000_000,
) -> bytes:
    """As tarfile makes it; `packing`: gz, bz2, xz."""
    out = io.BytesIO()
    with tarfile.open(None, f"w:{packing}", out, format=form) as archive:
        for name, data in members:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(data), mtime
            archive.addfile(entry, io.BytesIO(data))
        for entry in others:
            archive.addfile(entry)
    return out.getvalue()


def read_all(archive: Archive, name: str) -> bytes:
    """The member of this name."""
    return b"".join(archive.chunks(archive.find(name)))
