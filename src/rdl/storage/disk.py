"""What a store needs of a file system, small enough to be simulated.

A folder and a file are integer handles; names are single names inside a folder, so that
a folder that is moved or replaced under us changes nothing. Methods raise OSError.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol

from msgspec import Struct

from rdl.core.reads import filled
from rdl.errors import LocalFileError, NoSpaceError, why_of

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
UNSUPPORTED = (errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENODEV, errno.EINVAL, errno.ENOSYS)


class FileStat(Struct, frozen=True):
    """A name or a file as it is now. `allocated`: bytes of the disk that it takes."""

    kind: Literal["file", "folder", "link", "other"]
    device: int
    inode: int
    size: int
    allocated: int
    mtime_ns: int
    ctime_ns: int
    mode: int
    owner: int
    links: int

    def same_file(self, other: FileStat | None) -> bool:
        return other is not None and (self.device, self.inode) == (other.device, other.inode)

    def at_rest_since(self, before: FileStat) -> bool:
        """Whether nobody has written to this file since it was as `before`, as far as it shows."""
        return (self.size, self.mtime_ns) == (before.size, before.mtime_ns)


class Disk(Protocol):
    """A file system and the process on it. Positioned reads and writes may be called from
    several threads at once."""

    def open_folder(self, path: Path) -> int: ...

    def entries(self, folder: int) -> list[str]:
        """The names in a folder, sorted."""
        ...

    def open(self, folder: int, name: str, *, create: bool = False, write: bool = True) -> int:
        """Open a file, never through a symlink, never blocking. With `create` it must not
        exist yet, and has mode 0600."""
        ...

    def open_unnamed(self, folder: int) -> int:
        """A new file that goes with its last handle, unless it is linked; one of UNSUPPORTED where
        the file system has no such files. Its mode is that of any new file of this user: without
        a name nobody else opens it."""
        ...

    def link(self, file: int, folder: int, name: str) -> None:
        """Give an unnamed file a name; FileExistsError when there is one of that name."""
        ...

    def close(self, handle: int) -> None:
        """Let go of a folder or a file, and of its lock. Does not fail: what counts was synced."""
        ...

    def stat(self, folder: int, name: str) -> FileStat | None:
        """The name itself (links are not followed); None when it does not exist."""
        ...

    def fstat(self, file: int) -> FileStat: ...

    def pread(self, file: int, view: memoryview, offset: int) -> int:
        """Read at most len(view) bytes; 0 at the end."""
        ...

    def pwrite(self, file: int, data: memoryview, offset: int) -> int:
        """Write some of `data`; how much."""
        ...

    def copy(
        self, source: int, target: int, offset: int, size: int, place: int | None = None
    ) -> int:
        """Copy some of `size` bytes at `offset` to the same offset, or to `place`, or share them
        where the file system can; how much, 0 at the end of `source`."""
        ...

    def sync(self, file: int, *, metadata: bool = False) -> None:
        """Make data and size durable; with `metadata` mode and times too."""
        ...

    def sync_folder(self, folder: int) -> None: ...

    def allocate(self, file: int, size: int) -> None:
        """Reserve `size` bytes from 0 and keep the size; one of UNSUPPORTED where the file
        system cannot."""
        ...

    def truncate(self, file: int, size: int) -> None: ...

    def rename(self, folder: int, old: str, new: str, *, replace: bool) -> None:
        """In one step; FileExistsError when `new` exists and `replace` is false."""
        ...

    def unlink(self, folder: int, name: str) -> None: ...

    def lock(self, file: int) -> bool:
        """Lock against other processes; False when one has it. True where locks are not to
        be had: the store notices the other writer by its index."""
        ...

    def is_locked(self, file: int) -> bool:
        """Whether another process has the lock, found out without taking it from one that
        begins just now."""
        ...

    def free(self, file: int) -> int:
        """Bytes that this user may still allocate on the file system."""
        ...

    def is_local(self, file: int) -> bool:
        """Whether written bytes surely survive the death of this process: a known local
        file system."""
        ...

    def keeps_modes(self, folder: int) -> bool:
        """Whether mode bits are those of the file, and not an option of the mount."""
        ...

    def boot_id(self) -> str:
        """This boot of the machine; empty when unknown."""
        ...

    def user(self) -> int: ...

    def umask(self) -> int: ...

    def set_mode(self, file: int, mode: int) -> None: ...

    def set_mtime(self, file: int, mtime_ns: int) -> None: ...

    def set_note(self, file: int, value: bytes) -> None:
        """Keep a few bytes with the file, as extended attribute user.rdl."""
        ...

    def note(self, file: int) -> bytes | None:
        """What set_note kept, if anything."""
        ...


def write_all(disk: Disk, file: int, data: memoryview, offset: int) -> None:
    """Write all of `data` (bytes) at `offset`; raises OSError."""
    while data:
        count = disk.pwrite(file, data, offset)
        if count <= 0:
            raise OSError("nothing was written")
        offset, data = offset + count, data[count:]


def read_all(disk: Disk, file: int, view: memoryview, offset: int) -> int:
    """Read len(view) bytes from `offset`, less at the end; how many. Raises OSError."""
    return filled(lambda at, rest: disk.pread(file, rest, at), offset, view)


@contextmanager
def opened(disk: Disk, folder: int, name: str) -> Iterator[int]:
    """The file, to be read, until the end of the block. Raises OSError."""
    file = disk.open(folder, name, write=False)
    try:
        yield file
    finally:
        disk.close(file)


@contextmanager
def opened_folder(disk: Disk, path: Path) -> Iterator[int]:
    """The folder, until the end of the block. Raises OSError."""
    folder = disk.open_folder(path)
    try:
        yield folder
    finally:
        disk.close(folder)


class told:
    """Turn an OSError inside into our own: `what` failed, and why."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        """Nothing fails yet."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise as_ours(error, self._what) from error


def as_ours(error: OSError, what: str) -> LocalFileError | NoSpaceError:
    """NoSpaceError when space or quota is short, else LocalFileError."""
    why = why_of(error)
    if error.errno in NO_SPACE:
        return NoSpaceError(what, why, hint="free some space")
    if error.errno == errno.EFBIG:
        return LocalFileError(what, "too large for this file system or limit")
    return LocalFileError(what, why)
