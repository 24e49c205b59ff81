"""A regular file as it was when it was opened, to be sent."""

from __future__ import annotations

import os
from collections.abc import Callable
from mimetypes import MimeTypes

from rdl.core.byterange import ByteRange
from rdl.errors import ChangedError
from rdl.server.answers import BYTES, Facts
from rdl.server.digesting import FileDigests
from rdl.server.latest import Latest
from rdl.server.version import Version
from rdl.storage.names import SUFFIXES

MOST_TAGS = 1000
_OWN = tuple(map(os.fsencode, SUFFIXES))
_TYPES = MimeTypes()


class Notes:
    """What is known of the files of a folder, besides what they say themselves."""

    def __init__(self) -> None:
        self.tags, self.digests = Latest[Version, str](MOST_TAGS), FileDigests()
        """ETags that files had before they got their names, and keep as long as nothing changes."""

    def close(self) -> None:
        self.digests.close()


class FileReading:
    """A file as it was when it was opened; what was sent of it is not mixed with what it becomes.

    It takes the descriptor over.
    """

    moving = 0

    def __init__(self, file: int, name: bytes, notes: Notes) -> None:
        self._file, self._notes, self.name = file, notes, name
        self.version = Version.of(file)
        tag, young = notes.tags.get(self.version) or self.version.tag(), self.version.is_young
        self.facts = Facts(
            self.version.size,
            etag=f"W/{tag}" if young else tag,
            modified=self.version.mtime_ns / 1e9,
            sha256=None if young else notes.digests.of(self.version),
            media_type=media_type(name),
        )

    @property
    def descriptor(self) -> int:
        return self._file

    def notify(self, changed: Callable[[], None]) -> None:
        """Nobody says when a file changes: it is looked at before each step."""

    def demand(self, wanted: ByteRange) -> None:
        """It is all here; who takes all of it would like to know its digest."""
        if self.facts.sha256 is None and len(wanted) == self.facts.size:
            self._notes.digests.want(self._file)

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


def is_served(name: bytes) -> bool:
    """Whether a file or folder of this name is shown to anybody."""
    if not name or name.startswith(b".") or any(mark in name for mark in (b"/", b"\\", b"\0")):
        return False
    return not name.lower().endswith(_OWN)
