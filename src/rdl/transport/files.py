"""Local files behind the interface of a transport: file:// as a source like any other.

Each request opens the file anew and looks at it after each read. Only regular files are
opened, and only by the URL that the user gave: no server leads here.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO

from rdl.core.file_url import path_of
from rdl.core.representation import TICK, is_young
from rdl.core.text import redact_url, safe_text
from rdl.errors import LocalFileError, PolicyError, why_of
from rdl.transport.base import Request
from rdl.transport.own import OwnExchange, selected

TICKS = 50


class FileSource:
    """The regular file at `path`, open. `name` it is called in errors."""

    block_size = digest = None

    def __init__(self, path: bytes, name: str) -> None:
        self.name = name
        with _told(name):
            _check_kind(os.stat(path), name)  # before: to open a device may do something
            flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
            file = os.open(path, flags | getattr(os, "O_BINARY", 0))
        self._file = FileIO(file)
        try:
            _check_kind(self._stat(), name)
            self._rest()
            if self.size() == 0 and self.read(0, memoryview(bytearray(1))):
                raise LocalFileError(name, "it has no size, as files of the system have not")
        except BaseException:
            self.close()
            raise

    def _rest(self) -> None:
        """Wait until a change would show in its times."""
        for _ in range(TICKS):
            now = self._stat()
            if not is_young(max(now.st_mtime, now.st_ctime), time.time()):
                return
            time.sleep(TICK)

    @property
    def validator(self) -> str:
        """Times alone may be set back by anybody who writes; the inode's own may not."""
        now = self._stat()
        place = f"{now.st_dev:x}-{now.st_ino:x}-{now.st_size:x}"
        return f"{place}-{now.st_mtime_ns:x}-{now.st_ctime_ns:x}"

    @property
    def modified(self) -> float:
        """Seconds since the epoch."""
        return self._stat().st_mtime

    def size(self) -> int:
        return self._stat().st_size

    def read(self, offset: int, view: memoryview, /) -> int:
        with _told(self.name):
            self._file.seek(offset)
            return self._file.readinto(view) or 0

    def close(self) -> None:
        with suppress(OSError):  # nothing was written
            self._file.close()

    def _stat(self) -> os.stat_result:
        with _told(self.name):
            return os.fstat(self._file.fileno())


class FileTransport:
    """Answers for the file that the request's URL names."""

    def ask(self, request: Request) -> None:
        """There is no connection."""

    def open(self, request: Request) -> OwnExchange:
        what = safe_text(redact_url(request.url))
        if request.lineage is not None:
            raise PolicyError(what, "a server led to a local file")
        source = FileSource(path_of(request.url), what)
        try:
            has = selected(source, what, source.modified)
            return OwnExchange(request, source, has, source.close, ours=True)
        except BaseException:
            source.close()
            raise

    def close(self) -> None:
        """Each request closes its own file."""


def _check_kind(found: os.stat_result, what: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        folder = stat.S_ISDIR(found.st_mode)
        raise LocalFileError(what, "a directory" if folder else "not a regular file")


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise LocalFileError(what, "no such file") from None
    except (OSError, ValueError) as error:
        raise LocalFileError(what, why_of(error)) from error
