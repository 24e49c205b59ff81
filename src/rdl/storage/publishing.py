"""Giving a complete part file its final name, and what is known of a published file.

The target that was there at the start is replaced in one step, and only while it is still
the same; a target that was not there is never replaced.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.json import encode

from rdl.core.representation import Representation
from rdl.errors import LocalFileError, TargetExists
from rdl.storage.base import Finish
from rdl.storage.disk import Disk, FileStat, opened, opened_folder, told
from rdl.storage.names import Names
from rdl.storage.platform import PosixDisk


def check_target(disk: Disk, folder: int, name: str) -> FileStat | None:
    """The target as it is now, None when there is none; LocalFileError when it is anything
    but a regular file. Raises OSError."""
    stat = disk.stat(folder, name)
    if stat is not None and stat.kind != "file":
        words = {"link": "a symbolic link", "folder": "a directory"}
        raise LocalFileError(name, f"is {words.get(stat.kind, 'no regular file')}")
    return stat


def mode_of(finish: Finish, disk: Disk) -> int:
    """The mode that was asked for, else that of any new file of this user."""
    return 0o666 & ~disk.umask() if finish.mode is None else finish.mode & 0o777


class Publication(Struct, frozen=True):
    """One part file on its way to its final name. `target`: as it was at the start; `mode`: of
    the published file. Without a name for the part the file is an unnamed one."""

    disk: Disk
    folder: int
    file: int
    names: Names
    target: FileStat | None
    finish: Finish
    mode: int

    def prepare(self, size: int | None) -> None:
        """Give the file its size, mode, time and note, and sync these. LocalFileError when
        it is shorter than `size`; TargetExists when it could not be published anyway."""
        self._check_still()
        with told(self.names.part or self.names.target):
            stat = self.disk.fstat(self.file)
            if size is not None and stat.size < size:
                raise LocalFileError(self.names.part, f"has {stat.size} of {size} bytes")
            self.disk.truncate(self.file, stat.size if size is None else size)
            self._set_mode(self.mode & ~0o022)
            if self.finish.mtime is not None:
                self._set_mtime(self.finish.mtime)
            self._set_note()
            self.disk.sync(self.file, metadata=True)

    def rename(self) -> None:
        """The step itself, made durable. TargetExists when the name is taken: then the part
        file stays as it was."""
        self.name()
        self.settle()

    def name(self) -> None:
        """The step itself."""
        disk, part, target = self.disk, self.names.part, self.names.target
        replace = self._check_still()
        try:
            with told(f"cannot publish {target}"):
                if part:
                    disk.rename(self.folder, part, target, replace=replace)
                else:
                    disk.link(self.file, self.folder, target)
        except LocalFileError as error:
            self._set_mode(0o600)
            if isinstance(error.__cause__, FileExistsError):
                raise self._exists("appeared while we worked") from error
            raise

    def settle(self) -> None:
        """Make it durable."""
        if self.mode & 0o022:  # never as a part file: that would not be believed again
            self._set_mode(self.mode)
        with told(self.names.target):
            self.disk.sync_folder(self.folder)

    def _check_still(self) -> bool:
        """Whether the rename may replace; TargetExists when the target is another one now."""
        with told(self.names.target):
            now = self.disk.stat(self.folder, self.names.target)
        if now is None:
            return False
        if self.finish.no_clobber or self.target is None:
            raise self._exists("exists" if self.target else "appeared while we worked")
        before = (self.target.mtime_ns, self.target.size)
        if not self.target.same_file(now) or before != (now.mtime_ns, now.size):
            raise self._exists("changed while we worked")
        return True

    def _exists(self, why: str) -> TargetExists:
        kept = self.names.index and f"what was fetched is kept as {self.names.part}"
        return TargetExists(self.names.target, why, hint=kept)

    def _set_mode(self, mode: int) -> None:
        try:
            self.disk.set_mode(self.file, mode)
        except OSError:  # the file system keeps no modes
            return

    def _set_mtime(self, seconds: float) -> None:
        try:
            whole = math.floor(seconds)  # apart, since a float holds no such nanoseconds
            nanoseconds = round((seconds - whole) * 1_000_000_000)
            self.disk.set_mtime(self.file, whole * 1_000_000_000 + nanoseconds)
        except (OSError, OverflowError, ValueError):  # a time that the file system cannot hold
            return

    def _set_note(self) -> None:
        facts = self.finish.representation or Representation()
        stat = self.disk.fstat(self.file)
        note = {
            "url": url_mark(self.finish.url),
            "etag": facts.etag,
            "last_modified": facts.last_modified,
            "modified_strong": facts.modified_strong,
            "total": facts.total,
            "size": stat.size,
            "mtime_ns": stat.mtime_ns,
        }
        try:
            self.disk.set_note(self.file, encode(note, order="sorted"))
        except OSError:  # the next run asks the server instead
            return


def url_mark(url: str) -> str:
    """Stands for a redacted URL in the note: validators speak for one URL only."""
    return hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def read_published(path: Path, disk: Disk | None = None) -> dict[str, Any] | None:
    """The facts noted when `path` was published (url, etag, last_modified, total, size,
    mtime_ns), while its size and time are still the same and it is this user's; else None."""
    disk = disk or PosixDisk()
    try:
        with opened_folder(disk, path.parent) as folder:
            return _read_note(disk, folder, path.name)
    except OSError:  # nothing there to know about
        return None


def _read_note(disk: Disk, folder: int, name: str) -> dict[str, Any] | None:
    stat = disk.stat(folder, name)
    if stat is None or stat.kind != "file":
        return None
    with opened(disk, folder, name) as file:
        stat, note = disk.fstat(file), disk.note(file)
    if stat.owner != disk.user() or (stat.mode & 0o002 and disk.keeps_modes(folder)):
        return None  # whoever may write to the file may write the note
    try:
        facts = json.loads(note or b"null")
    except (ValueError, RecursionError):  # written by somebody else
        return None
    if not isinstance(facts, dict):
        return None
    same = (facts.get("size"), facts.get("mtime_ns")) == (stat.size, stat.mtime_ns)
    return facts if same else None
