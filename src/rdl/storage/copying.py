"""Copies of FILE beside it: shared blocks where the file system can, private until they are whole.

A copy has a name that nobody else uses and is locked while it is worked on, so that what a
killed run leaves can be told from what is in use.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from rdl.core.byterange import ByteRange
from rdl.errors import LocalFileError
from rdl.storage.base import Finish
from rdl.storage.disk import Disk, FileStat, opened, opened_folder, told, write_all
from rdl.storage.foreign import Foreign, give_back, put_aside
from rdl.storage.names import Names, private_name
from rdl.storage.publishing import Publication, check_target, mode_of

STEP, PAGE = 1 << 20, 4096

Check = Callable[[], None]


def target_stat(disk: Disk, path: Path) -> FileStat:
    """FILE as it is now. LocalFileError when it is not there, or no regular file."""
    with told(str(path)), opened_folder(disk, path.parent) as folder:
        stat = check_target(disk, folder, path.name)
    if stat is None:
        raise LocalFileError(str(path), "no such file")
    return stat


def has_unknown_part(disk: Disk, path: Path) -> bool:
    """Whether a part file stands beside FILE that no index explains."""
    names = Names.of(path)
    with told(str(path)), opened_folder(disk, path.parent) as folder:
        part, index = disk.stat(folder, names.part), disk.stat(folder, names.index)
    return part is not None and index is None


def copy_to_part(disk: Disk, path: Path, check: Check, foreign: Foreign | None = None) -> bool:
    """Copy FILE to its part file's name, bad sectors as zeros; False, and nothing, where a part
    file or an index stands already. Of what is `foreign` only what its state claims: the rest is
    left out, as if never written. `check` is called again and again, and may raise. Raises
    LocalFileError, NoSpaceError, BusyError."""
    names = Names.of(path)
    with told(str(path)), opened_folder(disk, path.parent) as folder:
        part, index = disk.stat(folder, names.part), disk.stat(folder, names.index)
        in_the_way = foreign.in_the_way if foreign else None
        if index is not None or (part is not None and in_the_way is None):
            return False
        _copy_to(disk, folder, names, check, foreign or Foreign(names.target, ""))
    return True


def _copy_to(disk: Disk, folder: int, names: Names, check: Check, foreign: Foreign) -> None:
    """The data first: a state that is in the way makes place when all is copied."""
    fresh = private_name()
    copy, moved = disk.open(folder, fresh, create=True), False
    try:
        disk.lock(copy)
        _copy_all(disk, folder, foreign.data, copy, check, holes=True, only=foreign.claims)
        if foreign.in_the_way is not None:
            put_aside(disk, folder, names, foreign.in_the_way)
            moved = True
        disk.rename(folder, fresh, names.part, replace=False)
    except BaseException:
        disk.unlink(folder, fresh)
        if moved:
            give_back(disk, folder, names)
        raise
    finally:
        disk.close(copy)


class PrivateCopy:
    """A whole copy of FILE, to be changed and then put in its place; a context manager that
    removes it otherwise. `target`: FILE as it was when its repair began.

    Entering raises LocalFileError (also for bad sectors), NoSpaceError, and what `check` raises.
    """

    def __init__(self, disk: Disk, path: Path, target: FileStat, check: Check) -> None:
        self._disk, self._path, self._target, self._check = disk, path, target, check
        self._folder = self._file = -1
        self._name = private_name()
        self._gone = False

    def __enter__(self) -> Self:
        disk = self._disk
        try:
            with told(str(self._path)):
                self._folder = disk.open_folder(self._path.parent)
                self._file = disk.open(self._folder, self._name, create=True)
                disk.lock(self._file)
                arguments = disk, self._folder, self._path.name, self._file, self._check
                _copy_all(*arguments, holes=False)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    def write_at(self, offset: int, data: memoryview) -> None:
        """Write all of `data`."""
        with told(str(self._path)):
            write_all(self._disk, self._file, data, offset)

    def read_into(self, offset: int, view: memoryview) -> int:
        """Read at most len(view) bytes; 0 at the end."""
        with told(str(self._path)):
            return self._disk.pread(self._file, view, offset)

    def replace(self) -> None:
        """Put it in the place of FILE, with its size and mode. TargetExists where FILE is not
        as it was any more."""
        names = Names(self._path.name, self._name, "", "")
        finish = Finish(size=self._target.size, mode=self._target.mode)
        mode = mode_of(finish, self._disk)
        publication = Publication(
            self._disk, self._folder, self._file, names, self._target, finish, mode
        )
        publication.prepare(finish.size)
        publication.rename()
        self._gone = True

    def _close(self) -> None:
        if self._file >= 0:
            if not self._gone:
                with suppress(OSError):
                    self._disk.unlink(self._folder, self._name)
            self._disk.close(self._file)
        if self._folder >= 0:
            self._disk.close(self._folder)
        self._file = self._folder = -1


def _copy_all(
    disk: Disk,
    folder: int,
    name: str,
    copy: int,
    check: Check,
    *,
    holes: bool,
    only: Sequence[ByteRange] | None = None,
) -> None:
    """With `holes` bad sectors become zeros. `only`: these ranges of it."""
    with opened(disk, folder, name) as source:
        whole = ByteRange(0, disk.fstat(source).size)
        for run in (whole,) if only is None else only:
            _copy_run(disk, source, copy, run, check, holes=holes)


def _copy_run(
    disk: Disk, source: int, copy: int, run: ByteRange, check: Check, *, holes: bool
) -> None:
    at, step = run.start, STEP
    while at < run.stop:
        check()
        try:
            count = disk.copy(source, copy, at, min(step, run.stop - at))
        except OSError as error:
            if error.errno != errno.EIO or not holes:
                raise
            at, step = (at, PAGE) if step > PAGE else (at + PAGE, STEP)
            continue
        if count == 0:
            return
        at += count
