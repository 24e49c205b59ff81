"""A published file that proved wrong somewhere is a partial again: it loses its name first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from xxhash import xxh3_64

from rdl.core.byterange import ByteRange, Extent
from rdl.core.extents import Extents
from rdl.core.index_json import Header
from rdl.errors import LocalFileError, RdlError
from rdl.storage.checking import session_of
from rdl.storage.disk import Disk, FileStat, read_all, told
from rdl.storage.index_file import IndexFile, Place
from rdl.storage.locking import locked
from rdl.storage.names import Names
from rdl.storage.part_file import PartStore
from rdl.storage.platform import PosixDisk
from rdl.storage.publishing import check_target

STEP = 1 << 20


def reopened(
    path: Path,
    header: Header,
    present: Sequence[ByteRange],
    wrong: ByteRange,
    *,
    stood: FileStat,
    disk: Disk | None = None,
) -> PartStore:
    """The part file that FILE becomes, with all of `present` but what is `wrong`, open. Its index
    is written before it loses its name, under the lock of an empty part file that it replaces:
    after a kill in between both are void. BusyError where another has that lock;
    LocalFileError where that cannot be, or FILE is not as it `stood` when it was known to be
    right: what another has written there is nobody's partial."""
    disk, names = disk or PosixDisk(), Names.of(path)
    folder = file = guard = -1
    created = False
    try:
        with told(str(path)):
            folder = disk.open_folder(path.parent)
            target = check_target(disk, folder, names.target)
            if target is None:
                raise LocalFileError(str(path), "was replaced, or removed")
            part = Place(disk, folder, names.part)
            guard, created = locked(part, str(path.with_name(names.part)), path, target)
            if disk.fstat(guard).size:
                raise LocalFileError(str(path), "it is being fetched again")
            file = disk.open(folder, names.target, write=True)
            kept = Extents(_extents(disk, file, present, wrong))
            now = disk.fstat(file)
            if not (now.same_file(stood) and now.at_rest_since(stood)):
                raise LocalFileError(str(path), "was replaced, or written to, by another")
            index = IndexFile(
                Place(disk, folder, names.index), header, session_of(disk, file), kept
            )
            try:
                index.sync()
                if not stood.same_file(disk.stat(folder, names.target)):
                    raise LocalFileError(str(path), "was replaced under us")
                disk.rename(folder, names.target, names.part, replace=True)
            except (OSError, RdlError):  # FILE keeps its name, and is nobody's partial
                with suppress(OSError):
                    index.remove()
                raise
            else:
                disk.set_mode(file, 0o600)
                disk.sync_folder(folder)
            finally:
                index.close()
    finally:
        if created and disk.fstat(guard).same_file(disk.stat(folder, names.part)):
            disk.unlink(folder, names.part)
        for handle in (file, guard, folder):
            if handle >= 0:
                disk.close(handle)
    store = PartStore(path, disk)
    store.open()
    return store


def _extents(
    disk: Disk, file: int, present: Sequence[ByteRange], wrong: ByteRange
) -> Iterator[Extent]:
    view = memoryview(bytearray(STEP))
    for run in present:
        for part in run.without(wrong):
            for start in range(part.start, part.stop, STEP):
                stop = min(part.stop, start + STEP)
                yield Extent(start, stop, _checksum(disk, file, start, view[: stop - start]))


def _checksum(disk: Disk, file: int, offset: int, view: memoryview) -> int:
    if read_all(disk, file, view, offset) < len(view):
        raise LocalFileError("file", "it is shorter than it was")
    return xxh3_64(view).intdigest()
