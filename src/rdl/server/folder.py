"""The files of a folder: regular ones, reached without links, segment by segment.

No name leads out, nothing whose name begins with a dot is there, and what rdl itself keeps
beside a download is not served as a file.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator
from hashlib import blake2b
from html import escape
from itertools import islice
from mimetypes import MimeTypes
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

from rdl.core.byterange import ByteRange
from rdl.core.text import safe_text
from rdl.errors import ChangedError, LocalFileError
from rdl.server.answers import BYTES, Facts
from rdl.server.digesting import Digests, is_young, state_of
from rdl.server.requests import Reply
from rdl.server.resource import Reading, Text

MAX_SEGMENTS = 64
MAX_LISTED = 10_000
"""Entries of a folder that its page names."""
LAST_SECOND = 253_402_300_799
"""Of the year 9999."""
_OWN = (b".part", b".part.index", b".part.index.new", b".part.bad", b".part.foreign")
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_TYPES = MimeTypes()
_PAGE = """<!DOCTYPE html>
<html><head><meta charset="utf-8"><title>{title}</title></head>
<body><h1>{title}</h1>
<pre>
{rows}
</pre></body></html>
"""


class Folder:
    """The Site of a folder. Raises LocalFileError where there is none."""

    def __init__(self, path: Path, *, private: bool = False) -> None:
        self._private, self._digests = private, Digests()
        try:
            self._root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise LocalFileError(safe_text(str(path)), why) from error

    def find(self, path: str) -> Reading:
        segments = _segments(path)
        try:
            file = self._open(segments)
        except (OSError, ValueError) as error:
            if getattr(error, "errno", 0) in (errno.EMFILE, errno.ENFILE):
                raise Reply(503, "too many files are open", (("Retry-After", "1"),)) from None
            raise _nowhere() from None
        try:
            mode = os.fstat(file).st_mode
            if stat.S_ISREG(mode) and not path.endswith("/"):
                return FileReading(file, segments[-1], self._digests, private=self._private)
            if not stat.S_ISDIR(mode):
                raise _nowhere()
            if not path.endswith("/"):
                raise Reply(301, "a folder", (("Location", f"{_encoded(segments)}/"),))
            page = Text(_page(file, segments), "text/html; charset=utf-8", private=self._private)
        except BaseException:
            os.close(file)
            raise
        os.close(file)
        return page

    def close(self) -> None:
        self._digests.close()
        os.close(self._root)

    def _open(self, segments: list[bytes]) -> int:
        """Raises OSError; ValueError for what is neither file nor folder."""
        here = os.open(".", _FLAGS | os.O_DIRECTORY, dir_fd=self._root)
        for number, name in enumerate(segments, 1):
            try:
                mode = os.stat(name, dir_fd=here, follow_symlinks=False).st_mode
                if not (stat.S_ISDIR(mode) or (stat.S_ISREG(mode) and number == len(segments))):
                    raise ValueError("not opened: to open a device may do something")
                below = os.open(name, _FLAGS, dir_fd=here)
            finally:
                os.close(here)
            here = below
        return here


class FileReading:
    """A file as it was when it was opened; what was sent of it is not mixed with what it becomes.

    It takes the descriptor over.
    """

    moving = 0

    def __init__(self, file: int, name: bytes, digests: Digests, *, private: bool) -> None:
        self._file, self._was, self._digests = file, os.fstat(file), digests
        was, state = self._was, state_of(self._was)
        tag = f'"{blake2b(repr(state).encode(), digest_size=12).hexdigest()}"'
        young = is_young(was)
        self.facts = Facts(
            was.st_size,
            etag=f"W/{tag}" if young else tag,
            modified=was.st_mtime,
            sha256=None if young else digests.of(state),
            media_type=media_type(name),
            private=private,
        )

    @property
    def descriptor(self) -> int:
        return self._file

    def notify(self, changed: Callable[[], None]) -> None:
        """Nobody says when a file changes: it is looked at before each step."""

    def demand(self, wanted: ByteRange) -> None:
        """It is all here; who takes all of it would like to know its digest."""
        if self.facts.sha256 is None and len(wanted) == self.facts.size:
            self._digests.want(self._file)

    def available(self, offset: int) -> int:
        now, was = os.fstat(self._file), self._was
        if (now.st_mtime_ns, now.st_size) != (was.st_mtime_ns, was.st_size):
            raise ChangedError("a file", "it changed while it was sent")
        return was.st_size - offset

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


def _nowhere() -> Reply:
    return Reply(404, "nothing is here")


def _segments(path: str) -> list[bytes]:
    """The names that a path is made of. Raises Reply for one that no file here may have."""
    inner = path[1:].removesuffix("/") if path != "/" else ""
    segments = [unquote_to_bytes(part) for part in inner.split("/")] if path != "/" else []
    if len(segments) > MAX_SEGMENTS or not all(is_served(name) for name in segments):
        raise _nowhere()
    return segments


def is_served(name: bytes) -> bool:
    """Whether a file or folder of this name is shown to anybody."""
    if not name or name.startswith(b".") or any(mark in name for mark in (b"/", b"\\", b"\0")):
        return False
    return not name.lower().endswith(_OWN)


def _encoded(segments: list[bytes]) -> str:
    return "".join(f"/{quote(name, safe='')}" for name in segments)


def _page(folder: int, segments: list[bytes]) -> bytes:
    """What is in a folder, for people: names, sizes and times (UTC)."""
    title = escape(safe_text("/".join(["", *map(_shown, segments), ""]), 1000))
    up = ['<a href="../">../</a>'] if segments else []
    rows = [_row(name, facts) for name, facts in islice(_entries(folder), MAX_LISTED)]
    return _PAGE.format(title=title, rows="\n".join(up + rows)).encode()


def _entries(folder: int) -> Iterator[tuple[bytes, os.stat_result]]:
    """Those that are served, in order. Raises Reply where the folder cannot be read."""
    try:
        names = os.listdir(folder)
    except OSError:
        raise _nowhere() from None
    for name in sorted(map(os.fsencode, names)):
        try:
            facts = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except OSError:  # it has gone meanwhile
            continue
        if is_served(name) and (stat.S_ISREG(facts.st_mode) or stat.S_ISDIR(facts.st_mode)):
            yield name, facts


def _row(name: bytes, facts: os.stat_result) -> str:
    slash = "/" if stat.S_ISDIR(facts.st_mode) else ""
    size = "-" if slash else str(facts.st_size)
    at = time.strftime("%Y-%m-%d %H:%M", time.gmtime(min(max(facts.st_mtime, 0), LAST_SECOND)))
    text = escape(safe_text(_shown(name), 255))
    return f'<a href="{quote(name, safe="")}{slash}">{text}{slash}</a>  {at}  {size}'


def _shown(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")
