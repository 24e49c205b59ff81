"""Removes partials: what an index of ours, or the name of a quarantined file, shows to be ours.

Looked at first, removed afterwards, and only what is still what was looked at and nobody
holds. The part file goes before its index: never data without an index.
"""

from __future__ import annotations

from msgspec import Struct

from rdl.core.index import MAGIC, IndexDamaged
from rdl.errors import BusyError, LocalFileError
from rdl.storage.disk import Disk, FileStat, opened, told
from rdl.storage.index_file import Place, check_ours, load
from rdl.storage.inspecting import BAD, partials_in
from rdl.storage.names import PRIVATE_NAME, Names


class Leftover(Struct, frozen=True):
    """What may be removed together: a part file and its index, or one quarantined file or
    private copy (then `index` is None). `size`: bytes of the disk that become free."""

    names: Names
    data: FileStat | None
    index: FileStat | None

    @property
    def name(self) -> str:
        return self.names.bad if self.index is None else self.names.part

    @property
    def size(self) -> int:
        return sum(stat.allocated for stat in (self.data, self.index) if stat is not None)


def survey(disk: Disk, folder: int, *, bad: bool) -> tuple[list[Leftover], list[LocalFileError]]:
    """What may be removed, with `bad` quarantined files too, and why other things that look
    like ours may not. Raises OSError."""
    found: list[Leftover] = []
    refused: list[LocalFileError] = []
    for names in partials_in(disk, folder):
        try:
            found.append(_partial(disk, folder, names))
        except LocalFileError as error:
            refused.append(error)
    for name in disk.entries(folder):
        if PRIVATE_NAME.fullmatch(name) or (bad and name.endswith(BAD) and name != BAD):
            try:
                found.append(_alone(disk, folder, name))
            except LocalFileError as error:
                refused.append(error)
    return found, refused


def _partial(disk: Disk, folder: int, names: Names) -> Leftover:
    _check_index(disk, folder, names.index)
    with told(names.part):
        data, index = disk.stat(folder, names.part), disk.stat(folder, names.index)
    if index is None:
        raise LocalFileError(names.index, "has just gone")
    if data is not None:
        check_ours(disk, folder, data, names.part)
    return Leftover(names, data, index)


def _check_index(disk: Disk, folder: int, name: str) -> None:
    """LocalFileError unless it is an index of ours, be it damaged behind its first bytes."""
    place = Place(disk, folder, name)
    try:
        load(place)
    except IndexDamaged as error:
        with told(name), opened(disk, folder, name) as file:
            start = memoryview(bytearray(len(MAGIC)))
            disk.pread(file, start, 0)
        if bytes(start) != MAGIC:
            raise LocalFileError(name, "is no index of rdl") from error


def _alone(disk: Disk, folder: int, name: str) -> Leftover:
    with told(name):
        stat = disk.stat(folder, name)
    if stat is None:
        raise LocalFileError(name, "has just gone")
    check_ours(disk, folder, stat, name)
    stem = name.removesuffix(BAD)
    return Leftover(Names(stem, "", "", name), stat, None)


def remove(disk: Disk, folder: int, leftover: Leftover) -> int:
    """Remove it; returns the bytes of the disk that became free. Raises BusyError when another
    rdl holds it, LocalFileError when it is not what was looked at any more."""
    names, freed = leftover.names, 0
    with told(f"cannot remove {leftover.name}"):
        if leftover.data is not None:
            with opened(disk, folder, leftover.name) as file:
                if not disk.lock(file):
                    raise BusyError(leftover.name, "another rdl is writing it")
                _check_same(disk, folder, leftover.name, leftover.data)
                if leftover.index is not None:
                    _check_same(disk, folder, names.index, leftover.index)
                freed += _unlink(disk, folder, leftover.name)
        elif disk.stat(folder, leftover.name) is not None:
            raise BusyError(leftover.name, "another rdl has just begun it")
        disk.sync_folder(folder)
        if leftover.index is not None:
            _check_same(disk, folder, names.index, leftover.index)
            freed += _unlink(disk, folder, names.index)
            disk.sync_folder(folder)
    return freed


def _check_same(disk: Disk, folder: int, name: str, seen: FileStat) -> None:
    now = disk.stat(folder, name)
    if now is None or _mark(now) != _mark(seen):
        raise LocalFileError(name, "changed meanwhile, and stays")


def _mark(stat: FileStat) -> tuple[int, ...]:
    """What changes with a file; numbers of removed files are soon given to others."""
    return stat.device, stat.inode, stat.size, stat.mtime_ns, stat.ctime_ns


def _unlink(disk: Disk, folder: int, name: str) -> int:
    """Remove a name; the bytes that go with it, none where the file has another name."""
    stat = disk.stat(folder, name)
    disk.unlink(folder, name)
    return stat.allocated if stat is not None and stat.links == 1 else 0
