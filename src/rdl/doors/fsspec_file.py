"""A remote file as fsspec's files are, what is said of one, and how failures are told there."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fsspec.spec import AbstractBufferedFile

from rdl.core.text import redact_url
from rdl.engine.remote_file import RemoteFile
from rdl.errors import AuthError, HTTPStatusError

Entry = dict[str, Any]


@contextmanager
def told(path: str) -> Iterator[None]:
    """Errors that other file systems have too are theirs; the RdlError is their cause."""
    try:
        yield
    except HTTPStatusError as error:
        if error.status not in (404, 410):
            raise
        raise FileNotFoundError(errno.ENOENT, str(error), redact_url(path)) from error
    except AuthError as error:
        raise PermissionError(errno.EACCES, str(error), redact_url(path)) from error


class OpenFile(AbstractBufferedFile):
    """A RemoteFile as fsspec's files are. Small reads go on to the end of their block, which is
    fetched anyway; what was read so is at hand for the next."""

    def __init__(self, fs: Any, path: str, remote: RemoteFile, block: int, **more: Any) -> None:
        self._remote, self._block = remote, block
        self._near, self._near_at = b"", 0
        if more.get("size") is None:
            about = remote.stat()
            more["size"] = about.size
            self._details = entry(path, about.size, about.modified, about.etag, about.media_type)
        else:
            remote.set_size(more["size"])
        super().__init__(fs, path, "rb", **{**more, "cache_type": "none", "cache_options": None})

    def readinto(self, b: Any) -> int:
        """Fill the buffer; less only at the end of the file."""
        view = memoryview(b).cast("B")
        if len(view) <= self._block or self.closed or self._here(self.loc):
            return int(super().readinto(view))
        with told(self.path):
            self._remote.seek(self.loc)
            count = self._remote.readinto(view)
        self.loc += count
        return count

    def readuntil(self, char: bytes = b"\n", blocks: int | None = None) -> bytes:
        """All up to the first `char`, with it, or up to the end."""
        return bytes(super().readuntil(char, blocks or 8192))

    def close(self) -> None:
        """With its last reader the fetching of a file ends."""
        super().close()
        self._remote.close()

    def _fetch_range(self, start: int, end: int) -> bytes:
        head = self._here(start)
        at = start + len(head)
        if end <= at:
            return bytes(head[: end - start])
        if end - at > self._block:
            return bytes(head) + self._read(at, end)
        stop = min(self.size, -(-end // self._block) * self._block)
        self._near, self._near_at = bytes(head) + self._read(at, stop), start
        return self._near[: end - start]

    def _here(self, at: int) -> memoryview:
        """What is at hand of the bytes from there on."""
        inside = 0 <= at - self._near_at < len(self._near)
        return memoryview(self._near)[at - self._near_at :] if inside else memoryview(b"")

    def _read(self, start: int, end: int) -> bytes:
        with told(self.path):
            self._remote.seek(start)
            return self._remote.read(end - start)


def entry(
    path: str,
    size: int | None,
    modified: float | None,
    etag: str | None,
    media_type: str | None,
    *,
    folder: bool = False,
) -> Entry:
    """What fsspec calls info: of a folder the size is unknown."""
    return {
        "name": path,
        "size": None if folder else size,
        "type": "directory" if folder else "file",
        "mtime": modified,
        "ETag": etag,
        "mimetype": media_type,
    }
