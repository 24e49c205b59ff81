"""A regular file as it was when it was opened, to be sent."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from hashlib import blake2b
from mimetypes import MimeTypes
from typing import NamedTuple

from rdl.core.byterange import ByteRange
from rdl.errors import ChangedError
from rdl.server.answers import BYTES, Facts
from rdl.server.requests import Reply
from rdl.storage.names import SUFFIXES

TICK = 0.02
"""Clocks of file systems go in steps: of what changes twice within one, the times do not tell."""
MOST_TAGS = 1000
_OWN = tuple(map(os.fsencode, SUFFIXES))
_TYPES = MimeTypes()


class Version(NamedTuple):
    """Another one after any change of a file, also of its times alone, and after a rename."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, file: int) -> Version:
        """Of an open file, as it is now."""
        now = os.fstat(file)
        return cls(now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns)

    @property
    def age(self) -> float:
        """Seconds since it came about."""
        return time.time() - max(self.mtime_ns, self.ctime_ns) / 1e9

    def tag(self, kind: str = "") -> str:
        """An ETag of what is made of it in this way."""
        return f'"{blake2b(repr((*self, kind)).encode(), digest_size=12).hexdigest()}"'


class Tags:
    """ETags that files had before they got their names, and keep as long as nothing changes."""

    def __init__(self) -> None:
        self._tags = dict[Version, str]()

    def keep(self, version: Version, tag: str) -> None:
        while len(self._tags) >= MOST_TAGS:
            del self._tags[next(iter(self._tags))]
        self._tags[version] = tag

    def of(self, version: Version) -> str:
        """The one that was kept; else its own."""
        return self._tags.get(version) or version.tag()


class FileReading:
    """A file as it was when it was opened; what was sent of it is not mixed with what it becomes.

    It takes the descriptor over.
    """

    moving = 0

    def __init__(self, file: int, name: bytes, *, private: bool, tags: Tags) -> None:
        self._file, self.version, self.name = file, Version.of(file), name
        tag = tags.of(self.version)
        self.facts = Facts(
            self.version.size,
            etag=f"W/{tag}" if 0 <= self.version.age < TICK else tag,
            modified=self.version.mtime_ns / 1e9,
            media_type=media_type(name),
            private=private,
        )

    @property
    def descriptor(self) -> int:
        return self._file

    def notify(self, changed: Callable[[], None]) -> None:
        """Nobody says when a file changes: it is looked at before each step."""

    def demand(self, wanted: ByteRange) -> None:
        """It is all here."""

    def available(self, offset: int) -> int:
        now, was = Version.of(self._file), self.version
        if (now.mtime_ns, now.size) != (was.mtime_ns, was.size):
            raise ChangedError("a file", "it changed while it was sent")
        return was.size - offset

    def read_into(self, offset: int, view: memoryview) -> int:
        count = os.preadv(self._file, [view], offset)
        if not count:
            raise ChangedError("a file", "it changed while it was sent")
        return count

    def close(self) -> None:
        os.close(self._file)


def media_type(name: bytes) -> str:
    """By the last suffix of the name; no encoding is ever said, for bytes are sent as they are."""
    suffix = name.rpartition(b".")[2].decode("ascii", "replace")
    found, encoding = _TYPES.guess_type(f"x.{suffix}")
    return BYTES if found is None or encoding else found


def nowhere() -> Reply:
    """What a path leads to that is not served."""
    return Reply(404, "nothing is here")


def is_served(name: bytes) -> bool:
    """Whether a file or folder of this name is shown to anybody."""
    if not name or name.startswith(b".") or any(mark in name for mark in (b"/", b"\\", b"\0")):
        return False
    return not name.lower().endswith(_OWN)
